"""Which files beside it an ONNX graph reads, found without onnx.

Receives the path of an ``.onnx`` file; hands on the locations that its tensors name as external data. The bundle's
reader refuses those it does not list: a graph may otherwise read any file of the device through ``../``, which newer
ONNX Runtimes refuse by themselves, but 1.23.2, the last for JetPack 6, does not (tried on both).

An ONNX file is a protobuf message: a row of fields, each a number with a wire type and a value. Only the fields on the
way to ``TensorProto.external_data`` are entered, everything else (weights included) is stepped over, never read::

    model.graph ──► initializer, sparse initializer's values ──► external_data ──► key "location": value
        │  ▲
        ▼  │ subgraphs
      node ──► attribute ──► tensor(s) ──► external_data
    model.functions ──► node
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from edge_streamer.runtime.errors import BundleError

_VARINT, _EIGHT_BYTES, _BLOCK, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types."""

_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Message -> field number -> the message in it, from onnx.proto; these numbers never change."""
_KEY, _VALUE = 1, 2
_DEEPEST = 64
"""Messages within messages; a graph nests a few per If or Loop, a hostile file as many as it likes."""


def external_locations(path: Path) -> set[str]:
    """The locations of external data that the graph at ``path`` names. Raises BundleError where it is no ONNX file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_locations(data, 0, len(data), "model", 0))
    except ValueError as error:  # no valid fields, no valid UTF-8, or an empty file, which cannot be mapped
        raise BundleError(f"{path} is not an ONNX file ({error}); export the bundle again") from None


def _locations(data: mmap.mmap, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError(f"messages nest deeper than {_DEEPEST}")
    if message == "entry":
        yield from _location(data, start, end)
        return
    for number, first, last in _blocks(data, start, end):
        inner = _INSIDE[message].get(number)
        if inner:
            yield from _locations(data, first, last, inner, depth + 1)


def _location(data: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """The value of a key-value entry whose key is ``location``."""
    entry = {number: data[first:last] for number, first, last in _blocks(data, start, end)}
    if entry.get(_KEY) == b"location":
        yield entry.get(_VALUE, b"").decode("utf-8")


def _blocks(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of the fields of a message that have a length; the others are stepped over."""
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        wire = tag & 7
        if wire == _VARINT:
            at = _varint(data, at, end)[1]
            continue
        if wire == _BLOCK:
            size, at = _varint(data, at, end)
        else:
            size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, -1)
        if size < 0 or at + size > end:
            raise ValueError(f"a field at byte {at} does not fit")
        if wire == _BLOCK:
            yield tag >> 3, at, at + size
        at += size


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
