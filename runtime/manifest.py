"""The bundle format, version 1, as types.

Receives the text of a ``manifest.json``; hands on a :class:`Manifest` whose every field is known to be present
and of the right type, or a :class:`~edge_streamer.runtime.errors.BundleError` that names the offending key.

The types live on the device side because the device upgrades last: export imports them and so cannot write
what the device cannot read. Unknown keys are refused (a newer writer must raise ``format``), so a typing error
in a manifest never passes as a default.

One word per idea: a *state* is read by a graph as ``state.<path>``. A *carry* comes back whole as
``state_next.<path>``; a *ring* comes back as the slice ``append.<...>`` that the host writes at the ring's cursor.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edge_streamer.runtime.errors import BundleError

FORMAT = 1
"""The only format this reader accepts."""

MASKED = -30000.0
"""Added to an attention score to hide a key: far below any score, yet inside float16's range."""

DYNAMIC = " dynamic"
"""Ends the precision of a graph that takes its inputs' ranges anew in every run."""

DType = Literal["float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record that refuses unknown keys and cannot be changed."""


class TensorSpec(_Strict, frozen=True, kw_only=True):
    """One input or output of a graph."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]
    """Sizes; the word ``"T"`` stands for the graph's symbolic length (see ``GraphSpec.lengths``)."""
    axes: tuple[str, ...]
    """A word per axis, e.g. ``("frame", "row", "column", "colour")``."""
    unit: str = ""
    """The physical unit or range of the values, e.g. ``"full scale -1..1"``; empty for hidden features."""


class CarrySpec(_Strict, tag="carry", tag_field="kind", frozen=True, kw_only=True):
    """State that a graph takes in and gives back whole: conv tails, overlap-add tails, recurrent vectors."""

    path: str
    graph: str
    """The one graph that reads ``state.<path>`` and writes ``state_next.<path>``."""
    dtype: DType
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    start: float = 0.0
    """The value that fills it at reset."""


class RingSpec(_Strict, tag="ring", tag_field="kind", frozen=True, kw_only=True):
    """State with a fixed number of places along one axis, of which a unit fills ``places_per_unit``.

    Capacity along ``axis`` is ``(window_units + 1) * places_per_unit``: the extra unit is the slack that the unit
    in progress writes to, so that taking it back costs nothing. ``window_units == 0`` means a pinned ring
    (a prefix): capacity is ``places_per_unit``, it is filled once and never evicted.
    """

    path: str
    ring: str
    """The group of states that share one cursor and one validity row ``valid.<ring>``."""
    append: str
    """The graph output whose rows are written at the cursor, e.g. ``append.0.k``."""
    dtype: DType
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    axis: int
    """The axis of ``shape`` that the places lie along."""
    places_per_unit: int
    window_units: int
    reset: Literal["session", "unit"] = "session"
    """``unit``: emptied at every unit's start (the depth ring of a Moshi-like model)."""


StateSpec = CarrySpec | RingSpec


class GraphSpec(_Strict, frozen=True, kw_only=True):
    """One ONNX graph and what it costs."""

    name: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lengths: tuple[int, ...] = ()
    """The closed list of values of ``T``; empty for a graph of fixed shapes."""
    parameters: int
    weight_bytes: int
    operations: dict[str, int]
    """Multiply-adds times two of one run, by length (``"static"`` where there is none)."""
    moved_bytes: dict[str, int]
    """Bytes that one run must read or write at least (weights, inputs, outputs), by length."""
    precision: str = "float32"
    precision_by: str = "export"
    """What made that precision."""


class FileSpec(_Strict, frozen=True, kw_only=True):
    """One file of the bundle, by its path relative to the bundle with forward slashes."""

    path: str
    sha256: str
    size: int


class MediaSpec(_Strict, frozen=True, kw_only=True):
    """What goes in and comes out per unit: rates, sizes, colour order, ranges."""

    unit_seconds: float
    sample_rate: int
    """Samples per second, both ways, one channel, full scale -1..1 float32."""
    unit_samples: int
    frame_rate: int
    unit_frames: int
    user_size: tuple[int, int]
    """(height, width) of the camera picture, in pixels; uint8, row by row, RGB."""
    agent_size: tuple[int, int]
    """(height, width) of the agent's picture, in pixels; uint8, row by row, RGB."""
    colour: Literal["RGB"] = "RGB"


class EmbeddingSpec(_Strict, frozen=True, kw_only=True):
    """The token embedding table, which the host looks up in a memory-mapped file."""

    file: str
    offset: int
    dtype: Literal["float32", "float16", "int8"]
    """``int8``: a row is its codes times its scale."""
    scales_offset: int | None = None
    """Byte of the file from which the scales of an int8 table lie, float32 [rows]; None for the other types."""
    rows: int
    width: int
    layout: Literal["row", "column"]
    """``row``: the file holds [rows, width]. ``column``: it holds [width, rows], shared with a tied output head
    that wants this orientation, so that the numbers exist once on disk."""


class Provenance(_Strict, frozen=True, kw_only=True):
    """Where the bundle came from, for the person who finds it on a board next year."""

    made_by: str
    made_at: str
    """UTC, ISO 8601."""
    preset: str
    weights: str
    """``random, seed N`` or the weight file's name and SHA-256."""
    weights_licence: str
    backbone: str = ""
    versions: dict[str, str]
    """Of the tools that exported it."""


class Manifest(_Strict, frozen=True, kw_only=True):
    """``manifest.json``."""

    format: int
    name: str
    program: str
    """The class in ``runtime/programs`` that runs the graphs."""
    constants: dict[str, object]
    """What the program needs to know; its own types check it."""
    media: MediaSpec | None = None
    graphs: tuple[GraphSpec, ...]
    states: tuple[StateSpec, ...]
    files: tuple[FileSpec, ...]
    """Every file but the manifest."""
    embedding: EmbeddingSpec | None = None
    tokenizer: str | None = None
    golden: str | None = None
    prefixes: dict[str, str] = {}
    """Snapshots that ride along: name -> file."""
    provenance: Provenance

    def graph(self, name: str) -> GraphSpec:
        """The graph called ``name``; a BundleError where there is none."""
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise BundleError(f"the bundle has no graph {name!r}; it has {', '.join(g.name for g in self.graphs)}")


def parse(text: bytes) -> Manifest:
    """A manifest from JSON text. Raises BundleError naming the key; checks the format number first."""
    try:
        number = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("format")
        found = msgspec.json.decode(number) if number is not None else None
    except msgspec.DecodeError as error:
        raise BundleError(f"manifest.json is not a JSON object ({error}); export the bundle again") from None
    if type(found) is not int:
        raise BundleError(f"manifest.json has format {found!r}; wanted the integer {FORMAT}")
    if found != FORMAT:
        raise BundleError(
            f"the bundle has format {found}, this edge-streamer reads format {FORMAT}; "
            + ("upgrade edge-streamer on this device" if found > FORMAT else "export the bundle again")
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except msgspec.ValidationError as error:
        advice = "it is damaged or from another version; export the bundle again"
        raise BundleError(f"manifest.json: {error}: {advice}") from None


def render(manifest: Manifest) -> bytes:
    """The JSON text of ``manifest``, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
