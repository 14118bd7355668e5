"""What a step of the Transformer's training learns from: conversations, drawn by numpy, then laid out as tokens.

Receives clips and what listening is taught with; hands on :class:`Drawn`, which any process may make, and of it, where
the training computes, a :class:`Batch`. Every time a clip is drawn its microphone is mixed anew; told anew as well, it
keeps only its camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_streamer.export.demo_model.compute import tensor
from edge_streamer.export.demo_model.dataset import Clips, Ints, Told, microphone, rewritten, told
from edge_streamer.export.demo_model.listening import Ear, Streams
from edge_streamer.export.demo_model.sequence import Tokens, heard
from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.export.wan_streamer.model import Latents, WanStreamer
from edge_streamer.runtime.evaluation.world.sound import Sound

PREFIX = 0.5
"""Share of batches with a pinned prefix."""
PREFIX_UNITS = (1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Drawn:
    """B clips of U units, and what is new about them."""

    rng: np.random.Generator
    """Goes on with whatever is drawn later."""
    numbers: Ints
    """[B]: which clips."""
    others: Ints
    """[B]: for each another clip of the same identity, or the same."""
    samples: Sound
    """[B, U * 2560]: what the microphone hears."""
    streams: Streams
    """Streams of words, to be heard beside the clips."""
    pinned: tuple[Ints, Ints] | None
    """Clips [B, 1] and units in them [B, P] that lie before each clip; None for no prefix."""
    told: Told | None
    """What is to be known where words are new; None where the clips' own hold."""


def draw(
    ear: Ear, clips: Clips, rng: np.random.Generator, size: int, prefix: bool, told_anew: Config | None, streams: int
) -> Drawn:
    """``size`` clips and so many streams of words; ``prefix``: some behind a pinned prefix; ``told_anew``: with new
    words, whose slots are laid out by this configuration."""
    numbers = rng.integers(0, len(clips.scenes), size)
    scenes = [clips.scenes[n] for n in numbers]
    if told_anew is not None:
        scenes = [rewritten(scene, ear.others, rng) for scene in scenes]
    units = int(rng.choice(PREFIX_UNITS)) if prefix and rng.random() < PREFIX else 0
    samples = [microphone(scene, ear.bank, ear.commands, ear.backdrops, rng) for scene in scenes]
    return Drawn(
        rng, numbers, _same_identity(clips, numbers, rng), np.stack(samples), ear.draw(rng, streams),
        _pinned(clips, numbers, units, rng) if units else None,
        None if told_anew is None else told(scenes, told_anew),
    )  # fmt: skip


def _same_identity(clips: Clips, numbers: Ints, rng: np.random.Generator) -> Ints:
    return np.array([rng.choice(clips.by_identity[clips.scenes[n].identity]) for n in numbers])


def _pinned(clips: Clips, numbers: Ints, units: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """The start of another clip of the same identity for each, or a piece of one."""
    others, size = _same_identity(clips, numbers, rng), len(numbers)
    begin = np.where(rng.random(size) < 0.3, 0, rng.integers(clips.units - units, size=size))
    return others[:, None], begin[:, None] + np.arange(units)


@dataclass
class Batch:
    """Some clips, laid out."""

    rng: np.random.Generator
    clean: Latents
    tokens: Tokens
    other: Tensor
    """Video latents of other clips of the same identities."""
    streams: Streams
    cards: Tensor
    """[B, U]: as Told.cards."""
    ended: Tensor
    """[B, U]: as Told.ended."""
    blinks: Tensor
    """[B, U]: as Clips.blinks. Like the latents and the places, of the clip as it was encoded."""
    places: Tensor
    """[B, U, tokens]: as Clips.places."""


def batch_of(model: WanStreamer, clips: Clips, drawn: Drawn) -> Batch:
    """What was ``drawn`` of ``clips``, and torch's generator set by it."""
    torch.manual_seed(int(drawn.rng.integers(2**31)))
    picked, own = tensor(drawn.numbers), clips.told
    clean = (clips.video[picked], clips.audio[picked])
    pinned = None if drawn.pinned is None else tuple(map(tensor, drawn.pinned))
    names = ("slots", "text", "cards", "ended")
    known = [getattr(own, n)[drawn.numbers] if drawn.told is None else getattr(drawn.told, n) for n in names]
    slots, text, cards, ended = map(tensor, known)
    tokens = Tokens(
        user_video=clips.camera[picked],
        user_audio=heard(model, tensor(drawn.samples)),
        text=text,
        slots=slots,
        past=clean,
        pinned=None if pinned is None else (clips.video[pinned], clips.audio[pinned]),
    )
    other, blinks, places = clips.video[tensor(drawn.others)], clips.blinks[picked], clips.places[picked]
    return Batch(drawn.rng, clean, tokens, other, drawn.streams, cards, ended, blinks, places)
