"""Rings that hold keys and values in 8 bits.

Receives the graph `core` and the largest key and value that each head appended over calibration; the graph then hands
on what it appends as integers and takes its rings as integers, which become floats where attention reads them:

    state.main.0.k int8 ─ DequantizeLinear ─► attention ... append.0.k ─ QuantizeLinear ─► int8

A scale per head, the same for every ring that an append goes to; beyond the range keys and values are cut. Tokens of
the pass itself see each other in float. A ring takes a quarter of the memory, and of what a pass reads of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np
import onnx_ir as ir

from edge_streamer.quantization.formats import INT8, SMALLEST_SCALE, Matrix
from edge_streamer.quantization.graph import constant
from edge_streamer.runtime.bundle.manifest import GraphSpec, RingSpec, StateSpec, TensorSpec
from edge_streamer.runtime.errors import InputError

HEADS = 0
"""The axis of rings and appends that heads lie along."""
Spec = TypeVar("Spec", TensorSpec, RingSpec)


def quantize_rings(model: ir.Model, states: tuple[StateSpec, ...], appended: Mapping[str, Matrix]) -> None:
    """``appended``: graph output -> the largest magnitude of each head. InputError where calibration saw none of it."""
    kept = [state for state in states if isinstance(state, RingSpec)]
    if odd := next((state for state in kept if state.axis == HEADS), None):
        raise InputError(f"ring {odd.ring!r} is {list(odd.shape)} along its first axis; wanted [heads, places, size]")
    rings = {f"state.{state.path}": state.append for state in kept}
    missing = sorted({append for append in rings.values() if append not in appended})
    if missing:
        raise InputError(f"the calibration shows nothing of {missing[0]}; wanted a longer recording")
    for value in list(model.graph.inputs):
        if value.name in rings:
            _read(model, value, *_range(model, rings[value.name], appended))
    for index, value in enumerate(list(model.graph.outputs)):
        if value.name in appended:
            model.graph.outputs[index] = _write(model, value, *_range(model, str(value.name), appended))


def _range(model: ir.Model, append: str, appended: Mapping[str, Matrix]) -> tuple[ir.Value, ir.Value]:
    """Scales and zeros of an append's heads."""
    scales = np.maximum(appended[append] / np.float32(INT8.largest), SMALLEST_SCALE).astype(np.float32)
    made = {"scales": scales, "zeros": np.zeros(len(scales), np.int8)}
    values = [constant(model, ir.Tensor(numbers, name=f"{append}.{word}")) for word, numbers in made.items()]
    return values[0], values[1]


def _read(model: ir.Model, ring: ir.Value, scales: ir.Value, zeros: ir.Value) -> None:
    users = list(ring.uses())
    node = ir.node("DequantizeLinear", [ring, scales, zeros], {"axis": HEADS}, name=f"{ring.name}.floats")
    floats = node.outputs[0]
    floats.name, floats.type, floats.shape = str(node.name), ring.type, ring.shape
    model.graph.insert_before(model.graph[0], node)
    for user, index in users:
        user.replace_input_with(index, floats)
    ring.type = ir.TensorType(ir.DataType.INT8)


def _write(model: ir.Model, floats: ir.Value, scales: ir.Value, zeros: ir.Value) -> ir.Value:
    name, maker = str(floats.name), floats.producer()
    assert maker is not None
    node = ir.node("QuantizeLinear", [floats, scales, zeros], {"axis": HEADS}, name=f"{name}.codes")
    floats.name, node.outputs[0].name = f"{name}.floats", name
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(ir.DataType.INT8), floats.shape
    model.graph.insert_after(maker, node)
    return node.outputs[0]


def described(spec: GraphSpec) -> GraphSpec:
    """The manifest's record of the graph after :func:`quantize_rings`."""
    inputs = tuple(_small(t) if t.name.startswith("state.") else t for t in spec.inputs)
    outputs = tuple(_small(t) if t.name.startswith("append.") else t for t in spec.outputs)
    return msgspec.structs.replace(spec, inputs=inputs, outputs=outputs)


def described_states(states: tuple[StateSpec, ...]) -> tuple[StateSpec, ...]:
    """The manifest's states after it."""
    return tuple(_small(state) if isinstance(state, RingSpec) else state for state in states)


def _small(spec: Spec) -> Spec:
    return msgspec.structs.replace(spec, dtype="int8")


def ring_bytes(states: tuple[StateSpec, ...]) -> int:
    """What all rings take in memory."""
    rings = [state for state in states if isinstance(state, RingSpec)]
    return sum(int(np.prod(ring.shape)) * np.dtype(ring.dtype).itemsize for ring in rings)
