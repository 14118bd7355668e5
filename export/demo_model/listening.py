"""The Transformer learns to listen first: which command has just ended, from streams of words alone.

Receives a model and a bank of words; trains the microphone's encoder, the Transformer and the tokens it uses in place.
Rows hold the user's sound and the start token only, and words follow each other closely: a step sees ten times as many
commands as one of the whole conversation, at a third of its cost: only the layers up to the probe that names the word
(notes.py) are run. The unit in which it must name it is the one in which an answer would start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edge_streamer.export.demo_model.compute import half, tensor
from edge_streamer.export.demo_model.fitting import Losses, Stage, Task, Tell, fit
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.sequence import heard, listen
from edge_streamer.export.demo_model.speech import Bank, varied
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.runtime.evaluation.world.script import RATE, UNIT, start_after
from edge_streamer.runtime.evaluation.world.sound import (
    NOISES,
    Sound,
    background,
    colour,
    level,
    make_noise,
    place_before,
    random_room,
    reverberate,
)

LISTEN = Stage("listen", steps=1500, rate=2e-3, turn=2e-3)
STREAMS, UNITS = 64, 24
"""Of a batch."""
KNOWN = 0.6
"""Share of commands; with a half of them, voices that were never heard were mostly taken for unknown words."""
SPLICED = 0.15
"""Share of the words to be ignored that are two halves of commands."""
POOL = 1 << 20
"""Samples of each kind of noise that are made once and cut anew for every use."""


Streams = tuple[Sound, NDArray[np.int64]]
"""Samples [N, UNITS * 2560], and the command that ends in each unit [N, UNITS]."""


@dataclass
class Backdrops:
    """Noise of every kind, cut from long stretches: making it anew for each clip takes longer than learning from it."""

    bank: Bank
    others: tuple[str, ...]
    seed: int
    pools: dict[str, Sound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, kind in enumerate(NOISES):
            fresh = np.random.default_rng([self.seed, 10, number])
            self.pools[kind] = background(kind, POOL, fresh, partial(self._murmur, fresh))

    def _murmur(self, rng: np.random.Generator) -> Sound:
        return self.bank.draw(str(rng.choice(self.others)), rng)

    def cut(self, kind: str, count: int, rng: np.random.Generator) -> Sound:
        """[count] samples of ``kind`` from a random place."""
        begin = int(rng.integers(POOL - count))
        return self.pools[kind][begin : begin + count]


def word_stream(
    rng: np.random.Generator, bank: Bank, commands: tuple[str, ...], others: tuple[str, ...], backdrops: Backdrops
) -> tuple[Sound, NDArray[np.int64]]:
    """Samples [UNITS * 2560] and per unit the command (1, 2, ...) whose answer would start there, 0 for none."""
    samples, labels = np.zeros(UNITS * UNIT, np.float32), np.zeros(UNITS, np.int64)
    room = random_room(rng)
    at = int(rng.uniform(-0.5, 0.6) * RATE)  # where a word begins
    while at < len(samples):
        known = rng.random() < KNOWN
        number = int(rng.integers(len(commands)))
        if known:
            sound = bank.draw(commands[number], rng)
        elif rng.random() < SPLICED:
            sound = bank.splice(commands, rng)
        else:
            sound = bank.draw(str(rng.choice(others)), rng)
        sound = varied(sound, rng)
        end = at + len(sound)
        place_before(samples, level(sound) * np.float32(10 ** rng.uniform(-0.3, 0.15)), end)
        unit = start_after(end) // UNIT
        if known and at >= 0 and unit < UNITS:
            labels[unit] = 1 + number
        at = end + int(rng.uniform(0.25, 0.9) * RATE)
    if room.reverb_seconds and rng.random() < 0.5:
        samples = reverberate(samples, room.reverb_seconds, rng)
    samples += make_noise(room, len(samples), rng, lambda kind, count: backdrops.cut(kind, count, rng))
    heard = colour(samples, room.tilt) * np.float32(room.gain)
    return np.asarray(np.clip(heard, -1.0, 1.0), np.float32), labels


@dataclass(frozen=True)
class Ear:
    """What listening is taught with."""

    model: WanStreamer
    notes: Notes
    bank: Bank
    commands: tuple[str, ...]
    others: tuple[str, ...]
    backdrops: Backdrops

    def draw(self, rng: np.random.Generator, streams: int) -> Streams:
        """So many fresh streams."""
        made = [word_stream(rng, self.bank, self.commands, self.others, self.backdrops) for _ in range(streams)]
        samples, labels = zip(*made, strict=True)
        return np.stack(samples), np.stack(labels)

    def losses(self, streams: Streams) -> Losses:
        """Of streams that were drawn."""
        samples, labels = (tensor(part) for part in streams)
        with half():
            return self.notes.commands(listen(self.model, heard(self.model, samples)), labels)


def learn_to_listen(ear: Ear, seed: int, folder: Path, tell: Tell, stage: Stage = LISTEN) -> None:
    """See the module."""
    model = ear.model
    assert model.embedding is not None
    embedding = nn.ParameterDict({"tokens": model.embedding})
    parts = {"audio": model.user_audio, "core": model.transformer, "notes": ear.notes, "table": embedding}
    streams = lambda step: ear.draw(np.random.default_rng([seed, 4, step, 7]), STREAMS)  # noqa: E731
    fit(stage, nn.ModuleDict(parts), Task(streams, ear.losses), folder, tell)
