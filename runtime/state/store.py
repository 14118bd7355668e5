"""All state of a session: carries, rings, their buffers and cursors.

Receives the states of a manifest and an engine that allocates; hands on the buffers that programs bind, and three
verbs over all of them: ``commit``, ``rollback``, ``reset``. A unit is a transaction: nothing that later units read
changes before ``commit``, so taking a failed unit back costs nothing.

    carry   two buffers; a graph reads one and writes the other, ``commit`` swaps them (or copies, where an engine
            cannot rebind). A graph with carries runs at most once per unit.
    ring    blocks of one unit each, one more than the window remembers:

              unit k-3   unit k-2   unit k-1 │ unit k (slack)         window 3, four blocks
            [ visible  | visible  | visible  | hidden until written ]
                                               ▲ block = units % 4

            Finishing a unit hides the block that the next one will write (this is the eviction: before, that block
            held the unit that just left the window). A token becomes visible when its slice is written.
    pinned  a ring without a window (the prefix): filled once, never evicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import MASKED, CarrySpec, RingSpec, StateSpec
from edge_streamer.runtime.engines.buffers import packed
from edge_streamer.runtime.engines.contract import Buffer, Engine, Stack, between_runs
from edge_streamer.runtime.errors import BundleError


class Carries:
    """The carries of one graph, in two pieces of memory: the one in front is committed, the other is written."""

    def __init__(self, graph: str, specs: Sequence[CarrySpec], engine: Engine):
        self.graph = graph
        self.specs = tuple(specs)
        self.pieces = [packed(engine, {s.path: (s.shape, s.dtype) for s in specs}) for _ in range(2)]
        """path -> buffer, twice."""
        self.front = 0
        self.ran = False
        self._engine = engine
        self.reset()

    def reads(self, front: int) -> dict[str, Buffer]:
        """Graph inputs when piece ``front`` is in front."""
        return {f"state.{path}": buffer for path, buffer in self.pieces[front].items()}

    def writes(self, front: int) -> dict[str, Buffer]:
        """Graph outputs when piece ``front`` is in front."""
        return {f"state_next.{path}": buffer for path, buffer in self.pieces[1 - front].items()}

    def mark_run(self) -> None:
        """The graph is about to write the back piece. Twice in one unit would overwrite what a rollback needs."""
        if self.ran:
            raise ValueError(f"graph {self.graph!r} has carries and ran twice in one unit")
        self.ran = True

    def commit(self) -> None:
        if self.ran and self._engine.swaps:
            self.front = 1 - self.front
        elif self.ran:
            for path, front in self.committed().items():
                np.copyto(between_runs(front), between_runs(self.pieces[1 - self.front][path]))
        self.ran = False

    def rollback(self) -> None:
        self.ran = False

    def reset(self) -> None:
        self.front, self.ran = 0, False
        for spec in self.specs:
            self._engine.write(self.pieces[0][spec.path], np.full(spec.shape, spec.start, spec.dtype))

    def committed(self) -> dict[str, Buffer]:
        """path -> the buffer that holds the committed value."""
        return self.pieces[self.front]


@dataclass
class Route:
    """Where some rows of a pass's appends go."""

    ring: Ring
    appended: Stack
    """What the pass appends to every state of the ring, stacked as the ring is."""
    rows: slice
    """Which tokens of the pass."""
    place: slice
    """Where inside the unit's places."""

    def __post_init__(self) -> None:
        self._rows = self.ring.places_first(between_runs(self.appended))[self.rows]

    def write(self) -> None:
        self.ring.write(self._rows, self.place)


@dataclass
class Ring:
    """The states that share one cursor and one validity row.

    They lie stacked, so that a unit's slice is written to all of them (keys and values of every layer) in one
    assignment; each graph input is bound to its part.
    """

    name: str
    specs: tuple[RingSpec, ...]
    engine: Engine
    stack: Stack
    """A buffer per state."""
    row: Buffer
    """Input ``valid.<ring>`` of graphs."""
    places: int
    """Per unit."""
    window: int
    """Units remembered; 0 for a pinned ring."""
    units: int = 0
    """Units committed since reset; for a pinned ring the places filled."""
    buffers: dict[str, Buffer] = field(init=False)
    """path -> its part of the stack."""
    valid: Array = field(init=False)
    """What ``row`` holds, [1, capacity] float32: 0 where a place holds history, MASKED elsewhere."""
    _places_first: Array = field(init=False)
    _valid_committed: Array = field(init=False)
    _units_committed: int = 0

    def __post_init__(self) -> None:
        self.buffers = {spec.path: self.stack[i] for i, spec in enumerate(self.specs)}
        self.valid = self.row.host
        self._places_first = self.places_first(between_runs(self.stack))
        self._valid_committed = self.valid.copy()
        self.reset()

    @property
    def pinned(self) -> bool:
        return self.window == 0

    @property
    def base(self) -> int:
        """The first place of the unit in progress."""
        return self.units if self.pinned else self.units % (self.window + 1) * self.places

    def read(self, path: str) -> Array:
        """A copy of the state ``path`` with its places as first axis."""
        return np.moveaxis(self.engine.read(self.buffers[path]), self.stack.axis, 0)

    def fill(self, path: str, places: Array) -> None:
        """Make ``places``, as many as there are, the first of the state ``path``, and all others 0."""
        buffer = self.buffers[path]
        whole = np.zeros(buffer.shape, buffer.dtype)
        np.moveaxis(whole, self.stack.axis, 0)[: len(places)] = places
        self.engine.write(buffer, whole)

    def places_first(self, stacked: Array) -> Array:
        """A view of something stacked like this ring, [states, *shape], with its places as first axis."""
        return np.moveaxis(stacked, self.stack.axis + 1, 0)

    def write(self, rows: Array, place: slice) -> None:
        """Write ``rows`` (stacked, places first) at the cursor and make them visible."""
        base = self.base
        start, stop = base + place.start, base + place.stop
        self._places_first[start:stop] = rows
        self.valid[0, start:stop] = 0.0

    def finish_unit(self) -> None:
        """The unit in progress is complete; the next one gets the next block, whose old unit is hidden now."""
        self.units += 1
        if not self.pinned:
            self.valid[0, self.base : self.base + self.places] = MASKED

    def commit(self) -> None:
        np.copyto(self._valid_committed, self.valid)
        self._units_committed = self.units

    def rollback(self) -> None:
        """Hide and scrub what the failed unit wrote: 0 x NaN is NaN, so even hidden places must be numbers."""
        written = (self.valid[0] == 0.0) & (self._valid_committed[0] != 0.0)
        if written.any():
            self._places_first[written] = 0
        np.copyto(self.valid, self._valid_committed)
        self.units = self._units_committed

    def reset(self) -> None:
        self.units = 0
        self.valid.fill(MASKED)
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

    def ring_inputs(self) -> dict[str, Buffer]:
        """Graph inputs of all rings: ``state.<path>`` and ``valid.<ring>``."""
        inputs: dict[str, Buffer] = {}
        for name, ring in self.rings.items():
            inputs |= {f"state.{path}": buffer for path, buffer in ring.buffers.items()}
            inputs[f"valid.{name}"] = ring.row
        return inputs

    def _parts(self) -> Iterator[Carries | Ring]:
        yield from self.carries.values()
        yield from self.rings.values()

    def commit(self) -> None:
        for part in self._parts():
            part.commit()

    def rollback(self) -> None:
        for part in self._parts():
            part.rollback()

    def reset(self) -> None:
        for part in self._parts():
            part.reset()

    def nbytes(self) -> int:
        """Memory that all states take, both carry buffers counted."""
        carries = sum(b.nbytes for c in self.carries.values() for piece in c.pieces for b in piece.values())
        return carries + sum(ring.stack.nbytes for ring in self.rings.values())


def _ring(name: str, specs: Sequence[RingSpec], engine: Engine) -> Ring:
    kinds = {(s.shape, s.dtype, s.axis, s.places_per_unit, s.window_units) for s in specs}
    if len(kinds) > 1:
        raise BundleError(f"the states of ring {name!r} disagree about shape, dtype, axis, places or window: {kinds}")
    shape, dtype, axis, places, window = kinds.pop()
    stack, row = engine.stack(len(specs), shape, dtype, axis), engine.buffer((1, shape[axis]), "float32", "in")
    return Ring(name, tuple(specs), engine, stack, row, places, window)
