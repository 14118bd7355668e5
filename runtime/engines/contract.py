"""The engine contract: open a graph, bind buffers once, run many times.

Receives a :class:`GraphFile`; hands on bound runs. Which file a graph is opened from is not the engine's to decide:
whoever opens a session may name others (``open_session(..., graphs=...)``).

Who owns what: the *engine* allocates (``empty``), because only it knows which memory its device reads without a
copy; the *session* owns every buffer for its whole life and decides what is written when; a *bound run* only
remembers addresses. All buffers are visible to the host as numpy arrays: on the CPU they are ordinary memory, on
a Jetson, where the processor and the GPU share one memory, an engine hands out mapped memory.

How an engine commits: carries are swapped by binding each graph twice (``swaps = True``), or, where captured
CUDA graphs fix addresses, copied back after the step (``swaps = False``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.checksums import digest
from edge_streamer.runtime.bundle.external import external_locations
from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.timing import Tell


@dataclass(frozen=True)
class GraphFile:
    """What an engine opens: a graph's file, and its record. Tensors of ``spec`` are those of the file."""

    path: Path
    spec: GraphSpec
    known: Mapping[Path, str] = field(default_factory=dict, repr=False, compare=False)
    """File -> its SHA-256, where somebody knows it already."""

    @classmethod
    def of(cls, bundle: Bundle, name: str) -> GraphFile:
        """The graph ``name`` as the bundle has it. BundleError where there is none."""
        spec = bundle.manifest.graph(name)
        known = {bundle.path / file.path: file.sha256 for file in bundle.manifest.files}
        return cls(bundle.file(spec.file), spec, known)

    @cached_property
    def sha256(self) -> str:
        """Of the graph and of the files that its weights lie in, one for all: the same where, and only where, an engine
        would build the same from them. BundleError, OSError where they cannot be read."""
        beside = [self.path.parent / location for location in sorted(external_locations(self.path))]
        sums = [self.known.get(file) or digest(file) for file in (self.path, *beside)]
        return hashlib.sha256("".join(sums).encode()).hexdigest()


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

    def open(self, graph: GraphFile, tell: Tell) -> OpenGraph:
        """Load a graph; an engine that builds may take minutes, and says how far it is by ``tell``, under the graph's
        name. Raises BundleError where the file contradicts its ``spec``."""

    def memory(self) -> dict[str, int]:
        """Bytes that the engine holds now, by kind: ``weights``, ``scratch``, ``state`` (buffers), ``tables``. What
        it cannot tell is left out."""

    def close(self) -> None:
        """Give back what the engine holds beside graphs and buffers, which end with the sessions that use them. Nothing
        can be opened any more. Closing twice is closing once."""
