"""What a chain does with a ring: its slice is stored when the graph that appends it has run.

Receives a ring of the state store and the chain's order; hands on :class:`ChainRing`: what the graphs are bound to, and
when it is stored. Graphs after the one that appends see the unit in progress; it itself and those before see what
earlier units left::

    order        a           b  (appends)        c
    valid row    before      before              after
    seen         k-3 .. k-1  k-3 .. k-1          k-3 .. k
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_streamer.runtime.bundle.manifest import MASKED, GraphSpec
from edge_streamer.runtime.engines.contract import Buffer
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.base import Workplace
from edge_streamer.runtime.programs.passes import Script, sizes
from edge_streamer.runtime.state.store import Float32, Ring

BEFORE, AFTER = 0, 1
"""The validity rows: until the slice is stored, and from then on."""


class ChainRing:
    """One ring of a chain. Raises BundleError for one that a chain cannot fill."""

    def __init__(self, place: Workplace, ring: Ring, order: Sequence[str]):
        self._ring, self._order = ring, tuple(order)
        if ring.pinned:
            raise BundleError(f"ring {ring.name!r} has no window; a chain fills no prefix")
        self._by_unit = ring.specs[0].reset == "unit"
        self._writer = self._only_writer(place)
        spec = place.bundle.manifest.graph(self._writer)
        tensors = {tensor.name: tensor for tensor in spec.outputs}
        # One that appends another number of places than the first is found when the graph is bound.
        (shape, dtype), *_ = sizes([tensors[s.append] for s in ring.specs]).values()
        axis = ring.stack.axis
        if shape[axis] != ring.places:
            raise BundleError(
                f"graph {self._writer!r} appends {shape[axis]} places to ring {ring.name!r}; wanted its "
                f"places_per_unit, {ring.places}: a chain runs each graph once per unit"
            )
        self._appended = place.engine.stack(len(ring.specs), shape, dtype, axis)
        self._rows = place.engine.stack(2, (1, ring.capacity), "float32", axis=1, side="in")
        self._host: Float32 = self._rows.host[:, 0]
        self._block = np.full((2, ring.places), MASKED, np.float32)
        self._block[AFTER] = 0.0

    def _only_writer(self, place: Workplace) -> str:
        writers = {
            graph.name
            for graph in place.bundle.manifest.graphs
            for output in graph.outputs
            if output.name in {spec.append for spec in self._ring.specs}
        }
        if len(writers) != 1 or not writers <= set(self._order):
            raise BundleError(
                f"ring {self._ring.name!r} is appended to by the graphs {sorted(writers)[:20]}; wanted one, of the "
                "chain's order, to append to all of its states"
            )
        return writers.pop()

    def inputs(self, graph: GraphSpec) -> dict[str, Buffer]:
        """Those of ``graph`` that are this ring's."""
        late = self._order.index(graph.name) > self._order.index(self._writer)
        given = {f"state.{path}": buffer for path, buffer in self._ring.buffers.items()}
        valid = f"valid.{self._ring.name}"
        given[valid] = self._rows[AFTER if late else BEFORE]
        for tensor in graph.inputs:
            if tensor.name == valid and (tensor.dtype, tensor.shape) != ("float32", given[valid].shape):
                raise BundleError(
                    f"graph {graph.name!r} wants {valid!r} as {tensor.dtype} {list(tensor.shape)}; it is float32 "
                    f"{list(given[valid].shape)}: 0 where a place is seen, {MASKED:g} elsewhere"
                )
        return {tensor.name: given[tensor.name] for tensor in graph.inputs if tensor.name in given}

    def outputs(self, graph: str) -> dict[str, Buffer]:
        """Those of ``graph`` that are this ring's."""
        if graph != self._writer:
            return {}
        return {spec.append: self._appended[number] for number, spec in enumerate(self._ring.specs)}

    def store(self, script: Script, graph: str) -> None:
        """Have the slice stored, if ``graph`` is the one that appends."""
        if graph == self._writer:
            script.store(self._ring, self._appended, slice(0, self._ring.places), 0)

    def begin(self) -> None:
        """Before a unit's first run: where it stores, and what its graphs see."""
        if self._by_unit:
            self._ring.units = 0
        self._ring.aim()
        self._ring.mark(self._host, self._block)

    def finish(self) -> None:
        """The unit is whole."""
        self._ring.finish_unit()
