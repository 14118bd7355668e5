"""What this machine can do at most: the ceiling that the graphs' costs are held against.

Receives a number of threads; hands on a :class:`Ceiling` (rate of a large matrix product in ONNX Runtime, rate of a
large copy) and, with a manifest, the :func:`cost` of each pass of a unit and the shortest time it could take.

Choices: the best of several runs, because a ceiling is what the machine can do, not what its neighbours left over. The
product has no small dimension and the copy does not fit any cache, so real passes can be above the copy's rate (weights
that stay in a cache) and hardly above the product's.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.profile.limits import copy_rate, large_product
from edge_streamer.runtime.programs.wan_streamer.layout import Layout, read_constants


@dataclass(frozen=True)
class Ceiling:
    """Rates that nothing on this machine exceeds for long."""

    gflops: float
    """10^9 operations a second; a multiply-add is two."""
    gigabytes: float
    """10^9 bytes a second, read and written counted both."""

    def or_higher(self, other: Ceiling) -> Ceiling:
        """The higher of each rate."""
        return Ceiling(max(self.gflops, other.gflops), max(self.gigabytes, other.gigabytes))

    def seconds(self, operations: int, moved_bytes: int) -> float:
        """The shortest time in which so much can be done, if computing and moving overlap perfectly."""
        return max(operations / self.gflops, moved_bytes / self.gigabytes) / 1e9


def measure_ceiling(threads: int) -> Ceiling:
    """Measure for about a second, with so many threads."""
    return Ceiling(large_product(threads), copy_rate(threads))


@dataclass(frozen=True)
class Cost:
    """A kind of pass: how often a unit runs it, and what one run must do."""

    name: str
    """As recorders see it, numbers left out: ``solve.0.in`` is ``solve.in``."""
    runs: int
    graph: str
    length: int | None
    """Tokens, where the graph has a symbolic length."""
    operations: int
    moved_bytes: int


def cost(manifest: Manifest) -> list[Cost]:
    """The passes of a unit in their order, clean tokens riding in the block."""
    constants = read_constants(manifest.constants)
    layout, steps = Layout(constants), constants.default_steps
    block = layout.agent + layout.user + 1
    passes: list[tuple[str, int, str, int | None]] = [
        ("encode", 1, "encode", None),
        ("clean", 1, "solve_in", None),
        ("block", 1, "core", block),
        ("token", layout.slots, "slot", None),
        ("slot", layout.slots, "core", 1),
        ("solve.in", steps, "solve_in", None),
        ("solve", steps, "core", layout.agent),
        ("solve.out", steps, "solve_out", None),
        ("decode", 1, "decode", None),
    ]
    made = []
    for name, runs, graph, length in passes:
        spec, key = manifest.graph(graph), str(length or "static")
        made.append(Cost(name, runs, graph, length, spec.operations[key], spec.moved_bytes[key]))
    return made
