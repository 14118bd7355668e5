"""Layers of engines for GPUs: records with kernels, inspectors of every wording, and nothing that is captured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine
from edge_streamer.runtime.engines.tensorrt.layers import Form, forms_of
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.profile.layers import UNITS, WARM, layers, table
from edge_streamer.runtime.profile.measure import made_unit
from edge_streamer.runtime.session.session import open_session
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.space import Violation
from tests.runtime.engines.ort_stand_in import OrtStandIn
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT
from tests.runtime.engines.tensorrt_stand_in.strict import VERSIONS, Surface
from tests.runtime.engines.test_contract import sides


def node(name: str, operator: str, dur: int, provider: str = "CUDAExecutionProvider") -> dict[str, Any]:
    """As ONNX Runtime writes it; microseconds."""
    return {
        "cat": "Node", "name": f"{name}_kernel_time", "dur": dur, "ts": 0, "ph": "X", "pid": 1, "tid": 1,
        "args": {"op_name": operator, "provider": provider, "input_type_shape": [{"float16": [2, 2]}] * 2,
                 "output_type_shape": [{"float": [2, 2]}]},
    }  # fmt: skip


def kernel(name: str, parent: str, dur: int) -> dict[str, Any]:
    """A kernel on the GPU, with the node that it belongs to."""
    return {
        "cat": "Kernel", "name": name, "dur": dur, "ts": 0, "ph": "X", "pid": -1, "tid": -1,
        "args": {"stream": "7", "op_name": "MatMul", "parent_name": f"{parent}_kernel_time", "grid_x": "8"},
    }  # fmt: skip


def test_kernels_stand_for_the_nodes_that_started_them() -> None:
    events = [node("a", "MatMul", 40), kernel("sgemm", "a", 1000), kernel("splitK", "a", 500), node("b", "Shape", 9),
              node("a", "MatMul", 40), kernel("sgemm", "a", 1500)]  # fmt: skip
    longest, other = table([("core", event) for event in events], units=2)
    assert (longest.layer, longest.runs, longest.unit_ms, longest.share) == ("a", 1.0, 1.5, 1.0)
    assert (longest.kernel, longest.provider) == ("sgemm, splitK", "CUDA")
    assert (longest.takes, longest.gives) == ("float16 x2", "float32")
    assert (other.layer, other.unit_ms, other.kernel) == ("b", 0.0, "")


def test_without_kernels_the_hosts_times_count() -> None:
    (one,) = table([("core", node("a", "MatMul", 40, "CPUExecutionProvider"))], units=1)
    assert (one.unit_ms, one.provider, one.kernel) == (0.04, "CPU", "")


def test_a_record_with_kernels_is_told_as_the_devices(counter: Path) -> None:
    driver = StandIn()
    library = OrtStandIn(driver)
    with open_session(counter, engine=OrtCudaEngine(api=driver, library=library)) as session:
        opened = len(library.sessions)
        library.planted = [kernel("made_up", "nobody", 5)]
        found, told = layers(session, lambda other: other.step(made_unit(other)))
        assert len(library.sessions) == 2 * opened, "sessions of their own"
    assert "does not ask the GPU" not in told
    assert {one.provider for one in found} == {"CUDA"}
    assert {one.unit_ms for one in found} == {0.0}


def test_a_record_that_cannot_be_read_is_told(counter: Path) -> None:
    driver = StandIn()
    library = OrtStandIn(driver)
    with open_session(counter, engine=OrtCudaEngine(api=driver, library=library)) as session:
        library.record = "{"
        with pytest.raises(EngineError, match="record of a run cannot be read"):
            layers(session, lambda other: other.step(made_unit(other)))


# ---- TensorRT ----


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_has_the_profiler(version: str) -> None:
    surface = Surface(version)
    assert surface.classes["IProfiler"]["report_layer_time"] == [["layer_name", "ms"]]
    assert "profiler" in surface.classes["IExecutionContext"]
    assert "enqueue_emits_profile" in surface.classes["IExecutionContext"]


@pytest.mark.parametrize("version", VERSIONS)
def test_layers_are_told_call_by_call_and_sessions_go_on_captured(version: str, counter: Path) -> None:
    engine = StandInTensorRT(version)
    engine.trt.layer_ms = lambda graph, layer: {"first": 0.5, "second": 0.125}[graph]
    with open_session(Bundle.open(counter), engine=engine) as session:
        for _ in range(3):
            session.step(made_unit(session))
        loaded, launched = list(engine.trt.loaded), engine.driver.calls["cuGraphLaunch"]
        found, told = layers(session, lambda other: other.step(made_unit(other)))
        assert engine.trt.profiled % (WARM + UNITS) == 0
        assert engine.trt.loaded == loaded, "on the engines that are there"
        profiled, graphs = engine.trt.profiled, engine.driver.calls["cuGraphLaunch"]
        session.step(made_unit(session))
        assert engine.trt.profiled == profiled, "what is timed is told to nobody"
        assert engine.driver.calls["cuGraphLaunch"] > max(launched, graphs), "and captured as before"
    assert told.startswith(f"{engine.name}, {UNITS} units apart")
    assert {one.unit_ms for one in found if one.graph == "first"} == {0.5}
    assert {one.runs for one in found} == {1.0}
    assert sum(one.share for one in found) == pytest.approx(1, abs=1e-3)


def test_a_run_that_is_told_is_not_captured(counter: Path) -> None:
    engine = StandInTensorRT()
    file = GraphFile.of(Bundle.open(counter), "second")
    graph = engine.open(file)
    with engine.layers_told():
        run = graph.bind(*sides(engine, file.spec))
    assert not run.capturable
    assert graph.bind(*sides(engine, file.spec)).capturable
    run.enqueue(engine.cuda.stream)
    assert engine.trt.profiled == 1
    engine.cuda.begin_capture()
    with pytest.raises(Violation, match="captured with a profiler"):
        run.enqueue(engine.cuda.stream)
    engine.cuda.abandon_capture()


CASK = {
    "Name": "conv + relu", "LayerType": "CaskConvolution", "TacticName": "sm80_xmma_fprop_i8i8", "StreamId": 0,
    "Inputs": [{"Name": "x", "Dimensions": [1, 64], "Format/Datatype": "Row major Int8 format"}],
    "Outputs": [{"Name": "y", "Dimensions": [1, 64], "Format/Datatype": "Row major linear FP16 format"}],
}  # fmt: skip
ELEVEN = {"Name": "gemm", "LayerType": "gemm", "Inputs": [{"Name": "x", "DataType": "BFloat16"}], "Outputs": ["y"]}


def test_every_wording_of_the_inspector_is_read() -> None:
    found = forms_of(json.dumps({"Layers": [CASK, ELEVEN, "a name alone", {"Name": "bare", "Inputs": None}]}))
    assert found["conv + relu"] == Form(
        "CaskConvolution", ("int8",), ("fp16",),
        "Row major Int8 format to Row major linear FP16 format", "sm80_xmma_fprop_i8i8",
    )  # fmt: skip
    assert found["gemm"] == Form("gemm", ("bf16",), (), "", "")
    assert found["bare"] == Form()
    assert found.keys() == {"conv + relu", "gemm", "bare"}


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": 3}', '{"Bindings": []}', "null"])
def test_an_inspector_that_tells_nothing_leaves_times_alone(text: str) -> None:
    assert forms_of(text) == {}
