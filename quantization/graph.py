"""The layers of an ONNX graph that are worth fewer bits, and scales that are moved between them.

Receives graph files; hands on :class:`Layer` for every weight of its own; qdq.py rewrites them. A scale of a layer's
inputs is folded into what makes them (:func:`maker_of`, :func:`fold`).

Constants that are no parameters (the spectrum's kernels, triangles of ones) are left as they are: they are exact, and
what a microphone's quiet bands pass through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edge_streamer.quantization.formats import Matrix
from edge_streamer.runtime.errors import BundleError

PREFIX, SUFFIX = "model.", ".weight"
TIED = "model.embedding_columns"
"""The weight of a head that is the token table."""
SMALLEST = 1024
"""Weights below this are left as they are: an operator more costs more than they weigh."""
SHALLOW = 4
"""Layers of a Transformer from which on its ends are told apart."""
OUTPUT_AXIS = {"MatMul": 1, "Conv": 0, "ConvTranspose": 1}
"""Of the operators that are quantized: the weight's axis of outputs."""
PRECISION = "edge_streamer.precision"
"""Of a model's metadata_props: what its graph is kept and computed in, for people."""
EXTERNAL_BYTES = 1024
"""Tensors from this size on lie in the .weights file."""


@dataclass
class Layer:
    """One layer with a weight of its own."""

    node: ir.Node
    weight: ir.Value
    at_end: bool = False
    """It is in the first or the last layer of a Transformer that has SHALLOW or more."""

    @property
    def name(self) -> str:
        """As a person would say it: ``layers.0.attention.qkv``."""
        return str(self.weight.name).removeprefix(PREFIX).removesuffix(SUFFIX)

    @property
    def operator(self) -> str:
        return self.node.op_type

    @property
    def input(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None
        return value

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        assert self.weight.const_value is not None
        return tuple(self.weight.const_value.shape.numpy())

    @property
    def tensor(self) -> Matrix:
        """The weight as it is in the file."""
        assert self.weight.const_value is not None
        return np.asarray(self.weight.const_value.numpy(), np.float32)

    @property
    def matrix(self) -> Matrix:
        """The weight as [inputs, outputs]: a kernel's taps count as inputs."""
        axis = OUTPUT_AXIS[self.operator]
        moved = np.moveaxis(self.tensor, axis, -1)
        return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]))


def load(path: Path) -> ir.Model:
    """A graph of a bundle; its weights stay in the file until they are looked at."""
    try:
        return ir.load(path)
    except Exception as error:  # protobuf's and the file system's errors alike
        raise BundleError(f"{path} cannot be read as ONNX ({error}); export the bundle again") from error


def save(model: ir.Model, folder: Path, name: str) -> None:
    """Write ``<name>.onnx`` with its large tensors in ``<name>.weights``."""
    ir.save(model, folder / f"{name}.onnx", external_data=f"{name}.weights", size_threshold_bytes=EXTERNAL_BYTES)


def layers(model: ir.Model) -> list[Layer]:
    """In the order of the graph; a weight that several nodes use comes once per node."""
    found = []
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in OUTPUT_AXIS and len(node.inputs) > 1 else None
        if weight is None or weight.const_value is None:
            continue
        if weight.name != TIED and not str(weight.name).endswith(SUFFIX):
            continue
        if weight.const_value.size >= SMALLEST and len(weight.const_value.shape) >= 2:
            found.append(Layer(node, weight))
    last = max((number(layer.name) for layer in found), default=-1)
    ends = (0, last) if last + 1 >= SHALLOW else ()
    return [replace(layer, at_end=number(layer.name) in ends) for layer in found]


def number(layer: str) -> int:
    """Of the Transformer's layer that it is in, by its name; -1 for none."""
    found = re.match(r"(?:.*\.)?layers\.(\d+)\.", layer)
    return int(found[1]) if found else -1


def constant(model: ir.Model, tensor: ir.TensorProtocol) -> ir.Value:
    """An initializer; one that has the name already holds the same."""
    if tensor.name in model.graph.initializers:
        return model.graph.initializers[str(tensor.name)]
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def drop(model: ir.Model, value: ir.Value) -> None:
    if not value.uses():
        model.graph.initializers.pop(str(value.name), None)


# ---- scales of inputs, folded into what makes them


@dataclass
class Maker:
    """What can take a scale of a layer's inputs: the weight that ``node`` has as input ``index``, along its last axis
    from ``first`` on."""

    node: ir.Node
    index: int
    first: int


def maker_of(layer: Layer) -> Maker | None:
    """A norm's weight before the layer, or the half of a gated layer that is multiplied in linearly; None where
    something else, or something that others use too, makes the input."""
    value: ir.Value | None = layer.input
    while value is not None and len(list(value.uses())) == 1:
        node = value.producer()
        if node is None:
            return None
        if node.op_type in ("Squeeze", "Unsqueeze"):
            value = node.inputs[0]
        elif node.op_type == "Mul":
            return next(_makers(node, layer.shape[0]), None)
        else:
            return None
    return None


def _makers(product: ir.Node, width: int) -> Iterator[Maker]:
    for index, value in enumerate(product.inputs):
        if value is None:
            continue
        if value.const_value is not None and tuple(value.const_value.shape) == (width,):
            yield Maker(product, index, 0)
        node = value.producer()
        if node is None or node.op_type != "Split" or len(list(value.uses())) != 1:
            continue
        source = node.inputs[0]
        made = source.producer() if source is not None and len(list(source.uses())) == 1 else None
        if made is not None and made.op_type == "MatMul" and value is node.outputs[-1] and len(node.outputs) == 2:
            weight = made.inputs[1]
            if weight is not None and weight.const_value is not None:
                yield Maker(made, 1, width)


def fold(model: ir.Model, layer: Layer, maker: Maker, scale: Matrix) -> None:
    """Inputs of ``layer`` are divided by ``scale`` [inputs] where they are made, its weight multiplied by it: the same
    function, other sizes."""
    weight = maker.node.inputs[maker.index]
    assert weight is not None
    assert weight.const_value is not None
    divided = np.array(weight.const_value.numpy(), np.float32)
    divided[..., maker.first : maker.first + len(scale)] /= scale
    _set(model, maker.node, maker.index, divided)
    _set(model, layer.node, 1, np.ascontiguousarray(layer.tensor * scale[:, None]))
    changed = layer.node.inputs[1]
    assert changed is not None
    layer.weight = changed


def _set(model: ir.Model, node: ir.Node, index: int, numbers: Matrix) -> None:
    """A weight of ``node`` becomes ``numbers``; other nodes that share it keep theirs."""
    weight = node.inputs[index]
    assert weight is not None
    if len(list(weight.uses())) == 1:
        weight.const_value = ir.Tensor(numbers, name=weight.name)
        return
    name = f"{str(weight.name).removesuffix(SUFFIX)}.{node.name}{SUFFIX}"
    node.replace_input_with(index, constant(model, ir.Tensor(numbers, name=name)))
