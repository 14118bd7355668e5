"""The tape of an engine whose graphs compute in the host's memory: a prepared list of calls, nothing decided later.

Receives buffers, bound runs and tables of such an engine; hands on :class:`HostTape`. What lies between two runs is
numpy on views that were made when the tape was written down.

How a number that is not finite is found: a sum is finite only if every addend is, so each run costs one sum per piece
of memory (:func:`float_pieces`); one that overflows is settled by looking closer. What nothing writes over is looked at
when all is done: after a run the caches hold the graph's code and not ours, and a sum takes five times as long there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy import add

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.embedding import EmbeddingRows
from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.ending import underway
from edge_streamer.runtime.engines.buffers import (
    HostBuffer,
    HostMemory,
    HostStack,
    check_cursor,
    check_owner,
    check_rows,
    check_same_form,
    own,
)
from edge_streamer.runtime.engines.contract import BoundRun, Buffer, Played, Recorder, Stack, Table
from edge_streamer.runtime.errors import EngineError

FLOATS = ("float16", "float32", "float64")
"""What can hold a NaN."""

Act = Callable[[], None]


class HostRun(Protocol):
    """A bound run that such an engine can run by itself."""

    graph: str
    inputs: Mapping[str, Buffer]
    outputs: Mapping[str, Buffer]

    def run(self) -> None:
        """Once. Raises EngineError."""


class HostTable:
    """The table in its file's pages, read as they are needed."""

    def __init__(self, engine: HostMemory, path: Path, spec: EmbeddingSpec):
        self.engine, self.rows, self.width = engine, spec.rows, spec.width
        self._table = EmbeddingRows(path, spec)

    def fill(self, tokens: list[int], rows: Array) -> None:
        """The rows of ``tokens`` [n] into ``rows`` [n, width]; zeros where there is none."""
        if all(0 <= token < self.rows for token in tokens):
            self._table.rows(tokens, rows)
            return
        for token, row in zip(tokens, rows, strict=True):
            if 0 <= token < self.rows:
                self._table.rows((token,), row[None])
            else:
                row.fill(0)


class _Look(NamedTuple):
    """Memory in which a run's numbers must be finite."""

    number: int
    """Of the run in its tape."""
    piece: Array
    arrays: tuple[Array, ...]
    """Those that lie in it."""

    def bad(self) -> bool:
        return not all(np.isfinite(array).all() for array in self.arrays)


class _Step(NamedTuple):
    """A run, and what comes before it."""

    before: tuple[Act, ...]
    name: str
    told: str
    run: Act
    finite: tuple[HostBuffer, ...]
    bound: HostRun
    ended: int
    """How many pieces of memory had been written when it was over."""


class HostTape:
    """A :class:`~edge_streamer.runtime.engines.contract.Tape` of numpy calls and runs in place."""

    def __init__(self, engine: HostMemory, name: str):
        self.name = name
        self._engine = engine
        self._steps: list[_Step] = []
        self._acts: list[Act] = []
        """Since the last run."""
        self._writes: list[tuple[int, int]] = []
        """Addresses, from and to, in the order in which they are written."""
        self._looks: tuple[list[list[_Look]], list[_Look]] | None = None
        """Right after each run, and when all is done."""

    def run(self, name: str, bound: BoundRun, finite: Sequence[Buffer] = ()) -> None:
        for buffer in (*bound.inputs.values(), *bound.outputs.values(), *finite):
            check_owner(self._engine, buffer, f"in a run of graph {bound.graph!r}")
        floats = tuple(b for b in (own(self._engine, b, "looked at") for b in finite) if b.dtype in FLOATS)
        for output in bound.outputs.values():
            self._write(output.address, output.nbytes)
        run: HostRun = bound  # type: ignore[assignment]
        step = _Step(tuple(self._acts), name, f"graph {run.graph!r}", run.run, floats, run, len(self._writes))
        self._steps.append(step)
        self._acts = []

    def _write(self, address: int, size: int) -> None:
        self._writes.append((address, address + size))
        self._looks = None

    def copy(self, target: Buffer, source: Buffer) -> None:
        to, of = (own(self._engine, buffer, "copied").array for buffer in (target, source))
        check_same_form(target, source)
        self._write(target.address, target.nbytes)
        self._acts.append(lambda: np.copyto(to, of))

    def store(self, ring: Stack, appended: Stack, rows: slice, first: Buffer, place: int = 0) -> None:
        cursor = own(self._engine, first, "a cursor").array
        check_cursor(first)
        to, of = (_places_first(self._engine, stack) for stack in (ring, appended))
        came = of[rows]
        if (to.shape[1:], to.dtype) != (came.shape[1:], came.dtype):
            raise EngineError(
                f"rows of {came.dtype} {list(came.shape[1:])} were to be stored among {to.dtype} {list(to.shape[1:])}"
            )
        count = len(came)
        for number in range(len(ring)):
            self._write(ring[number].address, ring[number].nbytes)

        def act() -> None:
            start = cursor.item() + place
            to[start : start + count] = came

        self._acts.append(act)

    def look_up(self, table: Table, tokens: Buffer, rows: Buffer) -> None:
        check_owner(self._engine, table, "looked up in")
        assert isinstance(table, HostTable)
        numbers, out = (own(self._engine, buffer, "looked up").array for buffer in (tokens, rows))
        check_rows(tokens, rows, table.width)
        fill = table.fill
        self._write(rows.address, rows.nbytes)
        self._acts.append(lambda: fill(numbers.tolist(), out))

    def play(self, watch: Recorder | None = None, timed: bool = False) -> Played:
        at_once, last = self._looks = self._looks or self._sorted_looks()
        seconds, runs, begins, began = 0.0, dict[str, float](), dict[str, float](), perf_counter()
        for (before, name, told, run, _, bound, _), looks in zip(self._steps, at_once, strict=True):
            for act in before:
                act()
            underway.since = start = perf_counter()
            underway.what = told
            try:
                run()
            finally:
                underway.what = ""
            taken = perf_counter() - start
            seconds += taken
            if timed or watch is not None:
                runs[name], begins[name] = taken, start - began
            if watch is not None:
                watch(name, _seen(bound.inputs), _seen(bound.outputs))
            if looks and not _finite(looks):
                number = looks[0].number
                earlier = self._first_bad([look for look in last if look.number < number])
                return Played(seconds, earlier or name, runs, begins)
        for act in self._acts:
            act()
        return Played(seconds, None if _sum_is_finite(last) else self._first_bad(last), runs, begins)

    def _first_bad(self, looks: list[_Look]) -> str | None:
        return next((self._steps[look.number].name for look in looks if look.bad()), None)

    def _sorted_looks(self) -> tuple[list[list[_Look]], list[_Look]]:
        """What to look at right after each run, since something writes over it later, and what at the end."""
        at_once: list[list[_Look]] = []
        last: list[_Look] = []
        for number, step in enumerate(self._steps):
            at_once.append([])
            later = self._writes[step.ended :]
            for group in _groups(step.finite):
                piece = _spanned(group[0], group[-1])
                start, stop = group[0].address, group[-1].address + group[-1].nbytes
                kept = all(stop <= first or end <= start for first, end in later)
                look = _Look(number, piece, tuple(buffer.array for buffer in group))
                (last if kept else at_once[-1]).append(look)
        return at_once, last


def _sum_is_finite(looks: list[_Look]) -> bool:
    total = 0.0
    for look in looks:
        total += add.reduce(look.piece)
    return math.isfinite(total)


def _finite(looks: list[_Look]) -> bool:
    return _sum_is_finite(looks) or not any(look.bad() for look in looks)


def _places_first(engine: HostMemory, stack: Stack) -> Array:
    """All of a stack, [places, count, ...]."""
    check_owner(engine, stack, "stored")
    assert isinstance(stack, HostStack)
    return np.moveaxis(stack.array, stack.axis + 1, 0)


def _seen(buffers: Mapping[str, Buffer]) -> dict[str, Array]:
    return {name: buffer.array for name, buffer in buffers.items() if isinstance(buffer, HostBuffer)}


def float_pieces(buffers: Iterable[HostBuffer]) -> list[Array]:
    """Flat arrays that together hold every float of ``buffers``, neighbours in one.

    Between neighbours lies less than the alignment, which is padding, and so zero; in parts of one buffer it may be a
    row that no one asked for.
    """
    return [_spanned(group[0], group[-1]) for group in _groups(buffers)]


def _groups(buffers: Iterable[HostBuffer]) -> list[list[HostBuffer]]:
    groups: list[list[HostBuffer]] = []
    for buffer in sorted((b for b in buffers if b.dtype in FLOATS), key=lambda b: b.address):
        if groups and _are_neighbours(groups[-1][-1], buffer):
            groups[-1].append(buffer)
        else:
            groups.append([buffer])
    return groups


def _are_neighbours(left: HostBuffer, right: HostBuffer) -> bool:
    gap = right.start - left.start - left.nbytes
    return left.piece is right.piece and left.dtype == right.dtype and 0 <= gap < left.engine.alignment


def _spanned(first: HostBuffer, last: HostBuffer) -> Array:
    """From the start of one buffer to the end of another in its piece, flat."""
    return first.piece[first.start : last.start + last.nbytes].view(first.dtype)
