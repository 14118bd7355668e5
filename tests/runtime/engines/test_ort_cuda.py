"""ONNX Runtime with CUDA: everything on the GPU and on our stream, or an error that names what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines import ort_library
from edge_streamer.runtime.engines.contract import GraphFile, Side
from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine, OrtCudaGraph
from edge_streamer.runtime.errors import BundleError, EngineError, StepError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.timing import untold
from edge_streamer.runtime.unit import Unit
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.ort_stand_in import OrtStandIn, node


class Parts:
    """An engine, and what stands beneath it."""

    def __init__(self, **options: Any):
        self.driver = StandIn()
        self.ort = OrtStandIn(self.driver)
        self.engine = OrtCudaEngine(api=self.driver, library=self.ort, **options)

    def opened(self, folder: Path, name: str = "second") -> OrtCudaGraph:
        return self.engine.open(GraphFile.of(Bundle.open(folder), name))

    def bound(self, folder: Path, name: str = "second") -> Any:
        graph = self.opened(folder, name)
        return graph.bind(*sides(self.engine, graph.spec))


def sides(engine: OrtCudaEngine, spec: GraphSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """A buffer for every tensor of a graph without symbolic lengths."""
    sided: tuple[tuple[Any, Side], ...] = (spec.inputs, "in"), (spec.outputs, "out")
    inputs, outputs = (
        {t.name: engine.buffer(tuple(map(int, t.shape)), t.dtype, side) for t in tensors} for tensors, side in sided
    )
    return inputs, outputs


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_the_provider_gets_our_device_our_stream_and_a_search_that_is_not_the_default(
    parts: Parts, counter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts.opened(counter)
    given = parts.ort.sessions[0].given
    assert given["user_compute_stream"] == str(parts.engine.cuda.stream)
    assert (given["device_id"], given["cudnn_conv_algo_search"]) == ("0", "HEURISTIC")
    assert (given["use_tf32"], given["enable_cuda_graph"]) == ("0", "0")
    assert Parts(search="EXHAUSTIVE", tf32=True).engine.provider_options()["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert parts.ort.preloaded == 1
    assert capsys.readouterr().out == "", "what it does not find is no news"
    assert not parts.ort.sessions[0].fallback


def test_the_name_says_library_version_and_device(parts: Parts) -> None:
    assert parts.engine.name == f"onnxruntime 1.31.1 cuda, {parts.engine.cuda.device_name}"


def test_a_run_is_work_on_the_stream_and_never_captured_from_outside(parts: Parts, counter: Path) -> None:
    run = parts.bound(counter)
    assert not run.capturable
    tape = parts.engine.tape("one")
    tape.run("second", run)
    for value in (1, 2, 3, 4):
        run.inputs["y"].host[...] = value
        tape.play()
        assert (run.outputs["z"].host == 2 * value).all()
    assert parts.driver.calls["cuGraphLaunch"] == 0
    with pytest.raises(EngineError, match="another stream"):
        run.enqueue(12345)


def test_the_first_binding_runs_the_graph_and_leaves_what_is_bound_alone(parts: Parts, counter: Path) -> None:
    graph = parts.opened(counter)
    inputs, outputs = sides(parts.engine, graph.spec)
    parts.engine.write(outputs["z"], np.full(outputs["z"].shape, 7, np.float32))
    before = parts.engine.held_bytes()
    graph.bind(inputs, outputs)
    assert (parts.engine.read(outputs["z"]) == 7).all()
    assert parts.engine.held_bytes() == before, "what it wrote to is given back"
    recorded = Path(parts.ort.sessions[0].options.profile_file_prefix).parent
    assert not recorded.exists(), "the record was read, and is gone"


def test_a_graph_that_is_never_bound_leaves_no_record(parts: Parts, counter: Path) -> None:
    graph = parts.opened(counter)
    recorded = Path(parts.ort.sessions[0].options.profile_file_prefix).parent
    assert recorded.exists()
    del graph
    assert not recorded.exists()


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ([node("/layers.0/Gather", "Gather", "CPUExecutionProvider")], r"/layers\.0/Gather \(Gather\) on CPU"),
        ([node("Memcpy_token_3", "MemcpyToHost")], r"a copy Memcpy_token_3 \(MemcpyToHost\)"),
        ([node("Memcpy_token_4", "MemcpyFromHost", "CPUExecutionProvider")], r"a copy Memcpy_token_4"),
        ([node(f"n{i}", "Range", "CPUExecutionProvider") for i in range(9)], r"n5 \(Range\) on CPU and 3 more; take"),
        (
            [
                node(
                    "wide",
                    "Add",
                    "CPUExecutionProvider",
                    input_type_shape=[{"int64": [4, 8]}],
                    output_type_shape=[{"int64": [4, 8]}],
                )
            ],
            r"wide \(Add\) on CPU",
        ),
        (
            [
                node(
                    "real",
                    "Mul",
                    "CPUExecutionProvider",
                    input_type_shape=[{"float": [1]}],
                    output_type_shape=[{"float": [1]}],
                )
            ],
            r"real \(Mul\) on CPU",
        ),
        ([node("odd", "Loop", "")], r"odd \(Loop\) on nothing that is told"),
    ],
)
def test_nodes_that_leave_the_gpu_are_named(planted: list[Any], told: str, parts: Parts, counter: Path) -> None:
    parts.ort.planted = planted
    with pytest.raises(
        EngineError, match=f"graph 'second' does not stay on the GPU with ONNX Runtime 1.31.1: .*{told}"
    ):
        parts.bound(counter)


@pytest.mark.parametrize("record", ["[]", "no JSON", "{", '[{"cat": "Session"}]', "[1, 2]"])
def test_a_record_that_says_nothing_is_no_proof(record: str, parts: Parts, counter: Path) -> None:
    parts.ort.record = record
    with pytest.raises(EngineError, match="record of a run"):
        parts.bound(counter)


def test_a_provider_that_did_not_load_is_no_quiet_cpu(
    parts: Parts, counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.ort.loads = False
    for said, why in (
        ("libcudnn.so.9: cannot open shared object file", "cuDNN 9 is missing (libcudnn.so.9: cannot open"),
        ("libcublasLt.so.13: cannot open shared object file", "CUDA is missing (libcublasLt.so.13: cannot"),
        ("", "it does not say why"),
    ):
        monkeypatch.setattr(ort_library, "why_not_loaded", lambda ort, said=said: said)
        with pytest.raises(EngineError) as caught:
            parts.opened(counter)
        assert "ONNX Runtime 1.31.1 did not load its CUDA provider: " in str(caught.value)
        assert why in str(caught.value)
        assert "edge-streamer doctor" in str(caught.value)


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("CUDA error 209: no kernel image is available for execution on the device", EngineError,
         "holds no code for .*, which is of compute capability 8.7"),
        ("Load model failed: bad file", BundleError, r"cannot load second.onnx on the GPU: Load model failed: "),
    ],
)  # fmt: skip
def test_an_opening_that_fails_says_what_it_means(
    said: str, error: type[Exception], told: str, parts: Parts, counter: Path
) -> None:
    parts.ort.refuses = said
    with pytest.raises(error, match=told):
        parts.opened(counter)


def test_the_onnx_runtime_for_cpus_makes_no_engine() -> None:
    driver = StandIn()
    with pytest.raises(EngineError, match=r"ONNX Runtime 1\.31\.1 is the one for CPUs"):
        OrtCudaEngine(api=driver, library=OrtStandIn(driver, providers=("CPU",)))
    assert driver.calls["cuInit"] == 0


def test_a_run_that_fails_is_an_error_of_ours(parts: Parts, counter: Path) -> None:
    run = parts.bound(counter)
    parts.ort.breaks = RuntimeError("CUBLAS failure 13\n at line 7")
    with pytest.raises(EngineError, match="ONNX Runtime failed in graph 'second': CUBLAS failure 13 at line 7"):
        run.enqueue(parts.engine.cuda.stream)


def test_its_own_graphs_have_a_number_for_each_bound_run(counter: Path) -> None:
    parts = Parts(own_graphs=True)
    graph = parts.opened(counter)
    runs = [graph.bind(*sides(parts.engine, graph.spec)) for _ in range(2)]
    for run in (*runs, *runs):
        run.enqueue(parts.engine.cuda.stream)
    parts.engine.cuda.synchronize()
    assert parts.ort.sessions[0].graph_ids == ["-1", "1", "2", "1", "2"], "the run that proves is not captured"


def test_weights_are_told_while_their_graph_lives(parts: Parts, counter: Path) -> None:
    graph = parts.opened(counter)
    assert parts.engine.memory()["weights"] == graph.spec.weight_bytes
    del graph
    assert parts.engine.memory()["weights"] == 0


def test_the_demo_answers_as_on_the_cpu() -> None:
    """A whole unit of the float bundle, twice: the order of everything, stores and look-ups on the stream between."""
    parts, bundle = Parts(), Bundle.open(bundle_path(floats=True))
    with open_session(bundle, engine=parts.engine, tell=untold) as ours, open_session(bundle, engine="cpu") as theirs:
        media = ours.media
        unit = Unit(
            samples=np.linspace(-0.5, 0.5, media.hears.unit_samples, dtype=np.float32),
            frames=np.full((media.sees.unit_frames, *media.sees.size, 3), 90, np.uint8), text="weather",
        )  # fmt: skip
        for _ in range(2):
            one, other = ours.step(unit).copy(), theirs.step(unit).copy()
            assert one.samples is not None
            assert other.samples is not None
            assert np.array_equal(one.samples, other.samples)
            assert one.text == other.text
        parts.ort.breaks = RuntimeError("the GPU broke")
        with pytest.raises(StepError, match="the GPU broke; the unit was rolled back"):
            ours.step(unit)


def test_what_the_loader_says_is_told_of_a_library_that_does_not_load(tmp_path: Path) -> None:
    ort: Any = OrtStandIn(StandIn(), folder=tmp_path)
    assert ort_library.why_not_loaded(ort) == "", "there is none to try"
    (tmp_path / "capi").mkdir()
    (tmp_path / ort_library.LIBRARY).write_bytes(b"no library")
    assert "libonnxruntime_providers_shared.so" in ort_library.why_not_loaded(ort)
    assert ort_library.cuda_library(ort) == tmp_path / ort_library.LIBRARY
