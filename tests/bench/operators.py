"""Where a graph's time goes inside ONNX Runtime: ``python -m tests.bench.operators BUNDLE [--top N]``.

Receives a bundle; hands on a table per pass of a unit: time by kind of operator as ONNX Runtime runs it (after its own
fusions), and the slowest single nodes with their shapes. The profiler costs some microseconds per node, so the sums are
above what the unit bench measures; shares are what to read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.cpu import OrtEngine
from tests.bench.ceiling import cost

WARM, RUNS = 10, 50


@dataclass(frozen=True)
class Node:
    """One node of the optimised graph."""

    name: str
    kind: str
    """Its operator."""
    shapes: str
    """Of its inputs."""
    microseconds: float
    """Per run."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operators", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--top", type=int, default=6, help="single nodes per pass (default: 6)")
    parser.add_argument("--threads", type=int, help="default: our engine's")
    args = parser.parse_args()
    bundle, console = Bundle.open(args.bundle), Console()
    for one in cost(bundle.manifest):
        if one.name not in ("clean", "solve.in", "solve.out"):
            nodes = profile(bundle, one.graph, one.length, args.threads)
            _show(console, f"{one.name}, {one.runs} a unit", nodes, args.top)


def profile(bundle: Bundle, graph: str, length: int | None, threads: int | None) -> list[Node]:
    """Every node of ``graph`` at ``length`` tokens, the slowest first."""
    spec = bundle.manifest.graph(graph)
    with tempfile.TemporaryDirectory() as folder:
        options = OrtEngine(threads).options_for(spec)
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        session = ort.InferenceSession(str(bundle.file(spec.file)), options, providers=["CPUExecutionProvider"])
        feeds = made_feeds(spec, length)
        for _ in range(WARM + RUNS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    return _nodes(events)


def made_feeds(spec: GraphSpec, length: int | None) -> dict[str, Any]:
    """Small random values for every input; validity rows hide nothing."""
    rng, feeds = np.random.default_rng(0), {}
    for tensor in spec.inputs:
        shape = [(length or 1) if isinstance(n, str) else n for n in tensor.shape]
        values = rng.uniform(0.0, 1.0, shape)
        if tensor.name.startswith("valid."):
            values[:] = 0
        scale = 255 if tensor.dtype == "uint8" else 1
        feeds[tensor.name] = np.ceil(values) if tensor.dtype == "int32" else values * scale
        feeds[tensor.name] = feeds[tensor.name].astype(tensor.dtype)
    return feeds


def _nodes(events: list[dict[str, Any]]) -> list[Node]:
    times, kinds = defaultdict[str, list[float]](list), {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name, what = event["name"].removesuffix("_kernel_time"), event["args"]
            times[name].append(event["dur"])
            shapes = [next(iter(s.values())) for s in what.get("input_type_shape", [])]
            kinds[name] = what["op_name"], " ".join("x".join(map(str, s)) for s in shapes)
    made = [Node(name, *kinds[name], float(np.median(spent[WARM:]))) for name, spent in times.items()]
    return sorted(made, key=lambda node: -node.microseconds)


def _show(console: Console, title: str, nodes: list[Node], top: int) -> None:
    total = sum(node.microseconds for node in nodes)
    by_kind = defaultdict[str, list[float]](list)
    for node in nodes:
        by_kind[node.kind].append(node.microseconds)
    table = Table("operator", title=f"{title}: {total / 1e3:.2f} ms a run", title_justify="left")
    for column in ("nodes", "us a run", "share"):
        table.add_column(column, justify="right")
    for kind, spent in sorted(by_kind.items(), key=lambda item: -sum(item[1])):
        table.add_row(kind, str(len(spent)), f"{sum(spent):.0f}", f"{sum(spent) / total:.1%}")
    console.print(table)
    for node in nodes[:top]:
        console.print(f"  {node.microseconds:6.0f} us  {node.kind}  {node.shapes}", highlight=False)
    console.print()


if __name__ == "__main__":
    main()
