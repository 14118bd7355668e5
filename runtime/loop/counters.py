"""Everything that a live conversation counts and measures, in one record.

Receives increments from the loop and its parts; hands on :class:`Counters`: ``figures`` for machines (the log's lines,
``--json``), ``line`` for the terminal while it runs and ``rows`` for its end.

Words for time, beside those of `runtime/loop/report.py`. *Mouth-to-ear* is from a sound at the microphone, at the start
of its unit, to the answer's first sample at the speaker. It is the sum of

    fill      the unit itself: its first sample waits until its last one is there
    input     the last sample: from the microphone's membrane until the loop has the whole unit
    step      the model
    buffer    the sound that still waits in front of the answer (the play-out margin; silence put before it included)
    output    the speaker's own buffers

What goes to a lost speaker, or to none, reaches no ear and is not in it. A *deadline miss* is a unit that arrived after
the speaker had run dry. Percentiles are of the ``NEWEST`` times of each kind: a conversation may last for weeks.
The longest time is of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_streamer.runtime.loop.playout import PlayoutCounts
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.loop.report import printable, spread
from edge_streamer.runtime.timing import Durations

MOST_REASONS = 20
"""Reasons of failures that are kept in full; all are counted, and all are in the log."""

PARTS = ("input", "step", "buffer", "output")
"""Of mouth-to-ear, in order, after the unit's own length."""

NEWEST = 22_500
"""An hour of units."""


def _newest() -> Durations:
    return Durations(NEWEST)


@dataclass
class Counters:
    """Counts and times of one conversation. Times in seconds."""

    unit_seconds: float
    units: int = 0
    """Units of the microphone's time that have passed: answered, failed or skipped."""
    answered: int = 0
    failed: int = 0
    """Units whose step raised, were rolled back, and are silence and a held picture."""
    skipped: int = 0
    """Units that were never given to the model because later ones were waiting."""
    starved: int = 0
    """Units that the microphone did not fill in time: the rest of them is silence."""
    missing_samples: int = 0
    """Samples of that silence."""
    crept_samples: int = 0
    """Samples of the microphone that were dropped because they had begun to wait for good."""
    muted: int = 0
    """Units in which the user had muted the microphone."""
    held: int = 0
    """Units whose picture was held, the ladder's last rung."""
    hasty: int = 0
    """Units answered with fewer solver steps than asked for."""
    stale_pictures: int = 0
    """Units in which the newest picture of the camera was older than a person would call now, or missing."""
    slow_steps: int = 0
    """Steps that the watchdog called slow."""
    settles: int = 0
    settle_failures: int = 0
    reopens: int = 0
    """Times that the user (SIGHUP) had all devices opened again."""
    rungs_down: int = 0
    rungs_up: int = 0
    rung: int = 0
    steps: int = 0
    """Solver steps of the rung in use."""
    target_ms: float = 0.0
    """Margin that the play-out keeps now."""
    drift_ppm: float = 0.0
    """How much faster the speaker's clock is than the microphone's."""
    playout: PlayoutCounts = field(default_factory=PlayoutCounts)
    devices: Mapping[str, DeviceState] = field(default_factory=dict)
    echo_loss_db: float | None = None
    """How much of the agent's own voice the canceller takes away; None where it has heard none yet."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """What was done about the echo (``mode``), how much later than played it was heard, and what the canceller counted;
    at the end."""
    log_lost: int = 0
    """Lines of the log that could not be written."""
    record_stopped: str = ""
    """Why the recording ended before the conversation did."""
    reasons: list[str] = field(default_factory=list)
    """Why units failed, the first ones."""
    stopped: str | None = None
    """Why the conversation ended, where nobody asked it to."""
    unit_times: Durations = field(default_factory=_newest)
    host: Durations = field(default_factory=_newest)
    """Of each answered unit, what the loop and the session spent outside the engine."""
    mouth_to_ear: Durations = field(default_factory=_newest)
    parts: dict[str, Durations] = field(default_factory=lambda: {part: _newest() for part in PARTS})
    picture_age: Durations = field(default_factory=_newest)
    lip_offset: Durations = field(default_factory=_newest)
    """How much later than its sound each picture was seen."""
    wall_seconds: float = 0.0

    @property
    def misses(self) -> int:
        """Deadline misses."""
        return self.playout.dry

    def because(self, why: str) -> None:
        """Remember why a unit failed."""
        if len(self.reasons) < MOST_REASONS:
            self.reasons.append(f"unit {self.units}: {why}")

    def figures(self) -> dict[str, Any]:
        """Everything, for machines; times in milliseconds."""
        return {
            **self.brief(),
            "unit_ms": 1000 * self.unit_seconds,
            "unit_time_ms": _spread(self.unit_times),
            "host_ms": _spread(self.host),
            "mouth_to_ear_ms": _spread(self.mouth_to_ear),
            "parts_ms": {"fill": 1000 * self.unit_seconds} | {name: _spread(part) for name, part in self.parts.items()},
            "picture_age_ms": _spread(self.picture_age),
            "lip_offset_ms": _spread(self.lip_offset),
            "echo": dict(self.echo),
            "reasons": self.reasons,
        }

    def brief(self) -> dict[str, Any]:
        """The counts alone, as they stand in every line of the log."""
        return {
            "units": self.units, "answered": self.answered, "failed": self.failed, "skipped": self.skipped,
            "deadline_misses": self.misses, "starved": self.starved, "missing_samples": self.missing_samples,
            "crept_samples": self.crept_samples, "muted": self.muted, "held": self.held, "hasty": self.hasty,
            "stale_pictures": self.stale_pictures, "slow_steps": self.slow_steps, "settles": self.settles,
            "settle_failures": self.settle_failures, "reopens": self.reopens, "rungs_down": self.rungs_down,
            "rungs_up": self.rungs_up, "rung": self.rung, "steps": self.steps,
            "target_ms": round(self.target_ms, 1), "drift_ppm": round(self.drift_ppm),
            "prefilled_samples": self.playout.prefilled,
            "made_room_samples": self.playout.made_room, "cut_quiet_samples": self.playout.cut_quiet,
            "cut_loud_samples": self.playout.cut_loud,
            "echo_loss_db": None if self.echo_loss_db is None else round(self.echo_loss_db, 1),
            "log_lost": self.log_lost, "record_stopped": self.record_stopped or None, "stopped": self.stopped,
            "wall_seconds": round(self.wall_seconds, 3),
            "devices": {name: _device(state) for name, state in self.devices.items()},
        }  # fmt: skip

    def line(self, said: str) -> str:
        """How it stands, in one line; ``said`` is what the agent is saying."""
        parts = [f"{self.units * self.unit_seconds:.0f} s", f"step {1000 * self.unit_times.last:.0f} ms"]
        if len(self.mouth_to_ear):
            parts.append(f"delay {1000 * self.mouth_to_ear.last:.0f} ms")
        parts.append(f"misses {self.misses}")
        parts += [f"{name} {count}" for name, count in self.troubles().items()]
        parts += [
            f"{name} {'lost' if state.lost else 'opening'}" for name, state in self.devices.items() if not state.open
        ]
        words = " ".join(printable(said).split())
        return "  ".join([*parts, words] if words else parts)

    def troubles(self) -> dict[str, int]:
        """What went wrong and how often, without what did not."""
        reopened = sum(state.reopened for state in self.devices.values())
        named = [item for state in self.devices.values() for item in (state.counts or {}).items()]
        # How many samples each cost is told apart.
        events = sum(count for name, count in named if "samples" not in name)
        counts = {
            "skipped": self.skipped, "failed": self.failed, "starved": self.starved, "hasty": self.hasty,
            "held": self.held, "stale pictures": self.stale_pictures, "slow steps": self.slow_steps,
            "reopened": reopened, "device events": events, "log lost": self.log_lost,
        }  # fmt: skip
        return {name: count for name, count in counts.items() if count}

    def rows(self) -> list[tuple[str, str]]:
        """The end of a conversation, for a person: (word, figures)."""
        rows = [("units", f"{self.units} of {1000 * self.unit_seconds:.0f} ms, {self.answered} answered")]
        if len(self.unit_times):
            rows += self._timing_rows()
        trouble = ", ".join(f"{name} {count}" for name, count in self.troubles().items())
        rows.append(("trouble", trouble or "none"))
        for name, state in self.devices.items():
            counts = ", ".join(f"{word} {count}" for word, count in (state.counts or {}).items() if count)
            told = (
                f"{state.name}"
                + (f"; {counts}" if counts else "")
                + "".join(f"; {why}" for why in (state.error, state.told) if why)
            )
            rows.append((name, told))
        if self.echo:
            rows.append(("echo", self._echo_text()))
        if self.reasons:
            rows.append(("failed units", self.reasons[0]))
        if self.record_stopped:
            rows.append(("recording ended", self.record_stopped))
        if self.stopped:
            rows.append(("stopped", self.stopped))
        return rows

    def _echo_text(self) -> str:
        parts = [str(self.echo["mode"])]
        if self.echo_loss_db is not None:
            parts.append(f"{self.echo_loss_db:.0f} dB of the agent's own voice taken away")
        if self.echo.get("delay_ms") is not None:
            parts.append(f"heard {self.echo['delay_ms']:.0f} ms after it was played")
        counted = {name: count for name, count in self.echo.items() if name not in ("mode", "delay_ms") and count}
        return "; ".join([*parts, *(f"{name} {count}" for name, count in counted.items())])

    def _timing_rows(self) -> list[tuple[str, str]]:
        rows = [
            ("unit time", f"{_text(self.unit_times)} ms"),
            ("host", f"{_text(self.host)} ms of each unit outside the engine"),
        ]
        if len(self.mouth_to_ear):
            sums = "  ".join(f"{name} {1000 * part.percentile(50):.0f}" for name, part in self.parts.items())
            rows.append(("mouth to ear", f"{_text(self.mouth_to_ear)} ms"))
            rows.append(("", f"p50 of its parts: fill {1000 * self.unit_seconds:.0f}  {sums}"))
        rows.append(("deadline misses", f"{self.misses} (the speaker had run dry)"))
        if len(self.lip_offset):
            rows.append(("lip offset", f"{_text(self.lip_offset)} ms (picture after sound)"))
        if len(self.picture_age):
            rows.append(("picture age", f"{_text(self.picture_age)} ms"))
        return rows


def _spread(times: Durations) -> dict[str, float] | None:
    return spread(times) if len(times) else None


def _text(times: Durations) -> str:
    figures = spread(times)
    return "  ".join(f"{name} {figures[name]:.1f}" for name in ("p50", "p95", "p99", "max"))


def _device(state: DeviceState) -> dict[str, Any]:
    return {
        "name": state.name, "open": state.open, "lost": state.lost, "reopened": state.reopened,
        "error": state.error or None, "latency_ms": round(1000 * state.latency, 3), **(state.counts or {}),
        **(state.figures or {}),
    }  # fmt: skip
