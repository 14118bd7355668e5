"""A library with fat binaries of CUDA, as nvcc lays them out; what stands for the code in them is noise."""

from __future__ import annotations

import struct


def entry(architecture: int, only: bool = False, kind: int = 2, size: int = 24) -> bytes:
    """An entry of machine code (2) or PTX (1), with its header of 64 bytes."""
    flags = 0x8011 | (0x100000 if only else 0)
    head = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x101, 64, size, 0, 0, 6, 1, architecture, 0, 0, flags, 0, 0)
    return head + b"\x5a" * size


def binary(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def fat(*codes: tuple[int, bool]) -> bytes:
    """A library: between other things one fat binary for each kernel file, here two alike."""
    one = binary(*(entry(architecture, only) for architecture, only in codes))
    by_chance = struct.pack("<I", 0xBA55ED50) + b"\xff" * 12
    return b"\x7fELF" + b"\0" * 99 + one + b"\0" * 8 + by_chance + one + struct.pack("<I", 0xBA55ED50)
