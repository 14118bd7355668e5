"""Graphs of a few nodes, written as ONNX files without onnx: what the machine's ceilings are measured with.

Receives nodes, weights and the shape of the one input; hands on the bytes of a model that every engine reads. Of the
format only what these graphs need is here; its field numbers never change (onnx.proto).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 10, 21
"""The newest that every board's engine reads."""
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "float16": 10, "bfloat16": 16, "float8e4m3fn": 17}


class Coded(NamedTuple):
    """A weight of numbers that numpy has not: their bits, as whole numbers of the same size."""

    kind: str
    """``bfloat16`` or ``float8e4m3fn``."""
    bits: NDArray[np.generic]


Weight = NDArray[np.generic] | Coded


class Node(NamedTuple):
    """One operator, its inputs and outputs by name."""

    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    numbers: Mapping[str, int] = {}
    """Attributes that are whole numbers."""


def type_number(kind: str) -> int:
    """As ONNX counts types: what a Cast goes ``to``."""
    return _TYPES[kind]


def model(nodes: Iterable[Node], weights: Mapping[str, Weight], shape: Sequence[int],
          output: Sequence[int]) -> bytes:  # fmt: skip
    """A float32 input ``x`` of ``shape``, a float32 output ``y`` of the shape ``output``. Nodes have the names of their
    first outputs."""
    graph = b"".join(_block(1, _node(node)) for node in nodes)
    graph += _block(2, b"measured")
    graph += b"".join(_block(5, _tensor(name, array)) for name, array in weights.items())
    graph += _block(11, _value("x", shape)) + _block(12, _value("y", output))
    return _number(1, IR_VERSION) + _block(7, graph) + _block(8, _number(2, OPSET))


def _node(node: Node) -> bytes:
    names = b"".join(_block(1, name.encode()) for name in node.inputs)
    names += b"".join(_block(2, name.encode()) for name in node.outputs)
    attributes = (_block(1, key.encode()) + _number(3, n) + _number(20, 2) for key, n in node.numbers.items())
    names += _block(3, node.outputs[0].encode())
    return names + _block(4, node.operator.encode()) + b"".join(_block(5, one) for one in attributes)


def _tensor(name: str, weight: Weight) -> bytes:
    kind, array = weight if isinstance(weight, Coded) else (weight.dtype.name, weight)
    sizes = b"".join(_number(1, size) for size in array.shape)
    bits = np.ascontiguousarray(array).tobytes()
    return sizes + _number(2, _TYPES[kind]) + _block(8, name.encode()) + _block(9, bits)


def _value(name: str, shape: Sequence[int]) -> bytes:
    sizes = b"".join(_block(1, _number(1, size)) for size in shape)
    return _block(1, name.encode()) + _block(2, _block(1, _number(1, _TYPES["float32"]) + _block(2, sizes)))


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])
