"""What this machine can do at most: the ceiling that the graphs' costs are held against.

Receives a number of threads; hands on a :class:`Ceiling` (rate of a large matrix product in ONNX Runtime, rate of a
large copy) and, with a manifest, the :func:`cost` of each pass of a unit and the shortest time it could take.

Choices: the best of several runs, because a ceiling is what the machine can do, not what its neighbours left over. The
product has no small dimension and the copy does not fit any cache, so real passes can be above the copy's rate (weights
that stay in a cache) and hardly above the product's.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.engines.cpu import session_options
from edge_streamer.runtime.programs.wan_streamer.layout import Layout, read_constants

SIDE = 1024
"""Of the square matrices: 2 * SIDE^3 = 2.1 GFLOP a product."""
COPY_BYTES = 256_000_000
TRIES = 12


@dataclass(frozen=True)
class Ceiling:
    """Rates that nothing on this machine exceeds for long."""

    gflops: float
    """10^9 operations a second; a multiply-add is two."""
    gigabytes: float
    """10^9 bytes a second, read and written counted both."""

    def or_higher(self, other: Ceiling) -> Ceiling:
        """The higher of each rate."""
        return Ceiling(max(self.gflops, other.gflops), max(self.gigabytes, other.gigabytes))

    def seconds(self, operations: int, moved_bytes: int) -> float:
        """The shortest time in which so much can be done, if computing and moving overlap perfectly."""
        return max(operations / self.gflops, moved_bytes / self.gigabytes) / 1e9


def measure_ceiling(threads: int) -> Ceiling:
    """Measure for about a second, with so many threads."""
    return Ceiling(_gemm_gflops(threads), _copy_gigabytes(threads))


def _gemm_gflops(threads: int) -> float:
    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((SIDE, SIDE), np.float32), "weight")
    shape = [SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    options = session_options(threads, spin=False)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"x": rng.standard_normal((SIDE, SIDE), np.float32)}
    return 2 * SIDE**3 / _best(lambda: session.run(None, feeds)) / 1e9


def _copy_gigabytes(threads: int) -> float:
    source = np.ones(COPY_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        best = _best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return 2 * COPY_BYTES / best / 1e9


def _best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of TRIES."""
    times = []
    for _ in range(TRIES):
        begin = perf_counter()
        run()
        times.append(perf_counter() - begin)
    return min(times)


@dataclass(frozen=True)
class Cost:
    """A kind of pass: how often a unit runs it, and what one run must do."""

    name: str
    """As recorders see it, numbers left out: ``solve.0.in`` is ``solve.in``."""
    runs: int
    graph: str
    length: int | None
    """Tokens, where the graph has a symbolic length."""
    operations: int
    moved_bytes: int


def cost(manifest: Manifest) -> list[Cost]:
    """The passes of a unit in their order, clean tokens riding in the block."""
    constants = read_constants(manifest.constants)
    layout, steps = Layout(constants), constants.default_steps
    block = layout.agent + layout.user + 1
    passes: list[tuple[str, int, str, int | None]] = [
        ("encode", 1, "encode", None),
        ("clean", 1, "solve_in", None),
        ("block", 1, "core", block),
        ("token", layout.slots, "slot", None),
        ("slot", layout.slots, "core", 1),
        ("solve.in", steps, "solve_in", None),
        ("solve", steps, "core", layout.agent),
        ("solve.out", steps, "solve_out", None),
        ("decode", 1, "decode", None),
    ]
    made = []
    for name, runs, graph, length in passes:
        spec, key = manifest.graph(graph), str(length or "static")
        made.append(Cost(name, runs, graph, length, spec.operations[key], spec.moved_bytes[key]))
    return made
