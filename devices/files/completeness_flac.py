"""Finds FLAC files that were cut short: their last frame says how far they go.

Receives an open file; hands on why it is incomplete, or nothing. The header says how many samples there are; every
frame says which ones it holds, and its two checksums say that it is a frame and that it is whole. Only the end of the
file is read.
"""

from __future__ import annotations

from typing import BinaryIO

from edge_streamer.devices.files.pieces import pieces

MOST_FRAME = 1 << 20
"""Bytes from the end of the file in which the last frame begins, where the header does not say how long frames are:
tags may stand behind it."""

BEHIND = 4096
"""Bytes of tags and rubbish behind the last frame that are looked past."""

HEADER_BYTES = 16
"""A frame's header is no longer."""


def flac(file: BinaryIO, size: int, head: bytes) -> str | None:
    """What is missing from ``file``, whose first bytes are ``head``; None where it is whole, or is no FLAC."""
    if head[:4] != b"fLaC" or head[4] & 0x7F:
        return None
    file.seek(8)
    info = file.read(34)
    if len(info) < 34:
        return "it ends before its sound begins"
    rate, total = int.from_bytes(info[10:13], "big") >> 4, int.from_bytes(info[13:18], "big") & ((1 << 36) - 1)
    if not total or not rate or len(pieces(file)) > 1:
        return None
    most = int.from_bytes(info[7:10], "big") or MOST_FRAME
    file.seek(max(size - most - BEHIND, 42))
    end = file.read()
    fixed = int.from_bytes(info[2:4], "big")
    for place in _places(end):
        last = _last_sample(end[place : place + HEADER_BYTES], fixed)
        if last is None:
            continue
        if last < total:
            return f"it promises {total / rate:.2f} s of sound, {last / rate:.2f} s are there"
        return None if _is_whole(end[place:]) else f"it promises {total / rate:.2f} s of sound, its last frame is cut"
    return "its end is no sound" if size < 42 + most else None


def _places(data: bytes) -> list[int]:
    """Where a frame may begin, the last one first."""
    found, place = list[int](), data.rfind(b"\xff")
    while place >= 0:
        if data[place + 1 : place + 2] in (b"\xf8", b"\xf9"):
            found.append(place)
        place = data.rfind(b"\xff", 0, place)
    return found


def _last_sample(header: bytes, fixed: int) -> int | None:
    """How many samples lie before the end of the frame with this header; None where it is none."""
    number, place = _coded(header, 4)
    if number is None or len(header) < place + 5:
        return None
    code = header[2] >> 4
    if code == 0 or header[3] & 1:
        return None
    if code in (6, 7):
        wide = code - 5
        samples = int.from_bytes(header[place : place + wide], "big") + 1
        place += wide
    else:
        samples = 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)
    place += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if place >= len(header) or _checksum(header[:place], 8, 0x07) != header[place]:
        return None
    return (number if header[1] & 1 else number * fixed) + samples


def _coded(header: bytes, place: int) -> tuple[int | None, int]:
    """The number at ``place``, written as UTF-8 writes letters, and where it ends."""
    if len(header) <= place:
        return None, place
    first = header[place]
    if first < 0x80:
        return first, place + 1
    following = 8 - (first ^ 0xFF).bit_length() - 1
    rest = header[place + 1 : place + 1 + following]
    if not 1 <= following <= 6 or len(rest) < following or any(byte >> 6 != 2 for byte in rest):
        return None, place
    number = first & (0x3F >> following)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, place + 1 + following


def _is_whole(frame: bytes) -> bool:
    """Whether the checksum at a frame's end is there, with or without something behind it."""
    return _checksum(frame, 16, 0x8005, until_zero=True) == 0


def _checksum(data: bytes, bits: int, polynomial: int, until_zero: bool = False) -> int:
    """The cyclic checksum of ``data``; of data that ends with its own checksum it is 0."""
    table, top, mask = [], 1 << (bits - 1), (1 << bits) - 1
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    value = 0
    for count, byte in enumerate(data):
        value = (value << 8 ^ table[value >> (bits - 8) ^ byte]) & mask
        if until_zero and value == 0 and count > HEADER_BYTES // 2:
            break
    return value
