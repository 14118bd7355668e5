"""What the user's microphone hears: words in a room, with noise, hum, other voices and the agent's own echo.

Receives recordings and their places; hands on samples. All draws come from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.script import RATE, Script

Sound = NDArray[np.float32]
SPEECH_RMS = 0.08
"""Level of the user's words before the scene's gain, full scale 1."""
ECHO_TILT = -0.4
"""A small loudspeaker's colour."""
NOISES = ("white", "pink", "brown", "hum", "babble")


@dataclass(frozen=True)
class Room:
    """How a scene sounds."""

    gain: float = 1.0
    snr_db: float | None = None
    """Words against noise; None for no noise but a faint hiss."""
    noise: str = "pink"
    """One of NOISES."""
    reverb_seconds: float = 0.0
    """Time in which an echo of the room falls by 60 dB; 0 for none."""
    tilt: float = 0.0
    """-0.6 (dull) to 0.6 (thin): the microphone's colour."""
    echo_db: float | None = None
    """The agent's own voice in the microphone against its own level; None for none."""
    echo_delay: int = 800
    """Samples."""


ROOM_RANGES: dict[str, tuple[float, float]] = {
    "gain": (0.01, 10), "snr_db": (-20, 60), "reverb_seconds": (0.01, 10), "tilt": (-0.6, 0.6), "echo_db": (-80, 20),
    "echo_delay": (0, 2 * RATE),
}  # fmt: skip
"""What a room may be, field by field: far more than training's. ``reverb_seconds`` may be 0 too; a few ms would have
an empty tail."""


def random_room(rng: np.random.Generator, clean: float = 0.4) -> Room:
    """A room as training uses them; ``clean`` of them without noise. Babble, the hardest, comes twice as often."""
    return Room(
        gain=float(10 ** rng.uniform(-0.8, 0.45)),
        snr_db=None if rng.random() < clean else float(rng.uniform(3, 28)),
        noise=str(rng.choice((*NOISES, "babble"))),
        reverb_seconds=0.0 if rng.random() < 0.6 else float(rng.uniform(0.1, 0.5)),
        tilt=float(rng.uniform(-0.5, 0.5)),
        echo_db=None if rng.random() < 0.7 else float(rng.uniform(-36, -14)),
        echo_delay=int(rng.integers(400, 4000)),
    )


def hear(
    script: Script,
    utter: Callable[[str, str], Sound],
    agent: Sound,
    room: Room,
    rng: np.random.Generator,
    murmur: Callable[[], Sound] | None = None,
    backdrop: Callable[[str, int], Sound] | None = None,
) -> Sound:
    """The microphone over the whole scene.

    ``utter(word, kind)`` gives a recording whose end is the word's end; ``agent`` [units * 2560] is what the agent
    says; ``murmur()`` gives voices for babble, white noise stands in where there are none. ``backdrop(kind, count)``
    gives noise at any level in place of :func:`background`.
    """
    samples = np.zeros(script.units * 2560, np.float32)
    for said in script.said:
        place_before(samples, level(utter(said.word, said.kind)) * np.float32(said.gain), said.end)
    if room.reverb_seconds:
        samples = reverberate(samples, room.reverb_seconds, rng)
    samples += make_noise(room, len(samples), rng, backdrop or partial(background, rng=rng, murmur=murmur))
    if room.echo_db is not None:
        echo = np.concatenate([np.zeros(room.echo_delay, np.float32), agent])[: len(samples)]
        samples += colour(echo, ECHO_TILT) * np.float32(10 ** (room.echo_db / 20))
    return np.asarray(np.clip(colour(samples, room.tilt) * np.float32(room.gain), -1.0, 1.0), np.float32)


def level(sound: Sound) -> Sound:
    """``sound`` at SPEECH_RMS."""
    rms = float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0
    return np.asarray((sound * np.float32(SPEECH_RMS / max(rms, 1e-5))), np.float32)


def place_before(samples: Sound, sound: Sound, end: int) -> None:
    """Add ``sound`` so that it ends at ``end``; what lies outside is left away."""
    start = end - len(sound)
    first, last = max(start, 0), min(end, len(samples))
    if last > first:
        samples[first:last] += sound[first - start : last - start]


def make_noise(room: Room, count: int, rng: np.random.Generator, backdrop: Callable[[str, int], Sound]) -> Sound:
    """The scene's background at its level."""
    if room.snr_db is None:
        return np.asarray((rng.standard_normal(count, np.float32) * np.float32(3e-4)), np.float32)
    noise = backdrop(room.noise, count)
    rms = float(np.sqrt(np.mean(np.square(noise))))
    return np.asarray((noise * np.float32(SPEECH_RMS * 10 ** (-room.snr_db / 20) / max(rms, 1e-6))), np.float32)


def background(kind: str, count: int, rng: np.random.Generator, murmur: Callable[[], Sound] | None = None) -> Sound:
    """Noise of a kind at any level, [count]."""
    if kind == "hum":
        time, base = np.arange(count) / RATE, float(rng.choice([50.0, 60.0]))
        waves = [np.sin(2 * np.pi * base * n * time + rng.uniform(0, 6.28)) / n for n in (1, 2, 3, 5, 7)]
        return np.asarray((np.sum(waves, 0) + 0.05 * rng.standard_normal(count)), np.float32)
    if kind == "babble" and murmur is not None:
        babble = np.zeros(count, np.float32)
        for _ in range(6 * max(1, count // RATE)):
            voice = level(murmur())
            place_before(babble, voice, int(rng.integers(0, count + len(voice))))
        return np.asarray(babble + 1e-4 * rng.standard_normal(count), np.float32)
    white = rng.standard_normal(count, np.float32)
    slope = {"pink": 0.5, "brown": 1.0}.get(kind, 0.0)
    return white if slope == 0.0 else shaped(white, slope)


def shaped(white: Sound, slope: float) -> Sound:
    """White noise with amplitude falling as 1 / frequency ** slope, above 40 Hz."""
    spectrum = np.fft.rfft(white)
    hertz = np.maximum(np.fft.rfftfreq(len(white), 1 / RATE), 40.0)
    return np.asarray(np.fft.irfft(spectrum / hertz**slope, len(white)), np.float32)


def colour(samples: Sound, tilt: float) -> Sound:
    """A first-order tilt: y[n] = x[n] - tilt * x[n - 1], at about the same loudness."""
    if tilt == 0.0:
        return samples
    before = np.concatenate([np.zeros(1, np.float32), samples[:-1]])
    return np.asarray(((samples - np.float32(tilt) * before) / np.float32(1.0 + 0.5 * abs(tilt))), np.float32)


def reverberate(samples: Sound, seconds: float, rng: np.random.Generator) -> Sound:
    """A made-up room: the sound itself and a tail of decaying noise 6 dB or more below it."""
    length = int(seconds * RATE)
    tail = rng.standard_normal(length) * 10 ** (-3.0 * np.arange(length) / length)
    tail[: RATE // 500] = 0.0  # the first 2 ms belong to the direct sound
    tail *= 10 ** (rng.uniform(-14, -5) / 20) / np.sqrt(np.sum(tail**2))
    size = 1 << (len(samples) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return np.asarray((samples + wet), np.float32)
