"""Predicted and measured unit time on this machine: ``python -m tests.bench.host_prediction [BUNDLE ...]``.

Receives bundles (the demo's in float32 and int8 where none is named); measures the machine's ceilings and then units,
round by round; hands on a table of both, and one JSON line. Exit status 1 where a prediction's median is more than 20 %
off.

Choices: one thread, and the processor's time of this process, so that neighbours who compute take nothing from it but
cache; the fastest of many on both sides, for a ceiling is the fastest too. On a calm machine ``--wall`` says the same
in seconds of the wall.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines import tape
from edge_streamer.runtime.machine import machine
from edge_streamer.runtime.profile.graphs import operators
from edge_streamer.runtime.profile.host import host_times
from edge_streamer.runtime.profile.limits import measure
from edge_streamer.runtime.session.snapshot import load_snapshot
from tests.bench.engines import Ours, made_start, made_units

MOST = 0.2
"""Largest error that is wanted."""
WARM_UNITS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.host_prediction", description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="default: both of the demo")
    parser.add_argument("--units", type=int, default=30, help="to measure over, of each bundle (default: 30)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--wall", action="store_true", help="time of the wall, where nobody else computes")
    args = parser.parse_args()
    console = Console(width=120)
    bundles = [Bundle.open(p, verify=False) for p in args.bundles or (bundle_path(floats=True), bundle_path())]
    rounds = [_round(bundles, args.units, args.wall, console) for _ in range(args.rounds)]
    table = Table("bundle", "in", title="unit time on one thread, ms: medians over rounds", title_justify="left")
    for column in ("predicted", "measured", "predicted / measured", "over rounds"):
        table.add_column(column, justify="right")
    ratios = []
    for bundle, pairs in zip(bundles, zip(*rounds, strict=True), strict=True):
        every = sorted(predicted / seconds for predicted, seconds in pairs)
        ratios.append(statistics.median(every))
        core = next((graph for graph in bundle.manifest.graphs if graph.name == "core"), bundle.manifest.graphs[0])
        predicted, seconds = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        table.add_row(bundle.manifest.name, core.precision.words, f"{predicted:.1f}", f"{seconds:.1f}",
                      f"{ratios[-1]:.2f}", f"{every[0]:.2f} .. {every[-1]:.2f}")  # fmt: skip
    console.print(table)
    print(json.dumps({"ratios": [round(ratio, 3) for ratio in ratios], "machine": machine(), "wall": args.wall}))
    return 0 if all(abs(ratio - 1) <= MOST for ratio in ratios) else 1


def _round(bundles: list[Bundle], units: int, wall: bool, console: Console) -> list[tuple[float, float]]:
    """(predicted, measured) seconds of each bundle's unit."""
    limits = measure(1, not wall)
    console.print(f"ceilings: {limits.large:.0f} GFLOP/s, {limits.bandwidth:.1f} GB/s, convolutions "
                  f"{limits.convolve / 1e9:.0f} GFLOP/s, a node {1e6 * limits.node:.2f} us")  # fmt: skip
    pairs = []
    for bundle in bundles:
        times = host_times(bundle.manifest, operators(bundle), limits)
        pairs.append((sum(work.runs * one for work, one in times.items()), unit_seconds(bundle, units, wall)))
    return pairs


def unit_seconds(bundle: Bundle, count: int, wall: bool) -> float:
    """Of a unit's runs, their rings full: the fastest of ``count`` of each, summed. What the host does between them is
    a few percent, and not in the prediction either."""
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.npz"
        made_start(bundle).save(start)
        way = Ours(bundle, load_snapshot(start), 1)
    units, fastest = made_units(bundle), dict[str, float]()
    clock, tape.perf_counter = tape.perf_counter, time.perf_counter if wall else time.process_time
    try:
        with way.session.recording(lambda *_: None):  # a play is timed run by run where somebody watches
            for n in range(WARM_UNITS + count):
                way.step(units[n % len(units)])
                for name, seconds in way.session.place.meter.last.runs.items() if n >= WARM_UNITS else ():
                    fastest[name] = min(seconds, fastest.get(name, seconds))
    finally:
        tape.perf_counter = clock
    return sum(fastest.values())


if __name__ == "__main__":
    sys.exit(main())
