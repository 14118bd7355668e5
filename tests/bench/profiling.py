"""What being profiled costs: ``python -m tests.bench.profiling [BUNDLE] [--pairs N]``.

Receives a bundle (the demo's in float32 where none is named); steps units in pairs, one that is listened to and one
that is not, in turns which comes first; hands on the median of the pairs' ratios with where it lies with 95 %, and one
JSON line. Exit status 1 where more than 1 % is surely taken, 3 where so many pairs cannot tell. Time is the processor's
that this process used, so that neighbours who compute take little from it; ``--wall`` for the wall's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit

MOST = 0.01
"""Of a unit's time."""
WARM = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profiling", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="default: the demo's in float32")
    parser.add_argument("--pairs", type=int, default=200, help="default: 200")
    parser.add_argument("--wall", action="store_true", help="time of the wall, where nobody else computes")
    args = parser.parse_args()
    with open_session(args.bundle or bundle_path(floats=True), engine="cpu", verify=False) as session:
        plain, heard = pairs(session, args.pairs, perf_counter if args.wall else process_time)
    ratios = heard / plain - 1
    random = np.random.default_rng(0)
    draws = [np.median(ratios[random.integers(0, len(ratios), len(ratios))]) for _ in range(2000)]
    low, high = np.percentile(draws, (2.5, 97.5))
    median, unit = np.median(ratios), np.median(plain)
    print(f"profiled units take {median:+.2%} ({low:+.2%} to {high:+.2%}) longer than {unit:.2f} ms")
    print(json.dumps({"median": float(median), "low": float(low), "high": float(high)}))
    return 1 if low > MOST else 3 if high > MOST else 0


def pairs(session: Session, count: int, clock: Callable[[], float]) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds of units that nobody listened to, and of those that a timeline did."""
    timeline, unit = Timeline(), Unit()
    for _ in range(WARM):
        session.step(unit)

    def step(listened: bool) -> float:
        if not listened:
            return _unit(session, unit, clock)
        with session.sections.told_to(timeline):
            return _unit(session, unit, clock)

    found: dict[bool, list[float]] = {False: [], True: []}
    for pair in range(count):
        for listened in (bool(pair % 2), not pair % 2):
            found[listened].append(step(listened))
    return np.array(found[False]), np.array(found[True])


def _unit(session: Session, unit: Unit, clock: Callable[[], float]) -> float:
    with session.sections("unit"):
        begin = clock()
        session.step(unit)
        return 1e3 * (clock() - begin)


if __name__ == "__main__":
    sys.exit(main())
