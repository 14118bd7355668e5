"""``edge-streamer export --triton BUNDLE``: a model repository for Triton, made beside and named when it is whole.

Receives a bundle; hands on a folder of models: one that is the whole bundle, in Triton's Python backend, and one of
each graph, in its ONNX Runtime backend, with the graph's state in Triton. README.md in it says who calls what.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edge_streamer.export.triton.config import Served, graph_config, initial, model_name, unit_config
from edge_streamer.export.triton.guide import guide
from edge_streamer.export.triton.pbtxt import Message, render
from edge_streamer.export.triton.states import held_states, sides, write_graph
from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.bundle.graph_file import check_graph_files
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import inside, new_folder, read_small
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.statement import SIGNATURE_BYTES

Models = Literal["all", "unit", "graphs"]
MODELS: tuple[Models, ...] = get_args(Models)
UNIT_MODEL = Path(__file__).with_name("unit_model.py")
VERSION = "1"
"""The folder of a model's only version."""


@dataclass(frozen=True)
class Model:
    """One that was made."""

    name: str
    states: int
    """Tensors that Triton keeps of each sequence."""


def write_repository(path: Path, out: Path, models: Models = "all", served: Served | None = None) -> list[Model]:
    """Write the bundle at ``path`` as a model repository to the new folder ``out``.

    On a device with keys only what one of them signed (TrustError). Raises InputError for an ``out`` that is there and
    for what Triton has no word for, BundleError for a bundle that cannot be used.
    """
    with new_folder(out) as folder:
        bundle = open_bundle(path)
        check_graph_files(bundle)
        manifest, served = bundle.manifest, served or Served()
        names = [model_name(manifest.name), *(model_name(manifest.name, graph.name) for graph in manifest.graphs)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"two graphs of the bundle would be Triton's model {twice[0]!r}; rename one")
        made: list[Model] = []
        if models != "graphs":
            made.append(_write_unit(folder / names[0], bundle, path, served))
        if models != "unit":
            made += [
                _write_graph(folder / name, bundle, graph, served)
                for name, graph in zip(names[1:], manifest.graphs, strict=True)
            ]
        (folder / "README.md").write_text(guide(manifest, models, served), encoding="utf-8")
    return made


def _write_unit(folder: Path, bundle: Bundle, path: Path, served: Served) -> Model:
    _configure(folder, unit_config(folder.name, bundle.manifest, served))
    version = folder / VERSION
    shutil.copyfile(UNIT_MODEL, version / "model.py")
    for name in (MANIFEST, *(file.path for file in bundle.manifest.files)):
        _copy(inside(bundle.path, name), version / "bundle" / name)
    if (signature := signature_of(path)).is_file():
        signature_of(version / "bundle").write_bytes(read_small(signature, SIGNATURE_BYTES))
    return Model(folder.name, 0)


def _write_graph(folder: Path, bundle: Bundle, graph: GraphSpec, served: Served) -> Model:
    held = held_states(bundle.manifest).get(graph.name, [])
    starts = {state.path: data for state in held if (data := initial(state)) is not None}
    files = {path: f"{number}.bin" for number, path in enumerate(starts)}
    to_from = sides(graph, held)
    _configure(folder, graph_config(folder.name, to_from.inputs, to_from.outputs, held, files, served))
    for path, data in starts.items():
        (folder / "initial_state").mkdir(exist_ok=True)
        (folder / "initial_state" / files[path]).write_bytes(data)
    file = bundle.file(graph.file)
    for location in sorted(external_locations(file)):
        _copy(inside(file.parent, location), folder / VERSION / location)
    write_graph(file, held, folder / VERSION / "model.onnx")
    return Model(folder.name, len(held))


def _configure(folder: Path, config: Message) -> None:
    (folder / VERSION).mkdir(parents=True)
    (folder / "config.pbtxt").write_text(render(config), encoding="ascii")


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
