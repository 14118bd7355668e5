"""The base of every engine on an NVIDIA GPU: its memory, tables and tapes; a library that runs graphs is added to it.

Receives the number of a device; hands on :class:`CudaEngine`. A subclass brings ``open``: graphs that bind buffers of
this memory and give a :class:`~edge_streamer.runtime.engines.cuda.tape.CudaRun`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.bundle.memory import free_bytes
from edge_streamer.runtime.engines.contract import GraphFile, OpenGraph
from edge_streamer.runtime.engines.cuda.driver import Cuda
from edge_streamer.runtime.engines.cuda.memory import CudaMemory, CudaTable
from edge_streamer.runtime.engines.cuda.tape import CudaTape
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.timing import Tell, untold


class CudaEngine(CudaMemory):
    """All of an :class:`~edge_streamer.runtime.engines.contract.Engine` but the graphs."""

    name: str
    """Set by the subclass: the library with its version, and the device."""
    captures = True
    multiplies: tuple[str, ...] = ("float32",)
    """Numbers that products are really computed in, not in wider ones that they were turned into first."""
    tf32 = False
    """Whether products of float32 are rounded to TF32."""

    def __init__(self, ordinal: int = 0, api: Any = None):
        """``api``: what stands for ``cuda.bindings.driver``. Raises EngineError where there is no driver or device."""
        super().__init__(Cuda.open(ordinal, api))
        self._tables = WeakSet[CudaTable]()
        self._closed = False

    def open(self, graph: GraphFile, tell: Tell = untold) -> OpenGraph:
        """A subclass's: see :meth:`check_open`."""
        raise NotImplementedError

    def check_open(self, graph: GraphFile) -> None:
        """EngineError where nothing can be opened any more."""
        if self._closed:
            raise EngineError(f"graph {graph.spec.name!r} cannot be opened: the engine is closed")

    def table(self, path: Path, spec: EmbeddingSpec) -> CudaTable:
        table = CudaTable(self, path, spec)
        self._tables.add(table)
        return table

    def tape(self, name: str) -> CudaTape:
        return CudaTape(self, name)

    def free_bytes(self) -> int:
        """Memory that can still be taken. On a board, whose GPU computes in the host's memory, that is the host's word:
        the driver counts what files left in memory as taken."""
        host = free_bytes() if self.cuda.integrated else None
        return self.cuda.free_memory()[0] if host is None else host

    def memory(self) -> dict[str, int]:
        """Buffers and tables; a subclass adds ``weights`` and ``scratch``."""
        return {"state": self.held_bytes(), "tables": sum(table.nbytes for table in self._tables)}

    def close(self) -> None:
        """What is still in use goes with the last who uses it, and the stream and the context after it."""
        self._closed = True
        self.cuda.close()
