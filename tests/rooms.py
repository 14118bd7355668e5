"""Made-up rooms in which a loudspeaker is heard by a microphone, and the two devices with clocks of their own.

Receives what is played and what is said; hands on :func:`converse`, which feeds anything with ``played`` and ``clean``
as the devices' processes would, block by block in the order of time, and :class:`Heard`, from which is measured.

A room is a direct path and a tail of noise that decays exponentially. Sound goes through it on the speaker's clock
and is then resampled to the microphone's, so that drift is exact. Times are true seconds; what is told of them is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.shipped import MEDIA
from edge_streamer.runtime.evaluation.ear import spectrum
from edge_streamer.runtime.evaluation.world.assets import load_assets
from edge_streamer.runtime.evaluation.world.sound import level
from edge_streamer.runtime.loop.media import Samples

RATE = 16000
"""Of the recordings."""
HOP_SECONDS = 0.01
SPEECH = MEDIA / "speech.flac"
ALSA = Path("/usr/share/sounds/alsa")
"""Spoken by a person; from Debian's alsa-utils."""
AUDIBLE = 3e-3
"""Root mean square of 10 ms from which on an echo is worth cancelling: 50 dB below full scale."""


@dataclass(frozen=True)
class EchoRoom:
    """How a room sounds."""

    delay_ms: float = 20.0
    """From the membrane to the microphone."""
    reverb_ms: float = 200.0
    """In which an echo falls by 60 dB."""
    echo_db: float = -6.0
    """The echo's energy against the played sound's."""
    drive: float = 0.0
    """Of a loudspeaker that clips softly: tanh(drive x) / drive; 0: a perfect one."""
    noise_db: float = -66.0
    """The microphone's noise against full scale."""

    def impulse(self, rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """What a click becomes."""
        first, tail = round(self.delay_ms * rate / 1000), round(self.reverb_ms * rate / 1000)
        decay = rng.standard_normal(tail) * 10 ** (-3.0 * np.arange(tail) / tail)
        decay[0] = 0.0
        answer = np.zeros(first + tail)
        answer[first:] = 0.7 * decay / np.linalg.norm(decay)
        answer[first] += 0.7
        return answer * 10 ** (self.echo_db / 20) / np.linalg.norm(answer)


@dataclass(frozen=True)
class Devices:
    """How the devices behave, and what they say of themselves."""

    speaker_rate: int = 48000
    speaker_ppm: float = 0.0
    microphone_ppm: float = 0.0
    speaker_block: float = 0.01
    """Seconds."""
    microphone_block: float = 0.01
    speaker_seconds: float = 0.06
    """From handing over to the membrane, in truth."""
    microphone_seconds: float = 0.02
    """From the sound to its arrival, in truth, its block not counted."""
    told_less: float = 0.0
    """Seconds by which the speaker's told latency is too short; negative: it tells too much."""
    jitter: float = 0.0
    """Seconds by which told times are wrong at most, either way, anew for every block."""


class Hearing(Protocol):
    """What is under test."""

    latency: float

    def played(self, time: float, samples: Samples, rate: int) -> None: ...

    def clean(self, near: Samples, time: float) -> Samples: ...


@dataclass
class Heard:
    """All [n], at the microphone's rate."""

    rate: int
    near: Samples
    """What the microphone got: the sum of the next three."""
    echo: Samples
    voice: Samples
    noise: Samples
    clean: Samples
    """What came out, moved back by what it came late."""

    def loss_db(self, begin: float, end: float) -> float:
        """Echo return loss in so many seconds of this conversation, over the time when there is an echo and no
        voice. NaN where there is none."""
        chosen = self._echo_only(begin, end)
        if not chosen.any():
            return float("nan")
        return _db(self._hops(self.near)[chosen].sum() / self._hops(self.clean)[chosen].sum())

    def converged(self, wanted_db: float, window: float = 1.0) -> float:
        """Seconds from the first echo until the first window whose loss is ``wanted_db``; infinity for never."""
        first = float(np.flatnonzero(self._hops(self.echo) > AUDIBLE**2 * self._hop)[0] * HOP_SECONDS)
        for begin in np.arange(first, len(self.near) / self.rate - window, 0.1):
            if self.loss_db(begin, begin + window) >= wanted_db:
                return float(begin - first)
        return float("inf")

    def voice_db(self, begin: float, end: float) -> float:
        """What is left of the voice's energy in so many seconds, by its projection: echo does not count as voice."""
        part = slice(round(begin * self.rate), round(end * self.rate))
        voice, clean = self.voice[part].astype(np.float64), self.clean[part].astype(np.float64)
        kept = np.fft.rfft(clean, 2 * len(clean)) * np.conj(np.fft.rfft(voice, 2 * len(voice)))
        lags = np.fft.irfft(kept)[: round(0.004 * self.rate)]  # the canceller's filters move the voice a little
        return _db(float(np.square(max(lags.max(), 1e-9) / (voice @ voice))))

    def likeness(self, begin: float, end: float, came: Samples | None = None) -> float:
        """Correlation of the voice's spectrogram (10 ms, 28 bands, dB) with what came out (default: ``clean``)."""
        part = slice(round(begin * self.rate), round(end * self.rate))
        both = [self.voice[part], (self.clean if came is None else came)[part]]
        spectra = [spectrum(np.asarray(soxr.resample(each, self.rate, RATE), np.float32)) for each in both]
        return float(np.corrcoef(spectra[0].ravel(), spectra[1].ravel())[0, 1])

    @property
    def _hop(self) -> int:
        return round(HOP_SECONDS * self.rate)

    def _hops(self, samples: Samples) -> NDArray[np.float64]:
        whole = len(samples) // self._hop * self._hop
        return np.asarray(np.square(samples[:whole].astype(np.float64)).reshape(-1, self._hop).sum(1), np.float64)

    def _echo_only(self, begin: float, end: float) -> NDArray[np.bool_]:
        echo, voice = (self._hops(each) > AUDIBLE**2 * self._hop for each in (self.echo, self.voice))
        spoken = np.convolve(voice, np.ones(21), "same") > 0  # 100 ms before and after it
        chosen = echo & ~spoken
        chosen[: round(begin / HOP_SECONDS)] = chosen[round(end / HOP_SECONDS) :] = False
        return np.asarray(chosen, np.bool_)


def converse(
    hearing: Hearing,
    far: Samples,
    voice: Samples,
    room: EchoRoom,
    devices: Devices,
    rate: int = RATE,
    seed: int = 0,
) -> Heard:
    """Play ``far`` (at the speaker's rate) and say ``voice`` (at ``rate``) in a room; returns what was heard."""
    rng = np.random.default_rng(seed)
    near = _microphone(far, voice, room, devices, rate, rng)
    told = _Told(devices, rng)
    size, block = round(devices.speaker_block * devices.speaker_rate), round(devices.microphone_block * rate)
    cleaned: list[Samples] = []
    handed = 0
    for begin in range(0, len(near.near) - block + 1, block):
        arrives = _true(begin + block, rate, devices.microphone_ppm) + devices.microphone_seconds
        while handed < len(far):
            leaves = _true(handed, devices.speaker_rate, devices.speaker_ppm)
            if leaves - devices.speaker_seconds > arrives:
                break
            hearing.played(told.speaker(leaves), far[handed : handed + size], devices.speaker_rate)
            handed += size
        captured = told.microphone(_true(begin, rate, devices.microphone_ppm))
        cleaned.append(hearing.clean(near.near[begin : begin + block], captured))
    late = round(hearing.latency * rate)
    out = np.concatenate([*cleaned, np.zeros(late + block, np.float32)])
    near.clean = out[late : late + len(near.near)]
    return near


class _Told:
    """Times as the drivers tell them."""

    def __init__(self, devices: Devices, rng: np.random.Generator) -> None:
        self._devices, self._rng = devices, rng

    def speaker(self, leaves: float) -> float:
        return leaves - self._devices.told_less + self._jitter()

    def microphone(self, captured: float) -> float:
        return captured + self._jitter()

    def _jitter(self) -> float:
        return float(self._rng.uniform(-1, 1)) * self._devices.jitter


def _true(position: int, rate: int, ppm: float) -> float:
    """When sample ``position`` of a device is in the world; an arbitrary start, as clocks have."""
    return 1000.0 + position / (rate * (1 + 1e-6 * ppm))


def _microphone(
    far: Samples, voice: Samples, room: EchoRoom, devices: Devices, rate: int, rng: np.random.Generator
) -> Heard:
    loud = np.tanh(room.drive * far) / room.drive if room.drive else far
    wet = _convolve(loud, room.impulse(devices.speaker_rate, rng))
    there, here = devices.speaker_rate * (1 + 1e-6 * devices.speaker_ppm), rate * (1 + 1e-6 * devices.microphone_ppm)
    echo = np.asarray(soxr.resample(wet, there, here, "HQ"), np.float32)
    count = len(voice)
    echo = np.concatenate([echo, np.zeros(count, np.float32)])[:count]
    noise = rng.standard_normal(count).astype(np.float32) * np.float32(10 ** (room.noise_db / 20))
    near = np.clip(echo + voice + noise, -1, 1)
    return Heard(rate, near, echo, voice, noise, np.zeros_like(near))


def _convolve(samples: NDArray[np.floating], impulse: NDArray[np.float64]) -> NDArray[np.float64]:
    size = 1 << (len(samples) + len(impulse) - 1).bit_length()
    made = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(impulse, size), size)
    return np.asarray(made[: len(samples)], np.float64)


def _db(ratio: float) -> float:
    return float(10 * np.log10(max(ratio, 1e-12)))


@cache
def agent_speech(seconds: float, rate: int, pause: float = 0.4, identity: int = 0, after: float = 0.0) -> Samples:
    """The agent's side: phrases of the shipped agent, the shipped speech, and recordings of a person where Debian's
    alsa-utils has put them, in turn, one after the other with pauses, the first one ``after`` seconds; at ``rate``."""
    phrases = load_assets()[0].phrases[identity]
    spoken = [*phrases[:4], *_people(), *phrases[4:]]
    spoken.insert(1, read_sound(SPEECH)[: 6 * RATE])
    parts: list[Samples] = [np.zeros(round(after * RATE), np.float32)]
    while sum(map(len, parts)) < seconds * RATE:
        parts.extend((level(spoken[len(parts) // 2 % len(spoken)]), np.zeros(round(pause * RATE), np.float32)))
    whole = np.concatenate(parts)[: round(seconds * RATE)]
    return np.asarray(np.clip(soxr.resample(whole, RATE, rate), -1, 1), np.float32)


def user_words(
    seconds: float, rate: int, words: tuple[str, ...], starts: tuple[float, ...], gain: float = 1.0
) -> tuple[Samples, list[tuple[float, float]]]:
    """The user's side: recordings of held-out voices, beginning at ``starts``; and when each begins and ends."""
    rng = np.random.default_rng(7)
    samples = np.zeros(round(seconds * rate), np.float32)
    spans = []
    for word, start in zip(words, starts, strict=True):
        sound = level(load_assets()[1].draw(word, rng)) * np.float32(gain)
        sound = np.asarray(soxr.resample(sound, RATE, rate), np.float32)
        first = round(start * rate)
        samples[first : first + len(sound)] += sound
        spans.append((start, start + len(sound) / rate))
    return samples, spans


def read_sound(path: Path) -> Samples:
    """A sound file, one channel, at RATE."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        mono = av.AudioResampler("flt", "mono")
        blocks = [made.to_ndarray()[0] for frame in file.decode(stream) for made in mono.resample(frame)]
    return np.asarray(soxr.resample(np.concatenate(blocks), stream.rate, RATE), np.float32)


def _people() -> list[Samples]:
    return [read_sound(path) for path in sorted(ALSA.glob("*.wav")) if path.stem != "Noise"]
