"""Bundles whose graphs are changed on the spot, for tests of quantization.

Hands on ``changed`` (a bundle's folder with one graph rewritten) and ``latents`` (what a session answers to made-up
units).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir

from edge_streamer.quantization import graph
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.bundle.manifest import TEXT, EmbeddingSpec, GraphSpec, Precision, StateSpec, parse
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session

FLOAT32 = Precision()


def latents(session: Session, units: int = 3) -> np.ndarray:
    """The agent's latents after some made-up units, flat."""
    for index in range(units):
        session.step(made_unit(session.media, 0, index))
    return np.concatenate(
        [np.ravel(session.engine.read(b)) for b in wan_streamer(session.program).wiring.past.values()]
    )


def changed(
    folder: Path, name: str, change: Callable[[ir.Model], None], precision: Precision = FLOAT32,
    states: tuple[StateSpec, ...] | None = None, describe: Callable[[GraphSpec], GraphSpec] = lambda spec: spec,
) -> Bundle:  # fmt: skip
    """The bundle in ``folder`` after ``change`` of its graph ``name``, which is then in ``precision`` and as
    ``describe`` says; its list of files is made anew, and its ``states`` may be others."""
    apart = own_table(folder, name)
    model = graph.load(folder / "graphs" / f"{name}.onnx")
    change(model)
    beside = folder / "graphs" / "new"
    beside.mkdir()
    graph.save(model, beside, name)  # not over the file that the weights are still read from
    for file in list(beside.iterdir()):
        file.replace(folder / "graphs" / file.name)
    beside.rmdir()
    manifest = parse((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).unlink()
    replace = msgspec.structs.replace
    graphs = tuple(describe(replace(g, precision=precision)) if g.name == name else g for g in manifest.graphs)
    manifest = replace(manifest, graphs=graphs, states=manifest.states if states is None else states, files=())
    return write_bundle(folder, replace(manifest, embeddings=(apart,) if apart else manifest.embeddings))


def own_table(folder: Path, name: str) -> EmbeddingSpec | None:
    """A token table that lies in the weights of graph ``name``, which are about to change, as a file of its own."""
    bundle = Bundle.open(folder, verify=False)
    spec = bundle.manifest.embedding(TEXT)
    if spec is None or spec.file != f"graphs/{name}.weights":
        return None
    rows = np.empty((spec.rows, spec.width), np.float32)
    bundle.embedding_rows(TEXT).rows(range(spec.rows), rows)
    (folder / "embedding.f32").write_bytes(rows.tobytes())
    return msgspec.structs.replace(spec, file="embedding.f32", offset=0, layout="row")
