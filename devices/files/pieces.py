"""Files that are several recordings put one after the other: where each begins.

Receives an open file; hands on the ranges of bytes of its pieces, and a :class:`Part` of a file that reads like a whole
one. Servers and podcast tools join MP3, WAV, FLAC and Ogg by appending bytes: every piece has a header of its own, and
may have another rate and other channels. A demuxer reads the first header alone.

Choices: pieces are told by structure. An Ogg page says that it is a stream's first; a WAV's lengths say where the next
one begins; in MP3 and FLAC a piece begins with a tag or a header that is checked beyond its first letters.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from typing import BinaryIO

Ranges = list[tuple[int, int]]

MOST_PIECES = 100_000
"""More in one file are no recordings."""

_OGG_FIRST, _OGG_CONTINUED = 2, 1

_MPEG_BEGINS = re.compile(rb"ID3[\x02-\x04]\x00|TAG|Xing|Info", re.DOTALL)
"""What an MP3 may begin or end with: a tag of either version, or a frame that holds no sound but its length."""

_INFO_PLACES = (36, 21, 13)
"""Bytes from the beginning of an MP3's frame to the letters Xing or Info: by version and channels."""

_FLAC_BEGINS = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)


def pieces(file: BinaryIO) -> Ranges:
    """(first byte, byte after the last one) of every recording in ``file``; one where it is a usual file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        starts = _ogg(file, size)
    elif head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        starts = _wav(file, size)
    elif head[:4] == b"fLaC":
        starts = _found(file, _flac_starts)
    elif head[:3] == b"ID3" or _is_mpeg_frame(head):
        starts = _found(file, _mpeg_starts)
    else:
        starts = []
    starts = [0, *(start for start in starts[:MOST_PIECES] if 0 < start < size)]
    return list(zip(starts, [*starts[1:], size], strict=True))


def _ogg(file: BinaryIO, size: int) -> list[int]:
    """A page that begins a stream after one that does not begins the next link of the chain."""
    starts, place, begun = list[int](), 0, False
    while place + 27 <= size:
        file.seek(place)
        header = file.read(27)
        if header[:4] != b"OggS":
            break  # damage: the demuxer finds its way, or does not
        lengths = file.read(header[26])
        first = bool(header[5] & _OGG_FIRST) and not header[5] & _OGG_CONTINUED
        if first and begun:
            starts.append(place)
        begun = not first
        place += 27 + header[26] + sum(lengths)
    return starts


def _wav(file: BinaryIO, size: int) -> list[int]:
    """Where the outer length leads to the next ``RIFF``, there is one."""
    starts, place = list[int](), 0
    while len(starts) < MOST_PIECES:
        file.seek(place)
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return starts
        if place:
            starts.append(place)
        place += 8 + struct.unpack("<I", head[4:8])[0]
        if place >= size:
            return starts
    return starts


def _found(file: BinaryIO, search: object) -> list[int]:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return search(data)  # type: ignore[operator, no-any-return]


def _flac_starts(data: mmap.mmap) -> list[int]:
    return [match.start() for match in _FLAC_BEGINS.finditer(data, 4)]


def _mpeg_starts(data: mmap.mmap) -> list[int]:
    """Every ID3 tag, every length frame that no tag stands before, and what follows a tag at a piece's end."""
    starts, tagged = list[int](), _after_tag(data, 0)  # where the sound begins after the newest tag
    for match in _MPEG_BEGINS.finditer(data):
        place = match.start()
        if place < tagged:
            continue
        if match[0][:3] == b"ID3":
            after = _after_tag(data, place)
            if after > place and place == tagged:  # a second tag before the same sound
                tagged = after
            elif after > place and _is_mpeg_frame(data[after : after + 4]):
                starts.append(place)
                tagged = after
        elif match[0] == b"TAG":
            after = place + 128
            if _is_mpeg_frame(data[after : after + 4]):
                starts.append(after)
                tagged = after
        else:
            frame = next((place - back for back in _INFO_PLACES if _is_info_frame(data, place, back)), None)
            if frame is not None and frame > tagged and _is_mpeg_frame(data[tagged : tagged + 4]):
                starts.append(frame)
                tagged = frame
    return starts


def _is_info_frame(data: mmap.mmap, place: int, back: int) -> bool:
    frame = place - back
    return frame >= 0 and _is_mpeg_frame(data[frame : frame + 4]) and not any(data[frame + 6 : place])


def _after_tag(data: mmap.mmap, place: int) -> int:
    """Where the ID3 tag at ``place`` ends; ``place`` itself where there is none."""
    head = data[place : place + 10]
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:]) > 127:
        return place
    length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return place + 10 + length + (10 if head[5] & 16 else 0)


def _is_mpeg_frame(head: bytes) -> bool:
    """Layer 3 of any version, with a rate of bits and of samples that exist."""
    return (
        len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
        and head[2] & 0xF0 not in (0x00, 0xF0) and head[2] & 0x0C != 0x0C
    )  # fmt: skip


class Part(io.RawIOBase):
    """Bytes ``begin`` to ``end`` of ``file``, which is closed with it."""

    def __init__(self, file: BinaryIO, begin: int, end: int) -> None:
        self._file, self._begin, self._size, self._place = file, begin, end - begin, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._place, 0)
        self._file.seek(self._begin + self._place)
        data = self._file.read(left if size < 0 else min(size, left))
        self._place += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
