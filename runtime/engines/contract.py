"""The engine contract: open a graph, bind buffers once, run many times.

Receives a graph file and its :class:`~edge_streamer.runtime.bundle.manifest.GraphSpec`; hands on bound runs.

Who owns what: the *engine* allocates (``empty``), because only it knows which memory its device reads without a
copy; the *session* owns every buffer for its whole life and decides what is written when; a *bound run* only
remembers addresses. All buffers are visible to the host as numpy arrays: on the CPU they are ordinary memory, on
a Jetson, where the processor and the GPU share one memory, an engine hands out mapped memory.

How an engine commits: carries are swapped by binding each graph twice (``swaps = True``), or, where captured
CUDA graphs fix addresses, copied back after the step (``swaps = False``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import GraphSpec


class BoundRun(Protocol):
    """A graph with every input and output tied to a buffer."""

    def run(self) -> None:
        """Run once: reads the input buffers, fills the output buffers. Raises EngineError."""


class OpenGraph(Protocol):
    """A graph that the engine has loaded."""

    spec: GraphSpec

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> BoundRun:
        """Tie every input and output to a C-contiguous buffer.

        Names, dtypes and shapes are checked here against the graph itself, once; a length ``T`` must be one of
        ``spec.lengths``. Raises EngineError that says which tensor, what came and what was wanted.
        """


class Engine(Protocol):
    """Something that runs graphs."""

    name: str
    """For reports, with the library's version: ``onnxruntime 1.32.0 cpu``."""
    swaps: bool

    def empty(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A zeroed buffer that this engine's graphs can read and write in place."""

    def open(self, path: Path, spec: GraphSpec) -> OpenGraph:
        """Load the graph at ``path``. Raises BundleError where the file contradicts ``spec``."""
