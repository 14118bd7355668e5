"""Buffers: several in one piece for any engine, those of host memory, and the check of what a graph is bound to.

Receives shapes and dtypes; hands on :class:`HostMemory`, which an engine inherits whose graphs compute in the host's
own memory, and :func:`packed`.

    packed   [ a . . . | b b b b b b . . | c . . . ]      each starts at a multiple of the alignment; . is zero

So one look at a piece finds a number that is not finite in any of its buffers (:func:`float_pieces`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from weakref import ref

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.engines.contract import Buffer, Engine, Shape, Side, between_runs
from edge_streamer.runtime.errors import EngineError

ALIGNMENT = 256
"""Bytes; what the strictest engine (TensorRT) asks of an address, and a whole number of cache lines."""
FLOATS = ("float16", "float32", "float64")
"""What can hold a NaN."""

Wanted = Mapping[str, tuple[Shape, str]]
"""Name -> (shape, dtype)."""


def packed(engine: Engine, wanted: Wanted, side: Side = "inner") -> dict[str, Buffer]:
    """Buffers of any shapes and dtypes in one piece of memory, in this order, each aligned."""
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name, (shape, dtype) in wanted.items():
        start = _aligned(end, engine.alignment)
        end = start + _size(shape, dtype)
        places[name] = start, end
    piece = engine.buffer((end,), "uint8", side)
    return {name: piece.part(*places[name]).view(shape, dtype) for name, (shape, dtype) in wanted.items()}


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _size(shape: Shape, dtype: str) -> int:
    return prod(shape) * np.dtype(dtype).itemsize


class HostBuffer:
    """A :class:`~edge_streamer.runtime.engines.contract.Buffer` in the host's memory: ``host`` is it, of any side."""

    def __init__(self, engine: HostMemory, piece: Array, start: int, shape: Shape, dtype: str, side: Side):
        """``piece``: bytes, of which these begin at ``start``."""
        self.engine = engine
        self.piece, self.start = piece, start
        self.shape, self.dtype, self.side = shape, dtype, side
        self.nbytes = _size(shape, dtype)
        self.address = piece.ctypes.data + start
        self.host: Array = np.ndarray(shape, np.dtype(dtype), piece.data, start)

    def __repr__(self) -> str:
        return f"HostBuffer({self.dtype} {list(self.shape)}, {self.side})"

    def part(self, start: int, stop: int) -> HostBuffer:
        rows = self.shape[0] if self.shape else 0
        if not 0 <= start <= stop <= rows:
            raise EngineError(f"rows {start} to {stop} were wanted of a buffer of {rows}")
        offset = self.nbytes // max(rows, 1) * start
        if (self.address + offset) % self.engine.alignment:
            raise EngineError(
                f"rows from {start} on of {self.dtype} {list(self.shape)} begin {offset} bytes into the buffer; wanted "
                f"a multiple of {self.engine.alignment}"
            )
        shape = (stop - start, *self.shape[1:])
        return HostBuffer(self.engine, self.piece, self.start + offset, shape, self.dtype, self.side)

    def view(self, shape: Shape, dtype: str | None = None) -> HostBuffer:
        dtype = dtype or self.dtype
        if _size(shape, dtype) != self.nbytes:
            raise EngineError(f"a buffer of {self.dtype} {list(self.shape)} cannot be seen as {dtype} {list(shape)}")
        return HostBuffer(self.engine, self.piece, self.start, shape, dtype, self.side)


class HostStack:
    """A :class:`~edge_streamer.runtime.engines.contract.Stack` in the host's memory."""

    def __init__(self, engine: HostMemory, count: int, shape: Shape, dtype: str, axis: int, side: Side):
        step = _aligned(_size(shape, dtype), engine.alignment)
        piece = _zeroed(count * step, engine.alignment)
        self.axis, self.nbytes = axis, count * _size(shape, dtype)
        self._buffers = [HostBuffer(engine, piece, i * step, shape, dtype, side) for i in range(count)]
        inner = np.empty(shape, dtype).strides
        self.host: Array = np.ndarray((count, *shape), np.dtype(dtype), piece.data, 0, (step, *inner))

    def __len__(self) -> int:
        return len(self._buffers)

    def __getitem__(self, number: int) -> HostBuffer:
        return self._buffers[number]


class HostMemory:
    """The half of an engine that allocates, where graphs compute in the host's memory."""

    alignment = ALIGNMENT

    def __init__(self) -> None:
        self._pieces = list[tuple[ref[Array], int]]()

    def buffer(self, shape: Shape, dtype: str, side: Side = "inner") -> HostBuffer:
        made = HostBuffer(self, _zeroed(_size(shape, dtype), self.alignment), 0, shape, dtype, side)
        self._pieces.append((ref(made.piece), made.nbytes))
        return made

    def stack(self, count: int, shape: Shape, dtype: str, axis: int, side: Side = "inner") -> HostStack:
        made = HostStack(self, count, shape, dtype, axis, side)
        if count:
            self._pieces.append((ref(made[0].piece), made.nbytes))
        return made

    def held_bytes(self) -> int:
        """Of all buffers that somebody still has."""
        self._pieces = [(piece, size) for piece, size in self._pieces if piece() is not None]
        return sum(size for _, size in self._pieces)

    def read(self, buffer: Buffer) -> Array:
        _check_owner(self, buffer, "read")
        copy: Array = buffer.host.copy()
        return copy

    def write(self, buffer: Buffer, values: Array) -> None:
        _check_owner(self, buffer, "written")
        if values.shape != buffer.shape or values.dtype != buffer.host.dtype:
            came, wanted = (f"{a.dtype} {list(a.shape)}" for a in (values, buffer.host))
            raise EngineError(f"{came} was to be written into a buffer of {wanted}")
        np.copyto(buffer.host, values)


def _zeroed(size: int, alignment: int) -> Array:
    """Bytes whose address is a multiple of ``alignment``."""
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size]


def float_pieces(buffers: Iterable[Buffer]) -> list[Array]:
    """Flat arrays that together hold every float of ``buffers``, neighbours in one.

    Between neighbours lies less than the alignment, which is padding, and so zero; in parts of one buffer it may be a
    row that no one asked for.
    """
    floats = [buffer for buffer in buffers if buffer.dtype in FLOATS]
    pieces: list[list[HostBuffer]] = []
    for buffer in sorted((b for b in floats if isinstance(b, HostBuffer)), key=lambda b: b.address):
        if pieces and _are_neighbours(pieces[-1][-1], buffer):
            pieces[-1].append(buffer)
        else:
            pieces.append([buffer])
    apart = [between_runs(buffer).reshape(-1) for buffer in floats if not isinstance(buffer, HostBuffer)]
    return [_spanned(run[0], run[-1]) for run in pieces] + apart


def _are_neighbours(left: HostBuffer, right: HostBuffer) -> bool:
    gap = right.start - left.start - left.nbytes
    return left.piece is right.piece and left.dtype == right.dtype and 0 <= gap < left.engine.alignment


def _spanned(first: HostBuffer, last: HostBuffer) -> Array:
    """From the start of one buffer to the end of another in its piece, flat."""
    return first.piece[first.start : last.start + last.nbytes].view(first.dtype)


def check_buffers(
    engine: Engine, spec: GraphSpec, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
) -> int | None:
    """Every tensor of ``spec`` has a buffer of ``engine``, of its dtype and shape; returns the length that ``T`` stands
    for.

    Raises EngineError naming the tensor, what came and what was wanted.
    """
    length: int | None = None
    for kind, specs, buffers in (("input", spec.inputs, inputs), ("output", spec.outputs, outputs)):
        names = {tensor.name for tensor in specs}
        if names != buffers.keys():
            missing, extra = sorted(names - buffers.keys()), sorted(buffers.keys() - names)
            raise EngineError(f"graph {spec.name!r}: {kind}s without a buffer: {missing}; not in the graph: {extra}")
        for tensor in specs:
            what = f"graph {spec.name!r}, {kind} {tensor.name!r}"
            _check_owner(engine, buffers[tensor.name], f"bound to {what}")
            length = _check_buffer(what, tensor, buffers[tensor.name], engine.alignment, length)
    if spec.lengths and length not in spec.lengths:
        raise EngineError(f"graph {spec.name!r} was bound at T = {length}; it allows {spec.lengths}")
    return length


def _check_owner(engine: object, buffer: Buffer, what: str) -> None:
    """An array is no buffer, and another engine's memory may not be reachable, or gone before the graph."""
    if getattr(buffer, "engine", None) is not engine:
        raise EngineError(f"a {type(buffer).__name__} that this engine did not make was to be {what}")


def _check_buffer(what: str, tensor: TensorSpec, buffer: Buffer, alignment: int, length: int | None) -> int | None:
    if buffer.address % alignment:
        raise EngineError(f"{what}: the buffer's address is {buffer.address}; wanted a multiple of {alignment}")
    if buffer.dtype != tensor.dtype:
        raise EngineError(f"{what}: the buffer holds {buffer.dtype}; wanted {tensor.dtype}")
    if len(buffer.shape) != len(tensor.shape):
        raise EngineError(f"{what}: the buffer's shape is {buffer.shape}; wanted {tensor.shape}")
    for came, wanted in zip(buffer.shape, tensor.shape, strict=True):
        if isinstance(wanted, str):
            length = came if length is None else length
            wanted = length
        if came != wanted:
            raise EngineError(f"{what}: the buffer's shape is {buffer.shape}; wanted {tensor.shape} with T = {length}")
    return length
