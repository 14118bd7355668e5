"""Rewritten graphs compute what their codes say, folded scales change nothing, and no operator is a stranger."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_streamer.quantization import graph, qdq
from edge_streamer.quantization.formats import FP16, INT4, INT8, fits, to_nearest
from edge_streamer.quantization.schemes import CODECS, Plan, Scheme
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from tests.quantized import FLOAT32, changed, latents

FOLDABLE = ("attention.qkv", "feed_forward.gate_up", "feed_forward.down")


@pytest.fixture
def spoiled(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def answers(session: Session) -> list[np.ndarray]:
    """Latents, samples and scores after some made-up units."""
    found = latents(session)
    wiring, response = wan_streamer(session.program).wiring, session.step(made_unit(session.media, 0, 3))
    return [found, response.samples.copy(), np.stack([s["scores"].host for s in wiring.sampled])]


def latents_of(folder: Path, name: str, change, precision: Precision = FLOAT32) -> np.ndarray:
    return latents(open_session(changed(folder, name, change, precision)))


def test_layers_are_parameters_and_nothing_else(tiny_bundle: Path) -> None:
    names = {
        spec.name: [layer.name for layer in graph.layers(graph.load(tiny_bundle / spec.file))]
        for spec in Bundle.open(tiny_bundle).manifest.graphs
    }
    assert len(names["core"]) == 4 * 2, "four matrices in each of two layers"
    assert not any("mel" in name for name in names["encode"]), "the spectrum is exact"
    assert all(names[codec] for codec in CODECS)
    assert names["slot"] == ["embedding_columns"], "the head, tied to the token table"


def test_folded_scales_change_nothing(spoiled: Path) -> None:
    before, folded = latents(open_session(spoiled)), []

    def fold(model) -> None:
        rng = np.random.default_rng(0)
        for layer in graph.layers(model):
            maker = graph.maker_of(layer)
            if maker is not None:
                folded.append(layer.name.split(".", 2)[2])
                graph.fold(model, layer, maker, np.exp(rng.standard_normal(layer.shape[0])).astype(np.float32))

    after = latents_of(spoiled, "core", fold)
    assert sorted(set(folded)) == sorted(FOLDABLE)
    assert np.abs(after - before).max() < 1e-4 * np.abs(before).max()


@pytest.mark.parametrize("name", ["encode", "core", "decode", "slot", "solve_out"])
def test_stored_weights_are_the_codes(spoiled: Path, name: str) -> None:
    """Against the same bundle with the codes' floats as weights: no other arithmetic, so no other answer."""
    other = Path(shutil.copytree(spoiled, spoiled.with_name("other")))

    def floats(model) -> None:
        import onnx_ir as ir

        for layer in graph.layers(model):
            moved = to_nearest(layer.matrix, INT8).floats()
            axis = graph.OUTPUT_AXIS[layer.operator]
            shape = [*np.delete(layer.shape, axis), layer.shape[axis]]
            tensor = np.ascontiguousarray(np.moveaxis(moved.reshape(shape), -1, axis))
            layer.weight.const_value = ir.Tensor(tensor, name=layer.weight.name)

    def store(model) -> None:
        for layer in graph.layers(model):
            qdq.store(model, layer, to_nearest(layer.matrix, INT8))

    wanted, came = latents_of(other, name, floats), latents_of(spoiled, name, store, Precision(weights="int8"))
    assert np.linalg.norm(came - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_products_of_integers_are_near_and_standard(spoiled: Path) -> None:
    before = latents(open_session(spoiled))

    def compute(model) -> None:
        for layer in graph.layers(model):
            qdq.compute(model, layer, to_nearest(layer.matrix, INT8))

    after = latents_of(spoiled, "core", compute)
    assert 1e-4 < np.linalg.norm(after - before) / np.linalg.norm(before) < 0.1
    made = onnx.load(spoiled / "graphs" / "core.onnx", load_external_data=False)
    assert {node.domain for node in made.graph.node} == {""}
    assert sum(node.op_type == "MatMulInteger" for node in made.graph.node) == 8
    assert not any(i.name.endswith(".weight") and len(i.dims) == 2 for i in made.graph.initializer)


@pytest.mark.parametrize("name", ["encode", "core", "decode", "slot", "solve_in", "solve_out"])
def test_half_precision_is_near_and_every_product_is_in_it(spoiled: Path, name: str) -> None:
    before = answers(open_session(spoiled))

    def cast(model) -> None:
        for layer in graph.layers(model):
            qdq.cast(model, layer, FP16)

    after = answers(open_session(changed(spoiled, name, cast, Precision(weights="fp16", activations="fp16"))))
    assert 0 < max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(after, before, strict=True)) < 0.01
    made = onnx.shape_inference.infer_shapes(onnx.load(spoiled / "graphs" / f"{name}.onnx", load_external_data=False))
    kinds = {i.name: i.data_type for i in made.graph.initializer}
    products = [node for node in made.graph.node if node.op_type in graph.OUTPUT_AXIS and node.input[1] in kinds]
    halves = [node for node in products if kinds[node.input[1]] == onnx.TensorProto.FLOAT16]
    assert halves
    assert all(kinds[value] == onnx.TensorProto.FLOAT16 for node in halves for value in node.input[1:] if value)
    assert {v.type.tensor_type.elem_type for v in made.graph.output} <= {
        onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.INT32
    }  # fmt: skip


def test_four_bits_are_four_bits_in_the_file(spoiled: Path) -> None:
    sizes = {}

    def store(model) -> None:
        for layer in graph.layers(model):
            assert fits(layer.shape[0], INT4)
            sizes[layer.name] = layer.shape[0] * layer.shape[1]
            qdq.store(model, layer, to_nearest(layer.matrix, INT4))

    before = (spoiled / "graphs" / "core.weights").stat().st_size
    latents_of(spoiled, "core", store)
    after = (spoiled / "graphs" / "core.weights").stat().st_size
    assert before - after > 0.8 * 3.5 * sum(sizes.values()), "a weight of four bytes is half a byte and its scale"


def test_a_scale_off_by_two_is_far_away(spoiled: Path) -> None:
    before = latents(open_session(spoiled))

    def spoil(model) -> None:
        for layer in graph.layers(model):
            codes = to_nearest(layer.matrix, INT8)
            qdq.store(model, layer, type(codes)(codes.format, codes.values, codes.scales * np.float32(2)))

    after = latents_of(spoiled, "core", spoil)
    assert np.linalg.norm(after - before) > 0.1 * np.linalg.norm(before)


def test_four_bits_spare_the_ends_of_a_deep_transformer(tiny_bundle: Path) -> None:
    def core(path: Path) -> list[graph.Layer]:
        bundle = Bundle.open(path, verify=False)
        return graph.layers(graph.load(bundle.file(bundle.manifest.graph("core").file)))

    deep = core(bundle_path(floats=True))
    spared = {layer.name for layer in deep if Scheme("int4").plan("core", layer) == Plan(INT8, "stored")}
    assert {graph.number(name) for name in spared} == {0, 5}
    assert spared == {layer.name for layer in deep if graph.number(layer.name) in (0, 5)}
    for layers, scheme in ((deep, Scheme("int4", spared=False)), (core(tiny_bundle), Scheme("int4"))):
        assert {scheme.plan("core", layer) for layer in layers} == {Plan(INT4, "stored")}
