"""What must hold in a manifest beyond the types of its fields.

Receives a :class:`~edge_streamer.runtime.bundle.manifest.Manifest`; hands on nothing, or raises a BundleError that
names the key, what it says and what was wanted. No file is read here.

The rules:

1. Graphs, states, files, token tables and the tensors of one side of a graph have names of their own.
2. Every axis of a tensor has a word; every size is a positive integer or ``"T"``; ``"T"`` appears in a graph if and
   only if the graph lists lengths, and its costs are given for exactly these lengths.
3. A carry's graph has the input ``state.<path>`` and the output ``state_next.<path>``, of the carry's dtype and shape,
   and no other graph has either.
4. A ring's capacity is ``(window_units + 1) * places_per_unit``; some graph reads ``state.<path>`` with the ring's
   dtype and shape, and some graph gives ``append``, of the ring's dtype and its sizes on all axes but ``axis``.
5. Rings that share a cursor share ``places_per_unit``, ``window_units``, ``reset`` and capacity.
6. A graph has no ``state.``, ``state_next.``, ``append.`` or ``valid.`` tensor that no state accounts for.
7. Every file that the manifest speaks of is among ``files``.
8. Every part of the media contract is a tensor that its graph has, of the part's type and size; samples and frames per
   unit are rates times the unit's seconds.
9. Only a graph whose inputs become integers takes their ranges anew in every run.
10. No path is both a file and the folder of another; a carry's start is a number of its dtype.

Every rule takes time in proportion to the manifest: tensors are found by name, not by looking through all graphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import PurePosixPath

from edge_streamer.runtime.bundle.manifest import (
    CarrySpec,
    GraphSpec,
    Manifest,
    RingSpec,
    TensorSpec,
)
from edge_streamer.runtime.bundle.media_parts import check_media
from edge_streamer.runtime.errors import BundleError

LENGTH = "T"
"""The one symbolic size."""
STATIC = "static"
"""The key of the costs of a graph without lengths."""


_SHOWN = 20
_LARGEST = {"float32": 3.4e38, "bfloat16": 3.3e38, "float16": 65504, "bool": 1, "uint8": 255, "int8": 127,
            "int32": 2**31 - 1, "int64": 2**53}  # fmt: skip

Found = dict[str, list[tuple[GraphSpec, TensorSpec]]]
"""A tensor's name -> the graphs that have it."""


def check_consistency(manifest: Manifest) -> None:
    """Raise BundleError at the first rule that does not hold."""
    _own_names("graphs", (g.name for g in manifest.graphs))
    _own_names("states", (s.path for s in manifest.states))
    _own_names("files", (f.path for f in manifest.files))
    _own_names("embeddings", (e.name for e in manifest.embeddings))
    for graph in manifest.graphs:
        _check_graph(graph)
    read, written = _by_name(manifest, "inputs"), _by_name(manifest, "outputs")
    graphs = {graph.name: graph for graph in manifest.graphs}
    for state in manifest.states:
        _check_axes(f"state {state.path}", state.shape, state.axes)
        if isinstance(state, CarrySpec):
            _check_carry(graphs.get(state.graph) or manifest.graph(state.graph), state, read, written)
        else:
            _check_ring(state, read, written)
    _check_shared_cursors(manifest)
    _check_accounted(manifest)
    _check_listed(manifest)
    _check_folders({file.path for file in manifest.files})
    if manifest.media:
        check_media(manifest)


def _own_names(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise BundleError(f"manifest.json: {what} has {name!r} {count} times; wanted each name once")


def _check_graph(graph: GraphSpec) -> None:
    where = f"graph {graph.name}"
    if graph.precision.dynamic and graph.precision.activations not in ("int8", "mixed"):
        raise BundleError(
            f"manifest.json: {where} has dynamic ranges of {graph.precision.activations} activations; wanted them for "
            "int8 or mixed ones alone"
        )
    for side, tensors in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        _own_names(f"{where}, {side},", (t.name for t in tensors))
        for tensor in tensors:
            _check_axes(f"{where}, {tensor.name}", tensor.shape, tensor.axes)
    uses = any(LENGTH in t.shape for t in (*graph.inputs, *graph.outputs))
    if uses != bool(graph.lengths):
        raise BundleError(
            f"manifest.json: {where} lists lengths {list(graph.lengths)} and {'has' if uses else 'does not have'} a "
            f"size {LENGTH!r}; wanted both or neither"
        )
    if any(n < 1 for n in graph.lengths) or len(set(graph.lengths)) < len(graph.lengths):
        raise BundleError(f"manifest.json: {where} has lengths {list(graph.lengths)}; wanted positive and different")
    wanted = {str(n) for n in graph.lengths} or {STATIC}
    for key, costs in (("operations", graph.operations), ("moved_bytes", graph.moved_bytes)):
        if set(costs) != wanted:
            raise BundleError(
                f"manifest.json: {where} gives {key} for {_words(costs)}; wanted them for {_words(wanted)}"
            )


def _check_axes(where: str, shape: tuple[int | str, ...], axes: tuple[str, ...]) -> None:
    if len(shape) != len(axes):
        raise BundleError(
            f"manifest.json: {where} has shape {_sizes(shape)} and axes {_words(axes)}; wanted one word per axis"
        )
    for size in shape:
        if size != LENGTH and (isinstance(size, str) or size < 1):
            raise BundleError(
                f"manifest.json: {where} has shape {_sizes(shape)}; wanted positive sizes or the word {LENGTH!r}"
            )


def _by_name(manifest: Manifest, side: str) -> Found:
    found: Found = {}
    for graph in manifest.graphs:
        for tensor in graph.inputs if side == "inputs" else graph.outputs:
            found.setdefault(tensor.name, []).append((graph, tensor))
    return found


def _check_carry(graph: GraphSpec, carry: CarrySpec, read: Found, written: Found) -> None:
    for name, found in ((f"state.{carry.path}", read), (f"state_next.{carry.path}", written)):
        own = next((tensor for of, tensor in found.get(name, ()) if of is graph), None)
        if own is None:
            raise BundleError(f"manifest.json: state {carry.path} wants {name} of graph {graph.name}, which has none")
        _check_same(f"state {carry.path}", carry, f"{name} of graph {graph.name}", own)
        for other, _ in (*read.get(name, ()), *written.get(name, ())):
            if other is not graph:
                raise BundleError(
                    f"manifest.json: graph {other.name} has {name} too; a carry belongs to one graph ({graph.name})"
                )
    _check_start(carry)


def _check_start(carry: CarrySpec) -> None:
    largest, start = _LARGEST[carry.dtype], carry.start
    lowest = 0 if carry.dtype in ("bool", "uint8") else -largest
    fits = isfinite(start) and lowest <= start <= largest and ("float" in carry.dtype or start == int(start))
    if not fits:
        raise BundleError(f"manifest.json: state {carry.path} starts at {start:g}; wanted a number of {carry.dtype}")


def _check_same(what: str, state: CarrySpec | RingSpec, where: str, tensor: TensorSpec) -> None:
    if (state.dtype, tuple(state.shape)) != (tensor.dtype, tuple(tensor.shape)):
        raise BundleError(
            f"manifest.json: {what} is {state.dtype} {_sizes(state.shape)}, but {where} is "
            f"{tensor.dtype} {_sizes(tensor.shape)}; wanted the same"
        )


def _check_ring(ring: RingSpec, read: Found, written: Found) -> None:
    where = f"state {ring.path}"
    if not 0 <= ring.axis < len(ring.shape):
        raise BundleError(f"manifest.json: {where} has axis {ring.axis}; wanted 0 to {len(ring.shape) - 1}")
    if ring.places_per_unit < 1 or ring.window_units < 0:
        raise BundleError(
            f"manifest.json: {where} has places_per_unit {ring.places_per_unit} and window_units "
            f"{ring.window_units}; wanted at least 1 and 0"
        )
    capacity = (ring.window_units + 1) * ring.places_per_unit
    if ring.shape[ring.axis] != capacity:
        raise BundleError(
            f"manifest.json: {where} has {ring.shape[ring.axis]} places; wanted ({ring.window_units} window units + 1) "
            f"x {ring.places_per_unit} places = {capacity}"
        )
    readers, writers = read.get(f"state.{ring.path}", ()), written.get(ring.append, ())
    if not readers:
        raise BundleError(f"manifest.json: {where} is read by no graph; wanted an input state.{ring.path}")
    if not writers:
        raise BundleError(f"manifest.json: {where} is written by no graph; wanted an output {ring.append}")
    for graph, tensor in readers:
        _check_same(where, ring, f"{tensor.name} of graph {graph.name}", tensor)
    for graph, tensor in writers:
        _check_slice(ring, graph, tensor)


def _check_slice(ring: RingSpec, graph: GraphSpec, tensor: TensorSpec) -> None:
    """What a graph appends fits the ring: any number of places along ``axis``, the rest the same."""
    rest = [size for axis, size in enumerate(ring.shape) if axis != ring.axis]
    given = [size for axis, size in enumerate(tensor.shape) if axis != ring.axis]
    if (ring.dtype, len(ring.shape), rest) != (tensor.dtype, len(tensor.shape), given):
        raise BundleError(
            f"manifest.json: state {ring.path} is {ring.dtype} {_sizes(ring.shape)}, but {tensor.name} of graph "
            f"{graph.name} is {tensor.dtype} {_sizes(tensor.shape)}; wanted the same on all axes but {ring.axis}"
        )


def _check_shared_cursors(manifest: Manifest) -> None:
    first: dict[str, RingSpec] = {}
    for ring in _rings(manifest):
        other = first.setdefault(ring.ring, ring)
        if _cursor(ring) != _cursor(other):
            raise BundleError(
                f"manifest.json: states {other.path} and {ring.path} share the cursor of ring {ring.ring!r} but differ "
                "in places_per_unit, window_units, reset or capacity; wanted the same"
            )


def _cursor(ring: RingSpec) -> tuple[int, int, str, int]:
    return ring.places_per_unit, ring.window_units, ring.reset, ring.shape[ring.axis]


def _check_accounted(manifest: Manifest) -> None:
    carries = [s.path for s in manifest.states if isinstance(s, CarrySpec)]
    rings = list(_rings(manifest))
    known = {
        "state.": {f"state.{s.path}" for s in manifest.states},
        "state_next.": {f"state_next.{path}" for path in carries},
        "append.": {ring.append for ring in rings},
        "valid.": {f"valid.{ring.ring}" for ring in rings},
    }
    for graph in manifest.graphs:
        for tensor in (*graph.inputs, *graph.outputs):
            for prefix, names in known.items():
                if tensor.name.startswith(prefix) and tensor.name not in names:
                    raise BundleError(
                        f"manifest.json: graph {graph.name} has {tensor.name}, which no state accounts for; wanted "
                        f"{'one of ' + _words(names) if names else 'a state that does'}"
                    )


def _check_listed(manifest: Manifest) -> None:
    listed = {file.path for file in manifest.files}
    for what, path in _spoken_of(manifest):
        if path not in listed:
            raise BundleError(f"manifest.json: {what} is the file {path!r}, which files does not list; wanted it there")


def _spoken_of(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield from ((f"graph {graph.name}", graph.file) for graph in manifest.graphs)
    yield from ((f"embedding {table.name}", table.file) for table in manifest.embeddings)
    if manifest.tokenizer:
        yield "tokenizer", manifest.tokenizer
    if manifest.golden:
        yield "golden", manifest.golden


def _check_folders(files: set[str]) -> None:
    for path in files:
        for folder in PurePosixPath(path).parents:
            if str(folder) in files:
                raise BundleError(f"manifest.json: files has {str(folder)!r} and {path!r}; wanted no file as a folder")


def _rings(manifest: Manifest) -> Iterator[RingSpec]:
    return (state for state in manifest.states if isinstance(state, RingSpec))


def _sizes(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _words(names: Iterable[str]) -> str:
    """The first of them; a line has room for no more."""
    words = sorted(names)
    return ", ".join(words[:_SHOWN] + ["..."] * (len(words) > _SHOWN)) or "none"
