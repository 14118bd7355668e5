"""Number formats: codes lie on their grid, engines read them as we do, what cannot be is refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edge_streamer.quantization.formats import FP8, INT4, INT8, NVFP4, Codes, Format, packed, to_nearest
from edge_streamer.runtime.errors import InputError


def weight(inputs: int = 64, outputs: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((inputs, outputs)).astype(np.float32)


@pytest.mark.parametrize("format", [INT8, INT4], ids=lambda f: f.name)
def test_no_weight_moves_by_more_than_half_a_step(format: Format) -> None:
    w = weight()
    codes = to_nearest(w, format)
    assert np.abs(codes.values).max() == format.largest
    steps = np.repeat(codes.scales, len(w) // len(codes.scales), 0)
    assert np.all(np.abs(codes.floats() - w) <= 0.5001 * steps)


def test_a_scale_belongs_to_its_output_and_block() -> None:
    w = weight()
    w[:, 3] *= 1000
    assert np.abs(to_nearest(w, INT8).floats() - w)[:, :3].max() < 0.02, "a large output spoils no other"
    w = weight()
    w[32:] *= 1000
    assert np.abs(to_nearest(w, INT4).floats() - w)[:32].max() < 0.3, "a large block spoils no other"


def test_a_column_of_zeros_stays_one() -> None:
    w = weight()
    w[:, 2] = 0
    for format in (INT8, INT4, FP8, NVFP4):
        assert not to_nearest(w, format).floats()[:, 2].any()


def test_what_cannot_be_is_refused() -> None:
    w = weight()
    w[7, 1] = np.nan
    with pytest.raises(InputError, match="NaN or infinite"):
        to_nearest(w, INT8)
    with pytest.raises(ValueError, match="33 inputs"):
        to_nearest(weight(33), INT4)


@pytest.mark.parametrize("format", [FP8, NVFP4], ids=lambda f: f.name)
def test_small_floats_are_as_near_as_their_mantissa(format: Format) -> None:
    """Between powers of two E4M3 has eight steps and E2M1 two; below the smallest power steps are even."""
    w = weight(128)
    codes = to_nearest(w, format)
    steps, smallest = {"fp8": (8, 2.0**-6), "nvfp4": (2, 1.0)}[format.name]
    scales = np.repeat(codes.scales, codes.block, 0)
    spacing = np.exp2(np.floor(np.log2(np.maximum(np.abs(w / scales), smallest)))) / steps
    cut = np.abs(w / scales) > format.largest
    assert np.all((np.abs(codes.floats() - w) <= 0.5001 * spacing * scales) | cut)
    assert np.all(np.abs(w - codes.floats())[cut] < np.abs(w[cut]) / 15), "a scale that was rounded down cuts a little"


def test_nvfp4_is_what_its_bits_say() -> None:
    """Decoded by hand, from the packed bytes and the scales' bytes."""
    codes = to_nearest(weight(32, 6), NVFP4)
    raw, small = packed(codes.values), codes.small_scales().view(np.uint8)
    nibbles = np.stack([raw & 15, raw >> 4], 1).reshape(32, 6)
    size = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)[nibbles & 7]
    exponent, mantissa = (small >> 3 & 15).astype(np.float32), (small & 7).astype(np.float32)
    scales = np.where(exponent > 0, np.exp2(exponent - 7) * (1 + mantissa / 8), np.exp2(-6.0) * mantissa / 8)
    assert codes.unit is not None
    wanted = np.where(nibbles & 8, -size, size) * np.repeat(scales.astype(np.float32) * codes.unit, 16, 0)
    assert small.max() == 0x7E, "the largest scale is E4M3's largest number"
    assert np.array_equal(codes.floats(), wanted.astype(np.float32))


@pytest.mark.parametrize("outputs", [4, 5])
@pytest.mark.parametrize("format", [INT8, INT4, FP8], ids=lambda f: f.name)
def test_an_engine_reads_the_same_floats(format: Format, outputs: int) -> None:
    codes = to_nearest(weight(64, outputs), format)
    assert np.array_equal(read_by_engine(codes), codes.floats())


def read_by_engine(codes: Codes) -> np.ndarray:
    four, blocks = codes.format is INT4, len(codes.scales) > 1
    raw = packed(codes.values) if four else codes.values
    kind = {"int4": TensorProto.INT4, "int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}[codes.format.name]
    given = helper.make_tensor("q", kind, codes.values.shape, raw.tobytes(), raw=True)
    scales = onnx.numpy_helper.from_array(codes.scales if blocks else codes.scales[0], "s")
    how = {"axis": 0, "block_size": codes.block} if blocks else {"axis": 1}
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], **how)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, codes.values.shape)
    graph = helper.make_graph([node], "g", [], [out], [given, scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {})[0])
