"""Which ring places each pass of a unit sees: computed from the number of units, never stored.

Receives the layout and the rings; hands on :class:`Validity`, whose rows passes are bound to. Between two passes of a
unit more of its own block is to be seen, so a row per pass would do; passes between which nothing was stored in a ring
share one::

    moment   0: block, settle, prefix     1: slot 0     2: slot 1   ...   S: slot S - 1     S + 1: solve
    seen     what was settled ahead       the block     slot 0 too        slot S - 2 too    every slot
"""

from __future__ import annotations

from itertools import product

import numpy as np

from edge_streamer.runtime.bundle.manifest import MASKED
from edge_streamer.runtime.engines.contract import Buffer, Engine, Stack
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, USER, Layout
from edge_streamer.runtime.state.store import Float32, Ring


class Validity:
    """Rows ``valid.<ring>`` of every pass. Tells the rings which of their places come late."""

    def __init__(self, engine: Engine, layout: Layout, rings: dict[str, Ring]):
        self._rings = [_Rows(engine, layout, ring) for ring in rings.values()]

    def inputs(self, moment: int) -> dict[str, Buffer]:
        """Graph inputs of the passes of this moment."""
        return {f"valid.{rows.ring.name}": rows.at(moment) for rows in self._rings}

    def turn(self, past: bool) -> None:
        """Make the rows and the cursors those of the unit in progress. ``past``: its block holds the answer before."""
        for rows in self._rings:
            rows.turn(past)


class _Rows:
    """Of one ring."""

    def __init__(self, engine: Engine, layout: Layout, ring: Ring):
        self.ring = ring
        grown = [0] if ring.pinned else _moments(layout, ring)
        self._number = grown
        self._stack: Stack = engine.stack(grown[-1] + 1, (1, ring.capacity), "float32", axis=1, side="in")
        self._host: Float32 = self._stack.host[:, 0]
        self._turned = -1
        if not ring.pinned:
            ring.late = _filled(layout, ring, AGENT)
        firsts = [grown.index(number) for number in range(grown[-1] + 1)]
        self._blocks = {
            (past, ahead): np.stack([_block(layout, ring, moment, past, ahead) for moment in firsts])
            for past, ahead in product((False, True), repeat=2)
        }

    def at(self, moment: int) -> Buffer:
        return self._stack[self._number[min(moment, len(self._number) - 1)]]

    def turn(self, past: bool) -> None:
        ring = self.ring
        if ring.pinned and self._turned == ring.units:
            return
        self._turned = ring.units
        ring.aim()
        ring.mark(self._host, self._blocks[past, ring.ahead])


def _moments(layout: Layout, ring: Ring) -> list[int]:
    """Moment -> its row: a new one only where something was stored in this ring since the moment before."""
    numbers = [0]
    block, slots = (any(layout.segment(n).ring == ring.name for n in names) for names in (AGENT + USER, ("slots",)))
    for moment in range(1, layout.slots + 2):
        numbers.append(numbers[-1] + (block if moment == 1 else slots))
    return numbers


def _filled(layout: Layout, ring: Ring, names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """[places]: those of these segments."""
    filled = np.zeros(ring.places, np.bool_)
    for name in names:
        if layout.segment(name).ring == ring.name:
            filled[layout.place(name)] = True
    return filled


def _block(layout: Layout, ring: Ring, moment: int, past: bool, ahead: bool) -> Float32:
    """[places] of the unit in progress at a moment."""
    seen = np.zeros(ring.places, np.bool_)
    if not ring.pinned:
        if ahead or (past and moment):
            seen |= ring.late
        if moment:
            seen |= _filled(layout, ring, USER)
            start = layout.place("slots").start
            if layout.segment("slots").ring == ring.name:
                seen[start : start + moment - 1] = True
    return np.where(seen, 0.0, MASKED).astype(np.float32)
