"""The run as a trace that Perfetto and Chrome's ``chrome://tracing`` open.

Receives a :class:`Timeline`; writes the JSON object format of Chrome's trace events: a complete event (``"ph": "X"``)
for every section of every unit, ``ts`` and ``dur`` in microseconds; runs of graphs lie in their section. Written event
by event, because an hour has a million of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from edge_streamer.runtime.profile.timeline import UNIT, Timeline

THREAD = 1
LATE = 2
"""The row on which units that missed their deadline are marked."""


def write_trace(path: Path, timeline: Timeline, title: str, deadline_ms: float) -> None:
    """All stretches of ``timeline``, and a mark for every unit beyond its deadline."""
    encode = msgspec.json.encode
    process = os.getpid()
    names = ((0, "process_name", title), (THREAD, "thread_name", "sections"), (LATE, "thread_name", "deadline misses"))
    head = [
        {"name": name, "ph": "M", "pid": process, "tid": thread, "args": {"name": told}}
        for thread, name, told in names
    ]  # fmt: skip
    took = timeline.milliseconds().get(UNIT)
    start = min((one.begin for one in timeline.stretches()), default=0.0)
    with path.open("wb") as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n' + b",\n".join(encode(one) for one in head))
        for one in timeline.stretches():
            at = {"ts": round(1e6 * (one.begin - start), 3), "pid": process}
            event = {
                "name": one.path.rpartition("/")[2], "cat": timeline.kinds[one.path], "ph": "X", **at,
                "dur": round(1e6 * one.seconds, 3), "tid": THREAD, "args": {"unit": one.unit, "path": one.path},
            }  # fmt: skip
            file.write(b",\n" + encode(event))
            if one.path == UNIT and took is not None and took[one.unit] > deadline_ms:
                missed = {"name": f"unit {one.unit}: {took[one.unit]:.1f} ms", "cat": "miss", "ph": "i", "s": "t",
                          "tid": LATE, **at}  # fmt: skip
                file.write(b",\n" + encode(missed))
        file.write(b"\n]}\n")
