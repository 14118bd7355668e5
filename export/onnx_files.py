"""From a planned graph to an ONNX file that every board of ours reads.

Receives a :class:`~edge_streamer.export.wan_streamer.graphs.GraphPlan`; hands on a file of IR version 10, opset 21,
standard operators only, with its weights beside it as external data (each tensor once, mappable), its inputs and
outputs named and shaped exactly as the manifest will say, its nodes called by the modules that they come from, what it
is in its metadata (metadata.py), and nothing of the machine that made it (no traces, no paths).
"""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes

from edge_streamer.export.metadata import describe
from edge_streamer.export.wan_streamer.graphs import GraphPlan
from edge_streamer.quantization.graph import save
from edge_streamer.quantization.lint.check import refuse, said
from edge_streamer.quantization.lint.targets import PORTABLE
from edge_streamer.runtime.bundle.manifest import Manifest, TensorSpec
from edge_streamer.runtime.errors import EdgeStreamerError

IR_VERSION, OPSET = 10, 21
"""The newest that ONNX Runtime 1.23 (JetPack 6's last) loads."""
SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter leaves the modules that a node comes from, outermost first, and its own name."""


class ExportError(EdgeStreamerError):
    """A graph could not be exported, or does not reproduce the torch model."""


def write_graph(plan: GraphPlan, folder: Path, manifest: Manifest) -> tuple[ir.Model, list[TensorSpec]]:
    """Export ``plan`` to ``folder/<name>.onnx`` and ``<name>.weights``, as a graph of the bundle of ``manifest``.

    ExportError where a board or a CPU refuses it; the node is named, and nothing is written.
    """
    outputs = plan.output_specs()
    model = fresh(plan)
    describe(model, plan.name, plan.role, plan.lengths, manifest)
    _check(plan, model)
    save(model, folder, plan.name)
    return model, outputs


def fresh(plan: GraphPlan) -> ir.Model:
    """``plan`` as a model of named nodes, with the manifest's inputs and outputs."""
    model = _trace(plan)
    _dress(model, [i.spec() for i in plan.inputs], plan.output_specs())
    return model


def offsets(path: Path) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Where each external tensor of the graph file at ``path`` lies: name -> (offset, shape)."""
    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        where = {entry.key: entry.value for entry in tensor.external_data}
        if where:
            found[tensor.name] = (int(where.get("offset", 0)), tuple(tensor.dims))
    return found


def _trace(plan: GraphPlan) -> ir.Model:
    length = torch.export.Dim("T", min=2, max=4096)
    shapes = tuple({i.long: length} if i.long is not None else None for i in plan.inputs)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            plan.module.eval(),
            tuple(i.example for i in plan.inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=[i.name for i in plan.inputs],
            output_names=[o.name for o in plan.outputs],
            dynamic_shapes=(shapes,) if plan.lengths else None,
        )
    if program is None:
        raise ExportError(f"graph {plan.name!r}: torch gave no ONNX program")
    return program.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress lines and its notes on its own workings are not for our users."""
    level = logging.getLogger("torch").level
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch").setLevel(level)


def _dress(model: ir.Model, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
    """Names and shapes as in the manifest, no traces of the machine, the IR version that old runtimes read."""
    passes.DeduplicateInitializersPass()(model)
    passes.RemoveUnusedNodesPass()(model)
    name_nodes(model)
    passes.ClearMetadataAndDocStringPass()(model)
    for values, specs in ((model.graph.inputs, inputs), (model.graph.outputs, outputs)):
        for value, spec in zip(values, specs, strict=True):
            value.shape = ir.Shape(spec.shape)
    model.ir_version = IR_VERSION


def name_nodes(model: ir.Model) -> None:
    """Nodes are called by the module that they come from and their operator: ``layers.0.attention.qkv.MatMul``, the
    second of a module ``..._1``; those of no module by their operator alone."""
    counts = Counter[str]()
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))[:-1]
        module = next((scope for scope in reversed(scopes) if scope.startswith("model.")), "").removeprefix("model.")
        name = f"{module}.{node.op_type}" if module else node.op_type
        node.name = f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1


def _check(plan: GraphPlan, model: ir.Model) -> None:
    """Nothing that a board's TensorRT, or a CPU, refuses."""
    if model.functions:
        raise ExportError(f"graph {plan.name!r} holds functions of its own; no engine of ours reads them")
    refused = refuse(model, plan.name, plan.lengths, PORTABLE)
    if refused is not None:
        raise ExportError(f"{said(refused)}; nothing is written: a bundle is for every board ({refused.rule})")
