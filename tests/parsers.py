"""python -m tests.parsers --tiny BUNDLE --build FOLDER --parse FOLDER: real parsers take every graph that we make

Takes the graphs of every preset (the large one's with two layers and fewer tokens: the layers are alike) in float32 and
in every scheme that a board computes with, and asks TensorRT-RTX in folders that ``pip install --target`` made: with
``--build`` each graph is parsed and built for a board's compute capability, with ``--parse`` parsed alone (of the
generation before, whose builder asks for a device where numbers are quantized). Prints a table; status 1 where a graph
is refused, or where FP8 or NVFP4 is not refused for an Orin. Nothing runs, and nothing needs a GPU.

Orin and Thor get the same graphs where both compute with a scheme; those for CPUs are for no TensorRT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from edge_streamer.export.onnx_files import write_graph
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.graphs import plan_graphs
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.export.write import Origin, manifest_of
from edge_streamer.quantization import graph, rounding
from edge_streamer.quantization.calibrate import Key, Seen
from edge_streamer.quantization.formats import Codes, Format, Matrix, to_nearest
from edge_streamer.quantization.lint.parsers import Answer, Job, ask
from edge_streamer.quantization.make import rewrite
from edge_streamer.quantization.schemes import BOARDS, Scheme
from edge_streamer.quantization.vocabulary import SCHEMES, SchemeName, Target
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path

ORIN, THOR = "SM86", "SM120"
"""The nearest to an Orin's 8.7 and a Thor's 11.0 that its builder knows."""
FEW_LAYERS, FEW_TOKENS = 2, 8192
Graph = tuple[str, Path, tuple[int, ...]]
"""Name, file, lengths."""


def of_bundle(path: Path) -> list[Graph]:
    """The graphs of a float32 bundle."""
    bundle = Bundle.open(path)
    return [(spec.name, bundle.file(spec.file), spec.lengths) for spec in bundle.manifest.graphs]


def of_large(folder: Path) -> list[Graph]:
    """The graphs of the large preset, cut, exported into ``folder``."""
    large = PRESETS["qwen2.5-0.5b"]
    few = replace(large.transformer, layers=FEW_LAYERS)
    model = build(replace(large, transformer=few, vocabulary=FEW_TOKENS), 0)
    manifest = manifest_of(model, Origin("random", "Apache-2.0"))
    plans = plan_graphs(model)
    for plan in plans:
        write_graph(plan, folder, manifest)
    return [(plan.name, folder / f"{plan.name}.onnx", plan.lengths) for plan in plans]


def jobs_of(preset: str, graphs: list[Graph], folder: Path) -> list[Job]:
    """Graphs of a preset, and in every scheme in ``folder``, as jobs of the boards that compute with it."""
    floats = [Job(f"{preset} float32 {name}", path.resolve(), lengths, (ORIN,)) for name, path, lengths in graphs]
    return floats + [_write(preset, folder, one, scheme) for one in graphs for scheme in SCHEMES]


def _write(preset: str, folder: Path, one: Graph, scheme: SchemeName) -> Job:
    name, path, lengths = one
    model = graph.load(path)
    board = ORIN if "orin" in BOARDS.get(scheme, ("orin",)) else THOR
    target: Target = "orin" if board == ORIN else "thor"
    with patch.object(rounding, "compensated", _nearest), patch.object(rounding, "migrated", _unmoved):
        rewrite(model, name, Scheme(scheme, target), _Made(name, graph.layers(model)))
    folder = folder / scheme
    folder.mkdir(exist_ok=True)
    graph.save(model, folder, name)
    return Job(f"{preset} {scheme} {name}", folder / f"{name}.onnx", lengths, (board,))


class _Made(dict[Key, Seen]):
    """What calibration would have seen, made up: ranges are numbers like any others to a parser."""

    def __init__(self, name: str, layers: list[graph.Layer]) -> None:
        for layer in layers:
            if layer.operator == "MatMul":
                self[name, layer.name] = _seen(layer.shape[0])


def _nearest(weight: Matrix, format: Format, together: NDArray[np.float64]) -> Codes:
    """In place of GPTQ, which takes minutes here: the numbers are others, the graphs the same."""
    return to_nearest(weight, format)


def _unmoved(weight: Matrix, format: Format, together: NDArray[np.float64]) -> Matrix:
    return np.ones(len(weight), np.float32)


@cache
def _seen(width: int) -> Seen:
    rows = np.random.default_rng(0).standard_normal((16, width)).astype(np.float32)
    return Seen(np.eye(width) * 16, {"": np.abs(rows).max(0)}, list(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description="real parsers and builders of TensorRT take every graph that we make")
    parser.add_argument("--build", type=Path, required=True, help="the folder of a TensorRT-RTX that builds")
    parser.add_argument("--parse", type=Path, help="the folder of one that parses alone")
    parser.add_argument("--tiny", type=Path, required=True, help="a bundle of the preset tiny, in float32")
    args = parser.parse_args()
    start = time.perf_counter()
    built, parsed, wrong = [], [], []
    # A preset's graphs are asked about while the next one's are made: the library computes on one core.
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(1) as pool:
        for preset in PRESETS:
            folder = Path(scratch) / preset
            folder.mkdir()
            ready = {"tiny": args.tiny, "demo": bundle_path(floats=True)}.get(preset)
            jobs = jobs_of(preset, of_bundle(ready) if ready else of_large(folder), folder)
            print(f"{preset}: {len(jobs)} graphs are made ({time.perf_counter() - start:.0f} s)", flush=True)
            small = [replace(job, name=f"{job.name} for an Orin", boards=(ORIN,)) for job in jobs
                     if job.name.split()[1:] in (["fp8", "core"], ["nvfp4", "core"])]  # fmt: skip
            wrong += [job.name for job in small]
            built.append(pool.submit(ask, args.build, [*jobs, *small]))
            if args.parse:
                parsed.append(pool.submit(ask, args.parse, [replace(job, boards=()) for job in jobs]))
        versions = [one[0].result().version for one in (built, parsed) if one]
        answers = [[answer for asked in one for answer in asked.result().answers] for one in (built, parsed)]
    return report(versions, *answers, wrong, time.perf_counter() - start)


def report(versions: list[str], built: list[Answer], parsed: list[Answer], wrong: list[str], seconds: float) -> int:
    """Prints the table; the exit status."""
    rows: dict[str, list[float]] = {}
    failures = []
    for answer in built:
        if answer.graph in wrong:
            if not answer.refusals:
                failures.append(f"{answer.graph}: built; wanted a refusal")
            continue
        row = rows.setdefault(answer.graph.rpartition(" ")[0], [0, 0, 0])
        row[0] += not answer.refusals and answer.done == "build"
        row[2] += answer.seconds
    for answer in parsed:
        rows[answer.graph.rpartition(" ")[0]][1] += not answer.refusals
    for answer in (*built, *parsed):
        if answer.graph not in wrong:
            failures += [f"{answer.graph}: {r.node} {r.operator}: {r.words}" for r in answer.refusals]
    print(f"{'':28}{'built by ' + versions[0]:>22}{'parsed by ' + versions[-1] if parsed else '':>22}{'seconds':>9}")
    for name, (ok, taken, spent) in rows.items():
        print(f"{name:28}{ok:22.0f}{taken:22.0f}{spent:9.1f}")
    refused = sum(bool(answer.refusals) for answer in built if answer.graph in wrong)
    print(f"FP8 and NVFP4 for an Orin: {refused} of {len(wrong)} graphs refused by the compiler")
    print(f"{len(built) - len(wrong)} graphs, {seconds:.0f} s")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
