"""What was really played, at the times and the rate of the microphone: the echo canceller's reference.

Receives blocks of the speaker's samples with the time at which each begins to leave the device, from the speaker's
thread, and times of captured samples, from the microphone's; hands on :class:`Played`, which gives the played samples
that belong to the captured ones. The two devices have clocks of their own, up to some 300 ppm off, and the times that
drivers tell jitter by milliseconds; the reference follows both clocks and never jumps while neither device does.

Each side's times are smoothed by a :class:`~edge_streamer.runtime.loop.sample_clock.SampleClock`. The reader then walks
through the played samples at the nominal ratio of the two rates and corrects its pace by at most ``STEEPEST``, towards
where the two lines say it should be: the canceller sees a delay that moves slower than a person could move the
microphone. In silence it may jump, for nobody hears it. A lost block is no jitter; it is noticed when all times of
half a second are off to the same side. On the speaker's side the hole is filled with silence, so that the line
goes on; the reader steps over its own.

Choices: one interpolation does both the change of rate and the fraction of a sample (a windowed sinc, whose phases are
a table), so the reader has no state but its place. Nothing locks: the writer publishes what it has written, the reader
looks again afterwards whether what it copied was overwritten meanwhile.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.loop.media import Samples
from edge_streamer.runtime.loop.sample_clock import JUMP_SECONDS, SampleClock

KEPT_SECONDS = 6.0
"""Of played sound. A loop that stood still for 2 s asks for what was played when it stopped; 1.2 MB at 48 kHz."""

STEP_SECONDS, STEP_BLOCKS = 0.5, 16
"""Times that are off to one side for so long, in so many blocks, are a lost block. Jitter changes its sign."""

LEAST_STEP_SECONDS = 0.003
"""Half of a block of 5 ms, the smallest that is common, with what the line has followed meanwhile."""

SNAP_SECONDS = 0.003
"""The reader jumps to its place where it is further off: only after a step or a reset, for less is walked."""

PULL = 0.6
"""Of what the reader is off, made good in a second."""

LEARN = 0.09
"""Of what it is off in a second, added to its pace for good; with ``PULL`` settled within some ten seconds."""

STEEPEST = 1500e-6
"""Of the reader's pace; more than the two clocks' 600 ppm together, and 1.5 ms in a second at the very most."""

SILENT_PEAK = 1e-3
"""60 dB below full scale."""

SILENT_SNAP_SECONDS = 0.0005
"""In silence the reader jumps where it is further off."""

ZERO_CROSSINGS = 10
"""Of the sinc on each side: 60 dB down from 15 % above the band's edge, in 60 taps from 48 to 16 kHz."""

KAISER_BETA = 7.0
"""Side lobes some 70 dB down."""

PHASES = 512
"""Fractions of a sample in the table. At 48 kHz half a step is 20 ns: an error 60 dB down at 8 kHz, less below."""


class _Line:
    """A device's clock that also notices lost blocks."""

    def __init__(self, rate: int) -> None:
        self.clock = SampleClock(rate)
        self._off: deque[tuple[float, float]] = deque()

    def step(self, position: int, time: float) -> float:
        """Seconds by which the device has stepped before sample ``position``, which it tells to be at ``time``; 0
        where it has not."""
        if not self.clock.known:
            return 0.0
        off = time - self.clock.time_of(position)
        if abs(off) > JUMP_SECONDS:
            self._off.clear()
            return off
        self._off.append((time, off))
        if abs(off) < LEAST_STEP_SECONDS or off * self._off[0][1] < 0:
            self._off.clear()
        if len(self._off) < STEP_BLOCKS or time - self._off[0][0] < STEP_SECONDS:
            return 0.0
        newest = [each for _, each in self._off][-STEP_BLOCKS // 2 :]
        self._off.clear()
        return sum(newest) / len(newest)

    def add(self, position: int, time: float) -> None:
        self.clock.add(position, time)


class _Track:
    """One opening of the speaker: its samples in a ring, by position from 0, and their times.

    Positions from ``begin`` to ``end`` can be read. The writer gives up old ones before it writes over them.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.line = _Line(rate)
        self.begin = self.end = 0
        self._ring: Samples = np.zeros(int(KEPT_SECONDS * rate), np.float32)

    def write(self, samples: Samples) -> None:
        self.end += max(len(samples) - len(self._ring), 0)
        samples = samples[-len(self._ring) :]
        place = self.end % len(self._ring)
        self.begin = max(self.begin, self.end + len(samples) - len(self._ring))
        first = min(len(samples), len(self._ring) - place)
        self._ring[place : place + first] = samples[:first]
        self._ring[: len(samples) - first] = samples[first:]
        self.end += len(samples)

    def read(self, begin: int, count: int) -> Samples:
        """``count`` samples from position ``begin`` on; silence where they are not known, not yet or no more."""
        out: Samples = np.zeros(count, np.float32)
        first, last = max(begin, self.begin, 0), min(begin + count, self.end)
        if last <= first:
            return out
        place = first % len(self._ring)
        part = min(last - first, len(self._ring) - place)
        out[first - begin : first - begin + part] = self._ring[place : place + part]
        out[first - begin + part : last - begin] = self._ring[: last - first - part]
        out[: max(self.begin - begin, 0)] = 0.0  # overwritten meanwhile
        return out


@dataclass
class PlayedCounts:
    """What was noticed."""

    restarts: int = 0
    """The speaker was opened again, at another rate or with times that went back."""
    holes: int = 0
    """Times that the speaker had stood still or lost blocks, filled with silence."""
    steps: int = 0
    """Times that the reader jumped: the microphone lost blocks, or either device began anew."""
    unknown: int = 0
    """Samples that were asked for while the speaker played and were not known yet."""


class Played:
    """What was played. ``add`` from one thread, all else from one other."""

    def __init__(self) -> None:
        self.counts = PlayedCounts()
        self._track: _Track | None = None
        self._walk: _Walk | None = None

    # -- the speaker's side

    def add(self, time: float, samples: Samples, rate: int) -> None:
        """``samples``, one channel at ``rate``, begin to leave the device at ``time``. Silence is to be told too:
        a pause of less than ``JUMP_SECONDS`` that is not told looks like jitter for a second."""
        if not len(samples):
            return
        track = self._track
        if track is None or track.rate != rate:
            track = self._begin(rate)
        step = track.line.step(track.end, time)
        if step < 0 or step > KEPT_SECONDS:
            track = self._begin(rate)
        elif step > 0:
            self.counts.holes += 1
            track.write(np.zeros(round(step * rate), np.float32))
        track.line.add(track.end, time)
        track.write(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0))

    def _begin(self, rate: int) -> _Track:
        self.counts.restarts += self._track is not None
        self._track = _Track(rate)
        return self._track

    # -- the microphone's side

    def lead(self, time: float) -> float | None:
        """Seconds of sound that are known beyond ``time``; negative where the last known one is older. None before
        anything was played."""
        track = self._track
        if track is None or not track.line.clock.known:
            return None
        return track.line.clock.time_of(track.end) - time

    def at(self, time: float, count: int, rate: int, ahead: float = 0.0) -> Samples:
        """What was played while the next ``count`` samples were captured, the first of them at ``time``, at ``rate``;
        ``ahead``: what is played so many seconds later. Call it for all captured samples, in their order."""
        walk = self._walk
        if walk is None or walk.rate != rate:
            walk = self._walk = _Walk(rate)
        return walk.next(self._track, time, count, ahead, self.counts)


class _Walk:
    """The reader's place in a track."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._line = _Line(rate)
        self._captured = 0
        self._track: _Track | None = None
        self._place = 0.0
        self._learnt = 0.0
        """By which its pace differs from the nominal one."""
        self._silent = True

    def next(self, track: _Track | None, time: float, count: int, ahead: float, counts: PlayedCounts) -> Samples:
        begun = self._capture(time, count)
        if track is None or not track.line.clock.known or not count:
            return np.zeros(count, np.float32)
        wanted = track.line.clock.position_at(begun + ahead)
        off = (wanted - self._place) / track.rate
        if track is not self._track or abs(off) > SNAP_SECONDS:
            counts.steps += self._track is not None
            self._track, self._place, off = track, wanted, 0.0
        elif self._silent and abs(off) > SILENT_SNAP_SECONDS:
            self._place, off = wanted, 0.0
        self._learnt = _clip(self._learnt + LEARN * off * count / self.rate)
        stride = track.rate / self.rate * (1.0 + _clip(PULL * off + self._learnt))
        samples = _interpolate(track, self._place, stride, count, self.rate)
        self._silent = not np.any(np.abs(samples) > SILENT_PEAK)
        self._place += stride * count
        late = int(self._place) - track.end
        if 0 < late < track.rate:  # beyond, the speaker has ended and there is nothing to know
            counts.unknown += min(math.ceil(late / stride), count)
        return samples

    def _capture(self, time: float, count: int) -> float:
        """Take note that ``count`` samples were captured from ``time`` on; when that was, smoothly."""
        step = self._line.step(self._captured, time)
        if step < 0:
            self._line = _Line(self.rate)
        elif step > 0:
            self._captured += round(step * self.rate)
        self._line.add(self._captured, time)
        begun = self._line.clock.time_of(self._captured)
        self._captured += count
        return begun


def _clip(pace: float) -> float:
    return min(max(pace, -STEEPEST), STEEPEST)


def _interpolate(track: _Track, place: float, stride: float, count: int, rate: int) -> Samples:
    """``count`` samples from position ``place`` on, one every ``stride``."""
    table = _sinc_table(max(track.rate / rate, 1.0))
    taps = table.shape[1]
    phase = np.rint((place + stride * np.arange(count)) * PHASES).astype(np.int64)
    whole, phase = phase // PHASES, phase % PHASES
    first = int(whole[0]) - (taps // 2 - 1)
    around = track.read(first, int(whole[-1]) - int(whole[0]) + taps)
    windows = np.lib.stride_tricks.sliding_window_view(around, taps)
    return np.asarray(np.einsum("ij,ij->i", windows[whole - whole[0]], table[phase]), np.float32)


@cache
def _sinc_table(ratio: float) -> NDArray[np.float32]:
    """[PHASES, taps]: weights of the samples around a place, for a band that is ``ratio`` times narrower than the
    samples' own. Tap ``taps / 2 - 1`` is the sample at or before the place."""
    half = math.ceil(ZERO_CROSSINGS * ratio)
    offsets = np.arange(-half + 1, half + 1)[None] - np.arange(PHASES)[:, None] / PHASES
    window = np.i0(KAISER_BETA * np.sqrt(np.clip(1 - (offsets / half) ** 2, 0, 1))) / np.i0(KAISER_BETA)
    weights = np.sinc(offsets / ratio) * window
    weights[np.abs(weights) < 1e-9] = 0.0  # at whole samples all but one are zero, and sinc says 1e-17
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)
