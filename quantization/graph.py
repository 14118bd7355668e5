"""The layers of an ONNX graph, and their weights in another number format.

Receives graph files; hands on the layers whose weights are worth it, and rewrites them in place with standard operators
of opset 21 alone:

    stored      integers ─ DequantizeLinear ─► the layer as it was: smaller on disk; an engine with a kernel for the
                pair (4-bit products on CPU and GPU) never makes the floats
    bound       x ─ QuantizeLinear ─ DequantizeLinear ─► the layer with stored weights: the input's range is a constant
                from calibration. What TensorRT makes INT8 kernels of.
    cast        x ─ Cast ─► the layer in half precision ─ Cast ─►: an engine that has such kernels takes them, a CPU
                computes in float with weights that were rounded
    computed    x ─ DynamicQuantizeLinear ─► MatMulInteger ─► Cast ─► Mul: integers times integers, the input's
                range taken anew in every run. For the CPU alone: TensorRT has neither operator.

Constants that are no parameters (the spectrum's kernels, triangles of ones) are left as they are: they are exact, and
what a microphone's quiet bands pass through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edge_streamer.quantization.numbers import INT8, Codes, Matrix, halves, packed
from edge_streamer.runtime.errors import BundleError

PREFIX, SUFFIX = "model.", ".weight"
TIED = "model.embedding_columns"
"""The weight of a head that is the token table."""
SMALLEST = 1024
"""Weights below this are left as they are: an operator more costs more than they weigh."""
OUTPUT_AXIS = {"MatMul": 1, "Conv": 0, "ConvTranspose": 1}
"""Of the operators that are quantized: the weight's axis of outputs."""
EXTERNAL_BYTES = 1024
"""Tensors from this size on lie in the .weights file."""


@dataclass
class Layer:
    """One layer with a weight of its own."""

    node: ir.Node
    weight: ir.Value

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
    return found


# ---- rewriting


def store(model: ir.Model, layer: Layer, codes: Codes) -> None:
    """The weight becomes integers behind a DequantizeLinear."""
    axis, four_bits = OUTPUT_AXIS[layer.operator], codes.format.largest <= 7
    integers = np.moveaxis(
        codes.integers.reshape(*np.delete(layer.shape, axis), layer.shape[axis]), -1, axis
    )  # the inverse of Layer.matrix
    integers = np.ascontiguousarray(integers)
    per_output = len(codes.scales) == 1
    if not per_output and layer.operator != "MatMul":
        raise ValueError(f"{layer.name}: blocks of inputs are for MatMul alone, not for {layer.operator}")
    name = str(layer.weight.name)
    if four_bits:
        tensor: ir.TensorProtocol = ir.PackedTensor(
            packed(integers), ir.DataType.INT4, shape=ir.Shape(integers.shape), name=f"{name}.int4"
        )
    else:
        tensor = ir.Tensor(integers, name=f"{name}.int8")
    attributes = {"axis": axis} if per_output else {"axis": 0, "block_size": codes.block}
    scales = codes.scales[0] if per_output else codes.scales
    inputs = [_constant(model, tensor), _constant(model, ir.Tensor(scales, name=f"{name}.scales"))]
    floats = ir.node("DequantizeLinear", inputs, attributes, name=f"{name}.floats")
    floats.outputs[0].name = f"{name}.floats"
    model.graph.insert_before(layer.node, floats)
    layer.node.replace_input_with(1, floats.outputs[0])
    _drop(model, layer.weight)


def cast(model: ir.Model, layer: Layer) -> None:
    """The layer computes in half precision. Layers with one input share its cast; a bias is cast with the weight."""
    taken = next((u for u, _ in layer.input.uses() if u.op_type == "Cast" and _goes_to(u) == ir.DataType.FLOAT16), None)
    if taken is None:
        name = f"{layer.input.name}.half"
        taken = ir.node("Cast", [layer.input], {"to": ir.DataType.FLOAT16}, name=name)
        taken.outputs[0].name = name
        model.graph.insert_before(layer.node, taken)
    for index, value in enumerate(layer.node.inputs[1:], 1):
        if value is None:
            continue
        assert value.const_value is not None
        half = halves(np.asarray(value.const_value.numpy(), np.float32), layer.name)
        layer.node.replace_input_with(index, _constant(model, ir.Tensor(half, name=f"{value.name}.fp16")))
        _drop(model, value)
    layer.node.replace_input_with(0, taken.outputs[0])
    out = layer.node.outputs[0]
    name = f"{out.name}.float"
    back = ir.node("Cast", [out], {"to": ir.DataType.FLOAT}, name=name)
    back.outputs[0].name, back.outputs[0].shape, back.outputs[0].type = name, out.shape, out.type
    model.graph.insert_after(layer.node, back)
    users = [(user, n) for user, n in out.uses() if user is not back]
    for user, n in users:
        user.replace_input_with(n, back.outputs[0])
    for n, value in enumerate(model.graph.outputs):
        if value is out:
            out.name, back.outputs[0].name = f"{out.name}.half", out.name
            model.graph.outputs[n] = back.outputs[0]
    out.type = ir.TensorType(ir.DataType.FLOAT16)


def _goes_to(node: ir.Node) -> int:
    return node.attributes["to"].as_int()


def compute(model: ir.Model, layer: Layer, codes: Codes) -> None:
    """The product becomes one of integers. Layers with one input share its integers."""
    if layer.operator != "MatMul" or len(codes.scales) != 1:
        raise ValueError(f"{layer.name}: products of integers are for MatMul with a scale per output")
    name = str(layer.weight.name)
    taken = _taken_as_integers(model, layer)
    weights = _constant(model, ir.Tensor(codes.integers, name=f"{name}.int8"))
    scales = _constant(model, ir.Tensor(codes.scales[0], name=f"{name}.scales"))
    product = ir.node("MatMulInteger", [taken.outputs[0], weights, taken.outputs[2]], name=f"{name}.product")
    floats = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{name}.cast")
    scale = ir.node("Mul", [taken.outputs[1], scales], name=f"{name}.scale")
    out = layer.node.outputs[0]
    scaled = ir.node("Mul", [floats.outputs[0], scale.outputs[0]], name=f"{name}.scaled")
    for node in (product, floats, scale, scaled):
        node.outputs[0].name = str(node.name)
        model.graph.insert_before(layer.node, node)
    scaled.outputs[0].shape, scaled.outputs[0].type = out.shape, out.type
    ir.convenience.replace_all_uses_with(out, scaled.outputs[0])
    layer.node.replace_input_with(1, None)
    model.graph.remove(layer.node, safe=True)
    _drop(model, layer.weight)


def bound(model: ir.Model, layer: Layer, codes: Codes, largest: float) -> None:
    """Weights and inputs of the layer are integers behind DequantizeLinear; ``largest`` input takes the largest code,
    beyond it inputs are cut."""
    store(model, layer, codes)
    name = f"{layer.input.name}.bounded"
    for user, _ in layer.input.uses():
        if user.op_type == "QuantizeLinear":
            (reader,) = user.outputs[0].consumers()
            layer.node.replace_input_with(0, reader.outputs[0])
            return
    scale = _constant(model, ir.Tensor(np.array(max(largest, 1e-6) / INT8.largest, np.float32), name=f"{name}.scale"))
    zero = _constant(model, ir.Tensor(np.array(0, np.int8), name=f"{name}.zero"))
    taken = ir.node("QuantizeLinear", [layer.input, scale, zero], name=f"{name}.integers")
    floats = ir.node("DequantizeLinear", [taken.outputs[0], scale, zero], name=f"{name}.floats")
    for node in (taken, floats):
        node.outputs[0].name = str(node.name)
        model.graph.insert_before(layer.node, node)
    layer.node.replace_input_with(0, floats.outputs[0])


def _taken_as_integers(model: ir.Model, layer: Layer) -> ir.Node:
    """The DynamicQuantizeLinear of the layer's input: the one that is there, or a new one."""
    for user, _ in layer.input.uses():
        if user.op_type == "DynamicQuantizeLinear":
            return user
    node = ir.node("DynamicQuantizeLinear", [layer.input], num_outputs=3, name=f"{layer.input.name}.integers")
    for value, word in zip(node.outputs, ("integers", "scale", "zero"), strict=True):
        value.name = f"{layer.input.name}.{word}"
    model.graph.insert_before(layer.node, node)
    return node


def _constant(model: ir.Model, tensor: ir.TensorProtocol) -> ir.Value:
    """An initializer; one that has the name already holds the same."""
    if tensor.name in model.graph.initializers:
        return model.graph.initializers[str(tensor.name)]
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    return value


def _drop(model: ir.Model, value: ir.Value) -> None:
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
    node.replace_input_with(index, _constant(model, ir.Tensor(numbers, name=name)))
