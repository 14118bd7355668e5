"""The Transformer learns to speak by heart: the voice of every answer, from its words and what was said just before.

Receives a model with a trained codec and encoded clips; hands on the loss of each step. Rows hold the sound's tokens,
the start token and the slots: a step hears six times as many answers as one of the whole conversation. The voice is
what takes longest to learn: every answer in every identity at every place inside a unit is a sequence of its own. Who
speaks is told by a pinned prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_streamer.export.demo_model.compute import half, tensor
from edge_streamer.export.demo_model.dataset import Clips, Ints
from edge_streamer.export.demo_model.fitting import Losses, Stage, Task
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.sequence import speak
from edge_streamer.export.wan_streamer.model import Latents, WanStreamer
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES
from edge_streamer.runtime.evaluation.world.script import UNIT

SPEAK = Stage("speak", steps=900, rate=2e-3, turn=3e-3)
ANSWERS, UNITS = 64, 12
"""Of a batch; units of each, from the one before the answer on."""
TIMES = ((1.0, 1.0), (1.0, 0.5), (1.0, 0.25), (0.5, 0.5), (0.5, 0.25), (0.75, 0.25), (0.25, 0.25))
"""(t, dt) that solvers of 1, 2 and 4 steps visit."""
BETWEEN = 0.15
"""Share of solver times drawn from anywhere instead."""


def solver_times(size: int, units: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """t and dt, each [size, units, 1]."""
    pairs = np.array(TIMES)[rng.integers(len(TIMES), size=(size, units))]
    free = rng.random((size, units)) < BETWEEN
    pairs[free, 0] = rng.uniform(0.1, 1.0, int(free.sum()))
    pairs[free, 1] = np.minimum(pairs[free, 1], pairs[free, 0])
    t, dt = (tensor(pairs[..., i : i + 1].astype(np.float32)) for i in range(2))
    return t, dt


@dataclass
class Spoken:
    """A answers that nobody interrupts."""

    audio: Tensor
    """[A, UNITS, tokens, values]"""
    slots: Tensor
    """[A, UNITS, S]"""
    places: Tensor
    """[A, UNITS, tokens]: as Clips.places."""
    identity: Ints
    """[A]"""
    seen: tuple[Tensor, Tensor]
    """Units of video and audio that show who speaks, [identities, N, tokens, values] each."""


def answers_of(pools: Sequence[Clips]) -> Spoken:
    """All answers in ``pools`` that are spoken to their end."""
    audio, slots, places, identity = [], [], [], []
    for clips in pools:
        all_slots = tensor(clips.told.slots)
        for number, scene in enumerate(clips.scenes):
            for answer in scene.intent.answers:
                first = answer.start // UNIT - 1
                if not answer.cut and first >= 0 and first + UNITS <= clips.units:
                    audio.append(clips.audio[number, first : first + UNITS])
                    slots.append(all_slots[number, first : first + UNITS])
                    places.append(clips.places[number, first : first + UNITS])
                    identity.append(scene.identity)
    sound, said, where = (torch.stack(part) for part in (audio, slots, places))
    return Spoken(sound, said, where, np.array(identity), _portraits(pools))


def _portraits(pools: Sequence[Clips]) -> Latents:
    """Equally many units of every identity."""
    video, audio = [], []
    for identity in range(IDENTITIES):
        picked = [(clips, tensor(clips.by_identity[identity])) for clips in pools]
        video.append(torch.cat([clips.video[numbers].flatten(0, 1) for clips, numbers in picked]))
        audio.append(torch.cat([clips.audio[numbers].flatten(0, 1) for clips, numbers in picked]))
    shortest = min(len(units) for units in video)
    return torch.stack([v[:shortest] for v in video]), torch.stack([a[:shortest] for a in audio])


def voice_task(
    model: WanStreamer, notes: Notes, spoken: Spoken, history_noise: float, seed: int, stage: int
) -> Task[np.random.Generator]:
    """See the module. ``seed`` and ``stage`` say which answers are drawn."""

    def losses(rng: np.random.Generator) -> Losses:
        torch.manual_seed(int(rng.integers(2**31)))
        numbers = rng.integers(0, len(spoken.identity), ANSWERS)
        clean, slots, places = (x[tensor(numbers)] for x in (spoken.audio, spoken.slots, spoken.places))
        who = tensor(spoken.identity[numbers])[:, None]
        units = tensor(rng.integers(0, spoken.seen[0].shape[1], (ANSWERS, 2)))
        t, dt = solver_times(ANSWERS, UNITS, rng)
        noise, at = torch.randn_like(clean), t[..., None]
        past = clean + history_noise * torch.rand(ANSWERS, 1, 1, 1) * torch.randn_like(clean)
        with half():
            pinned = (spoken.seen[0][who, units], spoken.seen[1][who, units])
            came, middle = speak(model, slots, past, pinned, (1 - at) * clean + at * noise, t, dt)
            where = notes.places(middle, places)
        error = (came.float() - clean).pow(2)
        return {"voice": error.mean(), "_from_noise": error[(t == 1.0).squeeze(-1)].mean().detach()} | where

    return Task(lambda step: np.random.default_rng([seed, stage, step]), losses)
