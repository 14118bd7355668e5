"""What the agent's voice is measured with.

Receives a world; hands on :class:`Ear`: where a phrase lies in a recording, how near it is to the intended one, which
phrase it sounds like most, and whose voice it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.scene import World
from edge_streamer.runtime.evaluation.world.script import RATE, UNIT
from edge_streamer.runtime.evaluation.world.sound import Sound

HOP = 160
"""Samples: 10 ms."""
AUDIBLE = 0.02
"""Root mean square of 10 ms, full scale 1, from which on the agent is heard: 34 dB below full scale."""
WINDOW = 400
BANDS = 28
FLOOR = 1e-5
"""Power per band below which nothing is heard."""
SHIFTS = (-3, -2, -1, 0, 1, 2, 3)
"""Hops by which phrases are moved against each other."""
FINE = 960
"""Samples, 60 ms: how far the reply may be moved for its signal-to-noise ratio."""
REACH = 3 * UNIT
"""How far from its place a phrase is looked for."""
PITCHES = (75.0, 420.0)
"""Hz."""
VOICED = 0.5
"""Share of a frame's energy that must repeat for it to be a vowel."""


def loudness(samples: Sound) -> NDArray[np.float32]:
    """Root mean square per 10 ms, [n // 160]."""
    hops = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    return np.asarray(np.sqrt(np.mean(np.square(hops), 1)), np.float32)


def spectrum(samples: Sound) -> NDArray[np.float64]:
    """Logarithmic power per band, dB, [hops, bands]; bands evenly spaced in pitch from 100 Hz to 7 kHz."""
    count = max(1, len(samples) // HOP)
    padded = np.concatenate([samples, np.zeros(WINDOW, np.float32)])
    frames = np.stack([padded[n * HOP : n * HOP + WINDOW] for n in range(count)])
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), 512))) / WINDOW
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    mel = 2595 * np.log10(1 + hertz / 700)
    edges = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(11), BANDS + 2)
    rise = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(10 * np.log10(power @ np.clip(np.minimum(rise, fall), 0, None).T + FLOOR), np.float64)


def pitch(samples: Sound) -> float:
    """Median fundamental frequency of the vowels in Hz; NaN where there are none."""
    shortest, longest = int(RATE / PITCHES[1]), int(RATE / PITCHES[0])
    found = []
    for begin in range(0, len(samples) - 640, 320):
        frame = samples[begin : begin + 640].astype(np.float64)
        energy = float(frame @ frame)
        if energy < 640 * AUDIBLE**2:
            continue
        same = np.fft.irfft(np.square(np.abs(np.fft.rfft(frame, 2048))))[: longest + 1]
        same = same / (same[0] * (1 - np.arange(longest + 1) / 640))  # fewer samples overlap at a longer lag
        best = shortest + int(same[shortest:].argmax())
        near = np.flatnonzero(same[shortest:] > 0.9 * same[best])  # the first as good: not an octave below
        if same[best] > VOICED:
            found.append(RATE / (shortest + int(near[0])))
    return float(np.median(found)) if found else float("nan")


@dataclass(frozen=True)
class Reply:
    """How one answer sounded."""

    late_ms: float
    """The phrase against its intended place."""
    snr_db: float
    """Against the intended phrase, moved by at most 60 ms."""
    nearest: int
    """The phrase it sounds like most."""
    voice: int | None
    """The identity whose pitch is nearest; None where nothing is voiced."""


@dataclass
class Ear:
    """Knows the phrases of all identities."""

    world: World

    @cached_property
    def _spectra(self) -> list[list[NDArray[np.float64]]]:
        return [[spectrum(phrase) for phrase in phrases] for phrases in self.world.phrases]

    @cached_property
    def _pitches(self) -> NDArray[np.float64]:
        return np.array([np.nanmedian([pitch(p) for p in phrases]) for phrases in self.world.phrases])

    def listen(self, samples: Sound, identity: int, phrase: int, start: int, length: int) -> Reply:
        """The answer ``phrase``, meant to begin at sample ``start`` and to be ``length`` samples long."""
        wanted = self.world.phrases[identity][phrase][:length]
        lags, product, energy = _correlate(samples, wanted, start, REACH)
        late = int(lags[(product / np.sqrt(energy + 1e-4)).argmax()])
        near = np.abs(lags) <= FINE
        own = float(np.sum(np.square(wanted, dtype=np.float64)))
        wrong = float((own + energy[near] - 2 * product[near]).min())
        begin = max(start + late, 0)
        heard = samples[begin : begin + length]
        return Reply(
            late_ms=1000 * late / RATE,
            snr_db=float(10 * np.log10(max(own, 1e-9) / max(wrong, 1e-9 * max(own, 1e-9)))),
            nearest=self._nearest(heard, identity),
            voice=self.voice_of(heard),
        )

    def voice_of(self, samples: Sound) -> int | None:
        """The identity with the nearest pitch."""
        hertz = pitch(samples)
        return None if np.isnan(hertz) else int(np.abs(np.log(self._pitches / hertz)).argmin())

    def _nearest(self, heard: Sound, identity: int) -> int:
        came = spectrum(heard)
        return int(np.argmin([_distance(came, phrase) for phrase in self._spectra[identity]]))


def _correlate(
    samples: Sound, wanted: Sound, start: int, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Lags, the product of ``wanted`` with what lies there, and that part's energy, each [2 * reach + 1]."""
    around = np.zeros(len(wanted) + 2 * reach, np.float64)
    first = start - reach
    low, high = max(first, 0), min(first + len(around), len(samples))
    if high > low:
        around[low - first : high - first] = samples[low:high]
    size = 1 << (len(around) + len(wanted)).bit_length()
    turned = np.conj(np.fft.rfft(wanted.astype(np.float64), size))
    product = np.fft.irfft(np.fft.rfft(around, size) * turned, size)[: 2 * reach + 1]
    sums = np.concatenate([[0.0], np.cumsum(np.square(around))])
    energy = sums[len(wanted) :] - sums[: len(sums) - len(wanted)]
    return np.arange(-reach, reach + 1), product, energy


def _distance(came: NDArray[np.float64], phrase: NDArray[np.float64]) -> float:
    """Mean difference in dB at the best shift; what one has and the other has not counts against silence."""
    length, silence = len(came), 10 * np.log10(FLOOR)
    best = np.inf
    for shift in SHIFTS:
        laid = np.full((length, BANDS), silence)
        begin, end = max(shift, 0), min(length, len(phrase) + shift)
        laid[begin:end] = phrase[begin - shift : end - shift]
        best = min(best, float(np.abs(came - laid).mean()))
    return best
