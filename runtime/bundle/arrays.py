"""A record and named arrays in one ``.npz`` file, without pickle.

Receives a msgspec record and arrays; hands on the file, whole or absent, and both again from it. Serves snapshots and
golden units.

Choices: files come from strangers, so what an array is (dtype, shape, bytes) is known before a number of it is read,
and reading takes no more memory than that. Only what ``save_arrays`` writes is read: an archive whose entries follow
each other, each a ``.npy`` of version 1 whose header has one spelling. NumPy's own reader parses that header as Python
source, inflates whatever an entry holds, and raises whatever the libraries below it raise.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import finalize

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.files import replacing, size_text

Array = NDArray[Any]

RECORD = "meta"
"""The name under which the record's JSON lies among the arrays."""
RECORD_BYTES = 16_000_000
"""A longer record is not one: ours have some hundred bytes, and what was typed and not heard yet."""
MOST_ARRAYS = 65_000
_NAME_BYTES = 500

Record = TypeVar("Record", bound=msgspec.Struct)

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_ENTRY = struct.Struct("<4s5H3I2H")
"""Signature; version, flags, method, time, date; CRC-32, packed size, size; lengths of the name and of what follows."""
_ENDING = struct.Struct("<4s4H2IH")
"""Signature; disk, disk, entries here, entries; size and place of the list; length of a comment."""
_WIDE, _WIDE_FIELD = 0xFFFFFFFF, 1
"""A size that stands, in 64 bits, in the field of this number."""
_STORED, _DEFLATED = 0, 8
_HARMLESS_FLAGS = 0x0806
"""How hard the packer tried, and that names are UTF-8. All others change how the data lie."""

_NPY = b"\x93NUMPY\x01\x00"
_NPY_HEAD = 1024
"""Bytes within which an array's header ends; NumPy writes 128."""
_NPY_TEXT = re.compile(
    rb"\{'descr': '([<|][bfiu][1248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,15},|\d{1,15}(?:, \d{1,15}){1,7})?)\), \} *\n"
)
_DTYPES = {b"|b1", b"|i1", b"|u1", b"<f2", b"<f4", b"<f8", b"<i4", b"<i8"}


class Form(NamedTuple):
    """What an array is before a number of it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: Array) -> Form:
        return cls(array.dtype, array.shape)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class _Entry:
    """Where an array lies in the file."""

    start: int
    packed: int
    size: int
    method: int
    sum: int


def save_arrays(path: Path, record: msgspec.Struct, arrays: Mapping[str, Array]) -> None:
    """Write the file, whole or not at all. InputError where the place or the disk does not allow it."""
    named: dict[str, Any] = {RECORD: np.frombuffer(msgspec.json.encode(record), np.uint8), **arrays}
    for name, array in named.items():
        if array.dtype.str.encode() not in _DTYPES:
            raise ValueError(f"{name!r} is {array.dtype}, which no file of arrays holds")
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **named)


class ArrayFile(Mapping[str, Array], Generic[Record]):
    """The record and the arrays of a file. The arrays' forms are known at once; each is read when it is asked for.

    Every method raises MediaError, with the reason, where the file is damaged or something else. ``what`` names what
    the file should be in that error. The file stays open as long as this lives: what replaces it later is not read.
    ``admit`` is given the SHA-256 of that very file before anything of it is looked at; what it raises comes out.
    """

    def __init__(self, path: Path, kind: type[Record], what: str, admit: Callable[[str], None] | None = None) -> None:
        self.path, self._what = path, what
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe is no file: do not wait
        except (OSError, ValueError) as error:
            raise self._refused(getattr(error, "strerror", None) or str(error)) from None
        finalize(self, os.close, self._file)
        if admit is not None:
            admit(self._sum())
        self._entries = self._found()
        self.forms: dict[str, Form] = {}
        self._heads: dict[str, tuple[int, bool]] = {}
        for name, entry in self._entries.items():
            self.forms[name], start, columns_first = self._form(name, entry)
            self._heads[name] = start, columns_first
        self.record = self._record(kind)

    def __len__(self) -> int:
        return len(self.forms)

    def __iter__(self) -> Iterator[str]:
        return iter(self.forms)

    def __getitem__(self, name: str) -> Array:
        form, entry, (head, columns_first) = self.forms[name], self._entries[name], self._heads[name]
        flat: Array = np.frombuffer(self._bytes(name, entry), form.dtype, offset=head)
        array: Array = flat.reshape(form.shape[::-1]).T if columns_first else flat.reshape(form.shape)
        return np.array(array, order="C")

    def _refused(self, why: str) -> MediaError:
        return MediaError(f"{self.path}: not {self._what} that edge-streamer wrote, or damaged ({why})")

    def _sum(self) -> str:
        whole, at = hashlib.sha256(), 0
        try:
            while piece := os.pread(self._file, 1 << 20, at):
                whole.update(piece)
                at += len(piece)
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from None
        return whole.hexdigest()

    def _record(self, kind: type[Record]) -> Record:
        form = self.forms.get(RECORD)
        if form is None or form.dtype != np.uint8 or len(form.shape) != 1 or form.bytes > RECORD_BYTES:
            raise self._refused(f"its record is {'missing' if form is None else form}")
        try:
            record = msgspec.json.decode(self[RECORD].tobytes(), type=kind)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:  # ValueError: text that is not UTF-8
            raise self._refused(f"its record: {error}") from None
        del self.forms[RECORD]
        return record

    def _found(self) -> dict[str, _Entry]:
        """name -> where it lies. The list at the end of the file says the same again and is only counted."""
        found: dict[str, _Entry] = {}
        try:
            size = os.fstat(self._file).st_size
            at = 0
            while (head := self._at(at, _ENTRY.size))[:4] == _LOCAL and len(found) < MOST_ARRAYS:
                name, entry = self._entry(at, head)
                if name in found:
                    raise self._refused(f"it holds {name!r} twice")
                found[name] = entry
                at = entry.start + entry.packed
            mark, _, _, here, entries, _, _, comment = _ENDING.unpack(self._at(size - _ENDING.size, _ENDING.size))
        except (OSError, struct.error) as error:
            raise self._refused(getattr(error, "strerror", None) or "it is cut short") from None
        if head[:4] != _CENTRAL or (mark, here, entries, comment) != (_END, len(found), len(found), 0):
            raise self._refused("it is no whole archive of arrays")
        return found

    def _entry(self, at: int, head: bytes) -> tuple[str, _Entry]:
        _, _, flags, method, _, _, checksum, packed, size, name_length, more_length = _ENTRY.unpack(head)
        if name_length > _NAME_BYTES:
            raise self._refused(f"a name of {name_length} bytes")
        tail = self._at(at + _ENTRY.size, name_length + more_length)
        more = tail[name_length:]
        if _WIDE in (packed, size):
            field, length, size, packed = struct.unpack_from("<2H2Q", more)
            if (field, length) != (_WIDE_FIELD, 16):
                raise self._refused("an entry's size is unknown")
        name = tail[:name_length].decode("utf-8", "replace")
        # What deflate packs never grows by more than a few bytes in each of its blocks of 16 kB.
        if flags & ~_HARMLESS_FLAGS or method not in (_STORED, _DEFLATED) or packed > size + size // 1000 + 64:
            raise self._refused(f"{name!r} is packed in another way")
        if not name.endswith(".npy") or "\N{REPLACEMENT CHARACTER}" in name:
            raise self._refused(f"{name!r} is no array")
        start = at + _ENTRY.size + len(tail)
        return name.removesuffix(".npy"), _Entry(start, packed, size, method, checksum)

    def _form(self, name: str, entry: _Entry) -> tuple[Form, int, bool]:
        """(form, where its numbers start, whether columns come first)."""
        text = self._unpacked(name, entry, min(entry.size, _NPY_HEAD))
        start = len(_NPY) + 2 + int.from_bytes(text[len(_NPY) : len(_NPY) + 2], "little")
        found = _NPY_TEXT.fullmatch(text[len(_NPY) + 2 : start])
        if not text.startswith(_NPY) or found is None or found[1] not in _DTYPES:
            raise self._refused(f"{name!r} has no header of an array of numbers")
        shape = tuple(int(n) for n in found[3].split(b",") if n)
        form = Form(np.dtype(found[1].decode()), shape)
        if start + form.bytes != entry.size:
            raise self._refused(f"{name!r} is {form} by its header, in {entry.size} bytes")
        return form, start, found[2] == b"True"

    def _bytes(self, name: str, entry: _Entry) -> bytes:
        """All of an entry, its checksum compared."""
        try:
            data = self._unpacked(name, entry, entry.size, whole=True)
        except MemoryError:
            raise MediaError(f"{self.path}: {name!r} takes {size_text(entry.size)}, which are not free") from None
        if zlib.crc32(data) != entry.sum:
            raise self._refused(f"{name!r} has another checksum")
        return data

    def _unpacked(self, name: str, entry: _Entry, most: int, whole: bool = False) -> bytes:
        """The first ``most`` bytes of an entry; of a ``whole`` one it is asked that it ends there."""
        packed = self._at(entry.start, entry.packed if whole else min(entry.packed, 2 * most))
        if entry.method == _STORED:
            return self._exactly(name, packed if whole else packed[:most], most)
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(packed, most + whole)  # one more shows whether there is more
        except zlib.error:
            raise self._refused(f"{name!r} cannot be unpacked") from None
        if whole and (not unpacker.eof or unpacker.unused_data):
            raise self._refused(f"{name!r} does not end where it should")
        return self._exactly(name, data, most)

    def _exactly(self, name: str, data: bytes, wanted: int) -> bytes:
        if len(data) != wanted:
            raise self._refused(f"{name!r} has other bytes than it says")
        return data

    def _at(self, start: int, count: int) -> bytes:
        """``count`` bytes of the file. Raises MediaError where it has no more so many."""
        parts, end = [], start + count
        try:
            while start < end and (part := os.pread(self._file, min(end - start, 1 << 30), start)):
                parts.append(part)
                start += len(part)
        except (OSError, OverflowError) as error:
            raise self._refused(getattr(error, "strerror", None) or "it is cut short") from None
        if start < end:
            raise self._refused("it is cut short")
        return b"".join(parts)


def forms(arrays: Mapping[str, Array]) -> dict[str, Form]:
    """The form of each; none is read where they lie in a file."""
    return arrays.forms if isinstance(arrays, ArrayFile) else {name: Form.of(array) for name, array in arrays.items()}
