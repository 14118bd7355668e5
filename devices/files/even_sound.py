"""Sound that lies where its own times say: what is missing becomes silence of its length.

Receives a :class:`~edge_streamer.devices.files.container.Stream`; hands on its samples with nothing missing between
them, at whatever rate and with however many channels each stretch of the file has.

Choices: samples that follow each other are taken as they are, however unsteady the times written beside them. Times
are believed where they stay away from the samples' count for ``STEADY`` seconds on end by ``SMALLEST`` or more: then
packets were lost or never sent (silence is filled in), or came twice (they are left out).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_streamer.devices.files.container import Stream
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.loop.media import Samples

SMALLEST = 0.015
"""Seconds: a packet of speech is 20 ms. Rounding to milliseconds and the warming up of codecs lie below."""

STEADY = 1.0
"""Times that come from a network's arrivals swing; they come back within a second."""

SPREAD = 0.01
"""Times within so many seconds of the nearest one say the same."""

CERTAIN = 0.1
"""No swing is so large: this much is believed also where little follows."""

SILENT_BLOCK = 65536
"""Samples of silence handed on at once at most: a gap may be minutes long."""


@dataclass(frozen=True)
class Block:
    """Samples [channels, n] at ``rate``, full scale -1..1."""

    samples: Samples
    rate: int


class EvenSound:
    """The samples of ``stream``. MediaError where it has none."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._frames = stream, stream.frames()
        self._ahead: deque[Any] = deque()
        self.filled = 0.0
        """Seconds of silence put where packets are missing."""
        self.gaps = 0
        """Places where that was."""
        self.dropped = 0.0
        """Seconds of sound left out because they lie over what was before."""
        first = self._next()
        if first is None:
            stream.close()
            raise MediaError(stream.nothing or f"{stream.path} holds 0 samples of sound; wanted at least one")
        self._ahead.append(first)
        self.first = first
        begin = stream.time(first) or Fraction(0)
        self.lead = max(begin, Fraction(0))
        """Seconds of silence before the sound starts: a film's sound may start later than its picture."""
        self._origin = float(min(begin, Fraction(0)))
        self._rate, self._count = first.sample_rate, 0
        self._begun = self._origin
        """Where, by the file's own times, samples at this rate began."""
        self._believed = True
        """Whether times say anything."""
        self._past = Fraction(0)
        """Seconds handed on at other rates before."""

    @property
    def seconds(self) -> Fraction:
        """Handed on so far, silence included, exactly."""
        return self._past + Fraction(self._count, self._rate)

    def __iter__(self) -> Iterator[Block]:
        yield from self._silence(self.lead)
        skip = 0
        while (frame := self._next()) is not None:
            self._change_rate(frame.sample_rate)
            if not skip and abs(self._late(frame, 0.0)) >= SMALLEST:
                late = self._lasting(frame)
                if late > 0:
                    self.filled, self.gaps = self.filled + late, self.gaps + 1
                    yield from self._silence(late)
                skip = round(max(-late, 0.0) * self._rate)
            samples = by_channel(frame)
            left_out = min(skip, samples.shape[1])
            skip -= left_out
            self.dropped += left_out / self._rate
            if left_out < samples.shape[1]:
                yield self._counted(samples[:, left_out:])

    def _next(self) -> Any:
        return self._ahead.popleft() if self._ahead else self._read()

    def _read(self) -> Any:
        return next((frame for frame in self._frames if frame.samples), None)

    def _change_rate(self, rate: int) -> None:
        if rate != self._rate:
            self._believed = self._stream.clocked
            self._past, self._rate, self._count = self.seconds, rate, 0
            self._begun = self._origin + float(self._past)

    def _late(self, frame: Any, after: float) -> float:
        """Seconds from where ``frame`` would lie, ``after`` seconds of sound that were read ahead, to its own time."""
        time = self._stream.seconds_at(frame) if self._believed else None
        return 0.0 if time is None else time - self._begun - self._count / self._rate - after

    def _lasting(self, frame: Any) -> float:
        """How much of that stays for ``STEADY`` seconds; 0 where it does not."""
        lates, after = [self._late(frame, 0.0)], frame.samples / frame.sample_rate
        for place in range(1_000_000):
            if after >= STEADY:
                break
            if place == len(self._ahead):
                following = self._read()
                if following is None:
                    break
                self._ahead.append(following)
            following = self._ahead[place]
            if self._stream.seconds_at(following) is not None:
                lates.append(self._late(following, after))
            after += following.samples / following.sample_rate
        nearest = min(lates, key=abs)
        if abs(nearest) < SMALLEST or min(lates) < 0 < max(lates):
            return 0.0
        if nearest < 0 and (max(lates) - min(lates) > STEADY / 4 or after < STEADY):
            return 0.0  # times that stand still or crawl are none
        if abs(nearest) < CERTAIN and after < STEADY / 3:
            return 0.0  # the end is too near to tell
        return median(late for late in lates if abs(late - nearest) <= SPREAD)

    def _silence(self, seconds: Fraction | float) -> Iterator[Block]:
        left = round(seconds * self._rate)
        while left > 0:
            part = min(left, SILENT_BLOCK)
            yield self._counted(np.zeros((1, part), np.float32))
            left -= part

    def _counted(self, samples: Samples) -> Block:
        self._count += samples.shape[1]
        return Block(samples, self._rate)


def by_channel(frame: Any) -> Samples:
    """[channels, n] of a frame of any format."""
    samples = full_scale(frame.to_ndarray())
    return samples if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels)).T


def full_scale(values: NDArray[Any]) -> Samples:
    """Samples of any format as float32 -1..1: unsigned 8 bit, signed 16, 32 and 64 bit, floating point."""
    scale, zero = 1.0, 0.0
    if values.dtype == np.uint8:
        scale, zero = 128.0, 128.0
    elif np.issubdtype(values.dtype, np.integer):
        scale = -float(np.iinfo(values.dtype).min)
    return np.asarray((values - zero) / scale, np.float32)
