"""The recordings that ship with the package: held-out voices for the evaluation, and the agent's own phrases.

Receives ``runtime/embedded/scenes/held-out.npz``, which ``export/demo_model/assets.py`` makes; hands on the
:class:`World` of all scenes and :class:`HeldOut`, the users' words in voices that training never hears. Words lie as
8-bit mu-law, whose noise is some 38 dB below the speech, for half the bytes.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.scene import World
from edge_streamer.runtime.evaluation.world.sound import Sound
from edge_streamer.runtime.evaluation.world.table import SHIPPED, read_table

HELD_OUT = SHIPPED.with_name("held-out.npz")
MU = 255.0

Codes = NDArray[np.uint8]


def to_mu_law(sound: Sound) -> Codes:
    """Samples in -1..1 as 8-bit codes, [n]."""
    squeezed = np.sign(sound) * np.log1p(MU * np.abs(np.clip(sound, -1, 1))) / np.log1p(MU)
    return np.asarray(np.rint((squeezed + 1) * 127.5), np.uint8)


def from_mu_law(codes: Codes) -> Sound:
    """8-bit codes as samples in -1..1, [n]."""
    squeezed = codes.astype(np.float32) / 127.5 - 1
    return np.asarray(np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log1p(MU)) / MU, np.float32)


@dataclass(frozen=True)
class Recorded:
    """One word said once."""

    sound: Sound
    voice: str
    """espeak's name: accent+variant."""


@dataclass(frozen=True)
class HeldOut:
    """Recordings by word; those of the table's commands and of words that are none."""

    by_word: dict[str, list[Recorded]]
    unknown: tuple[str, ...]
    """The words that are no commands."""

    def draw(self, word: str, rng: np.random.Generator) -> Sound:
        """One of the recordings of ``word``; its end is the word's end. InputError where there is none."""
        recorded = self.by_word.get(word)
        if recorded is None:
            raise InputError(f"there is no recording of {word!r}; make the assets again with this table of commands")
        return recorded[int(rng.integers(len(recorded)))].sound

    @property
    def voices(self) -> frozenset[str]:
        """All voices' names."""
        return frozenset(one.voice for group in self.by_word.values() for one in group)

    @property
    def longest(self) -> int:
        """Samples of the longest recording."""
        return max(len(one.sound) for group in self.by_word.values() for one in group)


@cache
def load_assets(path: Path = HELD_OUT, commands: Path = SHIPPED) -> tuple[World, HeldOut]:
    """The world and the held-out recordings. InputError where the file is missing, damaged or of another table."""
    table = read_table(commands)
    try:
        with np.load(path, allow_pickle=False) as file:
            words, voices, phrases = (file[name].tolist() for name in ("words", "voices", "phrases"))
            sounds = np.split(file["flat"], file["ends"][:-1])
            spoken = np.split(file["phrase_flat"].astype(np.float32) / 32767, file["phrase_ends"][:-1])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: the scenes' recordings cannot be read ({error}); install the package again"
        ) from None
    if phrases != list(table.phrases):
        raise InputError(f"{path} holds the phrases of another table than {commands}; make it again")
    by_word: dict[str, list[Recorded]] = {}
    for word, voice, sound in zip(words, voices, sounds, strict=True):
        by_word.setdefault(word, []).append(Recorded(from_mu_law(sound), voice))
    count = len(phrases)
    identities = [[s.astype(np.float32) for s in spoken[n : n + count]] for n in range(0, len(spoken), count)]
    return World(table, identities), HeldOut(by_word, tuple(w for w in by_word if w not in table.words))


def load_world(path: Path = HELD_OUT, commands: Path = SHIPPED) -> World:
    """What all scenes share: the table, and the agent's phrases per identity."""
    return load_assets(path, commands)[0]
