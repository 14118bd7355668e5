"""The run as a trace that Perfetto and Chrome's ``chrome://tracing`` open.

Receives a :class:`Timeline`; writes the JSON object format of Chrome's trace events: a complete event (``"ph": "X"``)
for every section of every unit, ``ts`` and ``dur`` in microseconds; runs of graphs lie in their section. Outer sections
come before those inside them, so that a reader can nest those that begin together. Written event by event, because an
hour has a million of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec

from edge_streamer.runtime.profile.timeline import UNIT, Timeline

THREAD = 1
LATE = 2
"""The row on which units that missed their deadline are marked."""


def write_trace(path: Path, timeline: Timeline, title: str, deadline_ms: float, dry: Sequence[int] = ()) -> None:
    """All stretches of ``timeline``, a mark for every unit beyond its deadline and for those of ``dry`` (that came when
    the speaker had run dry), and every unit's time as a counter."""
    encode = msgspec.json.encode
    process = os.getpid()
    names = ((0, "process_name", title), (THREAD, "thread_name", "sections"), (LATE, "thread_name", "deadline misses"))
    took, unheard = timeline.milliseconds().get(UNIT), set(dry)
    start = min((one.begin for one in timeline.stretches()), default=0.0)
    with path.open("wb") as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        file.write(b",\n".join(
            encode({"name": name, "ph": "M", "pid": process, "tid": thread, "args": {"name": told}})
            for thread, name, told in names
        ))  # fmt: skip
        for unit, stretches in groupby(timeline.stretches(), lambda one: one.unit):
            ordered = sorted(stretches, key=lambda one: (one.begin, -one.seconds, one.path.count("/")))
            for one in ordered:
                event = {
                    "name": one.path.rpartition("/")[2], "cat": timeline.kinds[one.path], "ph": "X",
                    "ts": _micro(one.begin - start), "dur": _micro(one.seconds), "pid": process, "tid": THREAD,
                    "args": {"unit": one.unit, "path": one.path},
                }  # fmt: skip
                file.write(b",\n" + encode(event))
            if took is None:
                continue
            at = {"ts": _micro(ordered[0].begin - start), "pid": process}
            said = {f"{took[unit]:.1f} ms": took[unit] > deadline_ms, "the speaker had run dry": unit in unheard}
            for why in (why for why, missed in said.items() if missed):
                mark = {"name": f"unit {unit}: {why}", "cat": "miss", "ph": "i", "s": "t", "tid": LATE, **at}
                file.write(b",\n" + encode(mark))
            told = {"a unit": round(float(took[unit]), 3), "its deadline": deadline_ms}
            file.write(b",\n" + encode({"name": "ms", "ph": "C", "tid": THREAD, **at, "args": told}))
        file.write(b"\n]}\n")


def _micro(seconds: float) -> float:
    """Microseconds, to a nanosecond."""
    return round(1e6 * seconds, 3)
