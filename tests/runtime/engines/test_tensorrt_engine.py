"""The TensorRT engine over its stand-in: sessions bit for bit, what is kept and rebuilt, faults planted one by one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.tensorrt.build import Options
from edge_streamer.runtime.engines.tensorrt.engine import TensorRTGraph
from edge_streamer.runtime.errors import BundleError, EngineError, InputError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Knobs, Unit
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT
from tests.runtime.engines.tensorrt_stand_in.strict import VERSIONS
from tests.runtime.engines.test_contract import sides
from tests.runtime.session.conversation import assert_same

UNITS = 6


@pytest.fixture(scope="module")
def talks(tiny_bundle: Path) -> list[tuple[Unit, Any]]:
    """Units, and what the CPU answers."""
    session = open_session(tiny_bundle, engine=OrtEngine(threads=1), knobs=Knobs(temperature=0.8, seed=3))
    units = [made_unit(session.media, 3, k) for k in range(UNITS)]
    return [(unit, session.step(unit).copy()) for unit in units]


def second(engine: StandInTensorRT, folder: Path) -> tuple[TensorRTGraph, GraphSpec]:
    file = GraphFile.of(Bundle.open(folder), "second")
    return engine.open(file), file.spec


# ---- sessions ----


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_on_every_version_is_the_cpus_bit_for_bit(
    version: str, tiny_bundle: Path, talks: list[tuple[Unit, Any]]
) -> None:
    engine = StandInTensorRT(version)
    session = open_session(tiny_bundle, engine=engine, knobs=Knobs(temperature=0.8, seed=3))
    for unit, wanted in talks:
        assert_same(session.step(unit), wanted)
    assert engine.driver.calls["cuGraphLaunch"] > UNITS, "units and commits were replayed"
    assert engine.trt.loaded.count(str(tiny_bundle / "graphs/core.onnx")) == 2, "once to look at it, once to run"
    assert engine.name == f"{engine.library.name} Stand-in"


def test_weights_are_held_once_and_scratch_is_that_of_the_largest_pass(tiny_bundle: Path) -> None:
    engine = StandInTensorRT()
    session = open_session(tiny_bundle, engine=engine)
    session.step(Unit())
    before, loads = engine.memory(), len(engine.trt.loaded)
    twin = session.twin()
    twin.step(Unit())
    after = engine.memory()
    assert (after["weights"], after["scratch"]) == (before["weights"], before["scratch"])
    assert len(engine.trt.loaded) == loads
    assert after["state"] > before["state"]
    longest = max(max(graph.lengths) for graph in Bundle.open(tiny_bundle).manifest.graphs if graph.lengths)
    assert before["scratch"] >= 4096 * longest


def test_what_a_session_held_is_given_back(tiny_bundle: Path) -> None:
    import gc

    engine = StandInTensorRT()
    session = open_session(tiny_bundle, engine=engine)
    for _ in range(3):
        session.step(Unit())
    driver = engine.driver
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.open(GraphFile.of(Bundle.open(tiny_bundle), "core"))
    del session, engine
    gc.collect()
    assert driver.standing == {}


# ---- what is kept ----


def test_a_second_engine_builds_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    first = StandInTensorRT(folder=tmp_path)
    open_session(tiny_bundle, engine=first)
    again = StandInTensorRT(folder=tmp_path)
    told: list[Any] = []
    open_session(tiny_bundle, engine=again, tell=lambda *what: told.append(what)).step(Unit())
    assert (first.trt.builds, again.trt.builds) == (6, 0)
    assert {(done, total) for _, done, total in told} == {(1000, 1000)}


class NewerDriver(StandIn):
    def _cuDriverGetVersion(self) -> tuple[int]:
        return (13000,)


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        ("tensorrt-10.13.3.9", StandIn()), ("tensorrt_rtx-1.7.1.116", StandIn()),
        ("tensorrt-10.3.0", StandIn(compute_capability=(11, 0))), ("tensorrt-10.3.0", NewerDriver()),
    ],
    ids=["version", "RTX", "card", "driver"],
)  # fmt: skip
def test_an_engine_of_another_version_card_or_driver_is_rebuilt_never_loaded(
    version: str, driver: StandIn, tmp_path: Path, made_counter: Path
) -> None:
    first, other = StandInTensorRT(folder=tmp_path), StandInTensorRT(version, driver, tmp_path)
    second(first, made_counter)
    second(other, made_counter)
    assert (first.trt.builds, other.trt.builds) == (1, 1)
    for file in tmp_path.glob("second-*.engine"):  # under the other's name too
        file.write_bytes(first.cache.path(first.key(GraphFile.of(Bundle.open(made_counter), "second"))).read_bytes())
    other.trt.loaded.clear()
    second(other, made_counter)
    assert other.trt.builds == 2


def test_a_changed_graph_is_rebuilt(tmp_path: Path, counter: Path) -> None:
    engine = StandInTensorRT(folder=tmp_path)
    file = GraphFile.of(Bundle.open(counter), "second")
    engine.open(file)
    model = onnx.load(str(file.path))
    model.doc_string = "another"
    onnx.save(model, str(file.path))
    engine.open(GraphFile(file.path, file.spec))
    assert engine.trt.builds == 2


def test_an_engine_that_the_library_refuses_is_rebuilt_once(tmp_path: Path, made_counter: Path) -> None:
    second(StandInTensorRT(folder=tmp_path), made_counter)
    engine = StandInTensorRT(folder=tmp_path)
    engine.trt.driver_version += 1  # a change that the key does not tell
    graph, spec = second(engine, made_counter)
    assert engine.trt.builds == 1
    assert graph.bind(*sides(engine, spec)).graph == "second"


class Refuses:
    """A runtime that takes no engine."""

    def deserialize_cuda_engine(self, blob: bytes) -> None:
        return None


def test_an_engine_that_is_refused_right_after_its_build_is_an_error(tmp_path: Path, made_counter: Path) -> None:
    engine = StandInTensorRT(folder=tmp_path)
    engine._runtime = Refuses()
    with pytest.raises(EngineError, match="refuses the engine of 'second' that it built"):
        second(engine, made_counter)
    assert not list(tmp_path.glob("*.engine"))


def test_a_build_that_is_stopped_leaves_nothing(tmp_path: Path, made_counter: Path) -> None:
    engine = StandInTensorRT(folder=tmp_path)
    engine.trt.steps = 10_000
    engine.trt.while_building = lambda: threading.Event().wait(0.002)
    file = GraphFile.of(Bundle.open(made_counter), "second")

    def tell(graph: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.open(file, tell)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    engine.trt.steps = 2
    engine.open(file)
    assert engine.trt.builds == 1


def test_two_that_build_at_once_build_once(tmp_path: Path, made_counter: Path) -> None:
    engines = [StandInTensorRT(folder=tmp_path) for _ in range(2)]
    for engine in engines:
        engine.trt.while_building = lambda: threading.Event().wait(0.1)
    threads = [threading.Thread(target=second, args=(engine, made_counter)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(engine.trt.builds for engine in engines) == [0, 1]


def test_what_does_not_fit_is_refused_before_it_is_built(tmp_path: Path, made_counter: Path) -> None:
    small = StandInTensorRT(driver=StandIn(integrated=False, total=1 << 20), folder=tmp_path)
    with pytest.raises(InputError, match=r"building graph 'second' wants .* of the card's memory is free"):
        second(small, made_counter)
    assert small.trt.builds == 0
    anyway = StandInTensorRT(driver=StandIn(integrated=False, total=1 << 20), folder=tmp_path, anyway=True)
    second(anyway, made_counter)
    assert anyway.trt.builds == 1


# ---- what was built ----


@pytest.fixture
def quantized(tmp_path: Path) -> GraphFile:
    """y = x times a matrix, both in 8 bits."""
    weights = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    constants = [numpy_helper.from_array(value, name) for name, value in (
        ("w.codes", weights), ("w.scale", np.float32(0.1)), ("x.scale", np.float32(0.05)), ("zero", np.int8(0)),
    )]  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["w.codes", "w.scale"], ["w"], name="w.floats"),
        helper.make_node("QuantizeLinear", ["x", "x.scale", "zero"], ["x.codes"], name="x.codes"),
        helper.make_node("DequantizeLinear", ["x.codes", "x.scale", "zero"], ["x.floats"], name="x.floats"),
        helper.make_node("MatMul", ["x.floats", "w"], ["y"], name="layer.MatMul"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph(nodes, "layer", values[:1], values[1:], constants),
        opset_imports=[helper.make_opsetid("", 21)], ir_version=10,
    )  # fmt: skip
    onnx.save(model, str(tmp_path / "layer.onnx"))
    tensors = [TensorSpec(name=name, dtype="float32", shape=(1, 4), axes=("row", "column")) for name in ("x", "y")]
    spec = GraphSpec(name="layer", file="layer.onnx", inputs=(tensors[0],), outputs=(tensors[1],), parameters=16,
                     weight_bytes=16, operations={"static": 32}, moved_bytes={"static": 48})  # fmt: skip
    return GraphFile(tmp_path / "layer.onnx", spec)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_layer_that_is_built_wider_fails_the_build_unless_it_is_allowed(
    version: str, quantized: GraphFile, tmp_path: Path
) -> None:
    folder = tmp_path / "engines"
    narrow = StandInTensorRT(version, folder=tmp_path / "narrow")
    assert narrow.prepare(quantized).told.precision == {"int8": 1}

    wide = StandInTensorRT(version, folder=folder)
    wide.trt.widened["layer.MatMul"] = "HALF"
    with pytest.raises(
        EngineError, match=r"1 of 1 quantized layers .* layer.MatMul \(int8 was asked, fp16 was built\)"
    ):
        wide.open(quantized)
    assert not list(folder.glob("*.engine")), "what failed is not kept"

    allowed = StandInTensorRT(version, folder=folder, allow_wider=["layer.*"])
    allowed.trt.widened["layer.MatMul"] = "HALF"
    assert allowed.prepare(quantized).told.wider == ("layer.MatMul",)
    assert wide.open(quantized).spec.name == "layer", "sessions run what was allowed when it was built"
    with pytest.raises(EngineError, match=r"layer.MatMul \(int8 was asked"):
        wide.prepare(quantized)  # a build must be allowed now


def test_a_build_with_another_workspace_replaces_the_engine_that_sessions_find(
    quantized: GraphFile, tmp_path: Path
) -> None:
    little = StandInTensorRT(folder=tmp_path / "engines", options=Options(workspace=1 << 20))
    usual = StandInTensorRT(folder=tmp_path / "engines")
    little.prepare(quantized)
    little.prepare(quantized)
    usual.open(quantized)
    assert (little.trt.builds, usual.trt.builds) == (1, 0)
    usual.prepare(quantized)
    assert usual.trt.builds == 1


def test_a_manifest_that_is_not_the_engines_is_refused_also_from_the_cache(tiny_bundle: Path) -> None:
    engine = StandInTensorRT()
    file = GraphFile.of(Bundle.open(tiny_bundle), "slot")
    engine.open(file)
    outputs = tuple(
        msgspec.structs.replace(tensor, dtype="int64") if tensor.dtype == "int32" else tensor
        for tensor in file.spec.outputs
    )
    assert outputs != file.spec.outputs
    with pytest.raises(BundleError, match=r"output 'candidates': .*INT32.*, the manifest says .*INT64"):
        engine.open(GraphFile(file.path, msgspec.structs.replace(file.spec, outputs=outputs)))
