"""When a sample is in the world, by a clock that the device itself drives.

Receives pairs (sample position, time) as a driver tells them, late and jittering; hands on a smooth line through them:
:class:`SampleClock`. Two devices never agree on what a second is (a quartz is right to some 50 ppm, cheap USB ones to
300), and the times that drivers tell jump by milliseconds from block to block; what is aligned by them must not.

The line is a delay-locked loop of second order (F. Adriaensen, "Using a DLL to filter time", Linux Audio Conference
2005): every pair pulls the line's time a little and its slope less. It begins wide, to find the device's rate within
seconds, and narrows with age.
"""

from __future__ import annotations

import math
from typing import NamedTuple

WIDEST_HZ = 1.0
"""Bandwidth at the start: a first guess after about a second."""

NARROWEST_HZ = 0.02
"""Bandwidth in the long run: jitter of 10 ms a block then moves the line by less than 0.1 ms from one block to the
next, and a rate that wanders with temperature is still followed within a minute."""

SETTLING = 0.5
"""The bandwidth is this many cycles over the age in between, so that the loop stays settled while it narrows."""

JUMP_SECONDS = 0.15
"""A pair this far off the line is a new beginning (the device stood still), not jitter."""

STEEPEST_PPM = 5000.0
"""No device is so wrong; a driver's first times can make it look so."""


class _Line(NamedTuple):
    """Sample ``position`` is at ``time``; one more sample is ``period`` later. Replaced whole, so that another thread
    may read it at any time."""

    position: int
    time: float
    period: float


class SampleClock:
    """A line through (position, time). One writer; any thread may read.

    >>> clock = SampleClock(16000)
    >>> for block in range(1000):
    ...     clock.add(block * 160, 5.0 + block * 0.010001)  # 100 ppm slow
    >>> round(clock.time_of(160000), 4), round(clock.ppm)
    (15.001, -100)
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.jumps = 0
        """Times that the line was begun anew because a pair was far off it."""
        self._line: _Line | None = None
        self._begun = 0

    def reset(self) -> None:
        """Forget the line: the next pair begins a new one."""
        self._line = None

    @property
    def known(self) -> bool:
        """Whether there is a line yet."""
        return self._line is not None

    def add(self, position: int, time: float) -> None:
        """Sample ``position`` was, as the driver tells it, at ``time`` seconds. Positions must not go back."""
        line = self._line
        if line is None:
            self._begin(position, time, 1.0 / self.rate)
            return
        count = position - line.position
        predicted = line.time + count * line.period
        error = time - predicted
        if abs(error) > JUMP_SECONDS:
            self.jumps += 1
            self._begin(position, time, line.period)
        elif count > 0:
            self._follow(line, position, predicted, error)

    def time_of(self, position: int) -> float:
        """When sample ``position`` is in the world. ValueError before the first pair."""
        line = self._line
        if line is None:
            raise ValueError("no time is known yet")
        return line.time + (position - line.position) * line.period

    def position_at(self, time: float) -> float:
        """The position (with its fraction) that is in the world at ``time``. ValueError before the first pair."""
        line = self._line
        if line is None:
            raise ValueError("no time is known yet")
        return line.position + (time - line.time) / line.period

    @property
    def ppm(self) -> float:
        """How much faster than its nominal rate the device counts, in parts per million; 0 before it is known."""
        line = self._line
        return 0.0 if line is None else 1e6 * (1.0 / (line.period * self.rate) - 1.0)

    def _begin(self, position: int, time: float, period: float) -> None:
        self._begun = position
        self._line = _Line(position, time, period)

    def _follow(self, line: _Line, position: int, predicted: float, error: float) -> None:
        count = position - line.position
        age = (position - self._begun) / self.rate
        bandwidth = min(max(SETTLING / age, NARROWEST_HZ), WIDEST_HZ)
        omega = min(2 * math.pi * bandwidth * count / self.rate, 0.5)
        period = line.period + omega * omega * error / count
        nominal = 1.0 / self.rate
        most = nominal * STEEPEST_PPM * 1e-6
        period = min(max(period, nominal - most), nominal + most)
        self._line = _Line(position, predicted + math.sqrt(2) * omega * error, period)
