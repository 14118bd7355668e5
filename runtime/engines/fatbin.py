"""What GPUs a CUDA library holds code for, read from the library's file.

Receives a shared library; hands on the architectures of what is compiled in it. Nothing is loaded. nvcc puts compiled
code into *fat binaries*: a header, then for each architecture an entry, each with its own header that says so in the
open, whatever is compressed behind it::

    fat binary   magic ba55ed50 | version, size of this header | size of all entries
    entry        kind (1 PTX, 2 machine code) | size of this header | size | ... | architecture | ... | flags

So only headers are looked at: a quarter of a gigabyte takes a tenth of a second.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

Capability = tuple[int, int]
"""Of CUDA: major, minor."""

_MAGIC = b"\x50\xed\x55\xba"
_FAT = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQIIHHI")
_FLAGS = struct.Struct("<Q")
_FLAGS_AT = 40
_PTX, _MACHINE = 1, 2
_ONLY_THIS = 1 << 20
"""Flag of code that uses what only this one architecture has: ``sm_90a``."""
MOST = 1_000_000
"""Entries that are looked at."""


class Code(NamedTuple):
    """Compiled for one architecture."""

    capability: Capability
    ptx: bool
    """Not machine code yet: a driver compiles it for any GPU that is not older."""
    only: bool
    """For exactly this architecture (``sm_90a``)."""

    @property
    def name(self) -> str:
        """``sm_87``, ``sm_90a``, ``compute_80``."""
        major, minor = self.capability
        return f"{'compute' if self.ptx else 'sm'}_{major}{minor}{'a' if self.only else ''}"

    def runs_on(self, gpu: Capability) -> bool:
        """Machine code runs on its own architecture and on later ones of its major number, PTX on every later one.
        NVIDIA promises the first between GPUs of PCs; on a Jetson's it is what happens, not what is promised."""
        if self.only:
            return self.capability == gpu
        return self.capability <= gpu and (self.ptx or self.capability[0] == gpu[0])


def held(library: Path) -> frozenset[Code]:
    """Everything that ``library`` holds. Empty where it cannot be read, or holds none that is known here."""
    try:
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return frozenset(_entries(data))
    except (OSError, ValueError):
        return frozenset()


def names(codes: Collection[Code]) -> list[str]:
    """Their names, the oldest first."""
    return [code.name for code in sorted(codes)]


def _entries(data: mmap.mmap) -> Iterator[Code]:
    at = looked = 0
    while looked < MOST and (at := data.find(_MAGIC, at)) >= 0:
        if at + _FAT.size > len(data):
            return
        _, _, header, size = _FAT.unpack_from(data, at)
        end = at + header + size
        if header < _FAT.size or end > len(data):
            at += len(_MAGIC)  # the same four bytes by chance
            continue
        entry = at + header
        while entry + _FLAGS_AT + _FLAGS.size <= end and looked < MOST:
            kind, _, own, length, _, _, _, _, architecture = _ENTRY.unpack_from(data, entry)
            if kind not in (_PTX, _MACHINE) or own < _ENTRY.size:
                break
            flags = _FLAGS.unpack_from(data, entry + _FLAGS_AT)[0]
            yield Code(divmod(architecture, 10), kind == _PTX, bool(flags & _ONLY_THIS))
            entry += own + length
            looked += 1
        at = end
