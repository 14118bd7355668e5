"""All state of a session: carries and rings, their buffers and cursors.

Receives the states of a manifest and an engine that allocates; hands on the buffers that programs bind, and three
verbs over all of them: ``commit``, ``rollback``, ``reset``. A unit is a transaction: nothing that later units read
changes before ``commit``, so taking a failed unit back costs nothing.

    carry   two buffers; a graph reads one and writes the other, ``commit`` copies it back. A graph with carries runs at
            most once per unit.
    ring    blocks of one unit each, one more than the window remembers:

              unit k-3   unit k-2   unit k-1 │ unit k (slack)         window 3, four blocks
            [ visible  | visible  | visible  | hidden until written ]
                                               ▲ block = units % 4

            Finishing a unit hides the block that the next one will write (this is the eviction: before, that block
            held the unit that just left the window). Which places a graph sees follows from the number of units, so
            nothing about it is kept: whoever runs the graph has the row computed (:meth:`Ring.mark`).
    pinned  a ring without a window (the prefix): filled once, never evicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import MASKED, CarrySpec, RingSpec, StateSpec
from edge_streamer.runtime.engines.buffers import packed
from edge_streamer.runtime.engines.contract import Buffer, Engine, Stack, Tape
from edge_streamer.runtime.errors import BundleError

Float32 = NDArray[np.float32]


class Carries:
    """The carries of one graph: what is committed, and what the graph writes."""

    def __init__(self, graph: str, specs: Sequence[CarrySpec], engine: Engine):
        self.graph = graph
        self.specs = tuple(specs)
        wanted = {s.path: (s.shape, s.dtype) for s in specs}
        self.committed, self.next = packed(engine, wanted), packed(engine, wanted)
        """path -> buffer."""
        self.ran = False
        self._engine = engine
        self.reset()

    def reads(self) -> dict[str, Buffer]:
        """Graph inputs."""
        return {f"state.{path}": buffer for path, buffer in self.committed.items()}

    def writes(self) -> dict[str, Buffer]:
        """Graph outputs."""
        return {f"state_next.{path}": buffer for path, buffer in self.next.items()}

    def mark_run(self) -> None:
        """The graph is about to run. ValueError for the second time in one unit: what it wrote first would be lost."""
        if self.ran:
            raise ValueError(f"graph {self.graph!r} has carries and ran twice in one unit")
        self.ran = True

    def commit(self) -> None:
        """What the graph wrote has been copied."""
        self.ran = False

    def rollback(self) -> None:
        self.ran = False

    def reset(self) -> None:
        self.ran = False
        for spec in self.specs:
            self._engine.write(self.committed[spec.path], np.full(spec.shape, spec.start, spec.dtype))


@dataclass
class Ring:
    """The states that share one cursor.

    They lie stacked, so that a unit's slice is written to all of them (keys and values of every layer) in one
    operation; each graph input is bound to its part.
    """

    name: str
    specs: tuple[RingSpec, ...]
    engine: Engine
    stack: Stack
    """A buffer per state."""
    first: Buffer
    """The cursor for tapes, int32 [1]: see :meth:`aim`."""
    places: int
    """Per unit."""
    window: int
    """Units remembered; 0 for a pinned ring."""
    units: int = 0
    """Units committed since reset; for a pinned ring the places filled."""
    late: NDArray[np.bool_] = field(init=False)
    """[places], the program's: those that a unit fills for the one before it. The first unit leaves them hidden, and
    they may be filled ahead."""
    ahead: bool = False
    """Whether the ``late`` places of the unit in progress are filled already."""
    buffers: dict[str, Buffer] = field(init=False)
    """path -> its part of the stack."""
    written: bool = False
    """Whether a tape may have stored something that is not committed."""
    _committed: tuple[int, bool] = (0, False)

    def __post_init__(self) -> None:
        self.buffers = {spec.path: self.stack[i] for i, spec in enumerate(self.specs)}
        self.late = np.zeros(self.places, np.bool_)
        self.reset()

    @property
    def pinned(self) -> bool:
        return self.window == 0

    @property
    def capacity(self) -> int:
        """Places."""
        return self.specs[0].shape[self.stack.axis]

    @property
    def base(self) -> int:
        """The first place of the unit in progress."""
        return self._base(self.units)

    def _base(self, units: int) -> int:
        return units if self.pinned else units % (self.window + 1) * self.places

    def aim(self) -> None:
        """Let tapes store from the unit in progress on."""
        self.first.host[0] = self.base

    def mark(self, rows: Float32, block: Float32) -> None:
        """Fill validity rows [n, capacity], inputs ``valid.<ring>`` of graphs: 0 where a place holds history, MASKED
        elsewhere. ``block`` [n, places]: what is to be seen of the unit in progress (nothing, in a pinned ring)."""
        self._mark(rows, block, self.units)

    def _mark(self, rows: Float32, block: Float32, units: int) -> None:
        filled = units if self.pinned else units * self.places
        rows[:, :filled] = 0.0
        if filled < self.capacity:
            rows[:, filled:] = MASKED
        if self.pinned:
            return
        if 0 < units <= self.window:
            rows[:, : self.places][:, self.late] = MASKED
        base = self._base(units)
        rows[:, base : base + self.places] = block

    def valid(self, units: int | None = None, ahead: bool | None = None) -> Float32:
        """The validity row between units, [1, capacity]; of another state than this, where it is given."""
        units, ahead = self.units if units is None else units, self.ahead if ahead is None else ahead
        row = np.empty((1, self.capacity), np.float32)
        self._mark(row, np.where(self.late & ahead, 0.0, MASKED).astype(np.float32)[None], units)
        return row

    def read(self, path: str) -> Array:
        """A copy of the state ``path`` with its places as first axis."""
        return np.moveaxis(self.engine.read(self.buffers[path]), self.stack.axis, 0)

    def fill(self, path: str, places: NDArray[Any]) -> None:
        """Make ``places``, as many as there are, the first of the state ``path``, and all others 0."""
        buffer = self.buffers[path]
        whole = np.zeros(buffer.shape, buffer.dtype)
        np.moveaxis(whole, self.stack.axis, 0)[: len(places)] = places
        self.engine.write(buffer, whole)

    def finish_unit(self) -> None:
        """The unit in progress is complete; the next one gets the next block, whose old unit is hidden now."""
        self.units += 1
        self.ahead = False

    def commit(self) -> None:
        self._committed, self.written = (self.units, self.ahead), False

    def rollback(self) -> None:
        """Scrub what the failed unit may have written: 0 x NaN is NaN, so even hidden places must be numbers."""
        self.units, self.ahead = self._committed
        if self.written:
            base = self.base
            block = slice(base, None if self.pinned else base + self.places)
            hidden = np.flatnonzero(self.valid()[0, block] != 0) + base
            for path in self.buffers:
                places = self.read(path)
                places[hidden] = 0
                self.fill(path, places)
        self.written = False

    def reset(self) -> None:
        self.units, self.ahead = 0, False
        for buffer in self.buffers.values():
            self.engine.write(buffer, np.zeros(buffer.shape, buffer.dtype))
        self.commit()


class StateStore:
    """Every state of a bundle."""

    def __init__(self, states: Sequence[StateSpec], engine: Engine):
        self.engine = engine
        by_graph: dict[str, list[CarrySpec]] = {}
        by_ring: dict[str, list[RingSpec]] = {}
        for spec in states:
            if isinstance(spec, CarrySpec):
                by_graph.setdefault(spec.graph, []).append(spec)
            else:
                by_ring.setdefault(spec.ring, []).append(spec)
        self.carries = {graph: Carries(graph, specs, engine) for graph, specs in by_graph.items()}
        self.rings = {name: _ring(name, specs, engine) for name, specs in by_ring.items()}
        self._kept: dict[str, list[tuple[Buffer, Buffer]]] = {}
        self._commits: dict[tuple[str, ...], Tape] = {}

    def ring_inputs(self) -> dict[str, Buffer]:
        """Graph inputs ``state.<path>`` of all rings."""
        return {f"state.{path}": buffer for ring in self.rings.values() for path, buffer in ring.buffers.items()}

    def keep(self, graph: str, target: Buffer, source: Buffer) -> None:
        """Where ``graph``, which has carries, ran in a unit, its commit copies ``source`` into ``target`` too."""
        self._kept.setdefault(graph, []).append((target, source))

    def _parts(self) -> Iterator[Carries | Ring]:
        yield from self.carries.values()
        yield from self.rings.values()

    def commit(self) -> None:
        ran = tuple(graph for graph, carries in self.carries.items() if carries.ran)
        if ran:
            self._commit_of(ran).play()
        for part in self._parts():
            part.commit()

    def _commit_of(self, graphs: tuple[str, ...]) -> Tape:
        """Copies what these graphs wrote to where they read; made once."""
        if graphs not in self._commits:
            tape = self._commits[graphs] = self.engine.tape("commit")
            for graph in graphs:
                carries = self.carries[graph]
                tape.copy(carries.committed.piece, carries.next.piece)
                for target, source in self._kept.get(graph, ()):
                    tape.copy(target, source)
        return self._commits[graphs]

    def rollback(self) -> None:
        for part in self._parts():
            part.rollback()

    def reset(self) -> None:
        for part in self._parts():
            part.reset()

    def buffers(self) -> dict[str, Buffer]:
        """What is committed: ``carry/<path>`` and ``ring/<path>``."""
        found = {f"carry/{path}": b for carries in self.carries.values() for path, b in carries.committed.items()}
        return found | {f"ring/{path}": b for ring in self.rings.values() for path, b in ring.buffers.items()}

    def stand_at(self, units: int) -> None:
        """Let every ring have seen ``units`` units, a pinned one be half full, with what is in it; places that such a
        ring hides become 0, as in a real run. Committed."""
        for ring in self.rings.values():
            ring.units = ring.places // 2 if ring.pinned else units
            hidden = ring.valid()[0] != 0
            for path in ring.buffers:
                places = ring.read(path)
                places[hidden] = 0
                ring.fill(path, places)
        self.commit()

    def nbytes(self) -> int:
        """Memory that all states take, both carry buffers counted."""
        carries = sum(b.nbytes for c in self.carries.values() for side in (c.committed, c.next) for b in side.values())
        return carries + sum(ring.stack.nbytes for ring in self.rings.values())


def _ring(name: str, specs: Sequence[RingSpec], engine: Engine) -> Ring:
    kinds = {(s.shape, s.dtype, s.axis, s.places_per_unit, s.window_units) for s in specs}
    if len(kinds) > 1:
        raise BundleError(f"the states of ring {name!r} disagree about shape, dtype, axis, places or window: {kinds}")
    shape, dtype, axis, places, window = kinds.pop()
    stack, first = engine.stack(len(specs), shape, dtype, axis), engine.buffer((1,), "int32", "in")
    return Ring(name, tuple(specs), engine, stack, first, places, window)
