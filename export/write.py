"""From a torch model to a proven bundle.

Receives a :class:`~edge_streamer.export.wan_streamer.model.WanStreamer` and a tokenizer; hands on a folder that the
device can run. In order: graphs are exported one by one, the embedding table and tokenizer are laid beside them, the
manifest is written with the device's own types and read back by the device's own reader, and then the bundle is run
against the torch model over golden units, pass by pass. A bundle that does not reproduce its model is never given its
final name.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edge_streamer.export import count
from edge_streamer.export.onnx_files import offsets, write_graph
from edge_streamer.export.prove import GOLDEN_SEED, GOLDEN_UNITS, Proof, prove
from edge_streamer.export.wan_streamer.config import constants, media
from edge_streamer.export.wan_streamer.graphs import GraphPlan, plan_graphs, plan_states
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.runtime.bundle.manifest import FORMAT, TEXT, EmbeddingSpec, GraphSpec, Manifest, Provenance
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.compare.golden import Golden, Meta
from edge_streamer.runtime.files import new_folder

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of the steps are done, and how many there are."""
GOLDEN = "golden/units.npz"
TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Origin:
    """Where the weights came from, for the manifest."""

    weights: str
    licence: str
    backbone: str = ""


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    path: Path
    bundle: Bundle
    errors: dict[str, float]
    """Largest relative error per quantity against the torch model."""
    seconds_per_unit: float
    """Of the bundle's session on this machine, over the golden units."""


def export_bundle(
    model: WanStreamer, tokenizer: Tokenizer, origin: Origin, out: Path, progress: Progress = lambda *_: None
) -> Exported:
    """Write the bundle of ``model`` to ``out``, a folder that does not exist or is empty.

    Raises InputError where ``out`` is taken or the disk is full, ExportError where the graphs do not reproduce the
    torch model; then ``out`` does not exist.
    """
    plans = plan_graphs(model)
    steps = len(plans) + 3
    with new_folder(out) as folder:
        (folder / "graphs").mkdir()
        specs, manifest = [], manifest_of(model, origin)
        for done, plan in enumerate(plans):
            progress(f"graph {plan.name}", done, steps)
            specs.append(_write_graph(plan, folder / "graphs", manifest))
        progress("embedding table and tokenizer", len(plans), steps)
        table = _write_embedding(model, folder)
        manifest = msgspec.structs.replace(manifest, graphs=tuple(specs), embeddings=(table,))
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), "utf-8")
        proofs: list[Proof] = []

        def proven(bundle: Bundle) -> str:
            progress("proof against the torch model", len(plans) + 1, steps)
            proofs.append(prove(model, bundle))
            (folder / "golden").mkdir()
            golden = Golden(Meta(program="wan_streamer", seed=GOLDEN_SEED, units=GOLDEN_UNITS), proofs[0].answers)
            golden.save(folder / GOLDEN)
            progress("checksums", len(plans) + 2, steps)
            return GOLDEN

        write_bundle(folder, manifest, then=proven)
        progress("done", steps, steps)
    (proof,) = proofs
    return Exported(out, Bundle.open(out, verify=False), proof.errors, proof.seconds_per_unit)


def _write_graph(plan: GraphPlan, folder: Path, manifest: Manifest) -> GraphSpec:
    model, outputs = write_graph(plan, folder, manifest)
    inputs = [i.spec() for i in plan.inputs]
    parameters, weights = count.weight_bytes(model)
    lengths: Sequence[int | None] = plan.lengths or (None,)
    moved = {n: weights + count.tensor_bytes([*inputs, *outputs], n) for n in lengths}
    return GraphSpec(
        name=plan.name,
        file=f"graphs/{plan.name}.onnx",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        lengths=plan.lengths,
        parameters=parameters,
        weight_bytes=weights,
        operations={str(n or "static"): count.operations(model, inputs, n) for n in lengths},
        moved_bytes={str(n or "static"): size for n, size in moved.items()},
    )


def _write_embedding(model: WanStreamer, folder: Path) -> EmbeddingSpec:
    """The token table: a tied model's lies already in the ``slot`` graph's weights, in columns; others get a file."""
    config = model.config
    if model.embedding is not None:
        np.ascontiguousarray(model.embedding.detach().numpy(), "<f4").tofile(folder / "embedding.f32")
        return EmbeddingSpec(name=TEXT, file="embedding.f32", offset=0, dtype="float32", rows=config.vocabulary,
                             width=config.transformer.width, layout="row")  # fmt: skip
    shape = (config.transformer.width, config.vocabulary)
    (offset,) = (o for o, s in offsets(folder / "graphs" / "slot.onnx").values() if s == shape)
    return EmbeddingSpec(name=TEXT, file="graphs/slot.weights", offset=offset, dtype="float32", rows=shape[1],
                         width=shape[0], layout="column")  # fmt: skip


def manifest_of(model: WanStreamer, origin: Origin) -> Manifest:
    """All but graphs, token table, golden units and files."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Manifest(
        format=FORMAT,
        name=f"wan-streamer-{model.config.preset}",
        program="wan_streamer",
        constants=msgspec.to_builtins(constants(model.config)),
        media=media(model.config),
        graphs=(),
        states=tuple(plan_states(model)),
        files=(),
        tokenizer="tokenizer.json",
        provenance=Provenance(
            made_by=f"edge-streamer {version('edge-streamer')}",
            made_at=now.isoformat(timespec="seconds"),
            preset=model.config.preset,
            weights=origin.weights,
            weights_licence=origin.licence,
            backbone=origin.backbone,
            versions={tool: version(tool) for tool in TOOLS},
        ),
    )
