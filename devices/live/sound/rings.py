"""A bounded ring of samples with one writer and one reader.

Receives blocks of any length; hands on samples in order. Writer and reader may be two threads: each moves only its own
counter, a whole number that Python reads and writes at once. What does not fit is refused whole and counted, never
written over what has not been read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.loop.media import Samples


class SampleRing:
    """Room for ``capacity`` samples, or frames of ``channels`` samples."""

    def __init__(self, capacity: int, channels: int = 1) -> None:
        self._buffer: NDArray[np.float32] = np.zeros((capacity, channels), np.float32)
        self._written = self._read = 0
        self.overruns = 0
        """Blocks that did not fit."""
        self.lost = 0
        """Samples in them."""

    def __len__(self) -> int:
        return self._written - self._read

    @property
    def capacity(self) -> int:
        return len(self._buffer)

    def write(self, block: Samples) -> bool:
        """Append [n] or [n, channels]; False, and nothing, where it does not fit."""
        count = len(block)
        if count > self.capacity - len(self):
            self.overruns += 1
            self.lost += count
            return False
        begin = self._written % self.capacity
        first = min(count, self.capacity - begin)
        rows = block.reshape(count, self._buffer.shape[1])
        self._buffer[begin : begin + first] = rows[:first]
        self._buffer[: count - first] = rows[first:]
        self._written += count  # last: only now may the reader see it
        return True

    def read(self, out: Samples) -> int:
        """The oldest into ``out`` [n] or [n, channels]; returns how many there were."""
        count = min(len(out), len(self))
        begin = self._read % self.capacity
        first = min(count, self.capacity - begin)
        rows = out.reshape(len(out), self._buffer.shape[1])
        rows[:first] = self._buffer[begin : begin + first]
        rows[first:count] = self._buffer[: count - first]
        self._read += count
        return count

    def skip(self, count: int) -> int:
        """Forget the oldest; returns how many. Only the reader may."""
        count = min(count, len(self))
        self._read += count
        return count
