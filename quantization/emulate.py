"""Graphs in numbers that this machine's CPU lacks, computed as a board would round them.

Receives graphs with bf16 products or NVFP4 weights, which ONNX Runtime's CPU has no kernels for; hands on files of the
same graphs with the same numbers in floats: what goes into a product in bf16, and what comes out, is rounded to
bf16 and becomes a float again; NVFP4 weights are decoded. So error over time can be measured where such a bundle is
made. How fast it is cannot, and `check` on the board says whether the board's kernels agree. Accumulators are floats,
as they are in the board's tensor cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edge_streamer.quantization import graph
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.claims import scratch
from edge_streamer.runtime.engines.contract import GraphFile

OPSET = 21
"""Nothing newer is left."""


@contextmanager
def stand_ins(bundle: Bundle) -> Iterator[dict[str, GraphFile]]:
    """Those graphs of ``bundle`` that hold what a CPU lacks, by name, with floats in its place; files that are there
    while the block runs."""
    with scratch() as folder:
        graphs = [GraphFile.of(bundle, spec.name) for spec in bundle.manifest.graphs]
        made = [stand_in(file, folder) for file in graphs]
        yield {new.spec.name: new for old, new in zip(graphs, made, strict=True) if new is not old}


def stand_in(file: GraphFile, folder: Path) -> GraphFile:
    """The graph with floats in place of what a CPU lacks, written into ``folder``; ``file`` itself where it lacks
    nothing."""
    model = graph.load(file.path)
    if not replaced(model):
        return file
    name = f"{file.spec.name}.floats"
    graph.save(model, folder, name)
    return replace(file, path=folder / f"{name}.onnx")


def replaced(model: ir.Model) -> bool:
    """Put floats in place of what a CPU lacks; whether there was any."""
    found = False
    for node in list(model.graph):
        weight = node.inputs[1] if node.op_type in graph.OUTPUT_AXIS and len(node.inputs) > 1 else None
        if weight is not None and weight.const_value is not None and weight.dtype == ir.DataType.BFLOAT16:
            _widen(model, node)
            found = True
        elif node.op_type == "DequantizeLinear" and _is_fp4(node.inputs[0]):
            _decode(model, node)
            found = True
    if found:
        model.graph.opset_imports[""] = OPSET
    return found


def _is_fp4(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT4E2M1


def _widen(model: ir.Model, node: ir.Node) -> None:
    """A product in bf16 becomes one in float whose inputs and result are rounded."""
    given = node.inputs[0]
    assert given is not None
    name = f"{given.name}.{node.name}.float"
    wide = ir.node("Cast", [given], {"to": ir.DataType.FLOAT}, name=name)
    wide.outputs[0].name = name
    model.graph.insert_before(node, wide)
    node.replace_input_with(0, wide.outputs[0])
    for index, value in enumerate(node.inputs[1:], 1):
        if value is not None:
            assert value.const_value is not None
            numbers = np.asarray(value.const_value.numpy(), np.float32)
            node.replace_input_with(index, graph.constant(model, ir.Tensor(numbers, name=f"{value.name}.float")))
            graph.drop(model, value)
    out = node.outputs[0]
    rounded = ir.node("Cast", [out], {"to": ir.DataType.BFLOAT16}, name=f"{out.name}.rounded")
    rounded.outputs[0].name = f"{out.name}.rounded"
    rounded.outputs[0].type = ir.TensorType(ir.DataType.BFLOAT16)
    model.graph.insert_after(node, rounded)
    for user, index in [(user, n) for user, n in out.uses() if user is not rounded]:
        user.replace_input_with(index, rounded.outputs[0])
    out.type = ir.TensorType(ir.DataType.FLOAT)


def _decode(model: ir.Model, node: ir.Node) -> None:
    """Weights in NVFP4 become floats."""
    codes, scales = node.inputs[0], node.inputs[1]
    assert codes is not None
    assert scales is not None
    made = scales.producer()
    assert made is not None
    small, unit = (value.const_value for value in made.inputs if value is not None)
    assert codes.const_value is not None
    assert small is not None
    assert unit is not None
    by_block = np.asarray(small.numpy(), np.float32) * np.asarray(unit.numpy(), np.float32)
    numbers = np.asarray(codes.const_value.numpy(), np.float32)
    numbers = numbers * np.repeat(by_block, len(numbers) // len(by_block), 0)
    floats = graph.constant(model, ir.Tensor(numbers, name=f"{codes.name}.decoded"))
    ir.convenience.replace_all_uses_with(node.outputs[0], floats)
    inputs = [value for value in (*node.inputs, *made.inputs) if value is not None]
    for gone in (node, made):
        model.graph.remove(gone, safe=True)
    for value in inputs:
        graph.drop(model, value)
