"""Passes of ``core``, the one Transformer, and the rotary rows that all of a unit's passes share.

Receives the opened ``core`` graph, the rings and the layout; hands on :class:`CorePass` (bound at one length, knows
where its new keys and values belong) and :class:`RotaryTable`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, buffers
from edge_streamer.runtime.programs.rotary import Rotary
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, USER, Constants, Layout
from edge_streamer.runtime.state.store import Ring, Route

Float32 = NDArray[np.float32]


@dataclass
class RotaryRows:
    """Cosines and sines [T, head_size / 2] of a pass; ``prefix_*`` are those its queries meet the prefix with."""

    cos: Float32
    sin: Float32
    prefix_cos: Float32
    prefix_sin: Float32

    def part(self, rows: slice) -> RotaryRows:
        """The same memory, some rows of it."""
        return RotaryRows(self.cos[rows], self.sin[rows], self.prefix_cos[rows], self.prefix_sin[rows])


def empty_rows(count: int, head_size: int) -> RotaryRows:
    """Rows to be filled."""
    one, two, three, four = (np.zeros((count, head_size // 2), np.float32) for _ in range(4))
    return RotaryRows(one, two, three, four)


class RotaryTable:
    """Rotary rows of every token that a unit computes, in one table that the passes see parts of::

    [ agent at k-1 | user, start at k | slot 0 .. S-1 at k | agent at k ]
      └── block ───────────────────┘                        └─ solve, settle
    """

    def __init__(self, constants: Constants, layout: Layout):
        a, u, s = layout.agent, layout.user + 1, layout.slots
        self._agent = a
        self._distance = layout.prefix_distance_units
        base, per_unit = constants.rope_base, constants.positions_per_unit
        offsets_past, offsets_now = layout.offsets(*AGENT), layout.offsets(*USER, "slots", *AGENT)
        self._past = Rotary(base, constants.head_size, offsets_past, per_unit)
        self._now = Rotary(base, constants.head_size, offsets_now, per_unit)
        self._rows = empty_rows(a + u + s + a, constants.head_size)
        self._clamped: tuple[int, int] | None = None
        self._unit: int | None = None
        self.block = self._rows.part(slice(0, a + u))
        self.settled_block = self._rows.part(slice(a, a + u))
        self.slots = [self._rows.part(slice(a + u + i, a + u + i + 1)) for i in range(s)]
        self.agent = self._rows.part(slice(a + u + s, None))

    def turn(self, unit: int) -> None:
        """Make the table that of ``unit``; costs nothing where it is already."""
        if self._unit == unit:
            return
        self._unit = unit
        rows, a = self._rows, self._agent
        self._past.rows(unit - 1, rows.cos[:a], rows.sin[:a])
        self._now.rows(unit, rows.cos[a:], rows.sin[a:])
        # The prefix keeps its distance: from the window's length on, queries meet it from one fixed place.
        clamped = min(unit - 1, self._distance), min(unit, self._distance)
        if clamped != self._clamped:
            self._clamped = clamped
            self._past.rows(clamped[0], rows.prefix_cos[:a], rows.prefix_sin[:a])
            self._now.rows(clamped[1], rows.prefix_cos[a:], rows.prefix_sin[a:])


class CorePass:
    """``core`` bound at one length. ``commit`` writes what it appended into the rings."""

    def __init__(self, place: Workplace, name: str, embeddings: Array, rotary: RotaryRows, groups: Float32):
        """``embeddings`` [1, T, width] and ``groups`` [T] are the caller's buffers, bound as they are."""
        core = place.graph("core")
        length = embeddings.shape[1]
        appends = [tensor for tensor in core.spec.outputs if tensor.name.startswith("append.")]
        floats, self.outputs = buffers(place.engine, [t for t in core.spec.outputs if t not in appends], length)
        self._arena, appended = buffers(place.engine, appends, length)  # apart: rings may hold other numbers
        self.outputs |= appended
        inputs = {"embeddings": embeddings, "cos": rotary.cos, "sin": rotary.sin, "group": groups}
        if "prefix" in place.store.rings:
            inputs |= {"prefix_cos": rotary.prefix_cos, "prefix_sin": rotary.prefix_sin}
        self.embeddings = embeddings
        self.rotary = rotary
        self.hidden = self.outputs["hidden"]
        """[1, T, width]"""
        self._pass = Pass(
            name, core, inputs | place.store.ring_inputs(), self.outputs, place.meter, pieces=[floats, self._arena]
        )
        self._routes: list[Route] = []

    def run(self, name: str | None = None) -> None:
        """Run the Transformer over this pass's tokens; nothing is written to the rings yet."""
        self._pass.run(name)

    def commit(self) -> None:
        """Write the new keys and values into the rings and make them visible."""
        for route in self._routes:
            route.write()

    def add_route(self, ring: Ring, rows: slice, place: slice) -> None:
        """Tokens ``rows`` of this pass go to ``place`` inside the ring's places of one unit."""
        self._routes.append(Route(ring, ring.places_first(self._stacked(ring)), rows, place))

    def _stacked(self, ring: Ring) -> Array:
        """What this pass appends to ``ring``'s states, [states, *shape]: neighbours in the arena, in the same order.

        BundleError where the graph lists its appends in another order than the manifest its states.
        """
        outputs = [self.outputs[spec.append] for spec in ring.specs]
        start = (outputs[0].ctypes.data - self._arena.ctypes.data) // self._arena.itemsize
        stacked = self._arena[start : start + len(outputs) * outputs[0].size].reshape(-1, *outputs[0].shape)
        for part, output in zip(stacked, outputs, strict=True):
            if part.ctypes.data != output.ctypes.data:
                raise BundleError(f"core lists its appends in another order than ring {ring.name!r} its states")
        return stacked


def add_unit_routes(core: CorePass, layout: Layout, rings: dict[str, Ring], names: tuple[str, ...]) -> None:
    """Route the segments ``names``, which are the pass's tokens in this order, to their places of the unit.

    Neighbours in the pass that are neighbours in a ring travel together.
    """
    merged: list[tuple[str, slice, slice]] = []
    row = 0
    for name in names:
        segment, place = layout.segment(name), layout.place(name)
        rows = slice(row, row + segment.count)
        row = rows.stop
        if merged and merged[-1][0] == segment.ring and merged[-1][2].stop == place.start:
            ring, before_rows, before_place = merged.pop()
            rows, place = slice(before_rows.start, rows.stop), slice(before_place.start, place.stop)
        merged.append((segment.ring, rows, place))
    for ring, rows, place in merged:
        core.add_route(rings[ring], rows, place)
