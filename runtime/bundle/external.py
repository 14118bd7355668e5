"""Which files beside it an ONNX graph reads, found without onnx; whatever else reaches out of it is refused.

Receives the path of an ``.onnx`` file; hands on the locations that its tensors name as external data, each in or below
its own folder. ONNX Runtime 1.23.2, the last for JetPack 6, reads what a graph names: files of the device through
``../`` or a function's attributes, addresses of its own process through a reserved location, and more by operators of
its maker's (tried). So this is a list of what a graph may hold, not of what it may not:

- weights in other files are initializers of the main graph, their location plain, their bytes within that file;
- operators are standard ones, of an opset that the boards' engines read, and not the model's own functions.

An ONNX file is a protobuf message: a row of fields, each a number with a wire type and a value. A field is entered,
stepped over or refused; weights are stepped over, never read::

    model ──► opset                  ┌──────────── subgraphs
      │                              ▼                 ▲
      └────► graph ──┬──────────► node ──► attribute ──┴──► tensor
                     └──► initializer ──► external data      (with none)
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import inside

IR_VERSION, OPSET, FP4_OPSET = 10, 21, 23
"""The newest that a graph may be of: what ONNX Runtime 1.23 reads. FLOAT4E2M1 came with opset 23."""
MOST_FIELDS, MOST_LOCATIONS = 250_000, 4096
"""Of one file, weights' contents not counted: the demo's largest graph has 5,700 fields, one location. Of tiny fields
so many are walked through in a second."""

_VARINT, _EIGHT_BYTES, _BLOCK, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types."""
_SKIP = "skip"
_GRAPH = {1: "node", **dict.fromkeys((2, 10, 11, 12, 13, 14, 16), _SKIP)}
_TENSOR = {2: "data_type", 13: "entry", 14: "data_location", **dict.fromkeys((1, *range(4, 13), 16), _SKIP)}
_MAY_HOLD: dict[str, dict[int, str]] = {
    "model": {1: "ir_version", 7: "graph", 8: "opset", **dict.fromkeys((*range(2, 7), 14), _SKIP)},
    "graph": {**_GRAPH, 5: "initializer"},
    "subgraph": {**_GRAPH, 5: "tensor"},
    "node": {5: "attribute", 7: "domain", **dict.fromkeys((1, 2, 3, 4, 6, 8, 9), _SKIP)},
    "attribute": {5: "tensor", 10: "tensor", 6: "subgraph", 11: "subgraph",
                  **dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 15, 20, 21), _SKIP)},
    "initializer": _TENSOR,
    "tensor": _TENSOR,
}  # fmt: skip
"""Message -> field number -> what is in it, from onnx.proto; these numbers never change."""
_NAMED = {
    ("model", 20): "training",
    ("model", 25): "functions",
    ("graph", 15): "sparse weights",
    ("subgraph", 15): "sparse weights",
    ("attribute", 22): "sparse tensors",
    ("attribute", 23): "sparse tensors",
}
"""Of what is refused, what somebody could know by name."""
_NUMBERS = ("ir_version", "data_type", "data_location")
_FLOAT4E2M1 = 23
_STANDARD = (b"", b"ai.onnx")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
"""A location; ONNX Runtime's reserved ones, which are addresses, hold a ``*``."""
_COUNT = re.compile(r"[0-9]{1,18}")
_DEEPEST = 64
"""Messages within messages; a graph nests a few per If or Loop, a hostile file as many as it likes."""


def external_locations(path: Path) -> set[str]:
    """The locations of external data that the graph at ``path`` names, relative to its folder.

    Raises BundleError where the file is no ONNX file, or holds what no graph of a bundle may.
    """
    if path.suffix != ".onnx":  # ONNX Runtime takes others for its own format, which is not looked at here
        raise BundleError(f"{path} has not the ending .onnx; export the bundle again")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = _Walk(data)
            walk.enter("model", 0, len(data), 0)
            walk.check_versions()
    except _Refused as error:
        raise BundleError(f"{path} {error}; export the bundle again") from None
    except ValueError as error:  # no valid fields, no valid UTF-8, or an empty file, which cannot be mapped
        raise BundleError(f"{path} is not an ONNX file ({error}); export the bundle again") from None
    for location, end in walk.ends.items():
        _check_location(path, location, end)
    return set(walk.ends)


def _check_location(path: Path, location: str, end: int) -> None:
    """A plain path to a file with so many bytes. Whether there is one, and the bundle lists it, is the reader's."""
    target = inside(path.parent, location)
    if not _PLAIN.fullmatch(location):
        raise BundleError(
            f"{path} keeps weights in {location!r}; wanted a name of letters, digits, '.', '_' and '-'; export the "
            "bundle again"
        )
    if target.is_file() and target.stat().st_size < end:
        raise BundleError(
            f"{path} keeps weights up to byte {end} of {location!r}, which has {target.stat().st_size} bytes; export "
            "the bundle again"
        )


class _Refused(Exception):
    """The file holds what it may not; the text says what, to follow the file's name."""


class _Walk:
    """One walk through a file. ``ends``: location -> how many bytes of it are wanted."""

    def __init__(self, data: mmap.mmap) -> None:
        self.ends: dict[str, int] = {}
        self._data = data
        self._count = 0
        self._ir_version = self._opset = 0
        self._fp4 = False

    def enter(self, message: str, start: int, end: int, depth: int = 0) -> None:
        """Look at every field of a message that may hold others."""
        if depth > _DEEPEST:
            raise ValueError(f"messages nest deeper than {_DEEPEST}")
        may_hold = _MAY_HOLD[message]
        external = False
        entries: dict[str, str] = {}
        for number, wire, first, last in self._fields(start, end):
            inner = may_hold.get(number)
            if inner == _SKIP:
                continue
            if inner is None:
                what = _NAMED.get((message, number), f"field {number} in its {message}")
                raise _Refused(f"holds {what}, which no graph of a bundle may")
            if wire != (_VARINT if inner in _NUMBERS else _BLOCK):
                raise ValueError(f"the {inner} before byte {last} is of another type")
            if inner in _MAY_HOLD:
                self.enter(inner, first, last, depth + 1)
            elif inner == "data_location":
                if first > 1:
                    raise ValueError(f"data_location is {first}")
                external = external or first == 1
            elif inner == "entry":
                key, value = self._entry(first, last)
                if key in entries:
                    raise _Refused(f"names the {key} of a tensor's external data twice")
                entries[key] = value
            else:
                self._see(inner, first, last)
        if external or entries:
            self._see_external(message, external, entries)

    def check_versions(self) -> None:
        """What every field together says. Raises _Refused."""
        newest = FP4_OPSET if self._fp4 else OPSET
        if self._ir_version > IR_VERSION:
            raise _Refused(f"is of IR version {self._ir_version}; wanted at most {IR_VERSION}")
        if self._opset > newest:
            raise _Refused(f"is of opset {self._opset}; wanted at most {newest}")

    def _see(self, inner: str, first: int, last: int) -> None:
        if inner == "domain":
            self._check_domain(self._data[first:last])
        elif inner == "opset":
            for number, wire, value, end in self._fields(first, last):
                if number == 1 and wire == _BLOCK:
                    self._check_domain(self._data[value:end])
                elif number == 2 and wire == _VARINT:
                    self._opset = max(self._opset, value)
        elif inner == "ir_version":
            self._ir_version = max(self._ir_version, first)
        elif inner == "data_type":
            self._fp4 = self._fp4 or first == _FLOAT4E2M1

    def _check_domain(self, domain: bytes) -> None:
        if domain not in _STANDARD:
            raise _Refused(f"holds operators of {domain.decode('utf-8')!r}; wanted standard ones alone")

    def _see_external(self, message: str, external: bool, entries: dict[str, str]) -> None:
        if message != "initializer":
            raise _Refused("keeps weights in another file for something else than an initializer of the main graph")
        foreign = sorted(entries.keys() - {"location", "offset", "length"})
        lacking = sorted({"location", "length"} - entries.keys())
        if not external or foreign or lacking:
            raise _Refused(f"has external data with {sorted(entries)}; wanted location, offset and length")
        offset, length = entries.get("offset", "0"), entries["length"]
        if not (_COUNT.fullmatch(offset) and _COUNT.fullmatch(length)):
            raise _Refused(f"has external data with offset {offset!r} and length {length!r}; wanted numbers of bytes")
        location = entries["location"]
        if len(self.ends) >= MOST_LOCATIONS and location not in self.ends:
            raise _Refused(f"keeps weights in more than {MOST_LOCATIONS} files")
        self.ends[location] = max(self.ends.get(location, 0), int(offset) + int(length))

    def _entry(self, start: int, end: int) -> tuple[str, str]:
        """A key and its value, each there once."""
        found: dict[int, str] = {}
        for number, wire, first, last in self._fields(start, end):
            if number not in (1, 2) or wire != _BLOCK or number in found:
                raise ValueError(f"an entry before byte {last} is not one key and one value")
            found[number] = self._data[first:last].decode("utf-8")
        return found.get(1, ""), found.get(2, "")

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(field number, wire type, start, end) of a message's fields; a number comes in place of its start."""
        for field in message_fields(self._data, start, end):
            self._count += 1
            if self._count > MOST_FIELDS:
                raise _Refused(f"has more than {MOST_FIELDS} fields outside of its weights")
            yield field


def message_fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end) of a message's fields; a number comes in place of its start. ValueError
    where they do not fit."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            first, at = _varint(data, at, end)
        else:
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, -1)
            if wire == _BLOCK:
                size, at = _varint(data, at, end)
            if size < 0 or at + size > end:
                raise ValueError(f"a field at byte {at} does not fit")
            first, at = at, at + size
        yield tag >> 3, wire, first, at


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise ValueError(f"a number at byte {at} has no end")
