"""The tape on a GPU: work for one stream, captured as one graph, waited for once.

Receives buffers, bound runs and tables of one engine; hands on :class:`CudaTape`.

    host     write "in" ┐                                                                     ┌ read "out", flags
    stream              └ push │ copy, store, look up │ run, look for NaN │ run, look … │ pull ┘ one wait

What a play does never changes; only what the memory holds does. So the first play puts it on the stream call by call,
which also lets libraries do what they do only once; the second one captures it, and from then on a play is one launch
of that graph. Whoever watches, or wants the times of the runs, gets it call by call: the same work, the same numbers.

A run's outputs are looked at right after it, on the stream: a flag per run. What follows a NaN has run all the same.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from time import perf_counter
from typing import Any, NamedTuple, Protocol
from weakref import finalize

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.ending import underway
from edge_streamer.runtime.engines.buffers import check_cursor, check_owner, check_rows, check_same_form
from edge_streamer.runtime.engines.contract import BoundRun, Buffer, Played, Recorder, Stack, Table
from edge_streamer.runtime.engines.cuda.kernels import LOOKS, Rows
from edge_streamer.runtime.engines.cuda.memory import CudaBuffer, CudaMemory, CudaStack, CudaTable, Piece, own
from edge_streamer.runtime.errors import DeviceLost, EngineError, one_line

GAP = 1 << 16
"""Bytes between two buffers of a slab up to which both are moved in one copy: a copy more costs as much time."""

Act = Callable[[], None]


class CudaRun(Protocol):
    """A bound run that puts itself on a stream."""

    graph: str
    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]
    capturable: bool
    """Whether a capture can write it down: it neither waits nor allocates, and always does the same."""

    def enqueue(self, stream: int) -> None:
        """Put it on the stream. Raises EngineError."""


class _Step(NamedTuple):
    """A run, and what comes before it."""

    before: tuple[Act, ...]
    name: str
    bound: CudaRun
    finite: tuple[CudaBuffer, ...]


class _Ready(NamedTuple):
    """What is made when a tape is played first."""

    pushes: tuple[Act, ...]
    clears: tuple[Act, ...]
    looks: tuple[tuple[Act, ...], ...]
    """By run."""
    pulls: tuple[Act, ...]
    flags: CudaBuffer | None
    """int32, by run: whether something is not finite."""
    table: Piece | None
    """Where the looks find what they look at."""

    @property
    def seen(self) -> bool:
        """Whether the host has a part in it."""
        return bool(self.pushes or self.pulls)


class CudaTape:
    """A :class:`~edge_streamer.runtime.engines.contract.Tape` on one stream."""

    def __init__(self, engine: CudaMemory, name: str):
        self.name = name
        self._engine, self._cuda = engine, engine.cuda
        self._steps: list[_Step] = []
        self._acts: list[Act] = []
        """Since the last run."""
        self._kept: list[object] = []
        """What the acts use, and only know by its address."""
        self._read: list[CudaBuffer] = []
        self._written: list[CudaBuffer] = []
        self._fault: CudaBuffer | None = None
        """int32 [1]: whether rows did not fit where they were to be stored."""
        self._ready: _Ready | None = None
        self._warm = False
        """Whether it has been played to its end."""
        self._plain = False
        """Whether its capture failed."""
        self._graph: int | None = None
        self._events: tuple[int, ...] = ()

    # -- what is written down

    def run(self, name: str, bound: BoundRun, finite: Sequence[Buffer] = ()) -> None:
        what = f"in a run of graph {bound.graph!r}"
        came, went, looked = (
            [own(self._engine, buffer, what) for buffer in buffers]
            for buffers in (bound.inputs.values(), bound.outputs.values(), finite)
        )
        self._uses(came, went)
        one: CudaRun = bound  # type: ignore[assignment]
        floats = tuple(buffer for buffer in looked if buffer.dtype in LOOKS and buffer.nbytes)
        self._steps.append(_Step(tuple(self._acts), name, one, floats))
        self._acts = []

    def copy(self, target: Buffer, source: Buffer) -> None:
        to, of = (own(self._engine, buffer, "copied") for buffer in (target, source))
        check_same_form(target, source)
        self._uses([of], [to])
        if to.nbytes:
            self._acts.append(partial(self._cuda.copy, to.address, of.address, to.nbytes))

    def store(self, ring: Stack, appended: Stack, rows: slice, first: Buffer, place: int = 0) -> None:
        cursor = own(self._engine, first, "a cursor")
        check_cursor(first)
        to, of = (_stack(self._engine, stack) for stack in (ring, appended))
        if _row(to) != _row(of):
            raise EngineError(f"rows of {of.dtype} {_row(of)[1:]} were to be stored among {to.dtype} {_row(to)[1:]}")
        start, stop, _ = rows.indices(of.shape[of.axis])
        if self._fault is None:
            self._fault = self._engine.flags(1)
        self._uses([cursor, *of], [self._fault, *to])
        self._acts.append(
            partial(
                self._engine.kernels.store, _rows(to), _rows(of), slice(start, max(start, stop)), cursor.address, place,
                self._fault.address,
            )
        )  # fmt: skip

    def look_up(self, table: Table, tokens: Buffer, rows: Buffer) -> None:
        check_owner(self._engine, table, "looked up in")
        assert isinstance(table, CudaTable)
        numbers, out = (own(self._engine, buffer, "looked up") for buffer in (tokens, rows))
        check_rows(tokens, rows, table.width)
        self._uses([numbers], [out])
        self._kept.append(table)
        scales = table.scales.address if table.scales else 0
        self._acts.append(
            partial(
                self._engine.kernels.look_up, table.piece.address, table.dtype, scales, table.rows, table.width,
                numbers.address, prod(numbers.shape), out.address,
            )
        )  # fmt: skip

    def _uses(self, read: Sequence[CudaBuffer], written: Sequence[CudaBuffer]) -> None:
        if self._graph is not None:
            raise EngineError(f"tape {self.name!r} was captured, and cannot change any more")
        self._read += read
        self._written += written
        self._ready, self._warm = None, False  # what is new has to be played once before it is captured

    # -- playing

    def play(self, watch: Recorder | None = None, timed: bool = False) -> Played:
        """Do it all, once. A tape that neither reads nor writes what the host sees (copies that commit a unit) is only
        put on the stream: what comes after it waits, the host need not. With ``timed``, call by call, with the times of
        the runs as the device took them."""
        start = perf_counter()
        underway.begin(f"tape {self.name!r}", start)
        try:
            ready = self._ready = self._ready or self._prepared()
            events = self._noted() if timed or watch is not None else ()
            if events:
                self._enqueue(ready, events, watch)
            else:
                self._enqueue_fast(ready)
            if ready.seen or events:
                self._cuda.synchronize(f"tape {self.name!r}")
            self._warm = True
        except BaseException:
            with suppress(EngineError):  # nothing may still move when the host goes on; the first error is told
                self._cuda.synchronize()
            raise
        finally:
            underway.end()
        return self._played(perf_counter() - start, ready, events)

    def _enqueue_fast(self, ready: _Ready) -> None:
        if self._warm and self._capturable():
            self._capture(ready)
        if self._graph is None:
            self._enqueue(ready)
        else:
            self._cuda.launch_graph(self._graph)

    def _capturable(self) -> bool:
        return self._graph is None and not self._plain and all(step.bound.capturable for step in self._steps)

    def _capture(self, ready: _Ready) -> None:
        """Write it down. A library that cannot be captured after all is no fault of the unit's: then the tape is played
        call by call for good, and the engine's notes say so."""
        cuda, collects = self._cuda, gc.isenabled()
        gc.disable()  # what it would let go of belongs to libraries, whose frees break a capture
        try:
            cuda.begin_capture()
            self._enqueue(ready)
            self._graph = cuda.end_capture()
        except DeviceLost:
            raise
        except EngineError as error:
            cuda.abandon_capture()
            self._plain = True
            self._engine.notes.append(f"{self.name!r} is played call by call: {one_line(error)}")
            return
        except BaseException:
            cuda.abandon_capture()
            raise
        finally:
            if collects:
                gc.enable()
        finalize(self, cuda.destroy_graph, self._graph).atexit = False

    def _enqueue(self, ready: _Ready, events: Sequence[int] = (), watch: Recorder | None = None) -> None:
        """Put everything on the stream; with ``watch``, wait after each run and show it."""
        for act in (*ready.pushes, *ready.clears):
            act()
        for number, step in enumerate(self._steps):
            for act in step.before:
                act()
            if events:
                self._cuda.record(events[2 * number])
            step.bound.enqueue(self._cuda.stream)
            if events:
                self._cuda.record(events[2 * number + 1])
            for look in ready.looks[number]:
                look()
            if watch is not None:
                self._cuda.synchronize(f"graph {step.bound.graph!r}")
                watch(step.name, self._seen(step.bound.inputs), self._seen(step.bound.outputs))
        for act in (*self._acts, *ready.pulls):
            act()

    def _seen(self, buffers: Mapping[str, Buffer]) -> dict[str, Array]:
        """What the device's memory holds."""
        arrays = {name: np.empty(buffer.shape, buffer.dtype) for name, buffer in buffers.items()}
        for name, array in arrays.items():
            if array.nbytes:
                self._cuda.copy_out(array, buffers[name].address)
        self._cuda.synchronize()
        return arrays

    def _noted(self) -> tuple[int, ...]:
        """Two events for each run."""
        if len(self._events) != 2 * len(self._steps):
            self._cuda.destroy_events(self._events)
            self._events = tuple(self._cuda.event() for _ in range(2 * len(self._steps)))
            finalize(self, self._cuda.destroy_events, self._events).atexit = False
        return self._events

    def _played(self, seconds: float, ready: _Ready, events: Sequence[int]) -> Played:
        if self._fault is not None and self._fault.host[0]:
            raise EngineError(
                f"tape {self.name!r}: rows were to be stored past the end of a ring, or before its start; nothing of "
                "them was written"
            )
        bad: list[int] = np.flatnonzero(ready.flags.host).tolist() if ready.flags is not None else []
        names = [step.name for step in self._steps] if events else []
        pairs = list(zip(names, events[::2], events[1::2], strict=True))
        runs = {name: self._cuda.elapsed_ms(begin, end) / 1000 for name, begin, end in pairs}
        begins = {name: self._cuda.elapsed_ms(events[0], begin) / 1000 for name, begin, _ in pairs}
        return Played(seconds, self._steps[bad[0]].name if bad else None, runs, begins)

    # -- what is made once

    def _prepared(self) -> _Ready:
        cuda = self._cuda
        flags = self._engine.flags(len(self._steps)) if any(step.finite for step in self._steps) else None
        table, looks = self._looks(flags)
        told = [flag for flag in (self._fault, flags) if flag is not None]
        pushes = [buffer for buffer in self._read if buffer.side == "in"]
        pulls = [buffer for buffer in self._written if buffer.side == "out"]
        return _Ready(
            tuple(partial(cuda.copy_in, address, mirror) for address, mirror in _pieces(pushes)),
            tuple(partial(cuda.clear, flag.address, flag.nbytes) for flag in told),
            looks,
            tuple(partial(cuda.copy_out, mirror, address) for address, mirror in _pieces([*pulls, *told])),
            flags,
            table,
        )

    def _looks(self, flags: CudaBuffer | None) -> tuple[Piece | None, tuple[tuple[Act, ...], ...]]:
        """The looks after each run, and the table of addresses and sizes that they read: of each look its addresses,
        then its sizes."""
        groups = [
            (number, dtype, [buffer for buffer in step.finite if buffer.dtype == dtype])
            for number, step in enumerate(self._steps)
            for dtype in LOOKS
        ]
        looks: list[list[Act]] = [[] for _ in self._steps]
        groups = [group for group in groups if group[2]]
        if flags is None or not groups:
            return None, tuple(map(tuple, looks))
        table = Piece(self._cuda, 16 * sum(len(buffers) for _, _, buffers in groups), what="a tape")
        numbers, place = list[int](), table.address
        for number, dtype, buffers in groups:
            counts = [prod(buffer.shape) for buffer in buffers]
            numbers += [*(buffer.address for buffer in buffers), *counts]
            looks[number].append(
                partial(
                    self._engine.kernels.finite, dtype, place, place + 8 * len(buffers), len(buffers), sum(counts),
                    flags.address + 4 * number,
                )
            )  # fmt: skip
            place += 16 * len(buffers)
        self._cuda.copy_in(table.address, np.array(numbers, np.uint64))
        self._cuda.synchronize()
        return table, tuple(map(tuple, looks))


def _stack(engine: CudaMemory, stack: Any) -> CudaStack:
    check_owner(engine, stack, "stored")
    assert isinstance(stack, CudaStack)
    return stack


def _row(stack: CudaStack) -> tuple[Any, ...]:
    """What two stacks must have alike for rows of one to go to the other."""
    return (stack.dtype, len(stack), *stack.shape[: stack.axis], *stack.shape[stack.axis + 1 :])


def _rows(stack: CudaStack) -> Rows:
    outer, places = prod(stack.shape[: stack.axis]), stack.shape[stack.axis]
    row_bytes = prod(stack.shape[stack.axis + 1 :]) * np.dtype(stack.dtype).itemsize
    return Rows(stack.address, stack.step, len(stack), outer, places, row_bytes)


def _pieces(buffers: Iterable[CudaBuffer]) -> list[tuple[int, Array]]:
    """Addresses on the device and mirrors that together hold all buffers, neighbours in one."""
    pieces: list[tuple[Piece, int, int]] = []
    for buffer in sorted(buffers, key=lambda b: b.address):
        piece, start, stop = buffer.piece, buffer.start, buffer.start + buffer.nbytes
        if pieces and pieces[-1][0] is piece and start - pieces[-1][2] <= GAP:
            pieces[-1] = piece, pieces[-1][1], max(stop, pieces[-1][2])
        elif buffer.nbytes:
            pieces.append((piece, start, stop))
    mirrors = ((piece, start, piece.mirror[start:stop]) for piece, start, stop in pieces if piece.mirror is not None)
    return [(piece.address + start, mirror) for piece, start, mirror in mirrors]
