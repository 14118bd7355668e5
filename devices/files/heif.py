"""Stills in HEIF boxes, as phones write them: HEIC and AVIF, put together from their tiles.

Receives an open file; hands on one upright PyAV frame with what it says of its colours. Its boxes (ISO/IEC 14496-12,
23008-12) are read here, its tiles are decoded by PyAV one after the other.

Choices. The picture's own turns and mirrors (``irot``, ``imir``) and its crop (``clap``) are done, and what EXIF says
of them is not, as the standard wants it. A gain map for HDR is left out: the picture beside it is SDR.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from edge_streamer.devices.files.colour import BT601, UNNAMED, is_plain, why_unreadable
from edge_streamer.runtime.errors import MediaError

BRANDS = {b"mif1", b"mif2", b"miaf", b"heic", b"heix", b"heim", b"heis", b"avif", b"avic"}
"""What the first box of a still names; films and sequences of stills name others first."""

SEQUENCES = {b"msf1", b"hevc", b"hevx", b"avis"}

MOST_PIXELS = 1 << 28
"""More than the largest cameras have."""

_MOST_DESCRIPTION = 1 << 24
"""Bytes of all boxes that describe a picture; those of phones have some thousands."""

_DECODERS = {b"hvc1": "hevc", b"hev1": "hevc", b"av01": "libdav1d", b"avc1": "h264", b"jpeg": "mjpeg"}
_SET_UP_BY = {b"hvcC", b"av1C", b"avcC", b"jpgC"}
_ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")

Pixels = NDArray[Any]
Property = tuple[bytes, bytes]
"""A box's name and what is in it."""


@dataclass
class _Item:
    kind: bytes
    properties: list[Property] = field(default_factory=list)
    method: int = 0
    extents: list[tuple[int, int]] = field(default_factory=list)

    def get(self, name: bytes) -> bytes | None:
        return next((content for known, content in self.properties if known == name), None)


def is_heif_still(file: BinaryIO) -> bool:
    """Whether ``file`` holds a still in HEIF boxes, and no film."""
    file.seek(0)
    head = file.read(256)
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : min(struct.unpack(">I", head[:4])[0], 256)]
    names = {brands[at : at + 4] for at in range(0, len(brands), 4) if at != 4}  # between them stands a version
    return brands[:4] not in SEQUENCES and bool(names & BRANDS) and any(name == b"meta" for name, _, _ in _outer(file))


def read_heif(file: BinaryIO) -> tuple[Any, bytes | None]:
    """The picture in ``file`` as a PyAV frame, and its ICC profile where it has one.

    Raises MediaError that says why without naming the file: a form that is not read, or damage.
    """
    try:
        return _Still(file).frame()
    except (struct.error, IndexError, KeyError, ValueError, RecursionError, av.error.FFmpegError) as error:
        raise MediaError(f"is damaged: its boxes or tiles cannot be read ({type(error).__name__})") from error


class _Still:
    """One file's items, by their number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._items: dict[int, _Item] = {}
        self._of: dict[bytes, dict[int, list[int]]] = {}  # kind of reference -> from -> to
        self._data = b""
        place, length = next((place, length) for name, place, length in _outer(file) if name == b"meta")
        if length > _MOST_DESCRIPTION:
            raise ValueError("too long")
        file.seek(place)
        boxes = dict(_boxes(file.read(length)[4:]))
        self._read_items(boxes[b"iinf"])
        self._read_properties(dict(_boxes(boxes[b"iprp"])))
        self._read_places(_Reader(boxes[b"iloc"]))
        for kind, content in _boxes(boxes.get(b"iref", b"")[4:]):
            self._read_reference(kind, _Reader(content), wide=boxes[b"iref"][0] == 1)
        self._data = boxes.get(b"idat", b"")
        primary = _Reader(boxes[b"pitm"])
        self._primary = primary.number(4 if primary.version() else 2)

    def frame(self) -> tuple[Any, bytes | None]:
        item = self._items[self._primary]
        colours = self._colours(self._primary)
        deep = not is_plain(colours[1], colours[0])
        picture = self._picture(self._primary, "rgb48le" if deep else "rgb24", colours)
        alpha = self._alpha()
        if alpha is not None and self._primary not in self._of.get(b"prem", {}):  # those are laid on black already
            clear = self._picture(alpha, "gray16le" if deep else "gray", None)[: picture.shape[0], : picture.shape[1]]
            picture = np.dstack([picture, _grown(clear, picture.shape[:2])])
        form = ("rgba64le" if deep else "rgba") if picture.shape[2] == 4 else ("rgb48le" if deep else "rgb24")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
        profile = next((c[4:] for name, c in item.properties if name == b"colr" and c[:4] in (b"prof", b"rICC")), None)
        frame.color_primaries, frame.color_trc = colours[:2]
        return frame, profile

    def _alpha(self) -> int | None:
        """The item that says how clear the picture is."""
        for one, others in self._of.get(b"auxl", {}).items():
            kind = (self._items[one].get(b"auxC") or b"")[4:].partition(b"\0")[0]
            if self._primary in others and kind in _ALPHA:
                return one
        return None

    def _colours(self, number: int) -> tuple[int, int, int]:
        """(primaries, transfer, matrix) as the boxes or else the first tile name them."""
        item = self._items[number]
        for name, content in item.properties:
            if name == b"colr" and content[:4] == b"nclx":
                primaries, transfer, matrix = struct.unpack(">HHH", content[4:10])
                return primaries, transfer, matrix
        if item.kind not in _DECODERS:
            return self._colours(self._of[b"dimg"][number][0])
        frame = self._decoded(number)
        return int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)

    def _picture(self, number: int, form: str, colours: tuple[int, int, int] | None) -> Pixels:
        """[height, width(, 3)] of an item, with all that it says of turns."""
        item = self._items[number]
        if item.kind == b"grid":
            picture = self._grid(number, form, colours)
        elif item.kind == b"iden":
            picture = self._picture(self._of[b"dimg"][number][0], form, colours)
        elif item.kind in _DECODERS:
            picture = _pixels(self._decoded(number), form, colours)
        else:
            raise MediaError(f"holds its picture in a form ({item.kind.decode('latin1')}) that is not read")
        if size := item.get(b"ispe"):
            width, height = struct.unpack(">II", size[4:12])
            picture = picture[:height, :width]
        for name, content in item.properties:
            picture = _turned(picture, name, content)
        return picture

    def _grid(self, number: int, form: str, colours: tuple[int, int, int] | None) -> Pixels:
        reader = _Reader(self._bytes(number))
        reader.number(1)
        wide = 4 if reader.number(1) & 1 else 2
        rows, columns = reader.number(1) + 1, reader.number(1) + 1
        width, height = reader.number(wide), reader.number(wide)
        tiles = self._of[b"dimg"][number]
        if len(tiles) != rows * columns or not 0 < width * height <= MOST_PIXELS:
            raise ValueError("a grid that does not add up")
        picture: Pixels | None = None
        for index, one in enumerate(tiles):
            tile = self._picture(one, form, colours)
            if picture is None:
                high, broad = tile.shape[:2]
                if rows * high < height or columns * broad < width:
                    raise ValueError("tiles too small for their grid")
                picture = np.zeros((height, width, *tile.shape[2:]), tile.dtype)
            top, left = index // columns * high, index % columns * broad
            part = picture[top : top + high, left : left + broad]
            part[:] = tile[: part.shape[0], : part.shape[1]]
        assert picture is not None
        return picture

    def _decoded(self, number: int) -> Any:
        item = self._items[number]
        try:
            decoder: Any = av.CodecContext.create(_DECODERS[item.kind], "r")
        except av.error.FFmpegError:
            raise MediaError(f"holds a picture ({item.kind.decode()}) that this PyAV cannot decode") from None
        decoder.extradata = next((content for name, content in item.properties if name in _SET_UP_BY), None)
        decoder.thread_count = 1
        frames = [*decoder.decode(av.Packet(self._bytes(number))), *decoder.decode(None)]
        if frames[0].width * frames[0].height > MOST_PIXELS:
            raise ValueError("too large")
        return frames[0]

    def _bytes(self, number: int) -> bytes:
        item, parts = self._items[number], []
        if item.method > 1:
            raise MediaError("keeps its picture inside of another item, which is not read")
        for place, length in item.extents:
            whole = len(self._data) if item.method else self._size
            length = length or whole - place  # 0: up to the end
            if place + length > whole:
                raise MediaError(
                    f"is truncated: it promises {place + length} bytes altogether, {whole} are there; "
                    "copy or record it again"
                )
            self._file.seek(place)
            parts.append(self._data[place : place + length] if item.method else self._file.read(length))
        return b"".join(parts)

    def _read_items(self, content: bytes) -> None:
        for name, entry in _boxes(content[6 if content[0] == 0 else 8 :]):
            reader = _Reader(entry)
            if name == b"infe" and (version := reader.version()) >= 2:
                number = reader.number(2 if version == 2 else 4)
                reader.number(2)
                self._items[number] = _Item(reader.take(4))

    def _read_properties(self, boxes: dict[bytes, bytes]) -> None:
        every = list(_boxes(boxes[b"ipco"]))
        reader = _Reader(boxes[b"ipma"])
        wide_number, wide_index = (4 if reader.version() else 2), reader.flags & 1
        for _ in range(reader.number(4)):
            item = self._items[reader.number(wide_number)]
            for _ in range(reader.number(1)):
                index = reader.number(2) & 0x7FFF if wide_index else reader.number(1) & 0x7F
                if index:
                    item.properties.append(every[index - 1])

    def _read_places(self, reader: _Reader) -> None:
        version = reader.version()
        sizes = reader.number(2)
        for_place, for_length, for_base = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        for_index = sizes & 15 if version else 0
        wide = 4 if version == 2 else 2
        for _ in range(reader.number(wide)):
            item = self._items.setdefault(reader.number(wide), _Item(b""))
            item.method = reader.number(2) & 15 if version else 0
            reader.number(2)
            base = reader.number(for_base)
            for _ in range(reader.number(2)):
                reader.number(for_index)
                item.extents.append((base + reader.number(for_place), reader.number(for_length)))

    def _read_reference(self, kind: bytes, reader: _Reader, wide: bool) -> None:
        size = 4 if wide else 2
        one = reader.number(size)
        self._of.setdefault(kind, {})[one] = [reader.number(size) for _ in range(reader.number(2))]


class _Reader:
    """Numbers one after the other, the high byte first."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at, self.flags = content, 0, 0

    def take(self, size: int) -> bytes:
        part = self._content[self._at : self._at + size]
        if len(part) < size:
            raise IndexError("a box ends too soon")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def version(self) -> int:
        """The first byte of what has a version; its flags follow."""
        version, self.flags = self.number(1), self.number(3)
        return version


def _outer(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, how long that is) of each outer box."""
    size, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length, start = struct.unpack(">I", head[:4])[0], 8
        if length == 1:
            length, start = int.from_bytes(head[8:], "big"), 16
        length = length or size - at
        if length < start:
            return
        yield head[4:8], at + start, length - start
        at += length


def _boxes(content: bytes) -> Iterator[Property]:
    at = 0
    while at + 8 <= len(content):
        length = struct.unpack(">I", content[at : at + 4])[0] or len(content) - at
        if length < 8 or at + length > len(content):
            raise IndexError("a box ends too soon")
        yield content[at + 4 : at + 8], content[at + 8 : at + length]
        at += length


def _pixels(frame: Any, form: str, colours: tuple[int, int, int] | None) -> Pixels:
    if colours:
        if why := why_unreadable(colours[2], colours[1]):
            raise MediaError(f"cannot be read: {why}")
        frame.colorspace = BT601 if colours[2] == UNNAMED else colours[2]  # as the standard has it for stills
    return np.asarray(VideoReformatter().reformat(frame, format=form, threads=1).to_ndarray())


def _turned(picture: Pixels, name: bytes, content: bytes) -> Pixels:
    """``picture`` after one of its properties."""
    if name == b"irot":
        return np.rot90(picture, content[0] & 3)  # counterclockwise
    if name == b"imir":
        return picture[:, ::-1] if content[0] & 1 else picture[::-1]
    if name == b"clap":
        (wide, high), (right, down) = _ratios(content[:16], "I"), _ratios(content[16:32], "i")
        left = round(Fraction(picture.shape[1] - wide, 2) + right)
        top = round(Fraction(picture.shape[0] - high, 2) + down)
        cut = picture[max(top, 0) : top + round(high), max(left, 0) : left + round(wide)]
        return cut if cut.size else picture
    return picture


def _ratios(content: bytes, sign: str) -> tuple[Fraction, Fraction]:
    one, of_one, two, of_two = struct.unpack(f">{sign}I{sign}I", content)
    if not of_one or not of_two:
        raise ValueError("a ratio of nothing")
    return Fraction(one, of_one), Fraction(two, of_two)


def _grown(clear: Pixels, shape: tuple[int, ...]) -> Pixels:
    """``clear`` [height, width] in ``shape``: some files keep it smaller than the picture."""
    rows = np.arange(shape[0]) * clear.shape[0] // shape[0]
    columns = np.arange(shape[1]) * clear.shape[1] // shape[1]
    return clear[rows][:, columns] if clear.shape != shape else clear
