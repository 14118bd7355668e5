"""``edge-streamer profile`` on each engine for GPUs, over stand-ins: limits and layers with planted times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import profile as command
from edge_streamer.runtime.engines.choose import Choice
from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine
from edge_streamer.runtime.engines.tensorrt import build
from edge_streamer.runtime.profile import ceilings, device_limits, measure
from edge_streamer.runtime.profile.report import Profile, read_profile
from edge_streamer.runtime.profile.report_words import lines
from edge_streamer.runtime.profile.timeline import outer
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.ort_stand_in import OrtStandIn
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT

SIDE = 32
RATE = {"float32": 40.0, "fp16": 160.0, "bf16": 150.0, "int8": 300.0}
"""Planted, 10^9 operations a second."""
BANDWIDTH, KERNEL = 80.0, 0.002
"""10^9 bytes a second, and milliseconds."""
RUN = 0.5
"""Milliseconds of every run of the bundle's graphs."""
DEMO = bundle_path(floats=True)


@pytest.fixture(autouse=True, scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_limits, "BOARD_SIDE", SIDE)
        patch.setattr(device_limits, "COPY_BYTES", 1 << 20)
        patch.setattr(build, "LOOK_SECONDS", 0.005)
        patch.setattr(ceilings, "CLOCKS", Path("/nowhere"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def takes(what: str) -> float:
    """Milliseconds of what stands on the stream."""
    name = what.removeprefix("TensorRT's ")
    if name in RATE:
        return 2 * SIDE**3 * device_limits.PRODUCTS / RATE[name] / 1e6
    if name != what or what == "a run" or what.startswith("graph "):
        return RUN
    return {"a copy on the device": 2 * (1 << 20) / BANDWIDTH / 1e6, "kernel finite_f32": KERNEL}.get(what, 0.0)


def tensorrt() -> StandInTensorRT:
    engine = StandInTensorRT()
    engine.driver.takes, engine.trt.computes = takes, lambda graph: graph not in RATE
    return engine


def cuda() -> OrtCudaEngine:
    driver = StandIn()
    driver.takes = takes
    return OrtCudaEngine(api=driver, library=OrtStandIn(driver))


def profiled(engine: Any, bundle: Path, out: Path, *words: str) -> Profile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "choose", lambda name, manifest: Choice(engine, "planted", "planted"))
        assert cli.main(["profile", str(bundle), "--units", "3", "--out", str(out), *words]) == 0
    assert engine.name in (out / "report.html").read_text("utf-8")
    return read_profile(out / "profile.json")


@pytest.fixture(scope="module")
def on_tensorrt(small: None, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The demo's, with everything."""
    engine = tensorrt()
    engine.trt.layer_ms = lambda graph, layer: 0.25 if graph == "core" else 0.01
    return profiled(engine, DEMO, tmp_path_factory.mktemp("profile") / "out", "--layers")


@pytest.fixture(scope="module")
def on_cuda(small: None, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profiled(cuda(), DEMO, tmp_path_factory.mktemp("profile") / "out", "--layers")


def test_tensorrts_graphs_stand_under_the_planted_roof(on_tensorrt: Profile) -> None:
    made, roof = on_tensorrt, on_tensorrt.roof
    assert (made.engine, made.engine_notes) == ("TensorRT 10.3.0 Stand-in", ())
    assert roof is not None
    assert (roof.threads, roof.through) == (0, made.engine)
    assert roof.rates == pytest.approx(RATE)
    assert roof.bandwidth == pytest.approx(BANDWIDTH)
    assert roof.node_us == pytest.approx(1e3 * KERNEL)
    assert roof.left_out.keys() == {"fp8"}
    assert {row.graph for row in made.graphs} >= {"core at 1", "core at 9", "decode"}
    for row in made.graphs:
        assert row.run_ms == pytest.approx(RUN)
        assert row.rate == pytest.approx(row.operations / RUN / 1e6)
        assert row.of_compute == pytest.approx(row.rate / RATE["float32"])
        assert row.of_bandwidth == pytest.approx(row.moved_bytes / RUN / 1e6 / BANDWIDTH)
        assert row.predicted_ms is not None
        assert row.binds is not None
    assert made.binds is not None
    assert not any("another engine" in one.what for one in made.helps)


def test_tensorrts_units_are_measured_as_they_run(on_tensorrt: Profile, on_cuda: Profile) -> None:
    """Captured, as in a run; the graphs' times are from other units."""
    made = on_tensorrt
    assert (made.units, made.runs_apart, on_cuda.runs_apart) == (3, command.APART, 0)
    play = made.sections["unit/step/play"]
    graphs = [one for path, one in made.sections.items() if outer(path) == "unit/step/play" and one.kind == "graph"]
    assert sum(one.ms.p50 for one in graphs) == pytest.approx(RUN * sum(one.runs for one in graphs))
    assert play.ms.p50 < made.unit.p50
    assert "unit/step/play" in made.series_ms
    assert not [path for path in made.series_ms if "core" in path]  # no unit that counts was played call by call
    assert "from 50 units more" in " ".join(lines(made))


def test_tensorrts_layers_are_told_by_its_profiler(on_tensorrt: Profile) -> None:
    made = on_tensorrt
    assert made.layers_told.startswith("TensorRT 10.3.0 Stand-in, 10 units apart")
    assert "not as one captured graph" in made.layers_told
    assert sum(one.share for one in made.layers) == pytest.approx(1, abs=0.01)
    assert {one.graph for one in made.layers} >= {"core at 1", "core at 9", "decode"}
    one = next(one for one in made.layers if one.graph == "core at 1" and one.gives == "float32")
    assert (one.runs, one.unit_ms) == (4, 1.0)
    assert (one.operator, one.kernel) == ("kgen", "stand-in")
    assert "Row major linear FP32 format" in one.formats


def test_onnx_runtime_with_cuda_has_a_roof_of_its_own(on_cuda: Profile) -> None:
    made, roof = on_cuda, on_cuda.roof
    assert made.engine == "onnxruntime 1.31.1 cuda, Stand-in"
    assert roof is not None
    assert (roof.threads, roof.through) == (0, made.engine)
    assert roof.rates.keys() == {"float32", "fp16"}
    assert roof.rates["float32"] == pytest.approx(2 * SIDE**3 * device_limits.PRODUCTS / RUN / 1e6)
    assert roof.node_us == pytest.approx(1e3 * RUN / device_limits.KERNELS)
    assert roof.left_out.keys() == {"bf16", "int8", "fp8"}
    assert all(row.run_ms == pytest.approx(RUN) for row in made.graphs)


def test_onnx_runtimes_layers_on_cuda_name_their_provider(on_cuda: Profile) -> None:
    made = on_cuda
    assert {one.provider for one in made.layers} <= {"CUDA", "CPU"}
    product = next(one for one in made.layers if one.graph == "core" and one.operator == "MatMul")
    assert (product.provider, product.runs) == ("CUDA", 7)
    assert made.layers_told.startswith("onnxruntime 1.31.1 cuda, Stand-in, 10 units apart")
    assert "this ONNX Runtime does not ask the GPU" in made.layers_told


def test_the_second_profile_measures_nothing(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = profiled(tensorrt(), counter, tmp_path / "first")
    assert "measuring what this GPU can do" in capsys.readouterr().err
    monkeypatch.setattr(device_limits, "measure", None)
    assert profiled(tensorrt(), counter, tmp_path / "second").roof == first.roof
    assert "measuring" not in capsys.readouterr().err


def test_an_engine_that_tells_no_layers_says_so(counter: Path, tmp_path: Path) -> None:
    engine = StandInEngine()
    engine.driver.takes = takes
    made = profiled(engine, counter, tmp_path / "out", "--layers")
    assert (made.layers, made.layers_told) == ((), f"{engine.name} does not tell its layers")
    assert made.roof is not None
    assert made.roof.rates.keys() == {"float32"}


def test_what_cannot_be_measured_leaves_the_run_as_it_was(
    counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tensorrt()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def loses(*unused: Any) -> None:
        engine.driver.lose("CUDA_ERROR_LAUNCH_FAILED")
        engine.cuda.synchronize("measuring")

    monkeypatch.setattr(device_limits, "_rate", loses)
    made = profiled(engine, counter, tmp_path / "out", "--layers")
    assert made.units == 3
    assert (made.roof, made.helps, made.layers) == (None, (), ())
    assert "the GPU was lost" in made.roof_told
    assert "the GPU was lost" in made.layers_told
    assert made.roof_told in (tmp_path / "out/report.html").read_text("utf-8")
