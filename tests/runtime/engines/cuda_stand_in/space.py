"""The stand-in's memory: what is allocated where, and who may touch it.

Hands on :class:`Space`. Addresses are real ones of this process, so whatever computes on the host computes in it; what
was freed stays reserved, so an address is never given out twice and a stale one is seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import NamedTuple

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array

UNWRITTEN, FREED, STALE = 0xA5, 0xDD, 0xFF
"""Every byte of memory that nobody wrote, that was given back, and that a copy to the host has not reached yet."""
ALIGNMENT = 512
"""Of what the driver allocates."""


class Violation(AssertionError):
    """What a real device would answer with wrong numbers, now and then, or with its loss."""


class Span(NamedTuple):
    """Bytes of one kind of memory that some work reads or writes."""

    address: int
    nbytes: int
    kind: str = "device"
    """``device``, ``pinned``, or ``host`` for memory that is not the driver's."""


class Allocation:
    def __init__(self, nbytes: int, kind: str):
        self._raw = np.empty(nbytes + ALIGNMENT, np.uint8)
        start = -self._raw.ctypes.data % ALIGNMENT
        self.bytes: Array = self._raw[start : start + nbytes]
        self.bytes[...] = UNWRITTEN
        self.address, self.nbytes, self.kind, self.live = self.bytes.ctypes.data, nbytes, kind, True


class Space:
    """All that was ever allocated."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._at: dict[int, Allocation] = {}
        self.live_bytes: Counter[str] = Counter()
        """By kind."""

    def allocate(self, nbytes: int, kind: str) -> int:
        made = Allocation(nbytes, kind)
        self._starts.insert(bisect_right(self._starts, made.address), made.address)
        self._at[made.address] = made
        self.live_bytes[kind] += nbytes
        return made.address

    def free(self, address: int, kind: str) -> None:
        found = self._at.get(address)
        if found is None or found.kind != kind:
            raise Violation(f"{address:#x} was to be freed; it is no {kind} memory that was allocated")
        if not found.live:
            raise Violation(f"{kind} memory at {address:#x} was freed twice")
        found.live = False
        found.bytes[...] = FREED
        self.live_bytes[kind] -= found.nbytes

    def _holds(self, address: int) -> Allocation | None:
        number = bisect_right(self._starts, address) - 1
        found = self._at[self._starts[number]] if number >= 0 else None
        return found if found is not None and address < found.address + found.nbytes else None

    def kind(self, address: int) -> str:
        """``host`` where the driver did not allocate it."""
        found = self._holds(address)
        return found.kind if found is not None else "host"

    def check(self, what: str, span: Span) -> None:
        """Raises Violation where the span is not wholly in live memory of its kind."""
        if span.kind == "host" or not span.nbytes:
            return
        found = self._holds(span.address)
        if found is None or found.kind != span.kind:
            raise Violation(f"{what}: {span.address:#x} is no {span.kind} memory that was allocated")
        if not found.live:
            raise Violation(f"{what}: the {span.kind} memory at {span.address:#x} was freed")
        if span.address + span.nbytes > found.address + found.nbytes:
            over = span.address + span.nbytes - found.address - found.nbytes
            raise Violation(f"{what}: {over} bytes beyond the end of {span.kind} memory at {found.address:#x}")

    def within(self, span: Span, address: int) -> bool:
        """Whether the span lies in the allocation that begins at ``address``."""
        found = self._at[address]
        return span.kind == found.kind and address <= span.address < address + found.nbytes
