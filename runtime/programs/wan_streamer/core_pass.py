"""Passes of ``core``, the one Transformer, and the rotary rows that all of a unit's passes share.

Receives the opened ``core`` graph, the rings and the layout; hands on :class:`CorePass` (bound at one length, knows
where its new keys and values belong) and :class:`RotaryTable`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.engines.contract import Buffer, Engine
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Pass, Script, sizes
from edge_streamer.runtime.programs.rotary import Rotary
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, USER, Constants, Layout
from edge_streamer.runtime.state.store import Ring

Float32 = NDArray[np.float32]


@dataclass
class RotaryRows:
    """Cosines and sines [T, head_size / 2] of a pass; ``prefix_*`` are those its queries meet the prefix with."""

    cos: Buffer
    sin: Buffer
    prefix_cos: Buffer
    prefix_sin: Buffer


def empty_rows(engine: Engine, count: int, head_size: int) -> RotaryRows:
    """Rows to be filled, of one pass."""
    one, two, three, four = (engine.buffer((count, head_size // 2), "float32", "in") for _ in range(4))
    return RotaryRows(one, two, three, four)


class RotaryTable:
    """Rotary rows of every token that a unit computes, in one table that is dealt out to the passes::

    [ agent at k-1 | user, start at k | slot 0 .. S-1 at k | agent at k ]
      └── block ───────────────────┘                        └─ solve, settle
    """

    def __init__(self, engine: Engine, constants: Constants, layout: Layout):
        a, u, s = layout.agent, layout.user + 1, layout.slots
        self._agent = a
        self._distance = layout.prefix_distance_units
        base, per_unit = constants.rope_base, constants.positions_per_unit
        offsets_past, offsets_now = layout.offsets(*AGENT), layout.offsets(*USER, "slots", *AGENT)
        self._past = Rotary(base, constants.head_size, offsets_past, per_unit)
        self._now = Rotary(base, constants.head_size, offsets_now, per_unit)
        self._engine, self._half = engine, constants.head_size // 2
        self._table: list[Float32] = [np.zeros((a + u + s + a, self._half), np.float32) for _ in range(4)]
        """Cosines and sines, and those that meet the prefix."""
        self._dealt: list[tuple[Array, Float32]] = []
        """Where rows go, and which."""
        self._dealt_to_prefix: list[tuple[Array, Float32]] = []
        self._clamped: tuple[int, int] | None = None
        self._unit: int | None = None
        self.block = self._part(0, a + u)
        self.settled_block = self._part(a, a + u)
        self.slots = self._rows_apart(a + u, s)
        self.agent = self._part(a + u + s, a + u + s + a)

    def _rows_apart(self, start: int, count: int) -> list[RotaryRows]:
        """A pass's rows for each of ``count`` rows of the table."""
        stacks = [self._engine.stack(count, (1, self._half), "float32", 0, "in") for _ in range(4)]
        for dealt, pair in ((self._dealt, slice(0, 2)), (self._dealt_to_prefix, slice(2, 4))):
            for stack, table in zip(stacks[pair], self._table[pair], strict=True):
                dealt.append((stack.host[:, 0], table[start : start + count]))
        return [RotaryRows(*(stack[i] for stack in stacks)) for i in range(count)]

    def _part(self, start: int, stop: int) -> RotaryRows:
        """Some rows of the table, in buffers of their own: where a part begins need not be aligned."""
        rows = empty_rows(self._engine, stop - start, 2 * self._half)
        cos, sin, prefix_cos, prefix_sin = (part[start:stop] for part in self._table)
        self._dealt += [(rows.cos.host, cos), (rows.sin.host, sin)]
        self._dealt_to_prefix += [(rows.prefix_cos.host, prefix_cos), (rows.prefix_sin.host, prefix_sin)]
        return rows

    def turn(self, unit: int) -> None:
        """Make the table that of ``unit``; costs nothing where it is already."""
        if self._unit == unit:
            return
        cos, sin, prefix_cos, prefix_sin = self._table
        if self._unit == unit - 1:
            for rows in (cos, sin):  # what the agent's tokens had in the unit before, the solver's
                rows[: self._agent] = rows[-self._agent :]
            self._now.rows(unit, cos[self._agent :], sin[self._agent :])
        else:
            self._rows(unit - 1, unit, cos, sin)
        self._unit = unit
        _deal(self._dealt)
        # The prefix keeps its distance: from the window's length on, queries meet it from one fixed place.
        clamped = min(unit - 1, self._distance), min(unit, self._distance)
        if clamped != self._clamped:
            self._clamped = clamped
            if clamped == (unit - 1, unit):
                prefix_cos[...], prefix_sin[...] = cos, sin
            else:
                self._rows(*clamped, prefix_cos, prefix_sin)
            _deal(self._dealt_to_prefix)

    def _rows(self, past: int, now: int, cos: Float32, sin: Float32) -> None:
        a = self._agent
        self._past.rows(past, cos[:a], sin[:a])
        self._now.rows(now, cos[a:], sin[a:])


def _deal(dealt: list[tuple[Array, Float32]]) -> None:
    for target, rows in dealt:
        target[...] = rows


class CorePass:
    """``core`` bound at one length; knows where its new keys and values belong."""

    def __init__(
        self, place: Workplace, embeddings: Buffer, rotary: RotaryRows, groups: Float32, valid: dict[str, Buffer]
    ):
        """``embeddings`` [T, width], ``rotary`` and ``valid`` are the caller's, bound as they are; ``groups`` [T] is
        copied."""
        core, engine = place.graph("core"), place.engine
        length, width = embeddings.shape
        self.embeddings, self.rotary = embeddings, rotary
        self._appends = [tensor.name for tensor in core.spec.outputs if tensor.name.startswith("append.")]
        wanted = sizes(core.spec.outputs, length)
        self.hidden = engine.buffer((length, width), "float32")
        shape, dtype = wanted[self._appends[0]]
        self._stack = engine.stack(len(self._appends), shape, dtype, axis=1)
        outputs = {"hidden": self.hidden.view((1, length, width))}
        outputs |= {append: self._stack[number] for number, append in enumerate(self._appends)}
        group = engine.buffer((length,), "float32", "in")
        group.host[...] = groups
        inputs = {"embeddings": embeddings.view((1, length, width)), "cos": rotary.cos, "sin": rotary.sin}
        inputs["group"] = group
        if "prefix" in place.store.rings:
            inputs |= {"prefix_cos": rotary.prefix_cos, "prefix_sin": rotary.prefix_sin}
        self._pass = Pass(core, inputs | valid | place.store.ring_inputs(), outputs, engine)
        self._routes: list[tuple[Ring, slice, int]] = []

    def run(self, script: Script, name: str) -> None:
        """Write down a run of the Transformer over this pass's tokens; nothing goes to the rings yet."""
        script.run(name, self._pass)

    def store(self, script: Script) -> None:
        """Write down that the new keys and values go to the rings."""
        for ring, rows, place in self._routes:
            script.store(ring, self._stack, rows, place)

    def add_route(self, ring: Ring, rows: slice, place: int) -> None:
        """Tokens ``rows`` of this pass go to the ring's places of one unit from ``place`` on.

        BundleError where the graph lists its appends in another order than the manifest its states.
        """
        if [spec.append for spec in ring.specs] != self._appends:
            raise BundleError(f"core lists its appends in another order than ring {ring.name!r} its states")
        self._routes.append((ring, rows, place))


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
        core.add_route(rings[ring], rows, place.start)
