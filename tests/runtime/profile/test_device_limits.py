"""A GPU's ceilings through each engine, on stand-ins whose events tell planted times: rates are exactly those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edge_streamer.runtime.engines.ort_cuda import OrtCudaEngine
from edge_streamer.runtime.engines.tensorrt import build
from edge_streamer.runtime.engines.tensorrt.build import Options
from edge_streamer.runtime.errors import DeviceLost, EngineError
from edge_streamer.runtime.profile import ceilings, device_limits
from edge_streamer.runtime.profile.device_limits import COPY_BYTES, KERNELS, NUMBERS, PRODUCTS, measure, products
from edge_streamer.runtime.profile.limits import ROWS, Limits
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.ort_stand_in import OrtStandIn
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT
from tests.runtime.engines.tensorrt_stand_in.strict import VERSIONS

SIDE = 32
OPERATIONS = 2 * SIDE**3 * PRODUCTS
TAKEN = {"float32": 8.0, "fp16": 2.0, "bf16": 2.5, "int8": 1.0, "fp8": 0.5}
"""Milliseconds of a run of products."""
COPIED, KERNEL, OPERATOR = 2.0, 0.003, 0.01


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_limits, "BOARD_SIDE", SIDE)
    monkeypatch.setattr(device_limits, "CARD_SIDE", 2 * SIDE)
    monkeypatch.setattr(device_limits, "COPY_BYTES", 1 << 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ceilings, "CLOCKS", tmp_path / "devfreq")
    monkeypatch.setattr(build, "LOOK_SECONDS", 0.005)


def takes(what: str) -> float:
    """Milliseconds of what stands on the stream."""
    if what.startswith("TensorRT's "):
        return TAKEN[what.removeprefix("TensorRT's ")]
    return {"a copy on the device": COPIED, "kernel finite_f32": KERNEL}.get(what, 0.0)


def tensorrt(version: str = "tensorrt-10.3.0", capability: tuple[int, int] = (8, 7), **options: Any) -> StandInTensorRT:
    engine = StandInTensorRT(version, StandIn(capability), **options)
    engine.driver.takes, engine.trt.computes = takes, lambda graph: False
    return engine


def cuda() -> OrtCudaEngine:
    """ONNX Runtime's, whose runs the driver knows by no name: each takes as long as its node for node."""
    driver = StandIn()
    driver.takes = lambda what: KERNELS * OPERATOR if what == "a run" else takes(what)
    return OrtCudaEngine(api=driver, library=OrtStandIn(driver))


# ---- the graphs ----


@pytest.mark.parametrize("name", NUMBERS)
def test_the_products_are_onnx(name: Any) -> None:
    text = products(name, 64)
    found = onnx.load_from_string(text)
    onnx.checker.check_model(found, full_check=True)
    assert sum(node.op_type == "MatMul" for node in found.graph.node) == PRODUCTS
    assert len({node.name for node in found.graph.node}) == len(found.graph.node)
    if name == "bf16":  # which ONNX Runtime does not multiply on a CPU
        return
    session = ort.InferenceSession(text, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.random.default_rng(1).standard_normal((64, 64), np.float32)})
    assert 0.3 < y.std() < 10, "neither grows nor dies out: a device multiplies numbers, not zeros or infinities"


def test_a_weight_of_bits_is_the_number_it_stands_for() -> None:
    weight = np.array([[1.0, -2.5]], np.float32)
    (found,) = onnx.load_from_string(
        device_limits.model([device_limits.Node("Cast", ("w",), ("y",), {"to": 1})],
                            {"w": device_limits._bfloat16(weight)}, (1, 2), (1, 2))
    ).graph.initializer  # fmt: skip
    assert np.array_equal(onnx.numpy_helper.to_array(found).astype(np.float32), weight)


# ---- TensorRT ----


@pytest.mark.parametrize("version", VERSIONS)
def test_tensorrts_rates_are_those_that_the_events_tell(version: str) -> None:
    engine = tensorrt(version, (8, 9))
    told: list[Any] = []
    found = measure(engine, lambda *what: told.append(what))
    assert found.left_out == {}
    assert found.rates == {name: pytest.approx(OPERATIONS / ms * 1e3) for name, ms in TAKEN.items()}
    assert found.bandwidth == pytest.approx(2 * (1 << 20) / COPIED * 1e3)
    assert found.kernel == pytest.approx(KERNEL / 1e3)
    assert told == [("ceilings", done, 7) for done in range(8)]


def test_the_fastest_of_several_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, passes = tensorrt(), iter(range(10_000))
    engine.driver.takes = lambda what: takes(what) * (1 + next(passes) % 7)
    assert measure(engine).rates["fp16"] == pytest.approx(OPERATIONS / TAKEN["fp16"] * 1e3)


def test_a_card_multiplies_larger_ones() -> None:
    engine = StandInTensorRT(driver=StandIn(integrated=False))
    engine.driver.takes, engine.trt.computes = takes, lambda graph: False
    assert measure(engine).rates["fp16"] == pytest.approx(8 * OPERATIONS / TAKEN["fp16"] * 1e3)


def test_nothing_that_was_built_for_it_stays(tmp_path: Path) -> None:
    engine = tensorrt(folder=tmp_path / "engines")
    before = engine.memory()
    measure(engine)
    assert [path.suffix for path in (tmp_path / "engines").iterdir() if path.name != "lock"] == [".cache"]
    assert engine.memory()["state"] == before["state"]
    assert engine.memory()["weights"] == 0
    assert {"event", "graph executable"} & engine.driver.standing.keys() == set()


def test_what_a_gpu_has_not_is_left_out_with_the_reason() -> None:
    found = measure(tensorrt())
    assert found.rates.keys() == {"float32", "fp16", "bf16", "int8"}
    assert found.left_out == {"fp8": "a GPU of compute capability 8.7 has no fp8"}
    assert measure(tensorrt(capability=(7, 5))).left_out.keys() == {"bf16", "fp8"}


def test_what_cannot_be_built_is_left_out_with_the_reason() -> None:
    engine = tensorrt()
    engine.trt.refuses = {"Cast": "no cast today"}
    found = measure(engine)
    assert found.rates.keys() == {"float32", "int8"}
    assert "TensorRT 10.3.0 does not take graph 'measured-fp16'" in found.left_out["fp16"]
    assert "no cast today" in found.left_out["bf16"]


def test_products_that_were_built_wider_have_no_rate() -> None:
    engine = tensorrt()
    engine.trt.widened = {f"h{n}": "HALF" for n in range(PRODUCTS)}
    found = measure(engine)
    assert "int8" not in found.rates
    assert "in more bits than the graph asks" in found.left_out["int8"]


def test_products_of_which_nothing_is_told_have_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tensorrt()
    monkeypatch.setattr(engine, "_inspected", lambda *unused: json.dumps({"Layers": []}))
    assert measure(engine).left_out["int8"] == "TensorRT 10.3.0 does not tell whether it built it in int8"


def test_nothing_that_could_be_measured_is_an_error() -> None:
    engine = tensorrt()
    engine.trt.fails = True
    with pytest.raises(EngineError, match=r"no product could be measured: .*Could not find any implementation"):
        measure(engine)


def test_a_lost_device_is_told() -> None:
    engine = tensorrt()
    engine.driver.lose("CUDA_ERROR_LAUNCH_FAILED")
    with pytest.raises(DeviceLost):
        measure(engine)


# ---- ONNX Runtime with CUDA ----


def test_onnx_runtimes_rates_are_of_numbers_that_it_multiplies() -> None:
    engine = cuda()
    found = measure(engine)
    assert found.rates == {name: pytest.approx(OPERATIONS / (KERNELS * OPERATOR) * 1e3) for name in ("float32", "fp16")}
    assert "NOT_IMPLEMENTED" in found.left_out["bf16"]  # by the CPU that stands for the GPU
    assert found.left_out["int8"] == f"{engine.name} does not multiply in int8"
    assert found.kernel == pytest.approx(OPERATOR / 1e3), "an operator, as it is put on the stream"


def test_an_engine_of_float32_alone_has_one_rate() -> None:
    engine = StandInEngine()
    engine.driver.takes = lambda what: 4.0 if "graph" in what else takes(what)
    found = measure(engine)
    assert found.rates == {"float32": pytest.approx(OPERATIONS / 4.0 * 1e3)}


# ---- remembered ----


def test_a_gpus_ceilings_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tensorrt()
    assert ceilings.device_remembered(engine) is None
    found = ceilings.device_ceilings(engine)
    monkeypatch.setattr(device_limits, "measure", None)
    assert ceilings.device_remembered(engine) == found
    assert ceilings.device_ceilings(engine) == found
    (key,) = json.loads((tmp_path / "cache/edge-streamer/ceilings.json").read_text())
    assert key == ("2; Stand-in, compute capability 8.7, driver 12060, TensorRT 10.3.0 Stand-in, 1020 MHz and 1020 MHz")
    (tmp_path / "cache/edge-streamer/ceilings.json").write_text("{")
    assert ceilings.device_remembered(engine) is None


def test_another_version_mode_or_arithmetic_is_measured_anew(tmp_path: Path) -> None:
    ceilings.device_ceilings(tensorrt())
    assert ceilings.device_remembered(tensorrt("tensorrt-10.13.3.9")) is None
    assert ceilings.device_remembered(tensorrt(options=Options(tf32=True))) is None
    assert ceilings.device_remembered(tensorrt(capability=(11, 0))) is None
    assert ceilings.device_remembered(cuda()) is None
    assert ceilings.device_remembered(tensorrt()) is not None
    (tmp_path / "devfreq/17000000.gpu").mkdir(parents=True)
    (tmp_path / "devfreq/17000000.gpu/max_freq").write_text("624750000\n")
    assert ceilings.device_remembered(tensorrt()) is None


def test_a_cpus_ceilings_lie_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: Any = [(kind, cached, rows) for kind in ("float32", "int8") for cached in (True, False) for rows in ROWS]
    host = Limits(
        large=1.0, bandwidth=1.0, products=dict.fromkeys(kinds, 1.0), convolve=1.0, node=1.0,
        attention={(cached, rows): 1.0 for cached in (True, False) for rows in ROWS},
    )  # fmt: skip
    monkeypatch.setattr(ceilings, "measure", lambda threads: host)
    device = ceilings.device_ceilings(tensorrt())
    ceilings.ceilings(1)
    assert ceilings.remembered(1) == host
    assert ceilings.device_remembered(tensorrt()) == device


def test_a_copy_takes_no_more_than_a_part_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_limits, "COPY_BYTES", COPY_BYTES)
    engine = StandInEngine(StandIn(integrated=False, total=64 << 20))
    engine.driver.takes = takes
    free = engine.free_bytes() // 8
    assert device_limits._bandwidth(engine) == pytest.approx(2 * free / COPIED * 1e3)
