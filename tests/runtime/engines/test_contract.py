"""One contract for every engine: what it hands out, what it refuses, and that sessions keep apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.buffers import HostBuffer, packed
from edge_streamer.runtime.engines.contract import Buffer, Engine, GraphFile, OpenGraph
from edge_streamer.runtime.engines.cpu import OrtEngine, OrtGraph
from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine
from edge_streamer.runtime.engines.tape import float_pieces
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs, Unit
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.ort_stand_in import OrtStandIn
from tests.runtime.engines.split import CapturedEngine, SplitEngine
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT

ENGINES: dict[str, Callable[[], Engine]] = {
    "cpu": lambda: OrtEngine(threads=1), "split": SplitEngine, "captured": CapturedEngine, "cuda": StandInEngine,
    "onnxruntime cuda": lambda: onnxruntime_cuda(StandIn()), "tensorrt": StandInTensorRT,
}  # fmt: skip


def onnxruntime_cuda(driver: StandIn) -> OrtCudaEngine:
    return OrtCudaEngine(api=driver, library=OrtStandIn(driver))


ROW = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    return ENGINES[request.param]


@pytest.fixture
def engine(make: Callable[[], Engine]) -> Engine:
    return make()


# ---- memory ----


@pytest.mark.parametrize("side", ["in", "out", "inner"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int32", "int64", "bool"])
def test_a_buffer_is_aligned_zero_and_holds_what_is_written(engine: Engine, dtype: str, side: Any) -> None:
    for shape in ((), (1,), (3, 5), (257,)):
        buffer = engine.buffer(shape, dtype, side)
        assert buffer.address % engine.alignment == 0
        assert (buffer.shape, buffer.dtype, buffer.side, buffer.engine) == (shape, dtype, side, engine)
        assert not engine.read(buffer).any()
        engine.write(buffer, np.ones(shape, dtype))
        assert buffer.nbytes == engine.read(buffer).nbytes
        assert engine.read(buffer).all()


def test_what_is_read_is_a_copy(engine: Engine) -> None:
    buffer = engine.buffer((2,), "float32")
    engine.read(buffer)[:] = 1
    assert not engine.read(buffer).any()


@pytest.mark.parametrize("values", [np.zeros(3, np.float32), np.zeros((1, 2), np.float32), np.zeros(2, np.float64)])
def test_values_of_another_form_are_refused(engine: Engine, values: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"into a buffer of float32 \[2\]"):
        engine.write(engine.buffer((2,), "float32"), values)


def test_what_the_host_writes_and_reads_is_the_buffer(engine: Engine) -> None:
    written, read = engine.buffer((2, 3), "float32", "in"), engine.buffer((2, 3), "float32", "out")
    written.host[1, 2] = 7
    engine.write(read, engine.read(written))
    assert read.host[1, 2] == 7


def test_inner_memory_is_not_the_hosts(engine: Engine) -> None:
    for inner in (engine.buffer((2,), "float32"), engine.stack(2, (2,), "float32", axis=0)):
        with pytest.raises(EngineError, match=r"no memory of the host's|read and written by the engine"):
            _ = inner.host


def test_a_part_is_the_same_memory_and_begins_aligned(engine: Engine) -> None:
    buffer = engine.buffer((4, engine.alignment // 4), "float32")
    part = buffer.part(1, 3)
    engine.write(part, np.ones(part.shape, np.float32))
    assert part.address == buffer.address + engine.alignment
    assert engine.read(buffer).any(1).tolist() == [False, True, True, False]
    narrow = engine.buffer((4, 3), "float32")
    assert narrow.part(0, 2).shape == (2, 3)
    with pytest.raises(EngineError, match=f"begin 12 bytes into the buffer; wanted a multiple of {engine.alignment}"):
        narrow.part(1, 2)


@pytest.mark.parametrize("rows", [(-1, 2), (2, 1), (0, 5)])
def test_rows_that_are_not_there_are_refused(engine: Engine, rows: tuple[int, int]) -> None:
    with pytest.raises(EngineError, match="of a buffer of 4"):
        engine.buffer((4, 64), "float32").part(*rows)
    with pytest.raises(EngineError, match="of a buffer of 0"):
        engine.buffer((), "float32").part(0, 1)


def test_a_view_is_the_same_memory(engine: Engine) -> None:
    buffer = engine.buffer((2, 3), "float32")
    engine.write(buffer.view((1, 6)), np.arange(6, dtype=np.float32)[None])
    assert engine.read(buffer).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert engine.read(buffer.view((24,), "uint8")).tobytes() == engine.read(buffer).tobytes()
    with pytest.raises(EngineError, match=r"float32 \[2, 3\] cannot be seen as float32 \[7\]"):
        buffer.view((7,))


@pytest.mark.parametrize("columns", [3, 64])
def test_a_stack_is_buffers_side_by_side_each_aligned(engine: Engine, columns: int) -> None:
    stack = engine.stack(3, (2, columns), "float32", axis=0, side="in")
    stack.host[:, 1] = np.arange(3)[:, None]
    assert (len(stack), stack.axis, stack.nbytes) == (3, 0, 3 * 2 * columns * 4)
    for number in range(3):
        assert stack[number].address % engine.alignment == 0
        assert engine.read(stack[number])[:, 0].tolist() == [0, number]


def test_packed_buffers_of_any_dtypes_are_aligned_and_apart(engine: Engine) -> None:
    wanted = {"a": ((3,), "float32"), "b": ((), "int64"), "c": ((65, 2), "float32"), "d": ((1,), "bool")}
    buffers = packed(engine, wanted, "out")
    for number, (name, buffer) in enumerate(buffers.items()):
        assert buffer.address % engine.alignment == 0
        assert (buffer.shape, buffer.dtype, buffer.side) == (*wanted[name], "out")
        engine.write(buffer, np.full(buffer.shape, number, buffer.dtype))
    assert [int(engine.read(buffer).max()) for buffer in buffers.values()] == [0, 1, 2, 1]


def test_neighbours_are_looked_at_in_one_piece() -> None:
    engine = OrtEngine(threads=1)
    wanted = {name: ((5,), dtype) for name, dtype in (("a", "float32"), ("b", "float32"), ("c", "int64"))}
    buffers, stack = packed(engine, wanted), engine.stack(4, (3,), "float32", axis=0)
    tokens = engine.buffer((3, 64), "float32")
    parts = [tokens.part(1, 3), tokens.part(0, 1)]
    pieces = float_pieces([*buffers.values(), *(stack[i] for i in range(4)), *parts])
    assert sorted(piece.size for piece in pieces) == [64 + 5, 3 * 64, 3 * 64 + 3]
    for buffer in (buffers["a"], buffers["b"], stack[3], *parts):
        buffer.array.reshape(-1)[-1] = np.nan
        assert not all(np.isfinite(np.add.reduce(piece)) for piece in pieces)
        buffer.array.reshape(-1)[-1] = 0


# ---- graphs ----


def opened(engine: Engine, folder: Path, name: str) -> tuple[OpenGraph, GraphSpec]:
    spec = Bundle.open(folder).manifest.graph(name)
    return engine.open(GraphFile(folder / spec.file, spec)), spec


def sides(engine: Engine, spec: GraphSpec) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    """A buffer for every tensor of a graph without symbolic lengths."""
    return tuple(  # type: ignore[return-value]
        {t.name: engine.buffer(tuple(map(int, t.shape)), t.dtype, side) for t in tensors}
        for tensors, side in ((spec.inputs, "in"), (spec.outputs, "out"))
    )


def test_a_bound_graph_runs_in_place(engine: Engine, made_counter: Path) -> None:
    graph, spec = opened(engine, made_counter, "second")
    inputs, outputs = sides(engine, spec)
    run = graph.bind(inputs, outputs)
    assert (run.graph, run.inputs, run.outputs) == ("second", inputs, outputs)
    tape = engine.tape("twice")
    tape.run("second", run, [outputs["z"]])
    for factor in (1, 5, 3, 2):
        inputs["y"].host[...] = factor * ROW
        played = tape.play()
        assert played.seconds > 0
        assert (played.not_finite, played.runs) == (None, {})
        assert np.array_equal(outputs["z"].host, 2 * factor * ROW)


Change = Callable[[Engine, Engine, dict[str, Any]], object]

REFUSED: dict[str, tuple[Change, str]] = {
    "an array": (lambda one, other, ins: ins.update(y=ROW.copy()), "a ndarray that this engine did not make"),
    "another engine's": (
        lambda one, other, ins: ins.update(y=other.buffer((1, 4), "float32", "in")),
        "that this engine did not make was to be bound to graph 'second', input 'y'",
    ),
    "a name too few": (lambda one, other, ins: ins.pop("y"), r"inputs without a buffer: \['y'\]"),
    "a name too many": (lambda one, other, ins: ins.update(w=ins["y"]), r"not in the graph: \['w'\]"),
    "a dtype": (lambda one, other, ins: ins.update(y=one.buffer((1, 4), "float16")), "holds float16; wanted float32"),
    "a shape": (lambda one, other, ins: ins.update(y=one.buffer((1, 5), "float32")), r"shape is \(1, 5\); wanted"),
    "a rank": (lambda one, other, ins: ins.update(y=one.buffer((4,), "float32")), r"shape is \(4,\); wanted"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(make: Callable[[], Engine], made_counter: Path, what: str) -> None:
    engine = make()
    graph, spec = opened(engine, made_counter, "second")
    inputs, outputs = sides(engine, spec)
    change, says = REFUSED[what]
    change(engine, make(), inputs)
    with pytest.raises(EngineError, match=says):
        graph.bind(inputs, outputs)


def test_an_address_that_is_not_aligned_is_refused(made_counter: Path) -> None:
    engine = OrtEngine(threads=1)
    graph, spec = opened(engine, made_counter, "second")
    inputs, outputs = sides(engine, spec)
    piece = engine.buffer((64,), "uint8").array
    inputs["y"] = HostBuffer(engine, piece, 4, (1, 4), "float32", "in")
    with pytest.raises(EngineError, match=r"input 'y': the buffer's address is .*; wanted a multiple of 256"):
        graph.bind(inputs, outputs)


@pytest.mark.parametrize("length", [7, 18])
def test_only_lengths_of_the_list_are_bound(engine: Engine, tiny_bundle: Path, length: int) -> None:
    graph, spec = opened(engine, tiny_bundle, "core")
    inputs, outputs = (
        {t.name: engine.buffer(tuple(length if isinstance(n, str) else n for n in t.shape), t.dtype) for t in tensors}
        for tensors in (spec.inputs, spec.outputs)
    )
    if length in spec.lengths:
        tape = engine.tape("once")
        tape.run("core", graph.bind(inputs, outputs))
        tape.play()
        return
    with pytest.raises(EngineError, match=r"bound at T = 7; it allows \(1, 8, 10, 18\)"):
        graph.bind(inputs, outputs)


# ---- sessions ----


def assert_same(came: list[Any], wanted: list[Any]) -> None:
    for left, right in zip(came, wanted, strict=True):
        assert left.tokens == right.tokens
        assert np.array_equal(left.samples, right.samples)
        assert np.array_equal(left.frames, right.frames)


def test_two_sessions_of_one_engine_do_not_disturb_each_other(
    engine: Engine, tiny_bundle: Path, units: list[Unit]
) -> None:
    first = open_session(tiny_bundle, engine=engine, knobs=Knobs(temperature=0.8, seed=1))
    alone = [first.step(unit).copy() for unit in units[:6]]
    first.reset()
    second, turns, others = first.twin(Knobs(temperature=0.8, seed=2)), [], []
    for k, unit in enumerate(units[:6]):
        turns.append(first.step(unit).copy())
        others.append(second.step(units[5 - k]).copy())
    assert_same(turns, alone)
    assert others[-1].tokens != alone[-1].tokens or not np.array_equal(others[-1].samples, alone[-1].samples)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[Buffer]:
    """Every buffer that is bound to a graph from here on."""
    seen: list[Buffer] = []
    bind = OrtGraph.bind

    def watched(self: OrtGraph, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Any:
        seen.extend((*inputs.values(), *outputs.values()))
        return bind(self, inputs, outputs)

    monkeypatch.setattr(OrtGraph, "bind", watched)
    return seen


def test_every_tensor_of_a_session_is_the_engines_and_aligned(
    bound: list[Buffer], tiny_bundle: Path, made_counter: Path
) -> None:
    engine = OrtEngine(threads=1)
    session = open_session(tiny_bundle, engine=engine)
    session.prefill("cat", Unit())
    session.step(Unit())
    steps = len(bound)
    open_session(made_counter, engine=engine)
    assert steps > 300
    assert len(bound) > steps
    assert all(isinstance(buffer, HostBuffer) and buffer.engine is engine for buffer in bound)
    assert [buffer for buffer in bound if buffer.address % 256 or buffer.array.ctypes.data % 256] == []


def test_what_the_host_does_not_touch_is_inner(bound: list[Buffer], tiny_bundle: Path) -> None:
    session: Session = open_session(tiny_bundle, engine=OrtEngine(threads=1))
    session.step(Unit())
    sides = {id(buffer): buffer.side for buffer in bound}
    inner = [*session.place.store.ring_inputs().values(), *session.program.held().values()]
    for carries in session.place.store.carries.values():
        inner += [*carries.reads().values(), *carries.writes().values()]
    assert {buffer.side for buffer in inner} == {"inner"}
    assert set(sides.values()) == {"in", "out", "inner"}
