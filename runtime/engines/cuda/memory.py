"""Buffers in a GPU's memory, and what the host sees of them: pinned mirrors, several in one slab.

Receives a device; hands on :class:`CudaMemory`, the half of an engine that allocates.

    device   slab [ a . . | b b b . | c . . . . ]      inner   [ one piece per buffer, stack or packed group ]
                 ▲ push      │ pull                            (no mirror: the host reads and writes it by the engine)
    pinned        [ a . . | b b b . | c . . . . ]

``in`` and ``out`` buffers lie side by side in slabs, so that a tape moves them in one copy. A buffer keeps its piece;
with the last of them it is given back.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import ReferenceType, WeakSet, finalize, ref

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.embedding import EmbeddingRows
from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.engines.buffers import (
    ALIGNMENT,
    Stacked,
    Within,
    aligned,
    check_owner,
    check_values,
    size_of,
    stack_bytes,
)
from edge_streamer.runtime.engines.contract import Buffer, Shape, Side
from edge_streamer.runtime.engines.cuda.driver import Cuda
from edge_streamer.runtime.engines.cuda.kernels import Kernels
from edge_streamer.runtime.errors import EngineError

SLAB = 1 << 20
"""Bytes of a slab; a buffer that takes more than half of one gets its own."""
AT_ONCE = 1 << 24
"""Bytes of a table that are read from its file at a time."""


class Piece:
    """Memory of the device that ends with the last who has this, and its pinned mirror."""

    def __init__(self, cuda: Cuda, nbytes: int, mirrored: bool = False, what: str = "buffers"):
        """EngineError where there is no room; ``what`` is for its text."""
        self.nbytes = nbytes
        self.mirror: Array | None = cuda.pinned(nbytes) if mirrored else None
        self.address = cuda.allocate(nbytes, what)
        self.used = 0
        """Bytes that are given out, of a slab."""
        finalize(self, cuda.free, self.address).atexit = False


class CudaBuffer(Within):
    """A :class:`~edge_streamer.runtime.engines.contract.Buffer` in the device's memory; ``host`` is its mirror."""

    engine: CudaMemory
    piece: Piece
    _host: Array | None = None

    @property
    def host(self) -> Array:
        if self._host is None:
            if self.piece.mirror is None:
                raise EngineError(f"{self} is no memory of the host's: it is read and written by the engine")
            self._host = np.ndarray(self.shape, np.dtype(self.dtype), self.piece.mirror.data, self.start)
        return self._host


class CudaStack(Stacked[CudaBuffer]):
    """A :class:`~edge_streamer.runtime.engines.contract.Stack` in the device's memory. ``axis``: as there."""

    engine: CudaMemory
    piece: Piece

    @property
    def host(self) -> Array:
        if self.piece.mirror is None:
            raise self.no_host()
        return self.over(self.piece.mirror)

    @property
    def address(self) -> int:
        """Of the first; the others follow every ``step`` bytes."""
        return self.piece.address + self.start


class CudaTable:
    """A :class:`~edge_streamer.runtime.engines.contract.Table` on the device: rows as the file has their numbers."""

    def __init__(self, engine: CudaMemory, path: Path, spec: EmbeddingSpec):
        """Raises OSError where the file cannot be read, EngineError where there is no room."""
        self.engine, self.rows, self.width, self.dtype = engine, spec.rows, spec.width, spec.dtype
        table, scales = EmbeddingRows(path, spec).stored()
        cuda = engine.cuda
        row = table.dtype.itemsize * spec.width
        self.piece = Piece(cuda, spec.rows * row, what="an embedding table")
        at_once = max(1, AT_ONCE // row)
        for start in range(0, spec.rows, at_once):
            part = np.ascontiguousarray(table[start : start + at_once])  # a column table is turned over here
            cuda.copy_in(self.piece.address + start * row, part)
            cuda.synchronize("copying an embedding table")
        self.scales: Piece | None = None
        if scales is not None:
            self.scales = Piece(cuda, scales.nbytes, what="an embedding table's scales")
            cuda.copy_in(self.scales.address, np.ascontiguousarray(scales))
            cuda.synchronize("copying an embedding table")

    @property
    def nbytes(self) -> int:
        return self.piece.nbytes + (self.scales.nbytes if self.scales else 0)


class CudaMemory:
    """What :class:`~edge_streamer.runtime.engines.buffers.HostMemory` is for the host."""

    name: str
    """Of the engine."""
    alignment = ALIGNMENT

    def __init__(self, cuda: Cuda):
        self.cuda = cuda
        self.notes = list[str]()
        """As an engine's."""
        self._pieces = WeakSet[Piece]()
        self._slabs: dict[Side, ReferenceType[Piece]] = {}
        """Those that still have room."""

    @cached_property
    def kernels(self) -> Kernels:
        """Compiled by the driver for its device when the first is wanted."""
        return Kernels(self.cuda)

    def buffer(self, shape: Shape, dtype: str, side: Side = "inner") -> CudaBuffer:
        piece, start = self._placed(size_of(shape, dtype), side)
        return self.within(piece, start, shape, dtype, side)

    def stack(self, count: int, shape: Shape, dtype: str, axis: int, side: Side = "inner") -> CudaStack:
        piece, start = self._placed(stack_bytes(count, shape, dtype, self.alignment), side)
        return CudaStack(self, piece, start, count, shape, dtype, axis, side)

    def flags(self, count: int) -> CudaBuffer:
        """int32 [count], ``out``: for what a tape tells of itself."""
        piece, start = self._placed(4 * count, "out")
        return self.within(piece, start, (count,), "int32", "out")

    def within(self, piece: Piece, start: int, shape: Shape, dtype: str, side: Side) -> CudaBuffer:
        """A buffer in memory that is there."""
        return CudaBuffer(self, piece, start, shape, dtype, side, piece.address + start)

    def _placed(self, nbytes: int, side: Side) -> tuple[Piece, int]:
        """So many bytes: in which piece, and from where on."""
        if side == "inner":
            return self._new(nbytes, mirrored=False), 0
        if nbytes > SLAB // 2:
            return self._new(nbytes, mirrored=True), 0
        last = self._slabs.get(side)
        slab = last() if last is not None else None
        if slab is None or slab.used + nbytes > slab.nbytes:
            slab = self._new(SLAB, mirrored=True)
            self._slabs[side] = ref(slab)
        start = slab.used
        slab.used = aligned(start + max(nbytes, 1), self.alignment)
        return slab, start

    def _new(self, nbytes: int, mirrored: bool) -> Piece:
        piece = Piece(self.cuda, nbytes, mirrored)
        self._pieces.add(piece)
        return piece

    def held_bytes(self) -> int:
        """On the device, of all buffers that somebody still has."""
        return sum(piece.nbytes for piece in self._pieces)

    def read(self, buffer: Buffer) -> Array:
        """A copy of what is in ``buffer``: for ``in``, what the host wrote; else what the device has."""
        mine = own(self, buffer, "read")
        if mine.side == "in":
            copy: Array = mine.host.copy()
            return copy
        values = np.empty(mine.shape, mine.dtype)
        if values.nbytes:
            self.cuda.copy_out(values, mine.address)
        self.cuda.synchronize(f"reading {mine!r}")
        return values

    def write(self, buffer: Buffer, values: Array) -> None:
        """Fill ``buffer`` on the device, and its mirror."""
        mine = own(self, buffer, "written")
        check_values(mine, values)
        values = np.ascontiguousarray(values).reshape(mine.shape)
        self.cuda.synchronize(f"writing {mine!r}")  # the mirror may still be copied
        if mine.side != "inner":
            mine.host[...] = values
        if values.nbytes:
            self.cuda.copy_in(mine.address, values)
            self.cuda.synchronize(f"writing {mine!r}")


def own(engine: CudaMemory, buffer: Any, what: str) -> CudaBuffer:
    """A buffer of this engine, as it made it. EngineError for another's."""
    check_owner(engine, buffer, what)
    assert isinstance(buffer, CudaBuffer)
    return buffer
