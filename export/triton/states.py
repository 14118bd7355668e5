"""Which states Triton can hold, and graphs that give back whole what Triton holds.

Receives a manifest; hands on, per graph, the states that are that model's own in Triton, and of each graph's file one
whose rings come back whole. Triton's implicit state is an output that goes into the same model's next run, as it is.

A carry is that already. A ring is not: its graph gives back the new places alone, and the host writes them where they
belong. Here the graph writes them itself, as its caller says in one more input per ring, `take.<ring>` int32
[capacity]: for every place of the ring, which row it is taken from. Number p is the place p as it was, number
capacity + r is the new row r of this very run::

    state.<path> ───┐
                    ├─ Concat ─► Gather ─► state_next.<path>
    append.<...> ───┘              ▲
                      take.<ring> ─┘

Rows are moved and nothing is computed, so the numbers are those of a ring that was written in place, bit for bit; the
price is a copy of the ring per run. What a place holds and whether it is seen stay two things: `valid.<ring>` comes
from the caller as before.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edge_streamer.runtime.bundle.manifest import CarrySpec, GraphSpec, Manifest, RingSpec, TensorSpec
from edge_streamer.runtime.errors import InputError


@dataclass(frozen=True)
class Held:
    """A state that Triton keeps for a sequence, in one model."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    start: float
    ring: RingSpec | None = None
    """None for a carry."""
    shared: bool = False
    """Other graphs read it too: they are given what this model gives back."""

    @property
    def name(self) -> str:
        return f"state.{self.path}"

    @property
    def next(self) -> str:
        return f"state_next.{self.path}"

    @property
    def capacity(self) -> int:
        """Places of a ring."""
        assert self.ring is not None
        return self.shape[self.ring.axis]


def held_states(manifest: Manifest) -> dict[str, list[Held]]:
    """Graph -> the states that Triton keeps for it. A ring that is not appended by one graph that reads it too is
    nobody's: its places stay with the caller."""
    reads = {graph.name: {spec.name for spec in graph.inputs} for graph in manifest.graphs}
    gives = {graph.name: {spec.name for spec in graph.outputs} for graph in manifest.graphs}
    found: defaultdict[str, list[Held]] = defaultdict(list)
    for state in manifest.states:
        if isinstance(state, CarrySpec):
            found[state.graph].append(Held(state.path, state.dtype, state.shape, state.start))
            continue
        writers = [name for name in gives if state.append in gives[name]]
        readers = [name for name in reads if f"state.{state.path}" in reads[name]]
        if len(writers) == 1 and writers[0] in readers:
            held = Held(state.path, state.dtype, state.shape, 0.0, state, len(readers) > 1)
            found[writers[0]].append(held)
    return dict(found)


@dataclass(frozen=True)
class Sides:
    """What a caller gives a graph's model, and is given."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    takes: tuple[TensorSpec, ...]
    """Of the inputs those that say where a ring's places come from."""


def sides(graph: GraphSpec, held: list[Held]) -> Sides:
    """A graph's inputs and outputs without what Triton keeps. InputError where a name is taken."""
    kept = {state.name for state in held} | {state.next for state in held if not state.shared}
    takes = _takes(held)
    if taken := sorted({spec.name for spec in takes} & {spec.name for spec in graph.inputs}):
        raise InputError(f"graph {graph.name!r} has an input {taken[0]!r}, which its Triton model has too; rename it")
    appended = {state.ring.append for state in held if state.ring}
    whole = tuple(
        TensorSpec(name=state.next, dtype=state.ring.dtype, shape=state.shape, axes=state.ring.axes)
        for state in held if state.ring and state.shared
    )  # fmt: skip
    return Sides(
        (*(spec for spec in graph.inputs if spec.name not in kept), *takes),
        (*(spec for spec in graph.outputs if spec.name not in kept | appended), *whole),
        takes,
    )


def _takes(held: list[Held]) -> tuple[TensorSpec, ...]:
    places = {state.ring.ring: state.capacity for state in held if state.ring}
    return tuple(
        TensorSpec(name=f"take.{ring}", dtype="int32", shape=(count,), axes=("place",))
        for ring, count in places.items()
    )


def write_graph(file: Path, held: list[Held], to: Path) -> None:
    """Write the graph in ``file`` to ``to``, its rings given back whole; its weights lie beside both by one name."""
    rings = [(state, state.ring) for state in held if state.ring]
    if not rings:
        to.write_bytes(file.read_bytes())
        return
    model = onnx.load(file, load_external_data=False)
    graph = model.graph
    appended = {ring.append for _, ring in rings}
    elements = {output.name: output.type.tensor_type.elem_type for output in graph.output}
    outputs = [output for output in graph.output if output.name not in appended]
    del graph.output[:]
    graph.output.extend(outputs)
    graph.input.extend(
        helper.make_tensor_value_info(spec.name, TensorProto.INT32, list(spec.shape)) for spec in _takes(held)
    )
    for state, ring in rings:
        both = f"both.{state.path}"
        graph.node.append(helper.make_node("Concat", [state.name, ring.append], [both], axis=ring.axis, name=both))
        graph.node.append(
            helper.make_node("Gather", [both, f"take.{ring.ring}"], [state.next], axis=ring.axis, name=state.next)
        )
        graph.output.append(helper.make_tensor_value_info(state.next, elements[ring.append], list(state.shape)))
    to.write_bytes(model.SerializeToString())
