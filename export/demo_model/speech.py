"""Words by espeak-ng, in many voices, speeds and pitches, trimmed to where they sound.

Receives words and voices; hands on :class:`Bank` (every word many times, for training), the agent's phrases, and the
split of voices into those of training and those kept for the evaluation: an espeak *variant* (the shape of a throat)
belongs to one side only, with every accent. Needs the program ``espeak-ng``.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import wave
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_streamer.export.demo_model.throats import Throat
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.script import RATE
from edge_streamer.runtime.files import replacing
from edge_streamer.runtime.machine import cores

Sound = NDArray[np.float32]

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029", "en-us-nyc")
HELD_OUT_ACCENT = "en-gb-x-gbcwmd"
TRAIN_VARIANTS = (
    "f1", "f3", "f4", "f5", "m1", "m2", "m4", "m5", "m6", "m8", "Alex", "Andy", "Annie", "Denis", "Diogo",
    "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Marco", "Mario", "Mike", "Nguyen", "RicishayMax", "Storm", "adam",
    "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward2", "grandma", "gustave",
    "iven", "iven2", "iven4", "john", "kaukovalta", "marcelo", "max", "miguel", "norbert", "pablo", "paul", "quincy",
    "robert", "sandro", "steph", "steph3", "travis", "victor",
)  # fmt: skip
HELD_OUT_VARIANTS = (
    "f2", "m3", "m7", "Alicia", "Lee", "Michael", "aunty", "edward", "iven3", "linda", "michel", "rob",
    "shelby", "steph2", "zac",
)  # fmt: skip
AGENT_VOICE = "en-us+f4"
AGENT_PITCHES = (20, 50, 85)
"""Of the identities, espeak's scale 0..99."""
AGENT_SPEED = 165
"""Words a minute: leaves time for three bytes of text a unit."""
AGENT_PEAK = 0.5


@dataclass(frozen=True)
class Voice:
    """How to say something."""

    name: str
    """accent+variant"""
    speed: int = 170
    """Words a minute."""
    pitch: int = 50
    """0..99"""
    data: Path | None = None
    """Of made-up variants; None for the program's own."""


MADE_UP = 0.6
"""Share of recordings in made-up throats, where there are any."""


def random_voice(
    rng: np.random.Generator, variants: tuple[str, ...], accents: tuple[str, ...] = ACCENTS,
    throats: Sequence[Throat] = (),
) -> Voice:  # fmt: skip
    """Any accent with any of ``variants`` or a made-up throat, at a natural speed."""
    accent, data = str(rng.choice(accents)), None
    if throats and rng.random() < MADE_UP:
        throat = throats[int(rng.integers(len(throats)))]
        variant, data = throat.name, throat.data
    else:
        variant = str(rng.choice(variants))
    return Voice(f"{accent}+{variant}", int(rng.integers(125, 215)), int(rng.integers(20, 85)), data)


def varied(sound: Sound, rng: np.random.Generator) -> Sound:
    """``sound`` mostly played a little faster or slower than it was made: another throat and another pitch. Voices
    that training never hears are understood for it."""
    if rng.random() < 0.3:
        return sound
    count = int(len(sound) * rng.uniform(0.84, 1.2))
    places = np.linspace(0, len(sound) - 1, count)
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def need_espeak() -> None:
    """InputError where the program is missing."""
    if shutil.which("espeak-ng") is None:
        raise InputError("espeak-ng is not installed and says the words; install it (apt-get install espeak-ng)")


def say(text: str, voice: Voice) -> Sound:
    """``text`` at 16 kHz, peak about 0.5, silence at both ends cut off."""
    command = ["espeak-ng", "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout"]
    command += [text] if voice.data is None else [f"--path={voice.data}", text]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        raise InputError(f"espeak-ng cannot say {text!r} as {voice.name}: {made.stderr.decode().strip()}")
    with wave.open(io.BytesIO(made.stdout)) as file:
        rate, frames = file.getframerate(), file.readframes(file.getnframes())
    samples = np.frombuffer(frames, np.int16).astype(np.float32) / 32768.0
    return trim(soxr.resample(samples, rate, RATE).astype(np.float32))


def phonemes(words: Sequence[str], accent: str) -> list[tuple[str, ...]]:
    """What espeak-ng makes of each word in ``accent``, in its own signs (docs/phonemes.md of espeak-ng), without
    stress and length."""
    need_espeak()
    command = ["espeak-ng", "-q", "-x", "--sep=_", "-v", accent]
    said = subprocess.run(command, input="\n".join(words) + "\n", capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if line.strip()]
    if len(lines) != len(words):
        raise InputError(f"espeak-ng made {len(lines)} lines of {len(words)} words in {accent}; wanted as many")
    return [tuple(filter(None, re.split(r"[\s_]", re.sub(r"[',%=:|!]", "", line)))) for line in lines]


def trim(samples: Sound) -> Sound:
    """Without what lies 34 dB below the loudest 10 ms at either end, and with 5 ms of fade."""
    hops = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    rms = np.sqrt(np.mean(np.square(hops), 1))
    loud = np.flatnonzero(rms > rms.max() * 0.02)
    sound = samples[loud[0] * 160 : (loud[-1] + 1) * 160].copy()
    sound *= 0.5 / max(float(np.abs(sound).max()), 1e-4)
    fade = np.linspace(0, 1, 80, dtype=np.float32)
    sound[:80] *= fade
    sound[-80:] *= fade[::-1]
    return sound


def agent_phrases(phrases: Iterable[str], identity: int) -> list[Sound]:
    """The agent's phrases in the voice of ``identity``."""
    need_espeak()
    voice = Voice(AGENT_VOICE, AGENT_SPEED, AGENT_PITCHES[identity])
    return [say(text, voice) for text in phrases]


@dataclass
class Bank:
    """Recordings by word."""

    sounds: dict[str, list[Sound]] = field(default_factory=dict)

    def draw(self, word: str, rng: np.random.Generator) -> Sound:
        """One of the recordings of ``word``."""
        sounds = self.sounds[word]
        return sounds[int(rng.integers(len(sounds)))]

    def splice(self, words: Sequence[str], rng: np.random.Generator) -> Sound:
        """The beginning of one of ``words`` and the end of another: nearly a word, and none."""
        first, second = (self.draw(str(word), rng) for word in rng.choice(words, 2, replace=False))
        head = first[: int(len(first) * rng.uniform(0.25, 0.5))].copy()
        tail = second[int(len(second) * rng.uniform(0.5, 0.75)) :].copy()
        fade = np.linspace(0, 1, 80, dtype=np.float32)
        head[-80:] *= fade[::-1]
        tail[:80] *= fade
        return np.concatenate([head, tail])

    def save(self, path: Path) -> None:
        """One file: all sounds in a row as int16, and where each begins."""
        words = [word for word, sounds in self.sounds.items() for _ in sounds]
        sounds = [sound for group in self.sounds.values() for sound in group]
        ends = np.cumsum([len(s) for s in sounds])
        flat = np.round(np.concatenate(sounds) * 32767).astype(np.int16)
        with replacing(path) as partial:
            np.savez(partial, flat=flat, ends=ends, words=np.array(words))


def load_bank(path: Path) -> Bank:
    """A bank that :meth:`Bank.save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        flat, ends, words = file["flat"], file["ends"], file["words"]
    bank = Bank()
    for word, sound in zip(words.tolist(), np.split(flat, ends[:-1]), strict=True):
        bank.sounds.setdefault(word, []).append((sound / np.float32(32767)).astype(np.float32))
    return bank


def record(
    wanted: dict[str, int],
    variants: tuple[str, ...],
    seed: int,
    accents: tuple[str, ...] = ACCENTS,
    progress: Callable[[int, int], None] = lambda *_: None,
    workers: int | None = None,
    throats: Sequence[Throat] = (),
) -> Bank:
    """A bank with so many recordings of each word, each in a voice of its own."""
    need_espeak()
    rng = np.random.default_rng(seed)
    jobs = [
        (word, random_voice(rng, variants, accents, throats)) for word, count in wanted.items() for _ in range(count)
    ]
    bank = Bank({word: [] for word in wanted})
    with ThreadPoolExecutor(workers or cores()) as pool:
        for done, ((word, _), sound) in enumerate(zip(jobs, pool.map(lambda job: say(*job), jobs), strict=True)):
            bank.sounds[word].append(sound)
            progress(done + 1, len(jobs))
    return bank
