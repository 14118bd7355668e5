"""What a GPU can do at most, measured on the spot through the engine that runs the bundle.

Receives an engine on a device; hands on :class:`DeviceLimits`:

    rates      a chain of large products of each kind of numbers that the engine multiplies: a made graph, opened and
               bound as any graph, several runs on a tape, timed by the device's events
    bandwidth  a large copy on the device, read and written counted both
    kernel     where units are captured: kernels that do next to nothing, captured as one graph; else operators that do
               next to nothing, as the engine puts them on the stream

Choices: the best of several, as on the CPU. What cannot be built or run here is left out, with the reason; so are
products of few bits of which the library does not say that it built them in few bits, because their rate would be that
of other numbers. Float32 is as the engine multiplies it: without TF32, unless it was told otherwise. Engines that were
built for measuring do not stay in the cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import GraphSpec, Precision, TensorSpec
from edge_streamer.runtime.engines.contract import BoundRun, GraphFile
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTEngine
from edge_streamer.runtime.errors import DeviceLost, EdgeStreamerError, EngineError, one_line
from edge_streamer.runtime.profile.boards import Numbers
from edge_streamer.runtime.profile.small_graphs import Coded, Node, Weight, model, type_number
from edge_streamer.runtime.timing import Tell, untold

NUMBERS: tuple[Numbers, ...] = ("float32", "fp16", "bf16", "int8", "fp8")
"""Of which a rate is measured, where the engine multiplies them."""
SINCE: dict[Numbers, tuple[int, int]] = {"bf16": (8, 0), "fp8": (8, 9)}
"""The first compute capability that has them."""
BOARD_SIDE, CARD_SIDE = 2048, 4096
"""Of the square matrices: enough for the tens of multiprocessors of a board, and for the hundred of a card."""
PRODUCTS = 16
"""In a run, so that what comes before and after them (casts) is a few per cent."""
RUNS, TRIES = 3, 4
"""Runs of a tape, and how often it is played."""
COPY_BYTES = 128 << 20
"""More than any cache holds."""
KERNELS = 256
PART = "ceilings"


@dataclass(frozen=True)
class DeviceLimits:
    """Rates that nothing on this device exceeds for long."""

    rates: dict[Numbers, float]
    """Numbers -> operations a second."""
    bandwidth: float
    """Bytes a second."""
    kernel: float
    """Seconds."""
    left_out: dict[str, str]
    """Numbers -> why there is no rate of them."""


def measure(engine: CudaEngine, tell: Tell = untold) -> DeviceLimits:
    """Measure for some seconds, on a board that builds for up to a minute. EngineError where nothing can be measured,
    DeviceLost where the device does not outlive it."""
    rates: dict[Numbers, float] = {}
    left_out: dict[str, str] = {name: reason for name in NUMBERS if (reason := _lacks(engine, name))}
    names = [name for name in NUMBERS if name not in left_out]
    total = len(names) + 2
    with tempfile.TemporaryDirectory(prefix="edge-streamer-") as folder:
        for done, name in enumerate(names):
            tell(PART, done, total)
            try:
                rates[name] = _rate(engine, name, Path(folder))
            except DeviceLost:
                raise
            except EdgeStreamerError as error:
                left_out[name] = one_line(error)
        if not rates:
            told = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise EngineError(f"no product could be measured: {told}")
        tell(PART, total - 2, total)
        bandwidth = _bandwidth(engine)
        tell(PART, total - 1, total)
        kernel = _captured_kernel(engine) if engine.captures else _operator(engine, Path(folder))
        tell(PART, total, total)
    return DeviceLimits(rates, bandwidth, kernel, left_out)


def _lacks(engine: CudaEngine, name: Numbers) -> str:
    """Why a rate is not asked for; empty where it is."""
    if name not in engine.multiplies:
        return f"{engine.name} does not multiply in {name}"
    if engine.cuda.compute_capability < SINCE.get(name, (0, 0)):
        return f"a GPU of compute capability {'.'.join(map(str, engine.cuda.compute_capability))} has no {name}"
    return ""


def _rate(engine: CudaEngine, name: Numbers, folder: Path) -> float:
    side = BOARD_SIDE if engine.cuda.integrated else CARD_SIDE
    file = _file(folder, name, products(name, side), (side, side))
    try:
        if isinstance(engine, TensorRTEngine) and name in ("int8", "fp8"):
            told = engine.prepare(file).told
            if not told.precision.get(name):
                raise EngineError(f"{engine.library.name} does not tell whether it built it in {name}")
        return 2.0 * side**3 * PRODUCTS / _fastest(engine, name, _bound(engine, file))
    finally:
        _forget(engine, file)


def _operator(engine: CudaEngine, folder: Path) -> float:
    """Seconds of an operator that does next to nothing."""
    names = ["x", *(f"h{n}" for n in range(KERNELS - 1)), "y"]
    nodes = [Node("Abs" if n % 2 else "Neg", (names[n],), (names[n + 1],)) for n in range(KERNELS)]
    file = _file(folder, "operators", model(nodes, {}, (1, 64), (1, 64)), (1, 64))
    try:
        return _fastest(engine, "operators", _bound(engine, file)) / KERNELS
    finally:
        _forget(engine, file)


def _file(folder: Path, name: str, text: bytes, shape: tuple[int, int]) -> GraphFile:
    """A graph as engines open it."""
    path = folder / f"{name}.onnx"
    path.write_bytes(text)
    x, y = (TensorSpec(name=one, dtype="float32", shape=shape, axes=("row", "column")) for one in "xy")
    precision = Precision(weights=name, activations=name) if name in NUMBERS else Precision()  # type: ignore[arg-type]
    spec = GraphSpec(
        name=f"measured-{name}", file=path.name, inputs=(x,), outputs=(y,), parameters=0, weight_bytes=len(text),
        operations={"static": 0}, moved_bytes={"static": 0}, precision=precision,
    )  # fmt: skip
    return GraphFile(path, spec)


def _bound(engine: CudaEngine, file: GraphFile) -> BoundRun:
    graph, shape = engine.open(file, untold), tuple(map(int, file.spec.inputs[0].shape))
    x, y = engine.buffer(shape, "float32"), engine.buffer(shape, "float32")
    engine.write(x, _random(*shape))  # zeros would be multiplied at less power, and faster
    return graph.bind({"x": x}, {"y": y})


def _fastest(engine: CudaEngine, name: str, run: BoundRun) -> float:
    """Seconds of the fastest run, as the device's events have it."""
    tape = engine.tape(f"measuring {name}")
    for number in range(RUNS):
        tape.run(f"{number}", run)
    tape.play()  # what a library does only once, and the clocks' rise
    return min(min(tape.play(timed=True).runs.values()) for _ in range(TRIES))


def _forget(engine: CudaEngine, file: GraphFile) -> None:
    """Nobody opens it again."""
    if isinstance(engine, TensorRTEngine):
        engine.cache.drop(engine.key(file))


def _bandwidth(engine: CudaEngine) -> float:
    cuda = engine.cuda
    nbytes = min(COPY_BYTES, engine.free_bytes() // 8)
    source, target = (engine.buffer((nbytes,), "uint8") for _ in range(2))
    return 2 * nbytes / _between(engine, lambda: cuda.copy(target.address, source.address, nbytes))


def _captured_kernel(engine: CudaEngine) -> float:
    """Of one of ours that looks at one number, after the one before it."""
    cuda, table, flag = engine.cuda, engine.buffer((2,), "int64"), engine.buffer((1,), "int32")
    number = engine.buffer((1,), "float32")
    engine.write(table, np.array([number.address, 1], np.int64))

    def kernel() -> None:
        engine.kernels.finite("float32", table.address, table.address + 8, 1, 1, flag.address)

    kernel()  # it is compiled when it is first wanted, which no capture bears
    cuda.synchronize()
    try:
        cuda.begin_capture()
        for _ in range(KERNELS):
            kernel()
        graph = cuda.end_capture()
    finally:
        cuda.abandon_capture()
    try:
        return _between(engine, lambda: cuda.launch_graph(graph)) / KERNELS
    finally:
        cuda.destroy_graph(graph)


def _between(engine: CudaEngine, act: Callable[[], object]) -> float:
    """Seconds that the device takes for what ``act`` puts on the stream: the fastest of several."""
    cuda = engine.cuda
    first, last = events = cuda.event(), cuda.event()
    taken = []
    try:
        for _ in range(RUNS * TRIES):
            cuda.record(first)
            act()
            cuda.record(last)
            cuda.synchronize("measuring")
            taken.append(cuda.elapsed_ms(first, last) / 1e3)
    finally:
        cuda.destroy_events(events)
    return min(taken)


def products(name: Numbers, side: int) -> bytes:
    """A graph of products one after the other, [side, side] each, in these numbers, as ``quantize`` writes them for
    TensorRT; the same weight in all. From float32 to float32."""
    weights: dict[str, Weight] = {}
    if name == "float32":
        weights["w"] = _weight(side)
        names = ["x", *(f"h{n}" for n in range(PRODUCTS - 1)), "y"]
        nodes = [Node("MatMul", (names[n], "w"), (names[n + 1],)) for n in range(PRODUCTS)]
    elif name in ("fp16", "bf16"):
        kind = "float16" if name == "fp16" else "bfloat16"
        weights["w"] = _weight(side).astype(np.float16) if name == "fp16" else _bfloat16(_weight(side))
        nodes = [Node("Cast", ("x",), ("h0",), {"to": type_number(kind)})]
        nodes += [Node("MatMul", (f"h{n}", "w"), (f"h{n + 1}",)) for n in range(PRODUCTS)]
        nodes.append(Node("Cast", (f"h{PRODUCTS}",), ("y",), {"to": type_number("float32")}))
    else:
        weights |= _codes(name, side)
        nodes = [Node("DequantizeLinear", ("w", "t"), ("v",), {"axis": 1})]
        names = ["x", *(f"h{n}" for n in range(PRODUCTS - 1)), "y"]
        for n in range(PRODUCTS):
            nodes += [
                Node("QuantizeLinear", (names[n], "s", "z"), (f"q{n}",)),
                Node("DequantizeLinear", (f"q{n}", "s", "z"), (f"d{n}",)),
                Node("MatMul", (f"d{n}", "v"), (names[n + 1],)),
            ]
    return model(nodes, weights, (side, side), (side, side))


def _codes(name: Numbers, side: int) -> dict[str, Weight]:
    """A weight in 8 bits with a scale a column, and the scale and zero of what it is multiplied with."""
    if name == "int8":
        codes: Weight = np.clip(_random(side, side) * 40, -127, 127).astype(np.int8)
        zero: Weight = np.zeros((), np.int8)
        step, largest = 1 / 40, 127
    else:  # a sign, an exponent next to that of 1, three bits of a fraction: -1.9 to -0.5 and 0.5 to 1.9
        bits = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
        codes = Coded("float8e4m3fn", bits & 0x8F | 0x30)
        zero = Coded("float8e4m3fn", np.zeros((), np.uint8))
        step, largest = 1.0, 448
    return {
        "w": codes, "z": zero, "s": np.array(4 / largest, np.float32),
        "t": np.full(side, step / side**0.5, np.float32),
    }  # fmt: skip


def _weight(side: int) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = _random(side, side) / np.float32(side**0.5)
    return scaled


def _bfloat16(array: NDArray[np.float32]) -> Coded:
    """Cut, not rounded: only their time counts."""
    return Coded("bfloat16", (array.view(np.uint32) >> 16).astype(np.uint16))


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)
