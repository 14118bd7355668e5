"""``edge-streamer build [BUNDLE]``: build a bundle's engines on this device, ahead of its first conversation.

Receives a bundle; leaves an engine of every graph in the cache, checked against what the graph asks and against the
bundle's golden units, and says what was built. Exit status 1 where the golden units differ.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.named_bundle import add_bundle, chosen

if TYPE_CHECKING:
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.compare.check import Verdict
    from edge_streamer.runtime.engines.contract import GraphFile
    from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine

WORKSPACE_MB = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer build``."""
    add_bundle(parser)
    parser.add_argument("--engine", choices=["tensorrt"], default="tensorrt", help="whose engines (default: tensorrt)")
    parser.add_argument("--workspace", type=int, default=WORKSPACE_MB, metavar="MB",
                        help=f"memory that one layer may take to compute in (default: {WORKSPACE_MB})")  # fmt: skip
    parser.add_argument("--allow-wider", action="append", default=[], metavar="NAME",
                        help="let this layer be built in more bits than asked; may hold *, be repeated")  # fmt: skip
    parser.add_argument("--anyway", action="store_true", help="build even where the memory seems too small")
    parser.add_argument("--list", action="store_true", help="list the engines that are kept, and build nothing")
    parser.add_argument("--prune", action="store_true",
                        help="afterwards remove engines of these graphs that belong to something else")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


@dataclass
class Row:
    """One graph's engine."""

    graph: str
    engine: str
    """The file."""
    megabytes: float
    seconds: float
    """That its build took, whenever that was."""
    cached: bool
    """Whether it was there before."""
    built: dict[str, int]
    """Precision -> how many quantized layers were built in it."""
    wider: list[str]
    untold: int
    """Quantized layers of which the library does not tell what they became."""


def main(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.engines.tensorrt.cache import Cache
    from edge_streamer.runtime.errors import EngineError, InputError

    if args.list:
        if args.prune or args.bundle is not None:
            raise InputError("--list shows what there is and takes no BUNDLE and no --prune")
        return _list(Cache(), args.json)
    from edge_streamer.runtime.bundle.graph_file import check_graph_files
    from edge_streamer.runtime.engines.fit import for_cpus
    from edge_streamer.runtime.engines.memory_plan import check_plan
    from edge_streamer.runtime.engines.probe import tensorrt_lacks
    from edge_streamer.runtime.engines.tensorrt.build import MEGABYTE, Options
    from edge_streamer.runtime.engines.tensorrt.engine import make
    from edge_streamer.runtime.trust.opening import open_bundle

    if args.workspace <= 0:
        raise InputError(f"--workspace is {args.workspace}; wanted megabytes, 1 or more")
    bundle = open_bundle(chosen(args))
    check_graph_files(bundle)
    options = Options(workspace=args.workspace * MEGABYTE)
    if unfit := for_cpus(bundle.manifest):
        raise InputError(
            f"engine tensorrt {unfit}; quantize the float32 bundle that it was made from for a board: edge-streamer "
            "quantize FLOAT32_BUNDLE --scheme int8 --target orin --out NAME (the demo's: edge-streamer demo --bundle "
            "--float)"
        )
    try:
        ready = make(options, args.allow_wider, args.anyway)
    except (EngineError, InputError) as error:  # nothing was begun
        lacks = tensorrt_lacks()
        raise InputError(f"engine tensorrt {lacks}" if lacks else str(error)) from error
    with closing(ready) as engine:
        if not args.anyway:
            check_plan(bundle.manifest, engine.free_bytes(), "tensorrt", loaded=True)
        return build_all(bundle, engine, prune=args.prune, as_json=args.json)


def build_all(bundle: Bundle, engine: TensorRTEngine, prune: bool, as_json: bool) -> int:
    """Build what is not there, check it, and tell; returns the exit status."""
    from edge_streamer.runtime.compare.check import check
    from edge_streamer.runtime.engines.contract import GraphFile
    from edge_streamer.runtime.pages.terminal import next_command, opening

    files = [GraphFile.of(bundle, graph.name) for graph in bundle.manifest.graphs]
    if not as_json:
        print(_estimate(engine, files))
    rows = _build(engine, files)
    gone = engine.cache.prune([engine.key(file) for file in files]) if prune else []
    verdict: Verdict | None = None
    if bundle.manifest.golden is not None:
        with opening() as tell:
            verdict = check(bundle, engine, tell=tell)
    passed = verdict is None or verdict.passed
    if as_json:
        told = {**asdict(verdict), "passed": verdict.passed} if verdict else None
        removed = [str(entry.path) for entry in gone]
        found = {"engine": engine.name, "graphs": [asdict(row) for row in rows], "removed": removed, "check": told}
        print(json.dumps(found, indent=2))
        return 0 if passed else 1
    _print_table(engine, rows)
    if gone:
        print(f"removed: {len(gone)} engines that belong to something else")
    if verdict is None:
        print("the bundle carries no golden units: what was built was not compared with the model")
    else:
        worst = max((row.error for row in verdict.rows), default=0.0)
        limit = f"worst relative error {worst:.2e}, at most {verdict.tolerance:g} at this precision"
        print(f"golden units: {'passed' if passed else 'FAILED'}, {limit}")
    print(next_command("run" if passed else "check", bundle.path, "--engine", "tensorrt"))
    return 0 if passed else 1


def _estimate(engine: TensorRTEngine, files: Sequence[GraphFile]) -> str:
    """What is to be built, and what that takes."""
    from edge_streamer.runtime.engines.tensorrt.estimate import needed
    from edge_streamer.runtime.files import size_text

    missing = [file for file in files if not engine.cache.has(engine.key(file))]
    if not missing:
        return f"{engine.name}: all {len(files)} engines are in {engine.cache.folder}"
    most = max(missing, key=lambda file: needed(file, engine.options))
    return (
        f"{engine.name}: {len(missing)} of {len(files)} engines are to be built; the largest, {most.spec.name}, takes "
        f"about {size_text(needed(most, engine.options))} of memory"
    )


def _build(engine: TensorRTEngine, files: Sequence[GraphFile]) -> list[Row]:
    from edge_streamer.runtime.pages.terminal import bars

    rows = []
    with bars("steps") as tell:
        for file in files:
            built = False

            def told(graph: str, done: int, total: int) -> None:
                nonlocal built
                built = True
                tell(graph, done, total)

            kept = engine.prepare(file, told)
            rows.append(
                Row(
                    file.spec.name, str(kept.path), round(len(kept.blob) / 1e6, 1), round(kept.told.seconds, 1),
                    not built, kept.told.precision, list(kept.told.wider), kept.told.untold,
                )
            )  # fmt: skip
    return rows


def _print_table(engine: TensorRTEngine, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("graph", "MB", "seconds", "quantized layers as built", "wider than asked")
    for row in rows:
        built = [f"{count} {precision}" for precision, count in row.built.items()]
        built += [f"{row.untold} not told"] if row.untold else []
        seconds = f"{row.seconds:g}{' (kept)' if row.cached else ''}"
        table.add_row(row.graph, f"{row.megabytes:g}", seconds, ", ".join(built) or "none asked", ", ".join(row.wider))
    console = Console(file=sys.stdout)
    console.print(f"{engine.name}, in {engine.cache.folder}", soft_wrap=True, highlight=False)
    console.print(table)


def _list(cache: object, as_json: bool) -> int:
    from edge_streamer.runtime.engines.tensorrt.cache import Cache
    from edge_streamer.runtime.files import size_text

    assert isinstance(cache, Cache)
    entries = cache.entries()
    if as_json:
        found = [{"path": str(e.path), "bytes": e.size, "graph": e.key and e.key.graph} for e in entries]
        print(json.dumps(found, indent=2))
        return 0
    for entry in entries:
        key = entry.key
        of = f"{key.graph}, {key.library}, {key.device}" if key else "damaged"
        print(f"{entry.path}  {size_text(entry.size)}  {of}")
    print(f"{len(entries)} engines in {cache.folder}")
    return 0
