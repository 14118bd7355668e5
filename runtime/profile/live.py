"""What only a conversation with live devices has: delay from mouth to ear, what the speaker missed, the devices.

Receives the loop's :class:`Counters`; hands on :class:`Live`, the key ``live`` of profile.json, and words for it.
Times are milliseconds, of the newest hour of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.profile.statistics import Spread, spread
from edge_streamer.runtime.timing import Durations

MISSES_NAMED = 100
APART = (
    "units", "answered", "failed", "skipped", "deadline_misses", "steps", "rung", "target_ms", "drift_ppm",
    "echo_loss_db", "log_lost", "record_stopped", "stopped", "wall_seconds", "devices",
)  # fmt: skip
"""Of the loop's counts, those that have a key of their own or belong to the profile's others."""


class SpeakerMisses(msgspec.Struct, frozen=True, kw_only=True):
    """Units that came when the speaker had run dry: what a person hears of a unit that is late."""

    count: int
    share: float
    units: tuple[int, ...]
    """The first of them, counted as in ``series_ms``."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One of the four ends."""

    name: str
    open: bool
    lost: int
    reopened: int
    latency_ms: float
    """Between the world and us, as its driver tells."""
    error: str | None
    counts: dict[str, int]
    """What it counts of itself: underruns, overflows, samples that were lost, stalls."""
    figures: dict[str, float]


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole conversation."""

    misses: SpeakerMisses
    concealed: int
    """Units that failed, and were silence and the last picture."""
    skipped: int
    """Units of sound that were given up because later ones waited."""
    mouth_to_ear_ms: Spread | None
    """From a sound at the start of its unit to the answer at the speaker; None where microphone or speaker is off."""
    parts_ms: dict[str, Spread]
    """Of it: ``input``, ``step`` (from the full unit to its answer: the model's latency), ``buffer``, ``output``. What
    is left is the unit's own length."""
    picture_age_ms: Spread | None
    """How old the camera's newest picture was when the unit was full; None where the camera is off."""
    lip_offset_ms: Spread | None
    """How much later than its sound a picture was seen."""
    host_ms: Spread | None
    """Of an answered unit, what is outside the engine, as ``run`` tells it."""
    buffer_ms: float
    """Sound that is kept before the speaker, at the end: it grows where the speaker runs dry."""
    drift_ppm: float
    """How much faster the speaker's clock is than the microphone's."""
    counts: dict[str, int]
    """Everything else that the loop counts."""
    devices: dict[str, Device]
    """``mic``, ``speaker``, ``camera``, ``display``."""
    echo: dict[str, Any]
    """What was done about the agent hearing itself."""
    open_ms: float
    """Until all devices were open."""


def live_of(counters: Counters, dry: Sequence[int], open_seconds: float) -> Live:
    """The figures of a conversation that is over; ``dry``: units that came when the speaker had run dry."""
    brief = counters.brief()
    parts = {name: found for name, part in counters.parts.items() if (found := spread_of(part))}
    stepped = counters.units - counters.skipped
    return Live(
        misses=SpeakerMisses(count=counters.misses, share=counters.misses / max(stepped, 1),
                             units=tuple(dry[:MISSES_NAMED])),
        concealed=counters.failed, skipped=counters.skipped,
        mouth_to_ear_ms=spread_of(counters.mouth_to_ear), parts_ms=parts,
        picture_age_ms=spread_of(counters.picture_age), lip_offset_ms=spread_of(counters.lip_offset),
        host_ms=spread_of(counters.host), buffer_ms=round(counters.target_ms, 1), drift_ppm=round(counters.drift_ppm),
        counts={name: int(count) for name, count in brief.items() if name not in APART},
        devices={name: _device(state) for name, state in counters.devices.items()},
        echo={"loss_db": counters.echo_loss_db, **counters.echo}, open_ms=round(1e3 * open_seconds, 3),
    )  # fmt: skip


def spread_of(times: Durations) -> Spread | None:
    """Of the times that are kept; None where there is none."""
    return spread(1e3 * np.fromiter(times, np.float64)) if len(times) else None


def _device(state: DeviceState) -> Device:
    return Device(
        name=state.name, open=state.open, lost=state.lost, reopened=state.reopened,
        latency_ms=round(1e3 * state.latency, 3), error=state.error or None,
        counts=dict(state.counts or {}), figures=dict(state.figures or {}),
    )  # fmt: skip


def speaks(live: Live) -> bool:
    """Whether there is a speaker."""
    return "speaker" in live.devices and live.devices["speaker"].name != "none"


def heard(live: Live) -> str:
    """What the speaker missed, in words."""
    dry = live.misses.count
    if not speaks(live):
        return "no speaker"
    return f"the speaker ran dry {dry} time{'s' * (dry > 1)}" if dry else "the speaker never ran dry"


def live_lines(live: Live) -> Iterator[str]:
    """How the conversation went, in sentences."""
    if live.mouth_to_ear_ms:
        times, step = live.mouth_to_ear_ms, live.parts_ms["step"]
        yield (f"Mouth to ear: {times.p50:.0f} ms (p50), {times.p95:.0f} (p95), of which the model {step.p50:.0f}; "
               f"{heard(live)}.")  # fmt: skip
    else:
        off = "the microphone" if speaks(live) else "the speaker"
        yield f"Mouth to ear is not measured: {off} is off."
    if live.picture_age_ms:
        yield f"The camera's newest picture was {live.picture_age_ms.p50:.0f} ms old (p50)."
    trouble = dict(_trouble(live))
    if trouble:
        yield f"Trouble: {', '.join(f'{name} {count}' for name, count in trouble.items())}."


def _trouble(live: Live) -> Iterator[tuple[str, int]]:
    """What went wrong and how often, without what did not."""
    words = {"concealed units": live.concealed, "skipped units": live.skipped}
    words |= {name.replace("_", " "): live.counts.get(name, 0) for name in
              ("starved", "hasty", "held", "stale_pictures", "slow_steps", "settle_failures")}  # fmt: skip
    for name, device in live.devices.items():
        words |= {f"{name} lost": device.lost}
        words |= {f"{name} {word.replace('_', ' ')}": count for word, count in device.counts.items()}
    yield from ((name, count) for name, count in words.items() if count)
