"""What Triton must know of each model: its config.pbtxt, from a bundle's manifest.

Receives a manifest; hands on a message for each graph, served by ONNX Runtime with the state that Triton holds for it,
and one for the whole bundle, served by our own runtime.

Everything in a bundle is batch 1, and its batch axis, where there is one, is a part of every shape: so
`max_batch_size` is 0, dims are whole shapes, and sequences share a model by turns (`oldest`), each with its own state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_streamer.export.triton.pbtxt import Message, Value, Word
from edge_streamer.export.triton.states import Held
from edge_streamer.runtime.bundle.manifest import Manifest, TensorSpec
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.programs.chain import read_constants
from edge_streamer.runtime.programs.chain_media import Parts
from edge_streamer.runtime.programs.registry import PROGRAMS

TYPES = {
    "float32": "TYPE_FP32", "float16": "TYPE_FP16", "int8": "TYPE_INT8", "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32", "int64": "TYPE_INT64", "bool": "TYPE_BOOL",
}  # fmt: skip
"""What Triton's ONNX Runtime backend calls them; it has no bfloat16."""
IDLE_SECONDS = 60
"""A sequence that is silent for longer is dropped. Triton's own second is less than a person's pause."""
SESSIONS = 8


@dataclass(frozen=True)
class Served:
    """How many share a model, and for how long."""

    sessions: int = SESSIONS
    """Sequences at once; more wait until one has ended."""

    def batching(self, *states: Message) -> Message:
        return Message((
            ("max_sequence_idle_microseconds", IDLE_SECONDS * 1_000_000),
            ("oldest", Message((("max_candidate_sequences", self.sessions),))),
            *(("state", state) for state in states),
        ))  # fmt: skip


def model_name(*parts: str) -> str:
    """A model's name, and its folder's: letters, digits, `-` and `_`."""
    return "_".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") or "bundle" for part in parts)


def graph_config(
    name: str, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec], held: Iterable[Held],
    files: Mapping[str, str], served: Served,
) -> Message:  # fmt: skip
    """Of one graph. ``held``: the states that Triton keeps; ``files``: path -> the file in `initial_state` that one
    which does not begin with zeros begins with. InputError for a tensor that Triton has no word for."""
    states = [_state(state, files.get(state.path)) for state in held]
    return Message((
        ("name", name), ("backend", "onnxruntime"), ("max_batch_size", 0),
        *(("input", _tensor(spec)) for spec in inputs),
        *(("output", _tensor(spec)) for spec in outputs),
        *([("sequence_batching", served.batching(*states))] if states else []),
    ))  # fmt: skip


def unit_config(name: str, manifest: Manifest, served: Served) -> Message:
    """Of the whole bundle, in Triton's Python backend. InputError as above, and for a program that is not known."""
    takes, gives = _unit_takes(manifest), _unit_gives(manifest)
    for side in (takes, gives):
        names = [str(message[0][1]) for message in side]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"the bundle has an array {twice[0]!r}, which its Triton model has too; rename it")
    return Message((
        ("name", name), ("backend", "python"), ("max_batch_size", 0),
        *(("input", message) for message in takes), *(("output", message) for message in gives),
        ("sequence_batching", served.batching()),
        ("instance_group", Message((("count", 1), ("kind", Word("KIND_MODEL"))))),
        ("parameters", Message((("key", "engine"), ("value", Message((("string_value", "auto"),)))))),
    ))  # fmt: skip


def initial(held: Held) -> bytes | None:
    """What a state begins with, as Triton reads it from a file; None for zeros."""
    return None if held.start == 0 else np.full(held.shape, held.start, held.dtype).tobytes()


def _unit_takes(manifest: Manifest) -> list[Message]:
    media = manifest.media
    optional: tuple[str, Value] = ("optional", True)
    sides: list[Message] = []
    if media and media.sound_in:
        sides.append(_named("samples", "TYPE_FP32", [media.sound_in.unit_samples], optional))
    if media and (seen := media.pictures_in):
        sides.append(_named("frames", "TYPE_UINT8", [seen.unit_frames, *seen.size, 3], optional))
    if media and media.text_in:
        sides.append(_named("text", "TYPE_STRING", [1], optional))
    return [*sides, *(_tensor(spec) for spec in _arrays(manifest)[0])]


def _unit_gives(manifest: Manifest) -> list[Message]:
    media = manifest.media
    sides = [_named("unit", "TYPE_INT64", [1])]
    if media and media.sound_out:
        sides.append(_named("samples", "TYPE_FP32", [media.sound_out.unit_samples]))
    if media and (shown := media.pictures_out):
        sides.append(_named("frames", "TYPE_UINT8", [shown.unit_frames, *shown.size, 3]))
    if media and media.text_out:
        sides += [_named("text", "TYPE_STRING", [1]), _named("tokens", "TYPE_INT32", [-1])]
        sides.append(_named("speaking", "TYPE_INT32", [1]))
    return [*sides, *(_tensor(spec) for spec in _arrays(manifest)[1])]


def _arrays(manifest: Manifest) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """What a unit takes and gives beside sound, pictures and text: of a chain alone."""
    if manifest.program not in PROGRAMS:
        raise InputError(
            f"the bundle wants program {manifest.program!r}; this edge-streamer has {', '.join(PROGRAMS)}; upgrade it"
        )
    if manifest.program != "chain":
        return [], []
    constants = read_constants(manifest)
    parts = Parts(constants.inputs, constants.outputs, manifest.media)
    graphs = [manifest.graph(name) for name in constants.order]
    specs = {spec.name: spec for graph in graphs for spec in (*graph.inputs, *graph.outputs)}
    return [specs[name] for name in parts.arrays_in], [specs[name] for name in parts.arrays_out]


def _tensor(spec: TensorSpec) -> Message:
    return _named(spec.name, type_of(spec), dims_of(spec))


def _named(name: str, data_type: str, dims: list[int], *more: tuple[str, Value]) -> Message:
    return Message((("name", name), ("data_type", Word(data_type)), ("dims", dims), *more))


def type_of(spec: TensorSpec | Held) -> str:
    """InputError for what Triton's ONNX Runtime backend does not take."""
    if spec.dtype not in TYPES:
        raise InputError(f"{spec.name!r} is {spec.dtype}, which Triton's ONNX Runtime does not take: --models unit")
    return TYPES[spec.dtype]


def dims_of(spec: TensorSpec) -> list[int]:
    """Sizes; -1 for the symbolic length. InputError for a tensor without axes."""
    if not spec.shape:
        raise InputError(f"{spec.name!r} has no axes, which Triton does not take in a model without batches")
    return [size if isinstance(size, int) else -1 for size in spec.shape]


def _state(held: Held, file: str | None) -> Message:
    data_type, dims = Word(type_of(held)), list(held.shape)
    begins: tuple[str, Value] = ("data_file", file) if file else ("zero_data", True)
    return Message((
        ("input_name", held.name), ("output_name", held.next), ("data_type", data_type), ("dims", dims),
        ("initial_state", Message((("name", held.path), ("data_type", data_type), ("dims", dims), begins))),
    ))  # fmt: skip
