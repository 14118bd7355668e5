"""The sound that waits to be played, kept at a target.

Receives units of the agent's voice; hands them to a speaker and keeps the *margin*, the sound still waiting when a new
unit arrives, near its target. Too little and the speaker runs dry; all of it is delay.

    margin at arrival       what is done
    none (it ran dry)       the target's length of silence goes before the unit; the target grows, if the unit was late
                            of itself: a larger buffer is no cure for a device that was lost
    near the target         the speaker is paced a little faster or slower: this absorbs the clocks' drift
    below it on the mean    silence goes before the next quiet unit; at once while the sound has just begun
    above it on the mean    quiet samples are cut out of the unit
    far above it            loud ones too, where there is no other way

Choices: pacing is proportional to the mean error only. A drift of d ppm then leaves a constant error of
``d * CORRECTION_SECONDS`` (6 ms at 300 ppm), which costs nothing and cannot swing. Its bound, 1000 ppm, is 1.7 cents of
pitch, which nobody hears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_streamer.runtime.loop.media import Samples
from edge_streamer.runtime.loop.ports import LiveSpeaker

TARGET_SECONDS = 0.06
"""The margin wanted where nothing else is asked: covers a step that takes 60 ms longer than the usual one."""

LARGEST_TARGET = 0.32
"""Beyond two units a larger buffer is no cure: the model is too slow."""

GROWTH_SECONDS = 0.02
"""By which the target grows each time that a unit came too late of itself."""

SHRINKING = 1e-4
"""The share of a grown target's excess that is given back per unit: half of it in 18 minutes."""

CORRECTION_SECONDS = 20.0
"""An error of the margin is paced away at its own size over this time (10 ms: 500 ppm)."""

FASTEST_PPM = 1000.0

SMOOTHING = 1 / 16
"""Weight of the newest unit in the mean margin, of all alike while there are fewer: 2.6 s, so that one late unit does
not change the pace."""

QUIET_SURPLUS_SECONDS = 0.03
"""So far above its target the mean margin is cut in the next pause: pacing would take half a minute."""

QUIET_DEFICIT_SECONDS = 0.015
"""So far below its target the mean margin is filled up in the next pause. A microphone that comes back begins its units
at a time of its own; paced away, that would keep answers close to the end of the sound for half a minute. Twice and a
half what clocks 300 ppm apart leave for good."""

SURE_UNITS = 8
"""A mean of fewer margins is no reason to make them larger: one late unit is not the usual. But so many units after a
device has begun, their place between microphone and speaker is only found, and who waits loses nothing that was heard:
a margin that is too small is filled up at once, if the step was in time."""

SURPLUS_SECONDS = 0.08
"""So far above its target a margin is cut at once."""

QUIET = 0.004
"""Root mean square of 5 ms that may be cut without being missed: -48 dB of full scale."""

PIECE_SECONDS = 0.005
"""Sound is judged, and cut, in pieces of this length."""

FADE_SECONDS = 0.002
"""Of the cross-fade where a piece was cut."""


@dataclass
class PlayoutCounts:
    """In samples at the model's rate, but for ``dry``."""

    dry: int = 0
    """Units that arrived after the speaker had run dry: deadline misses."""
    prefilled: int = 0
    """Silence put before units so that the margin was the target again, the conversation's beginning not counted."""
    made_room: int = 0
    """Silence put between quiet units: for a step that will take longer, or because too little had come to wait."""
    cut_quiet: int = 0
    cut_loud: int = 0


class Playout:
    """Writes units to ``speaker``. ``target``: the margin wanted, in seconds."""

    def __init__(self, speaker: LiveSpeaker, rate: int, target: float = TARGET_SECONDS) -> None:
        self._speaker, self._rate = speaker, rate
        self._least_target = self.target = target
        self._mean = 0.0
        self._margins = 0
        """That the mean is of."""
        self._started = False
        self._units = 0
        """Since the sound began, or :meth:`look_anew`."""
        self._opening = 0
        """Which opening of the speaker the sound before went to."""
        self.counts = PlayoutCounts()
        self.position = 0
        """Samples written, silence included: where the next one will lie in the speaker's stream."""
        self.ratio = 1.0

    def margin(self) -> float:
        """Seconds until the speaker runs dry."""
        return self._speaker.waiting()

    def write(self, samples: Samples, excused: bool = False, in_time: bool = True) -> tuple[float, int]:
        """Queue one unit; ``excused``: were it late, some device would be to blame; ``in_time``: its step took less
        than a unit. Returns the margin that it found or was given (the target where the sound only begins) and the
        position of its first sample."""
        margin, state = self._speaker.waiting() if self._started else self.target, self._speaker.state()
        anew, self._opening = state.reopened != self._opening, state.reopened
        if not state.open:  # it takes nothing, so there is no margin to keep
            self._started, self._margins = False, 0
            margin = self.target
        elif not self._started or margin <= 0:
            self._prefill(grow=not excused and not anew)
        else:
            margin, samples = self._keep(margin, samples, in_time)
        position = self.position
        self._put(samples)
        self.target += (self._least_target - self.target) * SHRINKING
        return margin, position

    def make_room(self, seconds: float) -> None:
        """Let the margin grow by silence, now. For units in which the agent is quiet."""
        silence = np.zeros(round(seconds * self._rate), np.float32)
        self.counts.made_room += len(silence)
        self._margins = 0
        self._put(silence)

    def look_anew(self) -> None:
        """A device has begun: units will come at another place."""
        self._units = self._margins = 0

    @property
    def drift_ppm(self) -> float:
        """How much faster the speaker's clock is than the one that units come by, as the pacing found it."""
        return 1e6 * (1.0 - self.ratio)

    def _prefill(self, grow: bool) -> None:
        silence = np.zeros(round(self.target * self._rate), np.float32)
        if self._started:
            self.counts.dry += 1
            self.counts.prefilled += len(silence)
            if grow:
                self.target = min(self.target + GROWTH_SECONDS, LARGEST_TARGET)
        self._started = True
        self.look_anew()
        self._put(silence)

    def _keep(self, margin: float, samples: Samples, in_time: bool) -> tuple[float, Samples]:
        """Pace, cut, or fill up; returns the margin that there is then, or was before a cut, and what is left."""
        self._units += 1
        self._margins += 1
        self._mean += max(SMOOTHING, 1 / self._margins) * (margin - self._mean)
        excess, usual = margin - self.target, self._mean - self.target
        if excess > SURPLUS_SECONDS:
            return margin, self._cut(samples, round(excess * self._rate), loud_too=True)
        if usual > QUIET_SURPLUS_SECONDS:
            return margin, self._cut(samples, round(usual * self._rate), loud_too=False)
        if excess < -QUIET_DEFICIT_SECONDS and self._units <= SURE_UNITS and in_time:
            self.make_room(-excess)
            return self.target, samples
        if usual < -QUIET_DEFICIT_SECONDS and self._margins >= SURE_UNITS and is_quiet(samples):
            self.make_room(-usual)
            return self.target, samples
        ppm = 1e6 * usual / CORRECTION_SECONDS
        self.ratio = 1.0 + 1e-6 * min(max(ppm, -FASTEST_PPM), FASTEST_PPM)
        self._speaker.pace(self.ratio)
        return margin, samples

    def _cut(self, samples: Samples, count: int, loud_too: bool) -> Samples:
        fade = round(FADE_SECONDS * self._rate)
        kept = cut_quiet(samples, count, round(PIECE_SECONDS * self._rate), fade)
        self.counts.cut_quiet += len(samples) - len(kept)
        rest = count - (len(samples) - len(kept))
        if loud_too and rest > SURPLUS_SECONDS * self._rate:
            before, kept = kept, cut(kept, 0, rest, fade)
            self.counts.cut_loud += len(before) - len(kept)
        if len(kept) < len(samples):
            self._margins = 0
        return kept

    def _put(self, samples: Samples) -> None:
        self._speaker.write(samples)
        self.position += len(samples)


def is_quiet(samples: Samples) -> bool:
    """Whether nothing in it would be missed."""
    return bool(np.square(samples, dtype=np.float32).mean() < QUIET * QUIET)


def cut(samples: Samples, begin: int, count: int, fade: int) -> Samples:
    """``samples`` without ``count`` of them from ``begin`` on (or as many as leave room to fade), cross-faded."""
    count = min(count, len(samples) - begin - fade)
    if count <= 0:
        return samples
    kept = np.concatenate((samples[:begin], samples[begin + count :]))
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    old, new = samples[begin : begin + fade], samples[begin + count : begin + count + fade]
    kept[begin : begin + fade] = old * (1 - ramp) + new * ramp
    return kept


def cut_quiet(samples: Samples, count: int, piece: int, fade: int) -> Samples:
    """``samples`` without up to ``count`` of them, all from quiet pieces, the latest first (so that the places of
    earlier pieces stay)."""
    pieces = len(samples) // piece
    power = np.square(samples[: pieces * piece], dtype=np.float32).reshape(pieces, piece).mean(axis=1)
    left = count
    for index in range(pieces - 1, -1, -1):
        if left < piece:
            break
        if power[index] < QUIET * QUIET:
            before = len(samples)
            samples = cut(samples, index * piece, piece, min(fade, piece))
            left -= before - len(samples)
    return samples
