"""The part of a profile's page that tells of live devices.

Receives :class:`Live`; hands on HTML: where the delay from mouth to ear goes, what was counted, each device.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from edge_streamer.runtime.pages.html import legend, table, wide
from edge_streamer.runtime.profile.live import Device, Live
from edge_streamer.runtime.profile.pictures import stages

PARTS = {
    "input": "input: from the microphone until the loop has the unit",
    "step": "step: the model's latency, from the full unit to its answer",
    "buffer": "buffer: sound that waits before the answer",
    "output": "output: the speaker's own buffers",
}
HEAD = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")


def conversation(live: Live, unit_ms: float) -> list[str]:
    """The section."""
    times = {"mouth to ear": live.mouth_to_ear_ms}
    times |= {PARTS.get(name, name): one for name, one in live.parts_ms.items()}
    times |= {"camera: age of its newest picture": live.picture_age_ms, "picture after its sound": live.lip_offset_ms,
              "host: of a unit, outside the engine": live.host_ms}  # fmt: skip
    rows = [
        (escape(name), *(f"{ms:.2f}" for ms in (one.mean, one.p50, one.p90, one.p95, one.p99, one.p99_9, one.max)), "")
        for name, one in times.items() if one
    ]  # fmt: skip
    said = ["<h2>The conversation</h2>"]
    if live.mouth_to_ear_ms:
        parts = [
            ("the unit itself", unit_ms),
            *((name, one.mean) for name, one in live.parts_ms.items()),
        ]  # means add up
        said += ["<h3>From mouth to ear, on average</h3>", stages(parts, None)]
    return [
        *said, wide(table(("ms", *HEAD, ""), rows)), _counted(live), "<h3>Devices</h3>", wide(_devices(live)),
        legend([
            ("the speaker ran dry", "a unit came when nothing was left to play: the deadline misses that are heard."),
            ("starved", "the microphone did not fill the unit in time; the rest of it was silence."),
            ("hasty", "answered with fewer solver steps than asked for, because time was short."),
        ]),
    ]  # fmt: skip


def _counted(live: Live) -> str:
    dry = live.misses
    named = f": {', '.join(map(str, dry.units[:20]))}" if dry.units else ""
    rows = [
        ("the speaker ran dry", f"{dry.count} ({dry.share:.2%} of the units{named})"),
        ("concealed units", str(live.concealed)), ("skipped units", str(live.skipped)),
        ("kept before the speaker, at the end", f"{live.buffer_ms:g} ms"),
        ("the speaker's clock against the microphone's", f"{live.drift_ppm:+g} ppm"),
        ("until all devices were open", f"{live.open_ms:.0f} ms"),
    ]  # fmt: skip
    rows += [(escape(name.replace("_", " ")), str(count)) for name, count in live.counts.items() if count]
    told = _named((name, value) for name, value in live.echo.items() if value is not None)
    return table(("", ""), [*rows, ("echo", escape(told))])


def _named(values: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values)


def _devices(live: Live) -> str:
    rows = [
        (f"{name}: {escape(one.name)}{_state(one)}", str(one.lost), str(one.reopened), f"{one.latency_ms:.1f}",
         escape(_named((word, count) for word, count in one.counts.items() if count) or "none"))
        for name, one in live.devices.items()
    ]  # fmt: skip
    return table(("", "lost", "reopened", "latency, ms", "under- and overruns, losses"), rows)


def _state(one: Device) -> str:
    return "" if one.open else f'<small class="short">not open: {escape(one.error or "lost")}</small>'
