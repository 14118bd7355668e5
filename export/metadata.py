"""What an ONNX file says of itself, to whoever meets it without its bundle.

Receives a graph and the manifest of the bundle that it is for; writes into the model's metadata_props:

    edge_streamer.format, .program, .bundle, .graph    which graph of what
    edge_streamer.unit_seconds, .lengths               the time that a run stands for; the values of the axis T
    edge_streamer.carries, .rings                      JSON: input -> output that it comes back as, or is appended by
    edge_streamer.precision                            in words; quantization writes it anew
    edge_streamer.weights, model_license               where the weights came from, and their licence

Engines read none of it: the manifest decides. Nothing depends on the time or the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx_ir as ir

from edge_streamer import __version__
from edge_streamer.quantization.graph import PRECISION
from edge_streamer.runtime.bundle.manifest import CarrySpec, Manifest, Precision

PRODUCER = "edge-streamer"
FLOAT32 = Precision()


def describe(
    model: ir.Model,
    name: str,
    role: str,
    lengths: Sequence[int],
    manifest: Manifest,
    precision: Precision = FLOAT32,
) -> None:
    """Write what ``model``, the graph called ``name``, is; ``role``: in a sentence. The manifest's graphs are not
    looked at: they may not be there yet."""
    own = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    carries, rings = {}, {}
    for state in manifest.states:
        read = f"state.{state.path}"
        if read in own and isinstance(state, CarrySpec):
            carries[read] = f"state_next.{state.path}"
        elif read in own and not isinstance(state, CarrySpec):
            rings[read] = state.append
    said = {
        "format": manifest.format, "program": manifest.program, "bundle": manifest.name, "graph": name,
        "unit_seconds": manifest.media.unit_seconds if manifest.media else None, "lengths": list(lengths) or None,
        "carries": carries or None, "rings": rings or None, "weights": manifest.provenance.weights,
    }  # fmt: skip
    model.metadata_props.clear()
    for key, value in said.items():
        if value is not None:
            model.metadata_props[f"edge_streamer.{key}"] = value if isinstance(value, str) else json.dumps(value)
    model.metadata_props[PRECISION] = precision.words
    model.metadata_props["model_license"] = manifest.provenance.weights_licence
    model.producer_name, model.producer_version = PRODUCER, __version__
    model.doc_string = f"graph {name} of {manifest.name}, a bundle of Edge Streamer's program {manifest.program}"
    model.graph.name, model.graph.doc_string = name, role
