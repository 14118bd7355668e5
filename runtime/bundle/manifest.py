"""The bundle format, version 1, as types.

Receives the text of a ``manifest.json``; hands on a :class:`Manifest` whose every field is known to be present
and of the right type, or a :class:`~edge_streamer.runtime.errors.BundleError` that names the offending key.

The types live on the device side because the device upgrades last: export imports them and so cannot write
what the device cannot read. Unknown keys are refused (a newer writer must raise ``format``), so a typing error
in a manifest never passes as a default.

A manifest may come from anyone. What it holds is bounded here (how many graphs, states and files, how long a name, how
large a number), so that every later check ends soon and an error stays one line.

One word per idea: a *state* is read by a graph as ``state.<path>``. A *carry* comes back whole as
``state_next.<path>``; a *ring* comes back as the slice ``append.<...>`` that the host writes at the ring's cursor.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Literal, NoReturn

import msgspec
from msgspec import Meta

from edge_streamer.runtime.errors import BundleError

FORMAT = 1
"""The only format this reader accepts."""

MASKED = -30000.0
"""Added to an attention score to hide a key: far below any score, yet inside float16's range."""

TEXT = "text"
"""The token table that the tokenizer's tokens are rows of."""

DType = Literal["float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]

Name = Annotated[str, Meta(max_length=300)]
"""Of a graph, a state, a tensor, a file within the bundle."""
Line = Annotated[str, Meta(max_length=2000)]
"""For people."""
Number = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
"""A size, a count, a rate: 32 bits hold every one that an engine takes."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""Of bytes, of operations: exact in JSON and as a float."""
Offset = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Shape = Annotated[tuple[Number, ...], Meta(max_length=8)]
Axes = Annotated[tuple[Name, ...], Meta(max_length=8)]
Costs = Annotated[dict[Name, Count], Meta(max_length=64)]
_DRAFT = {"embedding", "prefixes"}
"""Keys that manifests had while format 1 was a draft: every one of them had both."""
_SHOWN = 300
"""Letters of a foreign library's error that are shown: it may repeat a key of any length."""
_ESCAPED = re.compile(
    rb"\\(?:\\(?:\\\\)*|[bfnrt]|u(?:00[01][0-9a-f]|007f|00[89][0-9a-f]|202[89a-e]|206[0-9a-f]))", re.IGNORECASE
)
_RAW = tuple(
    re.compile(raw) for raw in (rb"\x7f", rb"\xc2[\x80-\x9f]", rb"\xe2\x80[\xa8-\xae]", rb"\xe2\x81[\xa0-\xaf]")
)
"""Control characters and marks of direction in a JSON text, escaped (or a backslash that is) or not: a terminal would
obey them. Each begins with a byte that is found fast."""


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A record that refuses unknown keys and cannot be changed."""


class TensorSpec(_Strict, frozen=True, kw_only=True):
    """One input or output of a graph."""

    name: Name
    dtype: DType
    shape: Annotated[tuple[Number | Name, ...], Meta(max_length=8)]
    """Sizes; the word ``"T"`` stands for the graph's symbolic length (see ``GraphSpec.lengths``)."""
    axes: Axes
    """A word per axis, e.g. ``("frame", "row", "column", "colour")``."""
    unit: Name = ""
    """The physical unit or range of the values, e.g. ``"full scale -1..1"``; empty for hidden features."""


class CarrySpec(_Strict, tag="carry", tag_field="kind", frozen=True, kw_only=True):
    """State that a graph takes in and gives back whole: conv tails, overlap-add tails, recurrent vectors."""

    path: Name
    graph: Name
    """The one graph that reads ``state.<path>`` and writes ``state_next.<path>``."""
    dtype: DType
    shape: Shape
    axes: Axes
    start: float = 0.0
    """The value that fills it at reset."""


class RingSpec(_Strict, tag="ring", tag_field="kind", frozen=True, kw_only=True):
    """State with a fixed number of places along one axis, of which a unit fills ``places_per_unit``.

    Capacity along ``axis`` is ``(window_units + 1) * places_per_unit``: the extra unit is the slack that the unit
    in progress writes to, so that taking it back costs nothing. ``window_units == 0`` means a pinned ring
    (a prefix): capacity is ``places_per_unit``, it is filled once and never evicted.
    """

    path: Name
    ring: Name
    """The group of states that share one cursor and one validity row ``valid.<ring>``."""
    append: Name
    """The graph output whose rows are written at the cursor, e.g. ``append.0.k``."""
    dtype: DType
    shape: Shape
    axes: Axes
    axis: Number
    """The axis of ``shape`` that the places lie along."""
    places_per_unit: Number
    window_units: Number
    reset: Literal["session", "unit"] = "session"
    """``unit``: emptied at every unit's start (the depth ring of a Moshi-like model)."""


StateSpec = CarrySpec | RingSpec


class Precision(_Strict, frozen=True, kw_only=True):
    """What a graph's numbers are kept and computed in; engines set themselves by it, `check` its tolerance."""

    weights: Literal["float32", "fp16", "bf16", "fp8", "nvfp4", "int8", "int4", "mixed"] = "float32"
    """The fewest bits that layers of this graph are stored in (some may have more); ``mixed``: whatever each bears."""
    activations: Literal["float32", "fp16", "bf16", "fp8", "int8", "mixed"] = "float32"
    """What the layers' inputs are turned into before they are multiplied; ``float32``: as they come."""
    dynamic: bool = False
    """The inputs' ranges are taken anew in every run; else they are constants of the graph. For integers alone."""
    by: Name = "export"
    """What made this precision."""

    @property
    def words(self) -> str:
        """For people: ``int8 weights``, ``int8 dynamic``, ``fp16``."""
        same = self.weights == self.activations
        rest = "" if same else " weights" if self.activations == "float32" else f" weights, {self.activations}"
        return f"{self.weights}{rest}{' dynamic' if self.dynamic else ''}"


class GraphSpec(_Strict, frozen=True, kw_only=True):
    """One ONNX graph and what it costs."""

    name: Name
    file: Name
    inputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=4096)]
    outputs: Annotated[tuple[TensorSpec, ...], Meta(max_length=4096)]
    lengths: Annotated[tuple[Number, ...], Meta(max_length=64)] = ()
    """The closed list of values of ``T``; empty for a graph of fixed shapes."""
    parameters: Count
    weight_bytes: Count
    operations: Costs
    """Multiply-adds times two of one run, by length (``"static"`` where there is none)."""
    moved_bytes: Costs
    """Bytes that one run must read or write at least (weights, inputs, outputs), by length."""
    precision: Precision = Precision()


class FileSpec(_Strict, frozen=True, kw_only=True):
    """One file of the bundle, by its path relative to the bundle with forward slashes."""

    path: Name
    sha256: Annotated[str, Meta(min_length=64, max_length=64)]
    size: Count


class SoundSpec(_Strict, frozen=True, kw_only=True):
    """Sound of one channel, one way: full scale -1..1, float32."""

    graph: Name
    tensor: Name
    """The input (of what is heard) or output (of what is said) of ``graph`` that is a unit of it."""
    sample_rate: Number
    """Samples per second."""
    unit_samples: Number


class PicturesSpec(_Strict, frozen=True, kw_only=True):
    """Pictures, one way: uint8 [unit_frames, height, width, 3], 0..255, row by row."""

    graph: Name
    tensor: Name
    """The input or output of ``graph`` that is a unit of them."""
    frame_rate: Number
    unit_frames: Number
    size: tuple[Number, Number]
    """(height, width), in pixels."""
    colour: Literal["RGB"] = "RGB"


class TextSpec(_Strict, frozen=True, kw_only=True):
    """Text, one way, as tokens of the bundle's tokenizer."""

    graph: Name
    tensor: Name
    """The input that takes the tokens, or their rows of the table ``text``; the output that is a token."""
    unit_tokens: Number
    """Tokens of text per unit, at most."""


class MediaSpec(_Strict, frozen=True, kw_only=True):
    """What goes in and comes out per unit, in parts; None where a model has no such part."""

    unit_seconds: float
    sound_in: SoundSpec | None = None
    sound_out: SoundSpec | None = None
    pictures_in: PicturesSpec | None = None
    pictures_out: PicturesSpec | None = None
    text_in: TextSpec | None = None
    text_out: TextSpec | None = None

    @property
    def unit(self) -> Fraction:
        """Seconds of a unit, exactly."""
        return Fraction(self.unit_seconds).limit_denominator(1_000_000)

    @property
    def hears(self) -> SoundSpec:
        """``sound_in``, for whoever needs it. BundleError where there is none; so for the others."""
        return self.sound_in or _lacking("sound_in")

    @property
    def says(self) -> SoundSpec:
        return self.sound_out or _lacking("sound_out")

    @property
    def sees(self) -> PicturesSpec:
        return self.pictures_in or _lacking("pictures_in")

    @property
    def shows(self) -> PicturesSpec:
        return self.pictures_out or _lacking("pictures_out")


def _lacking(part: str) -> NoReturn:
    raise BundleError(f"the bundle has no {part}: media.{part} of its manifest is null; this needs it")


class EmbeddingSpec(_Strict, frozen=True, kw_only=True):
    """A token embedding table. The engine looks its rows up: on a CPU in the memory-mapped file."""

    name: Name
    """What its rows are for; the tokenizer's tokens are rows of the one called ``text``."""
    file: Name
    offset: Offset
    dtype: Literal["float32", "float16", "int8"]
    """``int8``: a row is its codes times its scale."""
    scales_offset: Offset | None = None
    """Byte of the file from which the scales of an int8 table lie, float32 [rows]; None for the other types."""
    rows: Number
    width: Number
    layout: Literal["row", "column"]
    """``row``: the file holds [rows, width]. ``column``: it holds [width, rows], shared with a tied output head
    that wants this orientation, so that the numbers exist once on disk."""


class Provenance(_Strict, frozen=True, kw_only=True):
    """Where the bundle came from, for the person who finds it on a board next year."""

    made_by: Line
    made_at: Line
    """UTC, ISO 8601."""
    preset: Line
    weights: Line
    """``random, seed N`` or the weight file's name and SHA-256."""
    weights_licence: Line
    backbone: Line = ""
    versions: Annotated[dict[Name, Line], Meta(max_length=100)]
    """Of the tools that exported it."""


class Manifest(_Strict, frozen=True, kw_only=True):
    """``manifest.json``."""

    format: int
    name: Name
    program: Name
    """The class in ``runtime/programs`` that runs the graphs."""
    constants: dict[str, object]
    """What the program needs to know; its own types check it."""
    media: MediaSpec | None = None
    graphs: Annotated[tuple[GraphSpec, ...], Meta(max_length=256)]
    states: Annotated[tuple[StateSpec, ...], Meta(max_length=4096)]
    files: Annotated[tuple[FileSpec, ...], Meta(max_length=4096)]
    """Every file but the manifest."""
    embeddings: Annotated[tuple[EmbeddingSpec, ...], Meta(max_length=64)] = ()
    tokenizer: Name | None = None
    golden: Name | None = None
    provenance: Provenance

    def graph(self, name: str) -> GraphSpec:
        """The graph called ``name``; a BundleError where there is none."""
        for graph in self.graphs:
            if graph.name == name:
                return graph
        names = ", ".join(graph.name for graph in self.graphs)
        raise BundleError(f"the bundle has no graph {name!r}; it has {_shown(names)}")

    def embedding(self, name: str) -> EmbeddingSpec | None:
        """The token table called ``name``, if there is one."""
        return next((table for table in self.embeddings if table.name == name), None)


def parse(text: bytes) -> Manifest:
    """A manifest from JSON text. Raises BundleError naming the key; checks the format number first."""
    try:
        number = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("format")
        found = msgspec.json.decode(number) if number is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"manifest.json is not a JSON object ({_shown(error)}); export the bundle again") from None
    if type(found) is not int:
        raise BundleError(f"manifest.json has format {_shown(repr(found))}; wanted the integer {FORMAT}")
    if found != FORMAT:
        raise BundleError(
            f"the bundle has format {_shown(found)}, this edge-streamer reads format {FORMAT}; "
            + ("upgrade edge-streamer on this device" if found > FORMAT else "export the bundle again")
        )
    if hidden := _control(text):
        raise BundleError(
            f"manifest.json has a control character ({hidden[0][-6:]!r}) at byte {hidden.start()}; wanted text that "
            "can be shown; export the bundle again"
        )
    try:
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        advice = "it is damaged, from another version or mistyped; export it again, or see docs/bundle-format.md"
        if drafted := sorted(_DRAFT & _keys(text)):
            raise BundleError(
                f"manifest.json has {' and '.join(map(repr, drafted))}: it is of a draft of format {FORMAT}, from "
                "before its first release; export the bundle again"
            ) from None
        raise BundleError(f"manifest.json: {_shown(error)}: {advice}") from None


def _keys(text: bytes) -> set[str]:
    """Of a text that was read once: it holds an object."""
    return set(msgspec.json.decode(text, type=dict[str, msgspec.Raw]))


def _control(text: bytes) -> re.Match[bytes] | None:
    escaped = (found for found in _ESCAPED.finditer(text) if not found[0].startswith(rb"\\"))
    return next(escaped, None) or next(filter(None, (raw.search(text) for raw in _RAW)), None)


def _shown(what: object) -> str:
    """``what`` as text that fits a line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(what)[: _SHOWN + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def render(manifest: Manifest) -> bytes:
    """The JSON text of ``manifest``, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
