"""What a run of a graph costs: operations and bytes, counted from the graph itself.

Receives a graph with its weights; hands on numbers per length, because the device has no onnx to count with. Operations
are multiply-adds times two of ``MatMul``, ``Gemm``, ``Conv`` and ``ConvTranspose`` (the rest is a few percent and
bound by memory). Bytes are what a run must move at least once: weights, inputs, outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnxscript.optimizer import fold_constants

from edge_streamer.runtime.bundle.manifest import TensorSpec

Shapes = dict[str, tuple[int, ...]]


def operations(model: ir.Model, inputs: Sequence[TensorSpec], length: int | None) -> int:
    """Multiply-adds times two of one run with ``T`` = ``length``. ValueError where a shape cannot be inferred."""
    shapes = infer_shapes(model, inputs, length)
    return sum(node_operations(node, shapes) for node in model.graph.all_nodes())


def infer_shapes(model: ir.Model, inputs: Sequence[TensorSpec], length: int | None) -> Shapes:
    """Every value's shape at this length. Weights' values are left out: only their shapes matter, and the large
    preset's would be copied by the inference."""
    copy = _without_weights(model, inputs, length)
    fold_constants(copy, onnx_shape_inference=True)  # sizes that depend on T become numbers
    proto = ir.to_proto(copy)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes: Shapes = {}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            shapes[value.name] = tuple(d.dim_value for d in dims)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    return shapes


def _without_weights(model: ir.Model, inputs: Sequence[TensorSpec], length: int | None) -> ir.Model:
    """A copy with fixed input shapes whose large initializers have become inputs of their shape."""
    copy = model.clone()
    for value, spec in zip(copy.graph.inputs, inputs, strict=True):
        value.shape = ir.Shape([length if isinstance(n, str) else n for n in spec.shape])
    for value in copy.graph.outputs:
        value.shape = None
    for node in copy.graph.all_nodes():  # shapes noted while tracing hold for the symbolic length only
        for value in node.outputs:
            value.shape = None
    for name, value in list(copy.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes >= 1024:
            value.shape = ir.Shape(value.const_value.shape.numpy())
            value.type = ir.TensorType(value.const_value.dtype)
            copy.graph.initializers.pop(name)
            value.const_value = None
            copy.graph.inputs.append(value)
    return copy


def node_operations(node: ir.Node, shapes: Shapes) -> int:
    """Multiply-adds times two of one node; 0 for those that do no matrix work."""
    counters = {"MatMul": _matmul, "Gemm": _gemm, "Conv": _conv, "ConvTranspose": _conv_transpose}
    counter = counters.get(node.op_type)
    if counter is None:
        return 0
    try:
        first, second = (shapes[str(value.name)] for value in node.inputs[:2] if value is not None)
        return 2 * counter(first, second, shapes[str(node.outputs[0].name)])
    except KeyError as error:
        raise ValueError(f"the shape of {error} at node {node.name!r} could not be inferred") from None


def _matmul(a: tuple[int, ...], b: tuple[int, ...], y: tuple[int, ...]) -> int:
    return math.prod(y) * a[-1]


def _gemm(a: tuple[int, ...], b: tuple[int, ...], y: tuple[int, ...]) -> int:
    return math.prod(a) * y[-1]  # a may be transposed: its elements are rows times inner size either way


def _conv(x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]) -> int:
    return math.prod(y) * math.prod(w[1:])  # w: [out, in / groups, kernel ...]


def _conv_transpose(x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]) -> int:
    return math.prod(x) * math.prod(w[1:])  # w: [in, out / groups, kernel ...]


def weight_bytes(model: ir.Model) -> tuple[int, int]:
    """(parameters, bytes) of all constants."""
    tensors = [v.const_value for v in model.graph.initializers.values() if v.const_value is not None]
    return sum(math.prod(t.shape.numpy()) for t in tensors), sum(t.nbytes for t in tensors)


def tensor_bytes(specs: Sequence[TensorSpec], length: int | None) -> int:
    """Bytes of these inputs or outputs at this length."""
    sizes = {"float32": 4, "int32": 4, "int64": 8, "float16": 2, "bfloat16": 2}
    shapes = ([length or 1 if isinstance(n, str) else n for n in spec.shape] for spec in specs)
    return sum(math.prod(shape) * sizes.get(spec.dtype, 1) for shape, spec in zip(shapes, specs, strict=True))
