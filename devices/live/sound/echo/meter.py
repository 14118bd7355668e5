"""How well the echo is cancelled, and where it lies, from what the canceller sees.

Receives frames of 10 ms: what the microphone heard, what was played, what came out; hands on :class:`EchoMeter` with
the echo return loss and the delay. Nobody tells it when the user speaks, so it looks at loudness: an echo is louder
than what was played by the same factor all the time, and what is much louder than that is somebody.

Choices: frames add three numbers each and everything else waits until it is asked for: half a millisecond for the
loss, two for the delay, which is looked for again only after another second of played sound. The delay is the peak
of the cross-correlation with whitened spectra (C. Knapp, G. Carter 1976), at 4 kHz, a quarter of a millisecond fine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.loop.media import Samples

FRAME_SECONDS = 0.01

KEPT_FRAMES = 6000
"""One minute: an agent that says something now and then has said ten seconds in it."""

RECENT_FRAMES = 1000
"""The loss is over so many of the newest frames with an echo: ten seconds of talk."""

WAITING_FRAMES = 16
"""Frames are looked at so many at a time: one by one, numpy's own overhead would be half of the canceller's work."""

CHUNK_FRAMES = 10
"""In pieces of so many frames the loss is looked at, and the one that counts is the one that ``SHARE`` of the echo's
energy exceed: a word that was not noticed spoils some of the pieces, and would spoil the mean of all."""

SHARE = 0.75
"""Where nobody speaks, what this gives is within 4 dB of the ratio of all energy (``tests/bench/echo.py``)."""

FEWEST_FRAMES = 100
"""A loss over less than a second of echo is chance."""

PLAYED_POWER = 1e-6
"""Mean square from which on something was played: 60 dB below full scale."""

AUDIBLE_RATIO = 4.0
"""An echo counts where the microphone is 6 dB above its quietest: below, noise would be measured."""

DECAY = 0.7
"""By which an echo's power falls in a frame: 60 dB in 390 ms, a room with some furniture."""

SPOKEN_RATIO = 8.0
"""Somebody speaks where the microphone is 9 dB above the echo that is to be expected. The echo of speech itself
strays by some 6 dB, because a room colours it."""

SPOKEN_AROUND = 15
"""Frames before and after, in which a word begins and ends more quietly."""

COARSE_RATE = 4000
"""Hz, for the delay: the band of voices, at little cost."""

COARSE_SECONDS = 4.0
"""Of sound in which the delay is looked for."""

EARLIEST_SECONDS, LATEST_SECONDS = -0.2, 0.6
"""Where an echo is looked for, against what it is held beside."""

CLEAR_PEAK = 15.0
"""The peak against the mean size of the correlation: speech without an echo reaches 8, a faint echo under other words
in a long reverberation 30, a plain one 100."""

Powers = NDArray[np.float32]


class _Newest:
    """The newest ``kept`` columns of ``rows`` numbers."""

    def __init__(self, rows: int, kept: int) -> None:
        self._kept, self._end = kept, kept
        self._space = np.zeros((rows, 2 * kept), np.float32)

    def add(self, columns: list[Samples]) -> None:
        count = len(columns[0])
        if self._end + count > self._space.shape[1]:  # seldom: all is moved to the front
            self._space[:, : self._kept] = self.all().copy()
            self._end = self._kept
        for row, column in zip(self._space, columns, strict=True):
            row[self._end : self._end + count] = column
        self._end += count

    def all(self) -> Samples:
        """[rows, kept]; zeros where there were not so many yet."""
        return self._space[:, self._end - self._kept : self._end]


class EchoMeter:
    """Takes whole frames at ``rate``; ``late`` is the canceller's own delay in samples."""

    def __init__(self, rate: int, late: int = 0) -> None:
        self._frame = round(rate * FRAME_SECONDS)
        self._late = round(late / self._frame)
        self._powers = _Newest(3, KEPT_FRAMES)  # near, far, clean
        self._coarse = _Newest(2, round(COARSE_SECONDS * COARSE_RATE))  # near, far
        self._frames = self._played_since = 0
        self._lag: float | None = None
        self._waiting: list[tuple[Samples, Samples, Samples]] = []

    def add(self, near: Samples, far: Samples, clean: Samples) -> None:
        """The same whole frames of each; the arrays stay as they are."""
        self._waiting.append((near, far, clean))
        if sum(len(each[0]) for each in self._waiting) >= WAITING_FRAMES * self._frame:
            self._take()

    def _take(self) -> None:
        waiting, self._waiting = self._waiting, []
        whole = [np.concatenate(each) for each in zip(*waiting, strict=True)]
        most = KEPT_FRAMES // 16 * self._frame  # in parts, where a whole backlog comes at once
        for begin in range(0, len(whole[0]), most):
            self._add(*(each[begin : begin + most] for each in whole))

    def _add(self, near: Samples, far: Samples, clean: Samples) -> None:
        powers = [np.mean(np.square(each.reshape(-1, self._frame)), 1) for each in (near, far, clean)]
        self._powers.add(powers)
        self._frames += len(powers[0])
        self._played_since += int(np.count_nonzero(powers[1] > PLAYED_POWER))
        step = round(self._frame / FRAME_SECONDS) // COARSE_RATE
        self._coarse.add([each.reshape(-1, step).mean(1) for each in (near, far)])

    def forget_lag(self) -> None:
        """What was played is held beside it in another way from now on."""
        self._waiting = []
        self._coarse = _Newest(2, round(COARSE_SECONDS * COARSE_RATE))
        self._played_since, self._lag = 0, None

    def lag(self) -> float | None:
        """Seconds by which the echo comes after what it is held beside; None as long as none was found."""
        if self._played_since >= FEWEST_FRAMES:
            self._played_since = 0
            found = _find_lag(*self._coarse.all())
            self._lag = self._lag if found is None else found
        return self._lag

    def loss_db(self) -> float | None:
        """Echo return loss over the last ten seconds in which there was an echo and, as far as can be told, nobody
        spoke; None where that was less than one second. Noise counts against it."""
        self.lag()
        count = min(self._frames, KEPT_FRAMES) - self._late
        if count < FEWEST_FRAMES:
            return None
        near, far, clean = self._powers.all()
        end = KEPT_FRAMES - self._late  # what came out last belongs to what went in a little earlier
        near, far, clean = near[end - count : end], far[end - count : end], clean[KEPT_FRAMES - count :]
        chosen = np.flatnonzero(self._echo_only(near, far))[-RECENT_FRAMES:]
        if len(chosen) < FEWEST_FRAMES:
            return None
        chosen = chosen[len(chosen) % CHUNK_FRAMES :].reshape(-1, CHUNK_FRAMES)
        came, left = near[chosen].sum(1), clean[chosen].sum(1)
        losses = 10 * np.log10(came / np.maximum(left, 1e-12))
        order = np.argsort(losses)
        place = np.searchsorted(np.cumsum(came[order]), (1 - SHARE) * came.sum())
        return float(losses[order][place])

    def _echo_only(self, near: Powers, far: Powers) -> NDArray[np.bool_]:
        """Which frames have an echo and nothing else."""
        expected = _smear(far, max(self._lag or 0.0, 0.0))
        quietest = float(np.quantile(near, 0.1))
        audible = (expected > PLAYED_POWER) & (near > AUDIBLE_RATIO * quietest)
        if not audible.any():
            return audible
        ratio = near / np.maximum(expected, PLAYED_POWER)
        usual = float(np.quantile(ratio[audible], 0.25))
        spoken = near > np.maximum(SPOKEN_RATIO * usual * expected, AUDIBLE_RATIO * quietest)
        around = np.convolve(spoken, np.ones(2 * SPOKEN_AROUND + 1), "same") > 0.5
        return np.asarray(audible & ~around, np.bool_)


def _smear(far: Powers, lag: float) -> Powers:
    """The power of an echo of ``far`` that begins ``lag`` seconds later and dies away, up to a factor."""
    late = int(lag / FRAME_SECONDS)
    tail = DECAY ** np.arange(40)
    smeared = np.convolve(np.concatenate([np.zeros(late, np.float32), far]), tail / tail.sum())
    return np.asarray(smeared[: len(far)], np.float32)


def _find_lag(near: Samples, far: Samples) -> float | None:
    """Seconds; None where nothing stands out."""
    size = 1 << (2 * len(near) - 1).bit_length()
    product = np.fft.rfft(near, size) * np.conj(np.fft.rfft(far, size))
    size_of = np.abs(product)
    if not size_of.any():
        return None
    white = np.fft.irfft(product / np.maximum(size_of, 1e-3 * size_of.max()), size)
    first, last = round(EARLIEST_SECONDS * COARSE_RATE), round(LATEST_SECONDS * COARSE_RATE)
    around = np.abs(np.roll(white, -first)[: last - first])
    peak = int(around.argmax())
    if around[peak] < CLEAR_PEAK * float(around.mean()):
        return None
    return (peak + first) / COARSE_RATE


def coarse_enough(rate: int) -> bool:
    """Whether frames of 10 ms at ``rate`` divide as this meter wants."""
    return rate >= 2 * COARSE_RATE and math.gcd(rate, COARSE_RATE) == COARSE_RATE
