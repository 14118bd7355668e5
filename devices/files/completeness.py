"""Finds files that were cut short, by their structure alone.

Receives an open file; hands on why it is incomplete, or nothing. Reads little, so that an hour of film costs hardly
more than a second of it. Media libraries play such files to the point where they end and say nothing.

Choices: a length promises nothing where no cut of a file explains it: 0, all ones, or what programs write that cannot
know it (close to 2 GB or 4 GB, large and round). Bytes after the last part of a whole file are passed over. Formats
that say nothing of their length (MP3, Ogg, MPEG transport streams and others) are not judged. FLAC is in
`completeness_flac.py`, still pictures are in `completeness_stills.py`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from edge_streamer.devices.files.completeness_flac import flac
from edge_streamer.devices.files.completeness_stills import still

NEAR_LIMIT = 1 << 20
"""So close to 2 or 4 GB a length is a placeholder: ffmpeg, sox, espeak and speech servers write 2^31 or 2^32 less a
header, a page or a buffer."""

LARGE = 10**9
"""From here on round lengths are placeholders too."""

ROUND = (10**6, 1 << 20)

HEADERS = (0, 8, 36, 44)
"""What programs take off a round length."""

MOST_BOXES = 1_000_000
"""Fragmented films have a box or two per second; far more than a day of them is a broken file."""

INDEX_BOXES = {b"moov", b"meta"}
"""Of a film, of a still."""

NEEDED_BOXES = {*INDEX_BOXES, b"mdat", b"moof"}
"""What a film cannot be shown without."""

ASF_HEAD = bytes.fromhex("3026b2758e66cf11")
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ASF_BROADCAST = 1


def why_incomplete(file: BinaryIO) -> str | None:
    """What is missing from ``file`` ("it says 1000 bytes of sound, 600 are there"), or None."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(32)
    if head[:4] in (b"RIFF", b"RF64"):
        return _riff(file, size, head)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return _boxes(file, size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska(file, size)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _outer(int.from_bytes(head[4:8], "big"), 8, size)
    if head[:4] == b".snd":
        return _outer(int.from_bytes(head[8:12], "big"), int.from_bytes(head[4:8], "big"), size)
    if head[:8] == b"riff\x2e\x91\xcf\x11":  # Sony Wave64
        return _outer(int.from_bytes(head[16:24], "little"), 0, size)
    if head[:8] == ASF_HEAD:
        return _asf(file, size)
    return flac(file, size, head) or still(file, size, head)


def _outer(length: int, before: int, size: int) -> str | None:
    """A format whose header says how many bytes follow the first ``before``."""
    return None if _unknown(length) else _short(before + length, size, "altogether")


def _riff(file: BinaryIO, size: int, head: bytes) -> str | None:
    """WAV: its data chunk must be there whole. AVI and the rest: the outer length must be."""
    if len(head) < 12:
        return f"only {size} bytes are there"
    if head[8:12] != b"WAVE":
        whole = struct.unpack("<I", head[4:8])[0] + 8
        return _short(whole, size, "altogether") if not _unknown(whole - 8) else None
    large, place, block = 0, 12, 1  # RF64 keeps the true length in the chunk ds64
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64":
            large = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
        if name == b"fmt ":
            block = int.from_bytes(file.read(16)[12:14], "little") or 1
        if name == b"data":
            length = large or length
            return None if _unknown(length, block) else _short(length, size - place - 8, "of sound")
        place += 8 + length + length % 2
    return "it ends before its sound begins"


def _unknown(length: int, block: int = 1) -> bool:
    """Whether ``length`` says nothing. ``block``: bytes of one sample; a true length is a whole number of them."""
    if length == 0 or length >= 1 << 62 or any(abs(length - limit) <= NEAR_LIMIT for limit in (1 << 31, 1 << 32)):
        return True
    is_round = any((length + header) % unit == 0 for header in HEADERS for unit in ROUND)
    return length >= LARGE and (is_round or length % block > 0)


def _short(promised: int, present: int, of: str) -> str | None:
    return f"it promises {promised} bytes {of}, {present} are there" if present < promised else None


def _boxes(file: BinaryIO, size: int) -> str | None:
    """MP4 and MOV: the index (``moov``; a still's is ``meta``) and the media (``mdat``) must be there whole. What does
    not fit after them (a phone's own trailer) is no part of the film."""
    names = set[bytes]()
    for name, place, length in _outer_boxes(file, size):
        if place + length > size:
            if name not in NEEDED_BOXES and b"mdat" in names and names & INDEX_BOXES:
                return None
            return _short(place + length, size, "altogether")
        names.add(name)
    return None if names & INDEX_BOXES else "its index (moov) is missing, so the recording was not finished"


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
        if length < 8:
            return  # no box: what follows the film
        yield name, place, length
        place += length


def _asf(file: BinaryIO, size: int) -> str | None:
    """ASF and WMA: their properties say how long the file is, unless it was sent live."""
    file.seek(0)
    data = file.read(1 << 16)
    place = data.find(ASF_PROPERTIES)
    if place < 0 or len(data) < place + 92:
        return None
    length, flags = struct.unpack("<Q", data[place + 40 : place + 48])[0], data[place + 88]
    return None if flags & ASF_BROADCAST else _outer(length, 0, size)


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
