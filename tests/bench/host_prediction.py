"""Predicted and measured unit time on this machine: ``python -m tests.bench.host_prediction [BUNDLE ...]``.

Receives bundles (the demo's in float32 and int8 where none is named); measures the machine's ceilings before and after,
and units between; hands on a table of both, and one JSON line. Exit status 1 where a prediction is more than 20 % off.

Choices: one thread, and the processor's time of this process, so that neighbours who compute take nothing from it but
cache; the fastest of many on both sides, for a ceiling is the fastest too. On a calm machine ``--wall`` says the same
in seconds of the wall.
"""

from __future__ import annotations

import argparse
import json
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
from edge_streamer.runtime.profile.limits import Limits, measure
from edge_streamer.runtime.session.snapshot import load_snapshot
from tests.bench.engines import Ours, made_start, made_units

MOST = 0.2
"""Largest error that is wanted."""
WARM_UNITS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.host_prediction", description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="*", metavar="BUNDLE", help="default: both of the demo")
    parser.add_argument("--units", type=int, default=30, help="to measure over, of each bundle (default: 30)")
    parser.add_argument("--wall", action="store_true", help="time of the wall, where nobody else computes")
    args = parser.parse_args()
    console = Console(width=120)
    bundles = [Bundle.open(p, verify=False) for p in args.bundles or (bundle_path(floats=True), bundle_path())]
    before = measure(1, not args.wall)
    measured = [unit_seconds(bundle, args.units, args.wall) for bundle in bundles]
    limits = higher(before, measure(1, not args.wall))
    console.print(f"ceilings: {limits.large:.0f} GFLOP/s, {limits.bandwidth:.1f} GB/s, convolutions "
                  f"{limits.convolve / 1e9:.0f} GFLOP/s, a node {1e6 * limits.node:.2f} us")  # fmt: skip
    table = Table("bundle", "in", title="unit time on one thread, ms", title_justify="left")
    for column in ("predicted", "measured", "predicted / measured"):
        table.add_column(column, justify="right")
    ratios = []
    for bundle, seconds in zip(bundles, measured, strict=True):
        times = host_times(bundle.manifest, operators(bundle), limits)
        predicted = sum(work.runs * one for work, one in times.items())
        ratios.append(predicted / seconds)
        core = next((graph for graph in bundle.manifest.graphs if graph.name == "core"), bundle.manifest.graphs[0])
        table.add_row(bundle.manifest.name, core.precision.words, f"{1e3 * predicted:.1f}", f"{1e3 * seconds:.1f}",
                      f"{ratios[-1]:.2f}")  # fmt: skip
    console.print(table)
    print(json.dumps({"ratios": [round(ratio, 3) for ratio in ratios], "machine": machine(), "wall": args.wall}))
    return 0 if all(abs(ratio - 1) <= MOST for ratio in ratios) else 1


def higher(one: Limits, other: Limits) -> Limits:
    """The higher of each rate: the first look may have met a busy moment."""
    return Limits(
        max(one.large, other.large), max(one.bandwidth, other.bandwidth),
        {key: max(rate, other.products[key]) for key, rate in one.products.items()},
        max(one.convolve, other.convolve), min(one.node, other.node),
    )  # fmt: skip


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
