"""What a bundle takes of a device's memory, from its manifest alone, before anything is opened or built.

Receives a manifest, an engine's name and the bytes that are free; hands on a :class:`MemoryPlan`, or a BundleError that
says what would fit: rings grow with the window that they remember, so a board that is too small for one window has a
largest that it can hold.

Weights, rings, carries and tables are exact. Tensors between graphs, what a run computes in, the libraries and the
height of a build are reckoned, from what is said at each number; on a GPU none of them was measured yet.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.manifest import CarrySpec, EmbeddingSpec, GraphSpec, Manifest, RingSpec
from edge_streamer.runtime.bundle.memory import array_bytes, tensor_bytes
from edge_streamer.runtime.engines.board_memory import BOARDS, LIBRARY, SYSTEM
from edge_streamer.runtime.engines.buffers import ALIGNMENT
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import size_text

ENGINES = ("cpu", "cuda", "tensorrt")
SCRATCH_TIMES = 8
"""What a run computes in, in times of what goes in and out of it. On the CPU, the demo's graphs took up to 7.3."""
WORKSPACE = 512 << 20
"""The most that a run computes in: TensorRT is allowed no more."""
BUILDING_TIMES = 4
"""What the building of a graph takes, in times of its weights (those of the file as they are read, the network's, those
laid out for a kernel that is tried, the engine's): 3 to 4 are told of boards of 8 GB."""


class MemoryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes."""

    engine: str
    weights: int
    rings: int
    carries: int
    """Each twice: it is read from one buffer and written to another."""
    tensors: int
    """Between graphs, and in and out."""
    tables: int
    """Of tokens; on the CPU they are pages of a file, which the system takes back when it wants."""
    scratch: int
    """What a run computes in; runs share it, one after another."""
    library: int
    engine_files: int
    """On disk, not in memory: what TensorRT builds, about as large as the weights."""
    loading: int
    """The file of the largest engine, which is held beside what is made of it while it is loaded; 0 without files."""
    building: int
    """The most that is taken while the largest graph is built; 0 where nothing is built."""

    @property
    def running(self) -> int:
        """All that is held while units are computed."""
        return self.weights + self.rings + self.carries + self.tensors + self.tables + self.scratch + self.library


def plan(manifest: Manifest, engine: str) -> MemoryPlan:
    """What ``manifest`` takes on this engine. BundleError for a type that NumPy has no numbers of."""
    device, built = engine != "cpu", engine == "tensorrt"
    weights = [_weights(graph, engine) for graph in manifest.graphs]
    library, scratch = LIBRARY[engine], max(map(_scratch, manifest.graphs), default=0)
    return MemoryPlan(
        engine=engine, weights=sum(weights), rings=sum(_ring_bytes(ring) for ring in rings(manifest).values()),
        carries=_carries(manifest), tensors=tensor_bytes(manifest),
        tables=sum(map(_table, manifest.embeddings)) if device else 0, scratch=scratch, library=library,
        engine_files=sum(weights) if built else 0, loading=max(weights, default=0) if built else 0,
        building=BUILDING_TIMES * max(weights, default=0) + WORKSPACE + library if built else 0,
    )  # fmt: skip


def check_plan(
    manifest: Manifest, free_bytes: int, engine: str, *, building: bool = False, loaded: bool = False
) -> MemoryPlan:
    """The plan of a bundle that fits ``free_bytes``. BundleError where it does not: what it takes, and the largest
    window that would. ``building``: whether graphs are to be built now, one after another, before anything else is
    held; ``loaded``: the engine's library is there already and not in what is free."""
    wanted = plan(manifest, engine)
    running = wanted.running + wanted.loading - (wanted.library if loaded else 0)
    if building and wanted.building > free_bytes:
        raise BundleError(
            f"building bundle {manifest.name!r} for {engine} takes about {size_text(wanted.building)} (its largest "
            f"graph {BUILDING_TIMES} times, the workspace and the library), and {size_text(free_bytes)} is free: end "
            "other programs, the desktop first; add swap; or quantize the bundle into fewer bits"
        )
    if running > free_bytes:
        raise BundleError(
            f"bundle {manifest.name!r} takes about {size_text(running)} on {engine} ({size_text(wanted.weights)} "
            f"weights, {size_text(wanted.rings)} rings, {size_text(running - wanted.weights - wanted.rings)} all "
            f"else), and {size_text(free_bytes)} is free: {_what_fits(manifest, free_bytes - running)}"
        )
    return wanted


def board_bytes(board: str) -> int:
    """Bytes that are free on a board without a desktop. InputError for a name that is none."""
    if board not in BOARDS:
        raise InputError(f"there is no board {board!r}; there are {', '.join(BOARDS)}")
    return BOARDS[board] - SYSTEM


def rings(manifest: Manifest) -> dict[str, list[RingSpec]]:
    """Ring -> its states, which lie side by side."""
    found = dict[str, list[RingSpec]]()
    for state in manifest.states:
        if isinstance(state, RingSpec):
            found.setdefault(state.ring, []).append(state)
    return found


def _what_fits(manifest: Manifest, left: int) -> str:
    """What to do where ``left`` bytes, less than none, are left: the largest window that fits, of the largest ring."""
    known = {name: ring for name, ring in rings(manifest).items() if ring[0].window_units}
    name = max(known, key=lambda name: _ring_bytes(known[name]), default="")
    window = largest_window(known[name], _ring_bytes(known[name]) + left) if name else 0
    if window < 1:
        return "no window is short enough; quantize it into fewer bits, or take a board with more memory"
    unit = manifest.media.unit_seconds if manifest.media else 0.0

    def told(units: int) -> str:
        return f"{units} units" + (f" ({units * unit:g} s)" if unit else "")

    return (
        f"ring {name!r} remembers {told(known[name][0].window_units)}; at most {told(window)} fit: export it with a "
        f"window of {window}, or quantize it into fewer bits"
    )


def largest_window(ring: list[RingSpec], room: int) -> int:
    """The most units that the states of ``ring`` can remember within ``room`` bytes; 0 where not even one."""
    low, high = 0, ring[0].window_units
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _ring_bytes(ring, middle) <= room else (low, middle - 1)
    return low


def _ring_bytes(ring: list[RingSpec], window: int | None = None) -> int:
    """Of all states of a ring, each aligned; with another window than its own."""
    total = 0
    for state in ring:
        one = array_bytes(state.dtype, state.shape)
        if window is not None:
            one = one // (state.window_units + 1) * (window + 1)
        total += _aligned(one)
    return total


def _carries(manifest: Manifest) -> int:
    """Of each graph two pieces, in which its carries lie one after another, each aligned."""
    ends = dict[str, int]()
    for state in manifest.states:
        if isinstance(state, CarrySpec):
            size = array_bytes(state.dtype, state.shape)
            ends[state.graph] = _aligned(ends.get(state.graph, 0)) + size
    return 2 * sum(ends.values())


def _weights(graph: GraphSpec, engine: str) -> int:
    """As they lie in memory: ONNX Runtime makes floats of weights that are only stored in 8 bits when it loads them."""
    precision = graph.precision
    if engine != "tensorrt" and (precision.weights, precision.activations) == ("int8", "float32"):
        return 4 * graph.parameters
    return graph.weight_bytes


def _scratch(graph: GraphSpec) -> int:
    moved = max(graph.moved_bytes.values(), default=0) - graph.weight_bytes
    return min(WORKSPACE, SCRATCH_TIMES * max(0, moved))


def _table(table: EmbeddingSpec) -> int:
    scales = 0 if table.scales_offset is None else 4 * table.rows
    return np.dtype(table.dtype).itemsize * table.rows * table.width + scales


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def plans(manifest: Manifest, engines: Iterable[str] = ENGINES) -> dict[str, MemoryPlan]:
    """Engine -> what the bundle takes there."""
    return {engine: plan(manifest, engine) for engine in engines}
