"""A tar as ``edge-streamer pack`` writes it, read without trust.

Receives an open archive, gzipped or not; hands on its members one after the other: name, size, and the content in
pieces. Python's own reader knows every dialect of tar, and so can be told of negative sizes, files with holes, links,
and headers that fill the memory. This one knows regular files, and names of their own in an extended header where they
are long or not ASCII, or sizes there where they are large; of whatever else it meets it says that it is not regular. It
reads forwards only and never more than was announced.

A member is a header of 512 bytes (name, size in octal digits, a sum over the header, the type, more of the name), then
the content, filled up to a whole number of blocks. Two blocks of zeros end the archive.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

BLOCK = 512
PIECE = 64 * 1024
EXTENDED_BYTES = 64 * 1024
"""An extended header larger than this holds more than a name."""


class DamagedError(Exception):
    """The archive is cut off, damaged, or no tar of regular files; the text says which."""


class Source(Protocol):
    """What bytes come from."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Gunzipped:
    """The bytes inside a gzip stream. Raises DamagedError where it is damaged or cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._stream = zlib.decompressobj(wbits=31)
        self._begun = False

    def read(self, size: int) -> bytes:
        while True:
            if self._stream.eof:  # another stream may follow, as after `cat a.gz b.gz`
                rest = self._stream.unused_data or self._file.read(PIECE)
                if not rest:
                    return b""
                self._stream, self._begun = zlib.decompressobj(wbits=31), False
            else:
                rest = self._stream.unconsumed_tail or self._file.read(PIECE)
                if not rest:
                    raise DamagedError("its gzip stream is cut off")
            try:
                if data := self._stream.decompress(rest, size):
                    return data
            except zlib.error as error:
                raise DamagedError(str(error)) from None


class Member:
    """A file of the archive. Its pieces are to be read before the next member is asked for.

    ``regular``: it is one; after any other the archive cannot be read on.
    """

    def __init__(self, source: Source, name: str, size: int, regular: bool = True) -> None:
        self.name, self.size, self.regular = name, size, regular
        self._source = source

    def __repr__(self) -> str:
        return f"Member({self.name!r}, {self.size} bytes{'' if self.regular else ', not regular'})"

    def pieces(self) -> Iterator[bytes]:
        """The content."""
        yield from _pieces(self._source, self.size)
        _exactly(self._source, -self.size % BLOCK)


def members(file: BinaryIO) -> Iterator[Member]:
    """The members of the archive that ``file`` begins with. Raises DamagedError."""
    start = file.read(2)
    file.seek(0)
    source: Source = Gunzipped(file) if start == b"\x1f\x8b" else file
    told: dict[bytes, bytes] = {}
    while header := _header(source):
        size, kind = _octal(header[124:136]), header[156:157]
        if kind == b"x" and not told:
            if size > EXTENDED_BYTES:
                raise DamagedError(f"it has an extended header of {size} bytes")
            told = _records(b"".join(Member(source, "", size).pieces()))
            continue
        if b"size" in told:
            size = _number(told[b"size"], b"0123456789", 10)
        name = _text(told[b"path"]) if b"path" in told else _plain_name(header)
        yield Member(source, name, size, regular=kind in (b"0", b"\0") and told.keys() <= {b"path", b"size"})
        told = {}


def _header(source: Source) -> bytes | None:
    """The next header; None at the archive's end."""
    header = _exactly(source, BLOCK)
    if not any(header):
        return None
    # The sum counts its own eight digits as spaces.
    if _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise DamagedError("a header's sum is wrong")
    return header


def _octal(digits: bytes) -> int:
    return _number(digits.strip(b" \0"), b"01234567", 8)


def _number(digits: bytes, allowed: bytes, base: int) -> int:
    if not digits or digits.strip(allowed) or len(digits) > 16:
        raise DamagedError(f"a header has {digits[:32]!r} in place of a number")
    return int(digits, base)


def _plain_name(header: bytes) -> str:
    name, before = (_until_zero(part) for part in (header[:100], header[345:500]))
    is_posix = header[257:263] == b"ustar\0"  # others keep something else where the beginning of a long name would be
    return _text(before + b"/" + name if before and is_posix else name)


def _until_zero(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _records(text: bytes) -> dict[bytes, bytes]:
    """The records of an extended header: ``LENGTH KEY=VALUE`` and a newline each, all of it counted."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        digits = text[at : at + 8].partition(b" ")[0]
        end = at + _number(digits, b"0123456789", 10)
        key, equals, value = text[at + len(digits) + 1 : end - 1].partition(b"=")
        if not at + len(digits) + 1 < end <= len(text) or text[end - 1 : end] != b"\n" or not equals or key in found:
            raise DamagedError("an extended header is damaged")
        found[key] = value
        at = end
    if not found:
        raise DamagedError("an extended header is empty")
    return found


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError(f"a name is no UTF-8: {name[:100]!r}") from None


def _pieces(source: Source, size: int) -> Iterator[bytes]:
    while size:
        piece = source.read(min(size, PIECE))
        if not piece:
            raise DamagedError("it is cut off")
        yield piece
        size -= len(piece)


def _exactly(source: Source, size: int) -> bytes:
    return b"".join(_pieces(source, size))
