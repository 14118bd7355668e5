"""Engines that stand for those with memory of their own: on the CPU, but host and graphs do not share an array.

Hands on ``SplitEngine``, where what the host writes reaches the graphs, and what they write the host, only when a tape
is played, or by ``read`` and ``write``; and ``CapturedEngine``, which plays a tape as it was the second time, and
refuses one that has changed since. A host that works between two runs gets wrong numbers there; both count what it
looks at meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.engines.buffers import HostBuffer, HostStack, own
from edge_streamer.runtime.engines.contract import Buffer, Played, Recorder, Shape, Side
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.tape import HostTape
from edge_streamer.runtime.errors import EngineError

STALE = 0xFF
"""Every byte of ``out`` memory, as the host sees it, while a tape is played: a float is NaN, a token -1."""


class SplitBuffer(HostBuffer):
    """The second half of the piece is the host's."""

    engine: SplitEngine

    @property
    def host(self) -> Array:
        self.engine.looked_at()
        if self.side == "inner":
            raise EngineError(f"{self} is no memory of the host's")
        return np.ndarray(self.shape, np.dtype(self.dtype), self.piece.data, len(self.piece) // 2 + self.start)


class SplitStack(HostStack):
    engine: SplitEngine

    @property
    def host(self) -> Array:
        self.engine.looked_at()
        if self.side == "inner":
            raise EngineError("the stack is no memory of the host's")
        return self.over(self.piece[len(self.piece) // 2 :])


class SplitTape(HostTape):
    """Pushes, plays, pulls."""

    _engine: SplitEngine

    def __init__(self, engine: SplitEngine, name: str):
        super().__init__(engine, name)
        self._moved: dict[tuple[Side, int], Array] = {}
        """Pieces of the buffers that the tape knows."""

    def _know(self, *memory: Any) -> None:
        for each in memory:
            self._moved[each.side, each.piece.ctypes.data] = each.piece

    def run(self, name: str, bound: Any, finite: Any = ()) -> None:
        super().run(name, bound, finite)
        self._know(*bound.inputs.values(), *bound.outputs.values())

    def copy(self, target: Buffer, source: Buffer) -> None:
        super().copy(target, source)
        self._know(target, source)

    def store(self, ring: Any, appended: Any, rows: slice, first: Buffer, place: int = 0) -> None:
        super().store(ring, appended, rows, first, place)
        self._know(appended, first)

    def look_up(self, table: Any, tokens: Buffer, rows: Buffer) -> None:
        super().look_up(table, tokens, rows)
        self._know(tokens, rows)

    def play(self, watch: Recorder | None = None, timed: bool = False) -> Played:
        engine = self._engine
        engine.plays.append(self.name)
        for (side, _), piece in self._moved.items():
            device, host = np.split(piece, 2)
            if side == "in":
                device[:] = host
            elif side == "out":
                host.fill(STALE)
        engine.playing = True
        try:
            return self._played(watch, timed)
        finally:
            engine.playing = False
            for (side, _), piece in self._moved.items():
                device, host = np.split(piece, 2)
                if side == "out":
                    host[:] = device

    def _played(self, watch: Recorder | None, timed: bool = False) -> Played:
        return super().play(watch, timed)


class SplitEngine(OrtEngine):
    """ONNX Runtime on memory that the host does not see."""

    def __init__(self, threads: int | None = 1):
        super().__init__(threads)
        self.playing = False
        self.looks = 0
        """Times that the host wanted memory while a tape was played."""
        self.plays: list[str] = []
        """Names of the tapes that were."""

    def looked_at(self) -> None:
        self.looks += self.playing

    def zeroed(self, size: int) -> Array:
        return super().zeroed(2 * (-(-size // self.alignment) * self.alignment))

    def within(self, piece: Array, start: int, shape: Shape, dtype: str, side: Side) -> SplitBuffer:
        return SplitBuffer(self, piece, start, shape, dtype, side)

    def stack(self, count: int, shape: Shape, dtype: str, axis: int, side: Side = "inner") -> SplitStack:
        return SplitStack(self, count, shape, dtype, axis, side)

    def tape(self, name: str) -> SplitTape:
        return SplitTape(self, name)

    def read(self, buffer: Buffer) -> Array:
        self.looked_at()
        if buffer.side == "in":
            copy: Array = own(self, buffer, "read").host.copy()
            return copy
        return super().read(buffer)

    def write(self, buffer: Buffer, values: Array) -> None:
        self.looked_at()
        super().write(buffer, values)
        if buffer.side != "inner":
            buffer.host[...] = values


class CapturedTape(SplitTape):
    """Plays plainly once, is captured by the second play, and replayed after."""

    def __init__(self, engine: SplitEngine, name: str):
        super().__init__(engine, name)
        self._count = 0
        self._captured: tuple[list[Any], list[Any], list[int]] | None = None

    def _addresses(self) -> list[int]:
        """Of all that the runs read and write, as it is now."""
        tensors = (b for step in self._steps for b in (*step.bound.inputs.values(), *step.bound.outputs.values()))
        return [own(self._engine, buffer, "captured").array.ctypes.data for buffer in tensors]

    def _played(self, watch: Recorder | None, timed: bool = False) -> Played:
        self._count += 1
        if watch is not None or timed:
            return super()._played(watch, timed)
        if self._captured is None:
            if self._count > 1:
                self._captured = [*self._steps], [*self._acts], self._addresses()
            return super()._played(None)
        steps, acts, addresses = self._captured
        if len(steps) != len(self._steps) or len(acts) != len(self._acts) or addresses != self._addresses():
            raise EngineError(f"tape {self.name!r} was captured, and has changed since")
        bad = None
        for step in steps:
            for act in step.before:
                act()
            step.run()
            if bad is None and not all(np.isfinite(buffer.array).all() for buffer in step.finite):
                bad = step.name  # what was captured goes on to its end
        for act in acts:
            act()
        return Played(1e-9, bad)


class CapturedEngine(SplitEngine):
    """A tape cannot change once it was played twice."""

    captures = True

    def tape(self, name: str) -> CapturedTape:
        return CapturedTape(self, name)
