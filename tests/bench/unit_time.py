"""Unit time of our session beside four other ways, in one run: ``python -m tests.bench.unit_time [--preset demo]``.

Receives a preset (exported here with seeded random weights) or a bundle, also one that ships; hands on tables for
people and one JSON line for machines. In order: the machine's ceiling against the graphs' operations and bytes, the
proof that all ways compute the same, unit times (each way in a process of its own, taking turns in every round), the
host's share and growth of our session, its passes. The ways in torch need a model that can be built anew: random
weights.

Choices: a way's time is the median over rounds of each round's median; a ratio is taken within a round, where the
machine was the same for both, and its median over rounds is quoted. A busy machine slows torch's threads, which wait
for each other in every operation, more than ours: what other processes took is measured and shown.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from rich.table import Table

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.timing import Durations
from tests.bench.ceiling import Ceiling, Cost, cost, measure_ceiling
from tests.bench.engines import WAYS, allowed, compare, load_answers, made_start, seed_of
from tests.bench.worker import Worker, WorkerDiedError, serve

CHECK_UNITS = 5
"""Compared before anything is timed: two before every ring wraps, three after."""
QUOTABLE_ROUNDS = 5
BUSY = 0.05
"""Share of the machine that others may take before the figures are called disturbed."""
TARGETS = {"torch": 2.0, "compile": 1.0, "concat": 1.2, "plain": 1 / 1.02}
"""How many times our unit time the other ways should take at least."""
HOST_TARGET = 0.03
"""Largest share of unit time spent outside the engine's runs."""
GROWTH_TARGET = 64.0
"""Bytes per unit that count as none: any array that stayed would be 112 or more. Measured: at most 3, once 100 units
have filled what Python and ONNX Runtime keep for good (22 kB)."""

Results = dict[str, list[dict[str, Any]]]
"""way -> what each round gave."""


def main() -> None:
    args = _arguments()
    try:
        if args.worker:
            serve(args.worker, args.bundle, args.start, args.threads)
        else:
            bench(args)
    except (InputError, WorkerDiedError) as error:
        sys.exit(f"{error}")


def bench(args: argparse.Namespace) -> None:
    """Everything in order; prints as it goes."""
    console = Console()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bundle = Bundle.open(args.bundle or _export(args.preset, Path(folder) / "bundle", console))
        threads = OrtEngine(args.threads).threads_for(bundle.manifest.graph("core"))
        ceiling = measure_ceiling(threads)
        costs = cost(bundle.manifest)
        _show_ceiling(console, bundle, ceiling, costs, threads)
        start = Path(folder) / "start.npz"
        made_start(bundle).save(start)
        workers = [Worker(name, bundle.path, start, threads) for name in _possible(args.ways, bundle, console)]
        for worker in workers:
            stack.callback(worker.end)
        errors = _prove_same(console, workers, Path(folder), allowed(bundle))
        results = _rounds(console, workers, args.rounds, args.units)
        ceiling = ceiling.or_higher(measure_ceiling(threads))  # the first look may have met a busy moment
        ours = workers[0]
        report = {
            "bundle": bundle.manifest.name,
            "threads": threads,
            "machine": machine(),
            "versions": versions(),
            "rounds": args.rounds,
            "units": args.units,
            "ceiling": asdict(ceiling),
            "bound_ms": 1e3 * sum(c.runs * ceiling.seconds(c.operations, c.moved_bytes) for c in costs),
            "errors": errors,
            **_figures(results),
            **ours.ask("memory", count=args.memory_units),
            "passes": ours.ask("passes", count=4 * args.units),
        }
    report["targets"] = _targets(report)
    _show_ways(console, report)
    _show_passes(console, report["passes"], costs, ceiling)
    _show_targets(console, report)
    print(json.dumps(report))


def _possible(ways: list[str], bundle: Bundle, console: Console) -> list[str]:
    """Those of the ways that compute what ``bundle`` does."""
    left = [name for name in ways if name in ("torch", "compile")]
    if not left or seed_of(bundle) is not None:
        return ways
    console.print(f"left out, for the bundle's weights are not random float32 ones: {', '.join(left)}")
    return [name for name in ways if name not in left]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.unit_time", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="demo", choices=("tiny", "demo", "qwen2.5-0.5b"))
    parser.add_argument(
        "--bundle", type=Path, help="a bundle of a preset, instead of a new one: runtime/embedded/demo-float"
    )
    parser.add_argument("--rounds", type=_positive, default=25, help="default: 25, short ones: machines drift")
    parser.add_argument("--units", type=_positive, default=5, help="per round and way (default: 5)")
    parser.add_argument("--memory-units", type=_positive, default=60, metavar="N",
                        help="growth is taken over three times N units, after N (default: 60)")  # fmt: skip
    parser.add_argument("--threads", type=_positive, help="default: our engine's")
    parser.add_argument("--ways", type=_ways, default=list(WAYS), help=f"some of {','.join(WAYS)} (default: all)")
    parser.add_argument("--worker", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number above 0")
    return int(word)


def _ways(words: str) -> list[str]:
    """The ways asked for, ours first in any case."""
    asked = words.split(",")
    if unknown := set(asked) - set(WAYS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    return [name for name in WAYS if name == "ours" or name in asked]


def _export(preset: str, folder: Path, console: Console) -> Path:
    # Imported here because a bundle may be given, and torch takes a while and memory to load.
    from tests.bundles import exported_bundle

    console.print(f"exporting preset {preset} ...")
    return exported_bundle(preset, folder)


def _prove_same(console: Console, workers: list[Worker], folder: Path, most: float) -> dict[str, float]:
    """Largest relative error of every way against ours. SystemExit where one computes something else."""
    errors: dict[str, float] = {}
    for worker in workers:
        file = folder / f"{worker.name}.npz"
        seconds = worker.ask("check", count=CHECK_UNITS, out=str(file))["seconds"]
        try:
            errors[worker.name] = compare(load_answers(file), load_answers(folder / "ours.npz"), most)
        except ValueError as error:
            raise SystemExit(f"{WAYS[worker.name]} does not do the same work, nothing was timed: {error}") from None
        console.print(f"{WAYS[worker.name]}: {CHECK_UNITS} units in {seconds:.1f} s, first use included")
    worst = max(errors.values())
    console.print(f"all ways gave the same answers over {CHECK_UNITS} units: {worst:.1e} at most (allowed {most})\n")
    return errors


def _rounds(console: Console, workers: list[Worker], rounds: int, units: int) -> Results:
    """Every way once a round, in an order of its own: who ran before leaves caches and clocks in another state."""
    results: Results = {worker.name: [] for worker in workers}
    shuffled = Random(0)
    for number in range(rounds):
        for worker in shuffled.sample(workers, len(workers)):
            results[worker.name].append(worker.ask("round", count=units))
        medians = (f"{name} {_median_ms(came[-1]):.1f}" for name, came in results.items())
        console.print(f"round {number + 1} of {rounds}, ms: {', '.join(medians)}", highlight=False, soft_wrap=True)
    console.print()
    return results


def _median_ms(one: dict[str, Any]) -> float:
    seconds: list[float] = one["seconds"]
    return 1e3 * statistics.median(seconds)


def _figures(results: Results) -> dict[str, Any]:
    """Unit times, ratios to ours round by round, the host's share of ours, the disturbance."""
    ways = {}
    for name, rounds in results.items():
        times = Durations()
        for seconds in (s for one in rounds for s in one["seconds"]):
            times.add(seconds)
        ratios = [_median_ms(one) / _median_ms(ours) for one, ours in zip(rounds, results["ours"], strict=True)]
        ways[name] = {
            "median_ms": statistics.median(map(_median_ms, rounds)),
            "p95_ms": 1e3 * times.percentile(95),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
    pairs = [p for one in results["ours"] for p in zip(one["seconds"], one["engine_seconds"], strict=True)]
    return {
        "ways": ways,
        "host_share": statistics.median(1 - engine / wall for wall, engine in pairs),
        "host_ms": 1e3 * statistics.median(wall - engine for wall, engine in pairs),
        "others_share": statistics.median(one["others_share"] for rounds in results.values() for one in rounds),
    }


def _targets(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was wanted, what came, whether it holds."""
    wanted = {name: (least, report["ways"][name]["ratio"]) for name, least in TARGETS.items() if name in report["ways"]}
    made = {
        f"{name} / ours": {"wanted": f"at least {least:.2f}", "came": f"{came:.2f}", "holds": came >= least}
        for name, (least, came) in wanted.items()
    }
    share, growth = report["host_share"], report["growth_bytes_per_unit"]
    made["host overhead"] = {
        "wanted": f"at most {HOST_TARGET:.0%} of unit time",
        "came": f"{share:.1%} ({report['host_ms']:.2f} ms)",
        "holds": share <= HOST_TARGET,
    }
    made["growth per unit"] = {"wanted": "none", "came": f"{growth:.1f} bytes", "holds": growth <= GROWTH_TARGET}
    return made


def _show_ceiling(console: Console, bundle: Bundle, ceiling: Ceiling, costs: list[Cost], threads: int) -> None:
    operations = sum(c.runs * c.operations for c in costs) / 1e9
    moved = sum(c.runs * c.moved_bytes for c in costs) / 1e9
    bound = sum(c.runs * ceiling.seconds(c.operations, c.moved_bytes) for c in costs)
    console.print(f"[bold]{bundle.manifest.name}[/], {threads} thread{'s' * (threads > 1)}")
    console.print(f"ceiling: {ceiling.gflops:.0f} GFLOP/s (large product), {ceiling.gigabytes:.1f} GB/s (large copy)")
    console.print(f"a unit: {operations:.3f} GFLOP, {moved:.3f} GB, so at least [bold]{1e3 * bound:.1f} ms[/]\n")


def _show_ways(console: Console, report: dict[str, Any]) -> None:
    table = Table("way", title="unit time", title_justify="left")
    for column in ("median ms", "p95 ms", "times ours", "over rounds"):
        table.add_column(column, justify="right")
    for name, way in report["ways"].items():
        spread = f"{way['ratio_low']:.2f} .. {way['ratio_high']:.2f}"
        table.add_row(WAYS[name], f"{way['median_ms']:.1f}", f"{way['p95_ms']:.1f}", f"{way['ratio']:.2f}", spread)
    console.print(table)
    ours, bound, rate = report["ways"]["ours"]["median_ms"], report["bound_ms"], report["ceiling"]["gflops"]
    console.print(
        f"our unit time is {ours / bound:.1f} times the bound of {bound:.1f} ms ({rate:.0f} GFLOP/s, looked at twice)"
    )
    share = report["others_share"]
    if share > BUSY:
        console.print(f"[yellow]other processes took {share:.0%} of the machine: disturbed, torch most of all[/]")
    if report["rounds"] < QUOTABLE_ROUNDS:
        console.print(f"[yellow]{report['rounds']} rounds; wanted {QUOTABLE_ROUNDS} or more for figures to quote[/]")


def _show_passes(console: Console, passes: dict[str, float], costs: list[Cost], ceiling: Ceiling) -> None:
    table = Table("pass", title="\npasses of our session", title_justify="left")
    for column in ("runs", "ms a run", "ms a unit", "GFLOP/s", "GB/s", "times its bound"):
        table.add_column(column, justify="right")
    for c in costs:
        seconds, bound = passes[c.name], ceiling.seconds(c.operations, c.moved_bytes)
        rates = f"{c.operations / seconds / 1e9:.1f}", f"{c.moved_bytes / seconds / 1e9:.1f}"
        times = f"{1e3 * seconds:.2f}", f"{1e3 * seconds * c.runs:.2f}"
        table.add_row(c.name, str(c.runs), *times, *rates, f"{seconds / bound:.1f}")
    console.print(table)


def _show_targets(console: Console, report: dict[str, Any]) -> None:
    table = Table("target", "wanted", "came", "holds", title="\ntargets", title_justify="left")
    for name, target in report["targets"].items():
        table.add_row(name, target["wanted"], target["came"], "yes" if target["holds"] else "[red]no[/]")
    console.print(table)


if __name__ == "__main__":
    main()
