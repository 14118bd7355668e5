"""The ways in which a layer computes with a weight in fewer bits.

Receives a graph's :class:`Layer` and its codes; rewrites the graph in place with standard operators:

    stored      codes ─ DequantizeLinear ─► the layer as it was: smaller on disk; an engine with a kernel for the
                pair (4-bit products on CPU and GPU) never makes the floats
    bound       x ─ QuantizeLinear ─ DequantizeLinear ─► the layer with stored weights: the input's range is a constant
                from calibration. What TensorRT makes INT8 and FP8 kernels of.
    cast        x ─ Cast ─► the layer in half precision or bf16 ─ Cast ─►: an engine that has such kernels takes them
    computed    x ─ DynamicQuantizeLinear ─► MatMulInteger ─► Cast ─► Mul: integers times integers, the input's
                range taken anew in every run. For the CPU alone: TensorRT has neither operator.

Operators are of opset 21; a graph with a weight in NVFP4, which came with opset 23, says 23.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edge_streamer.quantization.formats import Codes, Format, in_half, packed
from edge_streamer.quantization.graph import OUTPUT_AXIS, Layer, constant, drop

FP4_OPSET = 23
"""The first with FLOAT4E2M1."""


def store(model: ir.Model, layer: Layer, codes: Codes) -> None:
    """The weight becomes codes behind a DequantizeLinear."""
    axis, shape = OUTPUT_AXIS[layer.operator], layer.shape
    values = np.moveaxis(codes.values.reshape(*np.delete(shape, axis), shape[axis]), -1, axis)
    values = np.ascontiguousarray(values)  # the inverse of Layer.matrix
    per_output = len(codes.scales) == 1
    if not per_output and layer.operator != "MatMul":
        raise ValueError(f"{layer.name}: blocks of inputs are for MatMul alone, not for {layer.operator}")
    name = str(layer.weight.name)
    own = f"{name}.{codes.format.name}"
    if codes.format.bits == 4:
        kind = ir.DataType.FLOAT4E2M1 if codes.format.small_scales else ir.DataType.INT4
        tensor: ir.TensorProtocol = ir.PackedTensor(packed(values), kind, shape=ir.Shape(values.shape), name=own)
    else:
        tensor = ir.Tensor(values, name=own)
    attributes = {"axis": axis} if per_output else {"axis": 0, "block_size": codes.block}
    floats = ir.node("DequantizeLinear", [constant(model, tensor), _scales(model, layer, codes)], attributes,
                     name=f"{name}.floats")  # fmt: skip
    floats.outputs[0].name = f"{name}.floats"
    model.graph.insert_before(layer.node, floats)
    layer.node.replace_input_with(1, floats.outputs[0])
    drop(model, layer.weight)


def _scales(model: ir.Model, layer: Layer, codes: Codes) -> ir.Value:
    """A constant, or where scales are small what a DequantizeLinear of their own makes of them."""
    name = f"{layer.weight.name}.scales"
    if codes.unit is None:
        return constant(model, ir.Tensor(codes.scales[0] if len(codes.scales) == 1 else codes.scales, name=name))
    small = constant(model, ir.Tensor(codes.small_scales(), name=f"{name}.fp8"))
    unit = constant(model, ir.Tensor(np.array(codes.unit, np.float32), name=f"{name}.unit"))
    floats = ir.node("DequantizeLinear", [small, unit], name=name)
    floats.outputs[0].name = name
    model.graph.insert_before(layer.node, floats)
    model.graph.opset_imports[""] = FP4_OPSET
    return floats.outputs[0]


def cast(model: ir.Model, layer: Layer, format: Format) -> None:
    """The layer computes in a float of 16 bits. Layers with one input share its cast; a bias is cast with the
    weight."""
    kind = ir.DataType.from_numpy(format.dtype)
    taken = next((u for u, _ in layer.input.uses() if u.op_type == "Cast" and _goes_to(u) == kind), None)
    if taken is None:
        name = f"{layer.input.name}.{format.name}"
        taken = ir.node("Cast", [layer.input], {"to": kind}, name=name)
        taken.outputs[0].name = name
        model.graph.insert_before(layer.node, taken)
    for index, value in enumerate(layer.node.inputs[1:], 1):
        if value is None:
            continue
        assert value.const_value is not None
        half = in_half(np.asarray(value.const_value.numpy(), np.float32), format, layer.name)
        layer.node.replace_input_with(index, constant(model, ir.Tensor(half, name=f"{value.name}.{format.name}")))
        drop(model, value)
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
            out.name, back.outputs[0].name = f"{out.name}.{format.name}", out.name
            model.graph.outputs[n] = back.outputs[0]
    out.type = ir.TensorType(kind)


def _goes_to(node: ir.Node) -> int:
    return node.attributes["to"].as_int()


def compute(model: ir.Model, layer: Layer, codes: Codes) -> None:
    """The product becomes one of integers. Layers with one input share its integers."""
    if layer.operator != "MatMul" or len(codes.scales) != 1:
        raise ValueError(f"{layer.name}: products of integers are for MatMul with a scale per output")
    name = str(layer.weight.name)
    taken = _taken_as_integers(model, layer)
    weights = constant(model, ir.Tensor(codes.values, name=f"{name}.int8"))
    scales = constant(model, ir.Tensor(codes.scales[0], name=f"{name}.scales"))
    # Zero by default too, but ONNX Runtime 1.23.2 dies where it is left out and weights become unsigned (overflow.py).
    zero = constant(model, ir.Tensor(np.zeros((), np.int8), name=f"{name}.zero"))
    product = ir.node("MatMulInteger", [taken.outputs[0], weights, taken.outputs[2], zero], name=f"{name}.product")
    floats = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT}, name=f"{name}.cast")
    scale = ir.node("Mul", [taken.outputs[1], scales], name=f"{name}.scale")
    out = layer.node.outputs[0]
    scaled = ir.node("Mul", [floats.outputs[0], scale.outputs[0]], name=f"{name}.scaled")
    for node in (product, floats, scale, scaled):
        node.outputs[0].name = str(node.name)
        model.graph.insert_before(layer.node, node)
    scaled.outputs[0].shape, scaled.outputs[0].type = out.shape, out.type
    name, given = str(out.name), out in model.graph.outputs
    ir.convenience.replace_all_uses_with(out, scaled.outputs[0], replace_graph_outputs=True)
    layer.node.replace_input_with(1, None)
    model.graph.remove(layer.node, safe=True)
    if given:  # the manifest knows it by its name
        out.name, scaled.outputs[0].name = f"{name}.before", name
    drop(model, layer.weight)


def bound(model: ir.Model, layer: Layer, codes: Codes, largest: float) -> None:
    """Weights and inputs of the layer are codes behind DequantizeLinear; ``largest`` input takes the largest code,
    beyond it inputs are cut."""
    store(model, layer, codes)
    name = f"{layer.input.name}.{codes.format.name}"
    for user, _ in layer.input.uses():
        if user.name == f"{name}.codes":
            (reader,) = user.outputs[0].consumers()
            layer.node.replace_input_with(0, reader.outputs[0])
            return
    step = max(largest, 1e-6) / codes.format.largest
    scale = constant(model, ir.Tensor(np.array(step, np.float32), name=f"{name}.scale"))
    zero = constant(model, ir.Tensor(np.array(0, codes.format.dtype), name=f"{name}.zero"))
    taken = ir.node("QuantizeLinear", [layer.input, scale, zero], name=f"{name}.codes")
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
