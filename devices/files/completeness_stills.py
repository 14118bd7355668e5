"""Finds still pictures that were cut short, of the formats whose decoders say nothing of it.

Receives an open file; hands on why it is incomplete, or nothing. Half a JPEG is decoded without a word, its lower half
grey; so are GIF, QOI, JPEG-LS, ICO, OpenEXR, Sun rasters, WBMP, and TIFF that holds JPEG. Decoders of PNG, WebP, BMP,
other TIFF, TGA, PNM, JPEG 2000 and the rest refuse half a picture by themselves.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CUT = "its picture ends before it is whole"

MOST_TAGS = 1 << 16
MOST_STRIPS = 1 << 20

TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""What places and lengths are written in."""


def still(file: BinaryIO, size: int, head: bytes) -> str | None:
    """What is missing from ``file``, whose first bytes are ``head``; None where it is whole, or not judged here."""
    check = _check_of(head, file)
    if check is None or not size:
        return None
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return None if check(data) else CUT
        except (struct.error, IndexError):  # a table or a length that is cut itself
            return CUT


def _check_of(head: bytes, file: BinaryIO) -> Callable[[mmap.mmap], bool] | None:
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg
    if head[:4] == b"GIF8":
        return _gif
    if head[:4] == b"qoif":
        return lambda data: data.rfind(b"\0" * 7 + b"\1") > 14
    if head[:4] == b"\0\0\1\0":
        return _icon
    if head[:4] == b"\x76\x2f\x31\x01":
        return _exr
    if head[:4] == b"\x59\xa6\x6a\x95":
        return _sun
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff
    name = getattr(file, "name", "")
    return _wbmp if head[:2] == b"\0\0" and Path(str(name)).suffix.lower() == ".wbmp" else None


def _jpeg(data: mmap.mmap) -> bool:
    """The mark of the end must stand behind the picture; one in a thumbnail, before it, does not count."""
    place = 2
    while True:
        while data[place] == 0xFF and data[place + 1] == 0xFF:
            place += 1
        mark = data[place + 1]
        if data[place] != 0xFF or mark == 0xDA:
            return data.find(b"\xff\xd9", place) >= 0
        place += 2 if mark == 1 or 0xD0 <= mark <= 0xD8 else 2 + struct.unpack_from(">H", data, place + 2)[0]


def _gif(data: mmap.mmap) -> bool:
    """Its blocks lead to the mark of the end, or end with the file where a writer left that out."""
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    images = 0
    while place < len(data):
        kind = data[place]
        if kind == 0x3B:
            return True
        if kind == 0x2C:
            flags = data[place + 9]
            place += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
            images += 1
        elif kind == 0x21:
            place += 2
        else:
            return images > 0  # rubbish behind the pictures
        while data[place]:
            place += 1 + data[place]
        place += 1
    return place == len(data) and images > 0


def _icon(data: mmap.mmap) -> bool:
    count = struct.unpack_from("<H", data, 4)[0]
    ends = [sum(struct.unpack_from("<II", data, 6 + 16 * index + 8)) for index in range(count)]
    return count == 0 or bool(max(ends) <= len(data))


def _exr(data: mmap.mmap) -> bool:
    """The table of places stands before the first block; the last block must be there whole. One part only."""
    flags = struct.unpack_from("<I", data, 4)[0] >> 8
    if flags & 0x18:  # deep, or several parts
        return True
    place = 8
    while data[place]:  # attributes: name, type, length, value
        for _ in range(2):
            end = data.find(b"\0", place)
            if end < 0:
                return False
            place = end + 1
        place += 4 + struct.unpack_from("<i", data, place)[0]
    table = place + 1
    first = struct.unpack_from("<Q", data, table)[0]
    count = (first - table) // 8
    if not 0 < count <= MOST_STRIPS:
        return True  # written out of order: not judged
    last = max(struct.unpack_from(f"<{count}Q", data, table))
    before = 16 if flags & 2 else 4  # where a block lies: a tile's four numbers, or a line's one
    return bool(last + before + 4 + struct.unpack_from("<i", data, last + before)[0] <= len(data))


def _sun(data: mmap.mmap) -> bool:
    width, height, depth, length, kind, _, colours = struct.unpack_from(">7I", data, 4)
    row = (width * depth + 15) // 16 * 2
    return bool(32 + colours + (length if kind == 2 or length else row * height) <= len(data))


def _tiff(data: mmap.mmap) -> bool:
    """Every strip or tile of the first picture must be there."""
    order = "<" if data[:2] == b"II" else ">"
    place = struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + "H", data, place)[0]
    found: dict[int, tuple[int, ...]] = {}
    for index in range(min(count, MOST_TAGS)):
        entry = place + 2 + 12 * index
        tag, kind, many = struct.unpack_from(order + "HHI", data, entry)
        if tag in (273, 279, 324, 325) and kind in TIFF_TYPES and many <= MOST_STRIPS:
            form = f"{order}{many}{TIFF_TYPES[kind]}"
            where = entry + 8 if struct.calcsize(form) <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
            found[tag] = struct.unpack_from(form, data, where)
    for places, lengths in ((273, 279), (324, 325)):
        pairs = zip(found.get(places, ()), found.get(lengths, ()), strict=False)
        if any(begin + length > len(data) for begin, length in pairs):
            return False
    return True


def _wbmp(data: mmap.mmap) -> bool:
    place, sides = 2, []
    for _ in range(2):
        value = 0
        while True:
            byte = data[place]
            place, value = place + 1, value << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        sides.append(value)
    return place + (sides[0] + 7) // 8 * sides[1] <= len(data)
