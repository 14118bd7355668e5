"""What a device would answer with wrong numbers or with its end: planted one by one, and caught."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTGraph
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Knobs
from tests.runtime.engines.cuda_stand_in.space import Violation
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT
from tests.runtime.engines.tensorrt_stand_in.execution import Context
from tests.runtime.engines.test_contract import ROW, sides
from tests.runtime.engines.test_tensorrt_engine import second


@pytest.fixture
def engine() -> StandInTensorRT:
    return StandInTensorRT()


def played(engine: StandInTensorRT, folder: Path, times: int) -> tuple[Any, Any, Any, Any]:
    graph, spec = second(engine, folder)
    inputs, outputs = sides(engine, spec)
    run, tape = graph.bind(inputs, outputs), engine.tape("tape")
    tape.run("second", run)
    for _ in range(times):
        inputs["y"].host[...] = ROW
        tape.play()
    return tape, run, inputs, outputs


def test_an_address_that_changes_after_the_capture_is_caught(engine: StandInTensorRT, made_counter: Path) -> None:
    tape, run, _, outputs = played(engine, made_counter, 3)
    np.testing.assert_array_equal(outputs["z"].host, 2 * ROW)
    run._context.set_tensor_address("y", engine.buffer((1, 4), "float32").address)
    with pytest.raises(Violation, match="run with other addresses"):
        tape.play()


def test_memory_that_went_after_the_capture_is_caught(engine: StandInTensorRT, made_counter: Path) -> None:
    tape, run, _, _ = played(engine, made_counter, 3)
    engine.cuda.free(run._scratch.address)
    with pytest.raises(Violation, match="was freed"):
        tape.play()


def test_a_capture_without_a_plain_run_before_is_caught(engine: StandInTensorRT, made_counter: Path) -> None:
    tape, *_ = played(engine, made_counter, 0)
    tape._warm = True
    with pytest.raises(Violation, match="captured before it ran plainly"):
        tape.play()


def test_a_wait_that_is_missing_is_caught(
    engine: StandInTensorRT, made_counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, _, inputs, outputs = played(engine, made_counter, 3)
    inputs["y"].host[...] = 5 * ROW
    with monkeypatch.context() as patch:
        patch.setattr(engine.cuda, "synchronize", lambda what="": None)
        tape.play()
    assert not np.array_equal(outputs["z"].host, 10 * ROW)
    engine.cuda.synchronize()
    np.testing.assert_array_equal(outputs["z"].host, 10 * ROW)


def test_states_that_are_swapped_are_caught(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TensorRTGraph.bind

    def swapped(self: TensorRTGraph, inputs: Any, outputs: Any) -> Any:
        if self.spec.name == "core":
            one, other = [name for name in outputs if name.startswith("append.") and name.endswith(".k")][:2]
            outputs = {**outputs, one: outputs[other], other: outputs[one]}
        return real(self, inputs, outputs)

    monkeypatch.setattr(TensorRTGraph, "bind", swapped)
    wrong, right = (
        open_session(tiny_bundle, engine=engine, knobs=Knobs(temperature=0.8, seed=3))
        for engine in (StandInTensorRT(), OrtEngine(threads=1))
    )
    units = [made_unit(right.media, 3, k) for k in range(3)]
    pairs = [(wrong.step(unit).copy(), right.step(unit).copy()) for unit in units]
    assert not all(np.array_equal(one.samples, other.samples) for one, other in pairs)


@pytest.fixture
def loose(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The engine's own check of buffers is left out, so that the library meets what it would have refused."""
    monkeypatch.setattr("edge_streamer.runtime.engines.tensorrt.engine.check_buffers", lambda *what: None)
    return monkeypatch


def test_an_address_that_is_not_aligned_is_caught(
    engine: StandInTensorRT, made_counter: Path, loose: pytest.MonkeyPatch
) -> None:
    graph, spec = second(engine, made_counter)
    inputs, outputs = sides(engine, spec)
    inputs["y"].address += 4  # type: ignore[misc]
    with pytest.raises(EngineError, match=r"TensorRT refuses an address for 'y' in graph 'second'"):
        graph.bind(inputs, outputs)


def test_a_shape_that_is_not_the_graphs_is_caught(
    engine: StandInTensorRT, made_counter: Path, loose: pytest.MonkeyPatch
) -> None:
    graph, spec = second(engine, made_counter)
    inputs, outputs = sides(engine, spec)
    outputs["z"] = engine.buffer((4, 1), "float32", "out")
    with pytest.raises(EngineError, match=r"output 'z': TensorRT gives \[1, 4\]; wanted \[4, 1\]"):
        graph.bind(inputs, outputs)


def test_a_buffer_that_is_too_small_is_caught(
    engine: StandInTensorRT, made_counter: Path, loose: pytest.MonkeyPatch
) -> None:
    graph, spec = second(engine, made_counter)
    inputs, outputs = sides(engine, spec)
    inputs["y"] = engine.buffer((1, 4), "float16")  # half of the bytes
    with pytest.raises(Violation, match="8 bytes beyond the end of device memory"):
        graph.bind(inputs, outputs).enqueue(engine.cuda.stream)


def test_an_address_that_was_not_set_is_caught(
    engine: StandInTensorRT, made_counter: Path, loose: pytest.MonkeyPatch
) -> None:
    graph, spec = second(engine, made_counter)
    _, outputs = sides(engine, spec)
    with pytest.raises(Violation, match=r"without addresses for \['y'\]"):
        graph.bind({}, outputs).enqueue(engine.cuda.stream)


def core(engine: StandInTensorRT, folder: Path, length: int) -> tuple[TensorRTGraph, Any, Any]:
    file = GraphFile.of(Bundle.open(folder), "core")
    buffers = [
        {t.name: engine.buffer(tuple(length if n == "T" else n for n in t.shape), t.dtype) for t in tensors}
        for tensors in (file.spec.inputs, file.spec.outputs)
    ]
    return engine.open(file), *buffers


def test_a_profile_that_was_not_set_is_caught(
    engine: StandInTensorRT, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, inputs, outputs = core(engine, tiny_bundle, 8)
    monkeypatch.setattr(Context, "set_optimization_profile_async", lambda self, profile_index, stream_handle: True)
    with pytest.raises(EngineError, match=r"TensorRT refuses 'embeddings' of shape \[1, 8, 64\] in graph 'core'"):
        graph.bind(inputs, outputs)


def test_a_scratch_that_is_too_small_is_caught(engine: StandInTensorRT, tiny_bundle: Path) -> None:
    graph, inputs, outputs = core(engine, tiny_bundle, 8)
    engine._scratch_bytes = 256
    with pytest.raises(Violation, match="scratch of 256 bytes"):
        graph.bind(inputs, outputs).enqueue(engine.cuda.stream)


def test_a_run_that_the_library_refuses_is_the_engines_error(
    engine: StandInTensorRT, made_counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, run, _, _ = played(engine, made_counter, 1)
    severity = engine.library.trt.ILogger.Severity

    def fails(stream: int) -> bool:
        engine.log.logger.log(severity.ERROR, "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime")
        return False

    monkeypatch.setattr(run, "_execute", fails)
    with pytest.raises(EngineError, match="TensorRT failed in graph 'second': IExecutionContext::enqueueV3"):
        tape.play()
