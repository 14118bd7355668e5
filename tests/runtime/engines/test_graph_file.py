"""Graph files: their hash, other files in a bundle's place, and what an engine says of them and holds."""

from __future__ import annotations

import gc
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_streamer.runtime.bundle.manifest import TensorSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError, EngineError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit

ROW = np.array([[1, 2, 3, 4]], np.float32)


def with_output(file: GraphFile, value: str, folder: Path) -> GraphFile:
    """The graph with ``value`` as a further output, ``copy of <value>``."""
    model = onnx.load(str(file.path))
    of = next(t for t in (*file.spec.inputs, *file.spec.outputs) if t.name == value)
    name = f"copy of {value}"
    model.graph.node.append(helper.make_node("Identity", [value], [name]))
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, of.shape))
    path = folder / f"{file.spec.name}.onnx"
    onnx.save(model, str(path))
    more = TensorSpec(name=name, dtype="float32", shape=of.shape, axes=of.axes)
    return GraphFile(path, msgspec.structs.replace(file.spec, outputs=(*file.spec.outputs, more)))


def test_the_hash_is_of_the_graph_and_its_weights(tmp_path: Path) -> None:
    bundle = Bundle.open(bundle_path())
    file = GraphFile.of(bundle, "core")
    bare = GraphFile(file.path, file.spec)
    assert file.known
    assert file.sha256 == bare.sha256, "what the manifest lists is what the files give"
    parts = [hashlib.sha256((bundle.path / f"graphs/core.{e}").read_bytes()).hexdigest() for e in ("onnx", "weights")]
    assert file.sha256 == hashlib.sha256("".join(parts).encode()).hexdigest()
    for ending in ("onnx", "weights"):
        shutil.copyfile(bundle.path / f"graphs/core.{ending}", tmp_path / f"core.{ending}")
    copy = GraphFile(tmp_path / "core.onnx", file.spec)
    assert copy.sha256 == file.sha256, "where the files lie does not matter"
    weights = bytearray((tmp_path / "core.weights").read_bytes())
    weights[0] ^= 1
    (tmp_path / "core.weights").write_bytes(weights)
    assert GraphFile(tmp_path / "core.onnx", file.spec).sha256 != file.sha256


def test_a_graph_from_another_file_shows_its_further_outputs(made_counter: Path, tmp_path: Path) -> None:
    other = with_output(GraphFile.of(Bundle.open(made_counter), "first"), "x", tmp_path)
    session = open_session(made_counter, graphs={"first": other})
    seen = []
    with session.recording(lambda name, inputs, outputs: seen.append({k: v.copy() for k, v in outputs.items()})):
        np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * ROW)
    np.testing.assert_array_equal(seen[0]["copy of x"], ROW)
    assert "copy of x" not in seen[1]


def test_further_outputs_of_the_transformer_have_each_pass_own_length(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graphs = {n: with_output(GraphFile.of(bundle, n), v, tmp_path) for n, v in (("core", "hidden"), ("solve_in", "t"))}
    session, seen = open_session(bundle, graphs=graphs), dict[str, tuple[int, ...]]()

    def watch(name: str, inputs, outputs) -> None:
        if "copy of hidden" in outputs:
            np.testing.assert_array_equal(outputs["copy of hidden"], outputs["hidden"])
            seen[name] = outputs["copy of hidden"].shape
        if name.startswith("solve.") and name.endswith(".in"):
            np.testing.assert_array_equal(outputs["copy of t"], inputs["t"])
            seen[name] = outputs["copy of t"].shape

    plain = open_session(bundle).step(Unit()).samples.copy()
    with session.recording(watch):
        np.testing.assert_allclose(session.step(Unit()).samples, plain, atol=1e-5)
    width = bundle.manifest.graph("core").outputs[0].shape[-1]
    assert seen["slot.0"] == (1, 1, width)
    assert seen["block"][1] > seen["solve.0"][1] > 1
    assert seen["solve.0.in"] == (1,)


def test_a_file_that_cannot_stand_for_the_graph_is_refused(made_counter: Path) -> None:
    first = GraphFile.of(Bundle.open(made_counter), "first")
    less = replace(first, spec=msgspec.structs.replace(first.spec, outputs=first.spec.outputs[:1]))
    for graphs, says in (
        ({"second": first}, "cannot stand for graph 'second'"),
        ({"first": less}, f"lacks outputs .{first.spec.outputs[-1].name}"),
        ({"third": first}, "no graph 'third'"),
    ):
        with pytest.raises(BundleError, match=says):
            open_session(made_counter, graphs=graphs)


def test_opening_says_how_far_it_is(made_counter: Path) -> None:
    told: list[tuple[str, int, int]] = []
    open_session(made_counter, tell=lambda *said: told.append(said))
    assert told == [("first", 0, 1), ("first", 1, 1), ("second", 0, 1), ("second", 1, 1)]


def test_an_engine_tells_what_it_holds_and_lets_it_go() -> None:
    bundle, engine = Bundle.open(bundle_path()), OrtEngine(threads=1)
    assert engine.memory() == {"weights": 0, "state": 0}
    session = open_session(bundle, engine=engine)
    one = engine.memory()
    opened = [g.weight_bytes for g in bundle.manifest.graphs if g.name != "encode_agent"]
    assert one["weights"] == sum(opened), "encode_agent is opened when a prefix is wanted"
    assert one["state"] > session.state_bytes
    twin = session.twin()
    two = engine.memory()
    assert two["weights"] == one["weights"]
    assert two["state"] == 2 * one["state"]
    session.close()
    session.close()
    gc.collect()
    assert engine.memory() == one
    twin.step(Unit())
    twin.close()
    gc.collect()
    assert engine.memory() == {"weights": 0, "state": 0}


def test_a_closed_session_says_so(made_counter: Path) -> None:
    with open_session(made_counter) as session:
        snapshot = session.snapshot()
        engine = session.engine
    assert "closed" in repr(session)
    unit = Unit(arrays={"x": ROW})
    for act in (lambda: session.step(unit), session.snapshot, session.twin, session.reset, session.settle,
                lambda: session.restore(snapshot), lambda: session.state_bytes):  # fmt: skip
        with pytest.raises(ValueError, match="the session is closed"):
            act()
    with pytest.raises(EngineError, match="'first' cannot be opened: the engine is closed"):
        engine.open(GraphFile.of(Bundle.open(made_counter), "first"), lambda *_: None)


def test_an_engine_that_was_handed_in_stays_open(made_counter: Path) -> None:
    engine = OrtEngine(threads=1)
    open_session(made_counter, engine=engine).close()
    np.testing.assert_array_equal(
        open_session(made_counter, engine=engine).step(Unit(arrays={"x": ROW})).arrays["z"], 2 * ROW
    )
