"""Buffers: several in one piece for any engine, those of host memory, and the check of what a graph is bound to.

Receives shapes and dtypes; hands on :class:`HostMemory`, which an engine inherits whose graphs compute in the host's
own memory, and :func:`packed`.

    packed   [ a . . . | b b b b b b . . | c . . . ]      each starts at a multiple of the alignment; . is zero

So the whole piece is moved, or looked at, in one operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import ref

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.engines.contract import Buffer, Engine, Shape, Side
from edge_streamer.runtime.errors import EngineError

if TYPE_CHECKING:
    from typing_extensions import Self

ALIGNMENT = 256
"""Bytes; what the strictest engine (TensorRT) asks of an address, and a whole number of cache lines."""
Wanted = Mapping[str, tuple[Shape, str]]
"""Name -> (shape, dtype)."""


class Packed(dict[str, Buffer]):
    """Name -> buffer, of buffers in one piece of memory."""

    def __init__(self, buffers: Mapping[str, Buffer], piece: Buffer):
        super().__init__(buffers)
        self.piece = piece
        """All of them, and what lies between, as bytes [n] uint8: two that were packed alike can be copied whole."""


def packed(engine: Engine, wanted: Wanted, side: Side = "inner") -> Packed:
    """Buffers of any shapes and dtypes in one piece of memory, in this order, each aligned."""
    places: dict[str, tuple[int, int]] = {}
    end = 0
    for name, (shape, dtype) in wanted.items():
        start = aligned(end, engine.alignment)
        end = start + size_of(shape, dtype)
        places[name] = start, end
    piece = engine.buffer((end,), "uint8", side)
    return Packed({name: piece.part(*places[name]).view(*wanted[name]) for name in wanted}, piece)


def aligned(size: int, alignment: int) -> int:
    """The next multiple of the alignment."""
    return -(-size // alignment) * alignment


def size_of(shape: Shape, dtype: str) -> int:
    """Bytes of an array."""
    return prod(shape) * np.dtype(dtype).itemsize


class Within:
    """What a :class:`~edge_streamer.runtime.engines.contract.Buffer` of any engine knows: where in a piece of memory it
    lies. ``engine.within`` makes another in the same piece."""

    def __init__(self, engine: Any, piece: Any, start: int, shape: Shape, dtype: str, side: Side, address: int):
        """``piece``: whatever the engine allocates, in which these bytes begin at ``start``; ``address``: there."""
        self.engine = engine
        self.piece, self.start = piece, start
        self.shape, self.dtype, self.side = shape, dtype, side
        self.nbytes = size_of(shape, dtype)
        self.address = address

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dtype} {list(self.shape)}, {self.side})"

    def part(self, start: int, stop: int) -> Self:
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
        part: Self = self.engine.within(self.piece, self.start + offset, shape, self.dtype, self.side)
        return part

    def view(self, shape: Shape, dtype: str | None = None) -> Self:
        dtype = dtype or self.dtype
        if size_of(shape, dtype) != self.nbytes:
            raise EngineError(f"a buffer of {self.dtype} {list(self.shape)} cannot be seen as {dtype} {list(shape)}")
        view: Self = self.engine.within(self.piece, self.start, shape, dtype, self.side)
        return view


class HostBuffer(Within):
    """A :class:`~edge_streamer.runtime.engines.contract.Buffer` in the host's own memory."""

    piece: Array

    def __init__(self, engine: HostMemory, piece: Array, start: int, shape: Shape, dtype: str, side: Side):
        """``piece``: bytes, of which these begin at ``start``."""
        super().__init__(engine, piece, start, shape, dtype, side, piece.ctypes.data + start)
        self.array: Array = np.ndarray(shape, np.dtype(dtype), piece.data, start)
        """What graphs read and write: for the engine, whatever the side."""

    @property
    def host(self) -> Array:
        if self.side == "inner":
            raise EngineError(f"{self} is no memory of the host's: it is read and written by the engine")
        return self.array


BufferKind = TypeVar("BufferKind", bound=Within)


class Stacked(Generic[BufferKind]):
    """What a :class:`~edge_streamer.runtime.engines.contract.Stack` of any engine knows."""

    def __init__(
        self, engine: Any, piece: Any, start: int, count: int, shape: Shape, dtype: str, axis: int, side: Side
    ):
        """``piece``: as of a buffer, with room for :func:`stack_bytes` from ``start`` on."""
        self.piece, self.start = piece, start
        self.step = aligned(size_of(shape, dtype), engine.alignment)
        """Bytes from one buffer to the next."""
        self.engine, self.axis, self.side, self.nbytes = engine, axis, side, count * size_of(shape, dtype)
        within = engine.within
        self._buffers: list[BufferKind] = [
            within(piece, start + i * self.step, shape, dtype, side) for i in range(count)
        ]
        self.shape, self.dtype = shape, dtype
        """Of each."""

    def over(self, memory: Array) -> Array:
        """All of them, [count, *shape], in other bytes that lie as the piece does."""
        inner = np.empty(self.shape, self.dtype).strides
        whole = (len(self), *self.shape)
        seen: Array = np.ndarray(whole, np.dtype(self.dtype), memory.data, self.start, (self.step, *inner))
        return seen

    def no_host(self) -> EngineError:
        return EngineError(f"a stack of {len(self)} buffers is inner: it is read and written by the engine")

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[BufferKind]:
        return iter(self._buffers)

    def __getitem__(self, number: int) -> BufferKind:
        return self._buffers[number]


def stack_bytes(count: int, shape: Shape, dtype: str, alignment: int) -> int:
    """That ``count`` buffers take side by side, each aligned."""
    return count * aligned(size_of(shape, dtype), alignment)


class HostStack(Stacked[HostBuffer]):
    """A :class:`~edge_streamer.runtime.engines.contract.Stack` in the host's memory."""

    piece: Array

    def __init__(self, engine: HostMemory, count: int, shape: Shape, dtype: str, axis: int, side: Side):
        piece = engine.zeroed(stack_bytes(count, shape, dtype, engine.alignment))
        super().__init__(engine, piece, 0, count, shape, dtype, axis, side)
        self.array = self.over(self.piece)
        """As :attr:`HostBuffer.array`."""

    @property
    def host(self) -> Array:
        if self.side == "inner":
            raise self.no_host()
        return self.array


class HostMemory:
    """The half of an engine that allocates, where graphs compute in the host's memory."""

    alignment = ALIGNMENT

    def __init__(self) -> None:
        self._pieces = list[tuple[ref[Array], int]]()
        self.notes = list[str]()

    def buffer(self, shape: Shape, dtype: str, side: Side = "inner") -> HostBuffer:
        made = self.within(self.zeroed(size_of(shape, dtype)), 0, shape, dtype, side)
        self._pieces.append((ref(made.piece), made.nbytes))
        return made

    def stack(self, count: int, shape: Shape, dtype: str, axis: int, side: Side = "inner") -> HostStack:
        made = HostStack(self, count, shape, dtype, axis, side)
        self._pieces.append((ref(made.piece), made.nbytes))
        return made

    def within(self, piece: Array, start: int, shape: Shape, dtype: str, side: Side) -> HostBuffer:
        """A buffer in bytes that are there."""
        return HostBuffer(self, piece, start, shape, dtype, side)

    def zeroed(self, size: int) -> Array:
        """Bytes whose address is a multiple of the alignment."""
        raw: Array = np.zeros(size + self.alignment, np.uint8)
        start = -raw.ctypes.data % self.alignment
        return raw[start : start + size]

    def held_bytes(self) -> int:
        """Of all buffers that somebody still has."""
        self._pieces = [(piece, size) for piece, size in self._pieces if piece() is not None]
        return sum(size for _, size in self._pieces)

    def read(self, buffer: Buffer) -> Array:
        copy: Array = own(self, buffer, "read").array.copy()
        return copy

    def write(self, buffer: Buffer, values: Array) -> None:
        check_values(buffer, values)
        np.copyto(own(self, buffer, "written").array, values)


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
            check_owner(engine, buffers[tensor.name], f"bound to {what}")
            length = _check_buffer(what, tensor, buffers[tensor.name], engine.alignment, length)
    if spec.lengths and length not in spec.lengths:
        raise EngineError(f"graph {spec.name!r} was bound at T = {length}; it allows {spec.lengths}")
    return length


def check_owner(engine: object, memory: object, what: str) -> None:
    """An array is no buffer, and another engine's memory may not be reachable, or gone before the graph."""
    if getattr(memory, "engine", None) is not engine:
        raise EngineError(f"a {type(memory).__name__} that this engine did not make was to be {what}")


def check_values(buffer: Buffer, values: Array) -> None:
    """``values`` can be what ``buffer`` holds."""
    if values.shape != buffer.shape or values.dtype != buffer.dtype:
        came, wanted = (f"{a.dtype} {list(a.shape)}" for a in (values, buffer))
        raise EngineError(f"{came} was to be written into a buffer of {wanted}")


def check_same_form(target: Buffer, source: Buffer) -> None:
    """One can be copied into the other."""
    if (target.shape, target.dtype) != (source.shape, source.dtype):
        raise EngineError(f"{source!r} was to be copied into {target!r}; wanted the same shape and dtype")


def check_cursor(first: Buffer) -> None:
    """It can say where rows are stored."""
    if (first.shape, first.dtype) != ((1,), "int32"):
        raise EngineError(f"{first!r} was to be a cursor; wanted int32 [1]")


def check_rows(tokens: Buffer, rows: Buffer, width: int) -> None:
    """``rows`` can hold the embedding rows of ``tokens``."""
    if (tokens.dtype, rows.dtype, rows.shape) != ("int32", "float32", (*tokens.shape, width)):
        raise EngineError(f"rows of the tokens {tokens!r} were to be put into {rows!r}; wanted int32, float32")


def own(engine: HostMemory, buffer: Buffer, what: str) -> HostBuffer:
    """A buffer of this engine, as it made it. EngineError for another's."""
    check_owner(engine, buffer, what)
    assert isinstance(buffer, HostBuffer)
    return buffer


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
