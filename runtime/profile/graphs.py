"""The work of a bundle's graphs, and what the bundle takes in memory: counted from its manifest.

Receives a manifest, a scheme, a window and a number of solver steps; hands on a :class:`Work` per graph and length, and
:class:`Memory`. Costs are those that the export counted; of another scheme the weights are counted anew, of another
window the rings and the products with them.

Choices: a ring's states keep their numbers under every scheme. Products with weights are told from attention by the
graph's parameters: of T tokens they are ``2 * parameters * T``; what is more, in a graph that has lengths, is attention
and stays in 16 bits. Kernels are counted as products (``MatMul``, ``Gemm``, ``Conv``) in the graph's file: nine of
them, with all that goes beside them, are a decoder's layer.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from edge_streamer.runtime.bundle.consistency import STATIC
from edge_streamer.runtime.bundle.external import message_fields
from edge_streamer.runtime.bundle.manifest import CarrySpec, GraphSpec, Manifest, RingSpec, StateSpec
from edge_streamer.runtime.bundle.memory import array_bytes
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines import memory_plan
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.profile.schemes import Stored, as_it_is, stored
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS
from edge_streamer.runtime.profile.work import Work
from edge_streamer.runtime.programs.passes import label_of
from edge_streamer.runtime.programs.registry import runs

LAYER_PRODUCTS = 9
"""Of a decoder's layer: seven with weights, two of attention."""
STEPS = "default_steps"
MOST_STEPS = 64
PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul",
            "MatMulIntegerToFloat", "MatMulNBits"}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Bytes that a bundle takes while it runs."""

    weights: float
    embeddings: float
    states: float
    """Carries twice: they are read from one buffer and written to another."""
    tensors: float
    """Between graphs, a set for each length."""
    scratch: float
    """What a run computes in; runs share it."""
    build: float
    """While the largest graph's engine is built on the board."""

    @property
    def total(self) -> float:
        """While it runs."""
        return self.weights + self.embeddings + self.states + self.tensors + self.scratch


def operators(bundle: Bundle) -> dict[str, Counter[str]]:
    """Graph -> how often its file holds each operator. BundleError where a file cannot be read."""
    return {graph.name: _operators(bundle, graph) for graph in bundle.manifest.graphs}


def products(bundle: Bundle) -> dict[str, int]:
    """Graph -> products with weights or states that its file holds. BundleError where a file cannot be read."""
    return {name: sum(found[one] for one in PRODUCTS) for name, found in operators(bundle).items()}


def _operators(bundle: Bundle, graph: GraphSpec) -> Counter[str]:
    path = bundle.file(graph.file)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return Counter(
                data[first:last].decode("utf-8")
                for _, start, end in _inside(data, 0, len(data), 7)  # the graph
                for _, begin, stop in _inside(data, start, end, 1)  # its nodes
                for _, first, last in _inside(data, begin, stop, 4)  # their operators
            )
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read as an ONNX file ({error}); export the bundle again") from None


def _inside(data: mmap.mmap, start: int, end: int, wanted: int) -> list[tuple[int, int, int]]:
    """(number, start, end) of the fields of this number."""
    return [(number, first, last) for number, _, first, last in message_fields(data, start, end) if number == wanted]


def with_steps(manifest: Manifest, steps: int | None) -> Manifest:
    """The same bundle with another number of solver steps. InputError where nothing is solved."""
    if steps is None:
        return manifest
    if STEPS not in manifest.constants:
        raise InputError(f"the bundle {manifest.name!r} solves nothing, so it has no steps; leave --steps out")
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"--steps is {steps}; wanted 1 to {MOST_STEPS}")
    return msgspec.structs.replace(manifest, constants=manifest.constants | {STEPS: steps})


def window_units(manifest: Manifest) -> int | None:
    """Of the ring that remembers longest; None where no ring forgets."""
    return max((s.window_units for s in manifest.states if isinstance(s, RingSpec) and s.window_units), default=None)


def works(manifest: Manifest, scheme: str = AS_IT_IS, window: int | None = None,
          counted: Mapping[str, int] | None = None) -> list[Work]:  # fmt: skip
    """What a unit runs. ``window``: units that the longest ring remembers, the others in proportion; None: as it is.
    ``counted``: products of each graph; a graph that is not there counts as one layer."""
    rows = []
    for (name, length), times in runs(manifest).items():
        if times:
            rows.append(_work(manifest, manifest.graph(name), length, times, scheme, window, counted or {}))
    return rows


def work_of(manifest: Manifest, name: str, runs: float) -> Work | None:
    """The run of this name (``core at 9``), as often in a unit; None where the manifest does not count it."""
    graph, _, length = name.partition(" at ")
    spec = manifest.graph(graph)
    return (
        _work(manifest, spec, length or STATIC, runs, AS_IT_IS, None, {})
        if (length or STATIC) in spec.operations
        else None
    )


def _work(manifest: Manifest, graph: GraphSpec, length: str, times: float, scheme: str, window: int | None,
          counted: Mapping[str, int]) -> Work:  # fmt: skip
    tokens, how = 1 if length == STATIC else int(length), _stored(scheme, graph)
    linear = min(graph.operations[length], 2 * graph.parameters * tokens) if graph.lengths else graph.operations[length]
    before, after = _rings(manifest, graph, None), _rings(manifest, graph, window)
    attention = (graph.operations[length] - linear) * (after / before if before else 1)
    moved = graph.moved_bytes[length] - graph.weight_bytes + _weights(graph, how) + after - before
    label = name_of(graph.name, length)
    layers = counted.get(graph.name, LAYER_PRODUCTS) / LAYER_PRODUCTS
    return Work(label, how.numbers, linear, attention, moved, layers, tokens, times)


def name_of(graph: str, length: str) -> str:
    """Of a run, for people and among a unit's sections: ``core at 9``."""
    return label_of(graph, None if length == STATIC else length)


def _stored(scheme: str, graph: GraphSpec) -> Stored:
    return as_it_is(graph) if scheme == AS_IT_IS else stored(scheme, graph.name)


def _weights(graph: GraphSpec, how: Stored) -> float:
    return graph.parameters * how.bits / 8 if graph.parameters else graph.weight_bytes


def _rings(manifest: Manifest, graph: GraphSpec, window: int | None) -> float:
    """Bytes of the rings that ``graph`` reads."""
    read = {tensor.name for tensor in graph.inputs}
    share = _share(manifest, window)
    return sum(
        array_bytes(state.dtype, _remembering(state, share).shape)
        for state in manifest.states
        if isinstance(state, RingSpec) and f"state.{state.path}" in read
    )


def _share(manifest: Manifest, window: int | None) -> float:
    """Of the windows as they are."""
    longest = window_units(manifest)
    return 1.0 if window is None or not longest else window / longest


def _remembering(state: StateSpec, share: float) -> StateSpec:
    """``state`` with a window that is ``share`` of what it is."""
    if isinstance(state, CarrySpec) or not state.window_units or share == 1:
        return state
    units = max(1, round(state.window_units * share))
    shape = list(state.shape)
    shape[state.axis] = (units + 1) * state.places_per_unit
    return msgspec.structs.replace(state, shape=tuple(shape), window_units=units)


def memory(manifest: Manifest, scheme: str = AS_IT_IS, window: int | None = None) -> Memory:
    """What the bundle takes under ``scheme`` with this window, as TensorRT's own plan reckons it."""
    sizes = {graph.name: _weights(graph, _stored(scheme, graph)) for graph in manifest.graphs}
    states = tuple(_remembering(state, _share(manifest, window)) for state in manifest.states)
    made = memory_plan.plan(msgspec.structs.replace(manifest, states=states), "tensorrt")
    return Memory(
        weights=sum(sizes.values()), embeddings=made.tables, states=made.rings + made.carries, tensors=made.tensors,
        scratch=made.scratch,
        build=memory_plan.BUILDING_TIMES * max(sizes.values(), default=0.0) + memory_plan.WORKSPACE,
    )  # fmt: skip
