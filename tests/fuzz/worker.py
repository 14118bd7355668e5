"""One process that tries damaged things, so that what crashes or hangs takes only itself away

Receives on standard input a line per case, its number; hands on a line of JSON per case on its own standard output.
What the product prints goes to a log. Cases are damaged by their number and the seed alone, so each can be tried again
by itself.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
import traceback
from pathlib import Path

from edge_streamer.runtime.errors import EdgeStreamerError, InputError
from tests.fuzz.targets import TARGETS, Place, Target, Wrong, strangers

ADDRESSES = 12 << 30
"""Bytes of address space: far more than is allowed in memory, so that what asks for more ends itself, not the
machine."""


def main() -> None:
    kind, seed, root, bundle = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever prints, prints to the log
    place = Place(root, bundle)
    target: Target = TARGETS[kind](place)
    target.prepare()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    print("ready", file=out)
    for line in sys.stdin:
        print(json.dumps(case(target, place, kind, seed, int(line))), file=out)


def case(target: Target, place: Place, kind: str, seed: str, number: int) -> dict[str, object]:
    """Damage, try, judge."""
    target.damage(random.Random(f"{kind} {seed} {number}"))
    before = _resident_peak(reset=True)
    began = _clock()
    trace = ""
    try:
        how = target.attempt()
    except EdgeStreamerError as error:
        how = "refused" if isinstance(error, InputError) else type(error).__name__
        if "\n" in str(error) or not str(error):
            how, trace = "wrong", f"an error of {len(str(error).splitlines())} lines: {error}"
    except Wrong as error:
        how, trace = "wrong", str(error)
    except BaseException as error:  # whatever it is, it must not come out: that is what this looks for
        how, trace = "traceback", "".join(traceback.format_exception(error))
    found = list(strangers(place))
    if found:
        trace = f"files where none belong: {found}"
    return {
        "case": number, "how": "outside" if found else how, "trace": trace, "seconds": _clock() - began,
        "megabytes": (_resident_peak() - before) / 1e6,
    }  # fmt: skip


def _clock() -> float:
    """Seconds, without those in which this process was ready and others had the processor: a busy machine makes no case
    slow. One that sleeps or waits for a file is."""
    try:
        waited = int(Path("/proc/self/schedstat").read_text().split()[1])
    except OSError:  # a kernel that does not count them
        waited = 0
    return time.monotonic() - waited / 1e9


def _resident_peak(reset: bool = False) -> int:
    """The most bytes that were resident at once since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
