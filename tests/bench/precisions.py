"""What fewer bits buy: ``python -m tests.bench.precisions FLOAT OTHER... [--torch]``.

Receives bundles of one model: a float32 one and what `quantize` made of it; hands on a table per kind of pass, one of
whole units, and one JSON line for machines. Each bundle runs in a process of its own, all take turns in every round, in
an order of its own; a ratio is taken within a round and its median over rounds is quoted. ``--torch`` adds the
reference model in torch eager, which it builds anew: FLOAT must have a preset's seeded random weights then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.machine import machine, versions
from tests.bench.ceiling import cost, measure_ceiling
from tests.bench.engines import made_start
from tests.bench.worker import Worker

UNIT = "unit"
"""Of the results: the whole unit."""
TORCH = "torch eager"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.precisions", description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="the float32 bundle, then others")
    parser.add_argument("--torch", action="store_true", help="torch eager as well")
    parser.add_argument("--rounds", type=int, default=25, help="default: 25, short ones: machines drift")
    parser.add_argument("--units", type=int, default=5, help="per round and bundle (default: 5)")
    args = parser.parse_args()
    console, bundles = Console(), [Bundle.open(path) for path in args.bundles]
    if len({bundle.path.name for bundle in bundles}) < len(bundles):
        parser.error("two bundles have one name; wanted folders with names of their own: the table goes by them")
    threads = OrtEngine().threads_for(bundles[0].manifest.graph("core"))
    ceiling = measure_ceiling(threads)
    bound = sum(c.runs * ceiling.seconds(c.operations, c.moved_bytes) for c in cost(bundles[0].manifest))
    console.print(f"{ceiling.gflops:.0f} GFLOP/s and {ceiling.gigabytes:.1f} GB/s in float: a unit takes at least "
                  f"{1e3 * bound:.1f} ms")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {}
        for number, bundle in enumerate(bundles):
            start = Path(folder) / f"{number}.npz"
            made_start(bundle).save(start)
            workers[bundle.path.name] = Worker("ours", bundle.path, start, threads)
        if args.torch:
            workers[TORCH] = Worker("torch", bundles[0].path, Path(folder) / "0.npz", threads)
        for worker in workers.values():
            stack.callback(worker.end)
        rounds = [_round(console, workers, n, args) for n in range(args.rounds)]
    reference, *others = workers
    figures = {name: _ratios(rounds, reference, name) for name in others}
    milliseconds = {kind: 1e3 * statistics.median(r[reference][kind] for r in rounds) for kind in rounds[0][reference]}
    _show(console, reference, milliseconds, figures)
    print(json.dumps({
        "threads": threads, "rounds": args.rounds, "units": args.units, "float_ms": milliseconds, "ratios": figures,
        "machine": machine(), "versions": versions(),
    }))  # fmt: skip


def _round(console: Console, workers: dict[str, Worker], number: int, args: argparse.Namespace) -> dict[str, Any]:
    """Name -> kind of pass, or the unit -> seconds."""
    came: dict[str, dict[str, float]] = {}
    for name in Random(number).sample(sorted(workers), len(workers)):
        seconds = workers[name].ask("round", count=args.units)["seconds"]
        passes = {} if name == TORCH else workers[name].ask("passes", count=args.units)
        came[name] = {UNIT: statistics.median(seconds), **passes}
    told = ", ".join(f"{name} {1e3 * came[name][UNIT]:.1f}" for name in workers)
    console.print(f"round {number + 1} of {args.rounds}, ms a unit: {told}", highlight=False, soft_wrap=True)
    return came


def _ratios(rounds: list[dict[str, Any]], reference: str, name: str) -> dict[str, float]:
    kinds = rounds[0][name]
    return {kind: statistics.median(r[name][kind] / r[reference][kind] for r in rounds) for kind in kinds}


def _show(
    console: Console, reference: str, milliseconds: dict[str, float], figures: dict[str, dict[str, float]]
) -> None:
    table = Table("", f"{reference}, ms", *figures, title="times float's", title_justify="left")
    for kind, value in milliseconds.items():
        table.add_row(kind, f"{value:.2f}", *(f"{f[kind]:.2f}" if kind in f else "-" for f in figures.values()))
    console.print(table)


if __name__ == "__main__":
    main()
