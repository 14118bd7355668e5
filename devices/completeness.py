"""Finds files that were cut short, by their structure alone.

Receives an open file; hands on why it is incomplete, or nothing. Reads a few hundred bytes, so that an hour of film
costs no more than a second of it. Media libraries play such files to the point where they end and say nothing.

Choices: sizes that mean "written by a pipe, length unknown" (0, all ones, or close to 2 GB) promise nothing, so
nothing is missing. Formats that are not listed here (MP3, Ogg, FLAC and others) are not judged.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

PIPE_SIZES = range(0x7FFF0000, 0x80010000)
"""Lengths that recorders write when they cannot know: ffmpeg, sox and espeak stay close to 2 GB."""

MOST_BOXES = 1_000_000
"""Fragmented films have a box or two per second; far more than a day of them is a broken file."""


def why_incomplete(file: BinaryIO) -> str | None:
    """What is missing from ``file`` ("it says 1000 bytes of sound, 600 are there"), or None."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] in (b"RIFF", b"RF64"):
        return _riff(file, size, head)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return _boxes(file, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(file, size)
    return None


def _riff(file: BinaryIO, size: int, head: bytes) -> str | None:
    """WAV: its data chunk must be there whole. AVI and the rest: the outer length must be."""
    if len(head) < 12:
        return f"only {size} bytes are there"
    if head[8:12] != b"WAVE":
        whole = struct.unpack("<I", head[4:8])[0] + 8
        return _short(whole, size, "altogether") if not _from_pipe(whole - 8) else None
    large, place = 0, 12  # RF64 keeps the true length in the chunk ds64
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            large = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        if name == b"data":
            length = large or length
            return None if _from_pipe(length) else _short(length, size - place - 8, "of sound")
        place += 8 + length + length % 2
    return "it ends before its sound begins"


def _from_pipe(length: int) -> bool:
    return length in (0, 0xFFFFFFFF) or length in PIPE_SIZES


def _short(promised: int, present: int, of: str) -> str | None:
    return f"it promises {promised} bytes {of}, {present} are there" if present < promised else None


def _boxes(file: BinaryIO, size: int) -> str | None:
    """MP4 and MOV: every outer box must be there whole, and one must be the index (``moov``; a still's is ``meta``)."""
    names = set()
    for name, place, length in _outer_boxes(file, size):
        names.add(name)
        if place + length > size:
            return _short(place + length, size, "altogether")
    return None if names & {b"moov", b"meta"} else "its index (moov) is missing, so the recording was not finished"


def _outer_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, place, length in bytes) of each."""
    place = 0
    for _ in range(MOST_BOXES):
        if place + 8 > size:
            return
        file.seek(place)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:  # the length is in the next 8 bytes
            length = struct.unpack(">Q", file.read(8).ljust(8, b"\xff"))[0]
        length = length or size - place  # 0: up to the end of the file
        yield name, place, length
        place += max(length, 8)


def _matroska(file: BinaryIO, size: int) -> str | None:
    """Matroska and WebM: the segment must be there whole, unless it was written by a pipe (length all ones)."""
    file.seek(4)
    header = _ebml_number(file)
    file.seek(header or 0, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return "it ends before its media begins"
    length = _ebml_number(file)
    return None if length is None else _short(file.tell() + length, size, "altogether")


def _ebml_number(file: BinaryIO) -> int | None:
    """A length of 1 to 8 bytes: the leading zero bits of the first byte say how many follow. None: unknown."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    bits = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
    return None if bits == (1 << 7 * width) - 1 else bits
