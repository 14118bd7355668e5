"""What being profiled costs: ``python -m tests.bench.profiling [BUNDLE] [--blocks N]``.

Receives a bundle (the demo's in float32 where none is named); steps units in blocks of four, two that are listened to
and two that are not, in the order that takes out what only grows or falls: heard, plain, plain, heard, and the other
way round in the next. Hands on the trimmed mean of the blocks' differences as a share of a plain unit, with where it
lies with 95 %, what listening takes by itself (the same sections with nothing in them), and one JSON line. Exit status
1 where more than 1 % is surely taken, 3 where so many blocks cannot tell.

Graphs run on one thread, and time is that thread's own on the processor: neighbours who compute take only what they
push out of the caches.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Kind, Sections
from edge_streamer.runtime.unit import Unit

MOST = 0.01
"""Of a unit's time."""
WARM = 5
TRIMMED = 0.2
"""Of the blocks, left out at either end: whom a neighbour disturbed."""
ALONE = 2000
"""Units of sections with nothing in them."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profiling", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="default: the demo's in float32")
    parser.add_argument("--blocks", type=int, default=400, help="of four units (default: 400)")
    args = parser.parse_args()
    with open_session(args.bundle or bundle_path(floats=True), engine=OrtEngine(threads=1), verify=False) as session:
        plain, heard = blocks(session, args.blocks)
        alone = by_itself(session)
    unit = float(np.median(plain))
    differences = (heard - plain).mean(axis=1)
    random = np.random.default_rng(0)
    places = random.integers(0, len(differences), (2000, len(differences)))
    low, high = np.percentile(trimmed(differences[places]), (2.5, 97.5)) / unit
    share = float(trimmed(differences)) / unit
    print(f"profiled units take {share:+.2%} ({low:+.2%} to {high:+.2%}) longer than {unit:.2f} ms, "
          f"{1e3 * share * unit:.0f} microseconds; the listening by itself takes {1e3 * alone:.0f}, "
          f"{alone / unit:.2%}")  # fmt: skip
    print(json.dumps({"share": share, "low": low, "high": high, "unit_ms": unit, "alone_ms": alone}))
    return 1 if low > MOST else 3 if high > MOST else 0


def blocks(session: Session, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds [count, 2] of units that nobody listened to, and of those that a timeline did."""
    timeline, unit = Timeline(), Unit()
    for _ in range(WARM):
        session.step(unit)
    found: dict[bool, list[float]] = {False: [], True: []}
    for block in range(count):
        for place in range(4):
            listened = (place in (0, 3)) == bool(block % 2)
            found[listened].append(_unit(session, unit, timeline if listened else None))
    return np.array(found[False]).reshape(-1, 2), np.array(found[True]).reshape(-1, 2)


def _unit(session: Session, unit: Unit, timeline: Timeline | None) -> float:
    with ExitStack() as stack:
        if timeline is not None:
            stack.enter_context(session.sections.told_to(timeline))
        begin = thread_time()
        with session.sections("unit"):
            session.step(unit)
        return 1e3 * (thread_time() - begin)


def trimmed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row without its ``TRIMMED`` smallest and largest."""
    ranked = np.sort(rows, axis=-1)
    left = int(TRIMMED * ranked.shape[-1])
    return np.asarray(ranked[..., left : ranked.shape[-1] - left].mean(axis=-1))


def by_itself(session: Session) -> float:
    """Milliseconds of the sections of one unit with nothing in them, told to a timeline."""
    told: list[tuple[str, Kind]] = []
    with (
        session.sections.told_to(lambda path, kind, begin, seconds: told.append((path, kind))),
        session.sections("unit"),
    ):
        session.step(Unit())
    sections, timeline = Sections(), Timeline()
    with sections.told_to(timeline):
        begin = thread_time()
        for _ in range(ALONE):
            for path, kind in told[:-1]:
                with sections(path, kind):
                    pass
            with sections("unit"):
                pass
        return 1e3 * (thread_time() - begin) / ALONE


if __name__ == "__main__":
    sys.exit(main())
