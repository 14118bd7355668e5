"""python -m tests.redress FOLDER: both bundles that ship, their graphs named, described and shaped as a fresh export's

Writes ``FOLDER/demo-float`` and ``FOLDER/demo``: the manifest as today's reader has it, nodes called by the modules
that they come from, the metadata that export writes, and ``slot`` with a leading axis (:func:`lead`), which it had not
when these bundles were made. Weights, all other operators and what flows between them stay, so golden units stay as
well: compared are the graphs with what they were, bit for bit, and the answers to the golden units.

The names come from an export of the same preset with random weights. Quantized graphs get theirs from the float ones,
by the values that nodes give; what quantization put in keeps its own.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edge_streamer.export.metadata import describe
from edge_streamer.export.onnx_files import fresh
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.graphs import ROLES, plan_graphs
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.quantization import graph as graphs
from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import load_golden, replay
from edge_streamer.runtime.files import new_folder
from edge_streamer.runtime.session.session import open_session

Names = dict[tuple[str, str], str]
"""(graph, the first value that a node gives) -> the node's name."""
Listed = dict[str, list[tuple[str, str]]]
"""Graph -> (operator, name) of its nodes, in order."""


def fresh_names(preset: str) -> Listed:
    """The nodes of a preset's graphs, as they are exported now."""
    plans = plan_graphs(build(PRESETS[preset], 0))
    return {plan.name: [(node.op_type, str(node.name)) for node in fresh(plan).graph] for plan in plans}


def by_value(bundle: Bundle, listed: Listed) -> Names:
    """The names for the nodes of a float bundle, whose operators must be the same; a few may stand in another order."""
    names = {}
    for spec in bundle.manifest.graphs:
        nodes = list(_load(bundle, spec).graph)
        for at, name in aligned([node.op_type for node in nodes], listed[spec.name]):
            names[spec.name, str(nodes[at].outputs[0].name)] = name
    return names


def aligned(operators: list[str], fresh: list[tuple[str, str]]) -> Iterator[tuple[int, str]]:
    """(place, name): first those in runs that are the same, then of each operator those left, in their order."""
    if Counter(operators) != Counter(operator for operator, _ in fresh):
        raise SystemExit("an export of today has other operators; its names do not fit")
    old, new = [*range(len(operators))], [*range(len(fresh))]
    blocks = SequenceMatcher(None, operators, [operator for operator, _ in fresh], False).get_matching_blocks()
    for block in blocks:
        for step in range(block.size):
            old.remove(block.a + step)
            new.remove(block.b + step)
            yield block.a + step, fresh[block.b + step][1]
    for at in old:
        other = next(n for n in new if fresh[n][0] == operators[at])
        new.remove(other)
        yield at, fresh[other][1]


def _load(bundle: Bundle, spec: GraphSpec) -> ir.Model:
    """A graph as it is, but for the leading axis."""
    model = graphs.load(bundle.file(spec.file))
    if spec.name == "slot":
        lead(model)
    return model


def lead(model: ir.Model) -> None:
    """The scores of ``slot`` keep the axis that they come with until they are given back: [1, K] in place of [K],
    which TensorRT's Softmax and ArgMax do not take. A graph that has it stays as it is."""
    by = {node.op_type: node for node in model.graph if node.op_type in ("TopK", "Softmax", "ArgMax", "Squeeze")}
    if by["Softmax"].attributes["axis"].as_int() != 0:
        return
    top, squeeze, cast = by["TopK"], by["Squeeze"], next(n for n in model.graph if n.outputs[0].name == "candidates")
    row, axis = squeeze.inputs
    assert row is not None
    assert axis is not None
    top.replace_input_with(0, row)
    model.graph.remove(squeeze, safe=True)
    by["Softmax"].attributes["axis"] = ir.AttrInt64("axis", 1)
    by["ArgMax"].attributes.update({"axis": ir.AttrInt64("axis", 1), "keepdims": ir.AttrInt64("keepdims", 0)})
    for node, name in ((top, "scores"), (cast, "candidates")):
        old = node.outputs[0]
        given = next(n for n, value in enumerate(model.graph.outputs) if value is old)
        flat = ir.node("Squeeze", [old, axis], name=f"Squeeze.{name}")
        flat.outputs[0].shape, flat.outputs[0].type = old.shape, old.type
        old.name, flat.outputs[0].name = f"{name}.row", name
        if node is cast:  # the token is looked up in the flat row
            for user, n in list(old.uses()):
                if user is not flat:
                    user.replace_input_with(n, flat.outputs[0])
        model.graph.outputs[given] = flat.outputs[0]
        model.graph.insert_after(node, flat)
    for node in model.graph:  # shapes noted while tracing are those without it
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    ShapeInferencePass()(model)


def redress(bundle: Bundle, names: Names, out: Path) -> Bundle:
    """Write ``bundle`` to ``out`` with its graphs named and described; everything else as it is."""
    manifest = bundle.manifest
    with new_folder(out) as folder:
        for file in manifest.files:
            (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(file.path), folder / file.path)
        for spec in manifest.graphs:
            _redress_graph(bundle, spec, names, folder / spec.file)
        write_bundle(folder, msgspec.structs.replace(manifest, files=()))
    made = Bundle.open(out)
    for spec in manifest.graphs:
        before, after = _content(_load(bundle, spec)), _content(graphs.load(made.file(spec.file)))
        assert before == after, f"graph {spec.name} is another one"
    _same_answers(bundle, made)
    return made


def _redress_graph(bundle: Bundle, spec: GraphSpec, names: Names, path: Path) -> None:
    model = _load(bundle, spec)
    for node in model.graph:
        node.name = names.get((spec.name, str(node.outputs[0].name)), node.name)
    assert len({node.name for node in model.graph}) == len(list(model.graph))
    describe(model, spec.name, ROLES[spec.name], spec.lengths, bundle.manifest, spec.precision)
    graphs.save(model, path.parent, spec.name)


def _content(model: ir.Model) -> list[tuple[object, ...]]:
    """All that a graph computes: its nodes without names, and its constants."""
    nodes: list[tuple[object, ...]] = [
        (node.op_type, [v and v.name for v in node.inputs], [v.name for v in node.outputs], str(node.attributes))
        for node in model.graph
    ]
    return nodes + [
        (name, value.const_value.dtype, value.const_value.tobytes())
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    ]


def _same_answers(one: Bundle, other: Bundle) -> None:
    golden = load_golden(one.path / str(one.manifest.golden))
    answers: list[Mapping[str, np.ndarray]] = [
        replay(open_session(bundle, engine="cpu"), golden.meta.seed, golden.meta.units, golden.tokens)
        for bundle in (one, other)
    ]
    for name, array in answers[0].items():
        np.testing.assert_array_equal(answers[1][name], array, err_msg=name)


def main() -> None:
    parser = argparse.ArgumentParser(description="the bundles that ship, named and described as a fresh export's")
    parser.add_argument("folder", type=Path)
    floats = Bundle.open(bundle_path(floats=True))
    out = parser.parse_args().folder
    names = by_value(floats, fresh_names(floats.manifest.provenance.preset))
    for bundle in (floats, Bundle.open(bundle_path())):
        made = redress(bundle, names, out / bundle.path.name)
        print(f"{made.path}: {len(made.manifest.graphs)} graphs are what they were, golden units agree to the last bit")


if __name__ == "__main__":
    main()
