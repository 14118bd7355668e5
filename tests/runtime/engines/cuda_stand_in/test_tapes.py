"""Tapes and tables in a device's memory: how often the driver is called, what is captured, what is refused."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.embedding import EmbeddingRows
from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.engines.cuda.memory import SLAB
from edge_streamer.runtime.errors import DeviceLost, EngineError
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.cuda_stand_in.kernels import compiled_kernels
from tests.runtime.engines.test_contract import ROW, opened, sides


@pytest.fixture
def engine() -> StandInEngine:
    return StandInEngine()


def doubled(engine: StandInEngine, folder: Path) -> tuple[object, object, object]:
    """A tape of one run, z = 2 y: the tape, y and z."""
    graph, spec = opened(engine, folder, "second")
    inputs, outputs = sides(engine, spec)
    tape = engine.tape("one")
    tape.run("double", graph.bind(inputs, outputs), [outputs["z"]])
    return tape, inputs["y"], outputs["z"]


# ---- calls ----


def test_a_play_is_one_launch_and_one_wait_from_the_third_on(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, z = doubled(engine, made_counter)
    calls, seen = engine.driver.calls, []
    for factor in range(1, 5):
        y.host[...] = factor * ROW
        calls.clear()
        assert tape.play().not_finite is None
        assert np.array_equal(z.host, 2 * factor * ROW)
        seen.append(calls.copy())
    assert "cuStreamBeginCapture" not in seen[0]
    assert seen[1]["cuStreamBeginCapture"] == seen[1]["cuGraphLaunch"] == 1
    assert seen[2] == seen[3] == {"cuGraphLaunch": 1, "cuStreamSynchronize": 1}


def test_inputs_go_in_one_copy_and_outputs_come_in_one(engine: StandInEngine) -> None:
    tape = engine.tape("many")
    for shape in ((3,), (5, 7), (1,)):
        tape.copy(engine.buffer(shape, "int8", "out"), engine.buffer(shape, "int8", "in"))
    large = engine.buffer((SLAB,), "uint8", "in")
    tape.copy(engine.buffer((SLAB,), "uint8"), large)
    engine.driver.calls.clear()
    tape.play()
    assert engine.driver.calls["cuMemcpyHtoDAsync"] == 2, "one of a slab, one of what is larger"
    assert engine.driver.calls["cuMemcpyDtoHAsync"] == 1
    assert engine.driver.calls["cuStreamSynchronize"] == 1


def test_buffers_far_from_each_other_are_not_moved_together(engine: StandInEngine) -> None:
    first = engine.buffer((4,), "int8", "in")
    between = engine.buffer((SLAB // 4,), "int8", "in")
    last = engine.buffer((4,), "int8", "in")
    tape = engine.tape("two")
    for source in (first, last):
        tape.copy(engine.buffer((4,), "int8"), source)
    tape.play()
    assert engine.driver.calls["cuMemcpyHtoDAsync"] == 2
    assert between.piece is first.piece is last.piece


def test_copies_that_the_host_does_not_see_are_not_waited_for(engine: StandInEngine) -> None:
    target, source = engine.buffer((4,), "float32"), engine.buffer((4,), "float32")
    tape = engine.tape("commit")
    tape.copy(target, source)
    for value in range(1, 5):
        engine.write(source, np.full(4, value, np.float32))
        engine.driver.calls.clear()
        tape.play()
        assert "cuStreamSynchronize" not in engine.driver.calls
        assert engine.read(target).tolist() == [value] * 4


def test_outputs_are_stale_until_the_play_is_over(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, z = doubled(engine, made_counter)
    y.host[...], seen = ROW, []
    tape._steps[0].bound._run.run = lambda: seen.append(z.host.tobytes())
    for _ in range(3):
        z.host[...] = 0
        tape.play()
    assert seen == [b"\xff" * 16] * 3


def test_a_tape_that_was_captured_changes_no_more(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, _ = doubled(engine, made_counter)
    bound = tape._steps[0].bound
    tape.play()
    tape.run("again", bound)
    tape.play()
    assert "cuStreamBeginCapture" not in engine.driver.calls  # a run is played before it is captured
    tape.play()
    with pytest.raises(EngineError, match="tape 'one' was captured, and cannot change any more"):
        tape.run("once more", bound)
    with pytest.raises(EngineError, match="was captured"):
        tape.copy(y, y)


def test_a_run_that_cannot_be_captured_keeps_the_tape_plain(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, z = doubled(engine, made_counter)
    tape._steps[0].bound.capturable = False
    for factor in range(4):
        y.host[...] = factor * ROW
        tape.play()
        assert np.array_equal(z.host, 2 * factor * ROW)
    assert "cuGraphLaunch" not in engine.driver.calls


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuMemcpyDtoHAsync"]
)
def test_a_tape_whose_capture_breaks_is_played_call_by_call_and_the_engine_says_so(
    engine: StandInEngine, made_counter: Path, function: str
) -> None:
    tape, y, z = doubled(engine, made_counter)
    tape.play()
    engine.driver.fail(function, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
    for factor in range(1, 5):
        y.host[...] = factor * ROW
        tape.play()
        assert not engine.cuda.capturing
        assert gc.isenabled()
        assert np.array_equal(z.host, 2 * factor * ROW)
    assert "cuGraphLaunch" not in engine.driver.calls
    (note,) = engine.notes
    assert note.startswith("'one' is played call by call: ")
    assert "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" in note


def test_a_device_that_is_lost_in_a_capture_is_told(engine: StandInEngine, made_counter: Path) -> None:
    tape, _, _ = doubled(engine, made_counter)
    tape.play()
    engine.driver.fail("cuStreamBeginCapture", "CUDA_ERROR_LAUNCH_FAILED")
    with pytest.raises(DeviceLost):
        tape.play()
    assert gc.isenabled()


def test_nothing_is_collected_while_a_tape_is_captured(engine: StandInEngine, made_counter: Path) -> None:
    tape, _, _ = doubled(engine, made_counter)
    bound, seen = tape._steps[0].bound, list[bool]()
    enqueue = bound.enqueue

    def watched(stream: int) -> None:
        seen.append(gc.isenabled())
        enqueue(stream)

    bound.enqueue = watched
    tape.play()
    tape.play()
    assert seen == [True, False]


def test_what_another_thread_lets_go_of_does_not_meet_a_capture(engine: StandInEngine) -> None:
    """Who gives back waits for the stream, which would break a capture: one of the two comes first."""
    cuda, begun, ended = engine.cuda, threading.Event(), threading.Event()
    address, synchronize = cuda.allocate(8), cuda.synchronize

    def slow(what: str = "") -> None:
        begun.set()
        ended.wait(0.2)
        assert not cuda.capturing
        synchronize(what)

    cuda.synchronize = slow  # type: ignore[method-assign]
    other = threading.Thread(target=cuda.free, args=(address,))
    other.start()
    assert begun.wait(5)
    cuda.begin_capture()
    ended.set()
    other.join()
    cuda.abandon_capture()
    assert "device" not in cuda.held


def test_an_interrupt_leaves_nothing_on_the_stream(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, z = doubled(engine, made_counter)
    bound = tape._steps[0].bound
    enqueue = bound.enqueue

    def interrupted(stream: int) -> None:
        raise KeyboardInterrupt

    for play in range(3):
        bound.enqueue = interrupted
        if play < 2:
            with pytest.raises(KeyboardInterrupt):
                tape.play()
        assert not engine.driver._queue
        assert not engine.cuda.capturing
        bound.enqueue = enqueue
        y.host[...] = play
        tape.play()
        assert (z.host == 2 * play).all()


# ---- times ----


def test_runs_are_timed_by_events_when_asked(engine: StandInEngine, made_counter: Path) -> None:
    tape, y, z = doubled(engine, made_counter)
    for play in range(4):
        y.host[...] = play * ROW
        played = tape.play(timed=play % 2 == 1)
        assert list(played.runs) == list(played.begins) == (["double"] if play % 2 else [])
        assert all(begin >= 0 for begin in played.begins.values())
        assert all(0 < seconds < played.seconds for seconds in played.runs.values())
        assert np.array_equal(z.host, 2 * play * ROW)
    assert engine.driver.calls["cuEventCreate"] == 2, "made once"
    del tape
    assert engine.driver.standing.get("event") is None


# ---- rings ----


def test_rows_beyond_a_ring_are_an_error_and_change_nothing(engine: StandInEngine) -> None:
    ring, appended = engine.stack(2, (4, 3), "float32", 0), engine.stack(2, (2, 3), "float32", 0, "in")
    first = engine.buffer((1,), "int32", "in")
    tape = engine.tape("unit")
    tape.store(ring, appended, slice(0, 2), first, 1)
    appended.host[...] = 1
    for place, fits in ((0, True), (2, False), (-2, False), (1, True), (2, False), (0, True)):
        before = [engine.read(buffer).copy() for buffer in ring]
        first.host[0] = place
        if fits:
            tape.play()
            continue
        with pytest.raises(EngineError, match="tape 'unit': rows were to be stored past the end of a ring"):
            tape.play()
        np.testing.assert_array_equal([engine.read(buffer) for buffer in ring], before)


# ---- tables ----


@pytest.mark.parametrize("layout", ["row", "column"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kernels", ["numpy", "compiled"])
def test_rows_of_a_table_are_the_hosts(
    dtype: str, layout: str, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_streamer.runtime.engines.cuda.memory.AT_ONCE", 64)
    driver = StandIn(kernels=compiled_kernels()) if kernels == "compiled" else StandIn()
    engine, random = StandInEngine(driver), np.random.default_rng(2)
    table = (100 * random.normal(size=(11, 6) if layout == "row" else (6, 11))).astype(dtype)
    scales = random.uniform(0.1, 2, 11).astype("<f4")
    (tmp_path / "table").write_bytes(bytes(8) + table.tobytes() + bytes(-table.nbytes % 4) + scales.tobytes())
    spec = EmbeddingSpec(
        name="text", file="table", offset=8, dtype=dtype, rows=11, width=6, layout=layout,
        scales_offset=8 + table.nbytes + -table.nbytes % 4 if dtype == "int8" else None,
    )  # fmt: skip
    tokens, rows = engine.buffer((4,), "int32", "in"), engine.buffer((4, 6), "float32", "out")
    on_device = engine.table(tmp_path / "table", spec)
    tape = engine.tape("words")
    tape.look_up(on_device, tokens, rows)
    wanted = np.zeros((4, 6), np.float32)
    for numbers in ((0, 10, 3, 3), (7, 1, 2, 9), (5, 5, 0, 6)):
        tokens.host[:] = numbers
        tape.play()
        EmbeddingRows(tmp_path / "table", spec).rows(numbers, wanted)
        np.testing.assert_array_equal(rows.host, wanted)
    assert engine.memory()["tables"] == table.nbytes + (scales.nbytes if dtype == "int8" else 0)
    with pytest.raises(FileNotFoundError):
        engine.table(tmp_path / "none", spec)


# ---- memory ----


def test_memory_is_told_by_kind_and_goes_with_the_last_who_has_it(engine: StandInEngine) -> None:
    held = [engine.buffer((1000,), "uint8"), engine.stack(3, (100,), "uint8", 0), engine.buffer((1,), "int8", "in")]
    assert engine.memory() == {"state": 1000 + 3 * 256 + SLAB, "tables": 0}
    part = held[0].part(512, 600)
    held.clear()
    assert engine.memory()["state"] == 1000
    del part
    assert engine.memory()["state"] == 0
    assert engine.driver.standing == {"context": 1, "stream": 1}


def test_a_slab_is_filled_before_another_is_begun(engine: StandInEngine) -> None:
    buffers = [engine.buffer((SLAB // 4,), "uint8", "out") for _ in range(6)]
    assert len({id(buffer.piece) for buffer in buffers}) == 2
    large = engine.buffer((SLAB,), "uint8", "out")
    assert large.piece not in [buffer.piece for buffer in buffers]
    assert engine.buffer((4,), "uint8", "out").piece is buffers[-1].piece
