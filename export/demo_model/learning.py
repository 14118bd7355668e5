"""The Transformer learns: to understand, then to speak and show, then from its own history.

Receives a model with trained codecs, clips and a bank of words; trains the Transformer, the microphone's encoder, the
token table, the head and the solver's ends in place. Stages:

    listen       streams of words, the user's sound alone (listening.py)
    understand   slots from what the user does, on clips of both lengths: what is to be said and when. Every step tells
                 new conversations before the clips' cameras: of the clips' own the model learns by heart who says what
                 when, and then hears little of it (of words spoken into an answer it heeded 6 in 10)
    speak        the voice alone, answer upon answer, from the words in the slots (speaking.py); every third step is one
                 of ``understand``, whose lessons the voice would wipe out
    joint        short clips, slots and latents; the history's latents carry noise, and in some clips the pictures of
                 the history are another clip's: the agent must look at the camera instead of copying its own past;
                 of five steps two are of the voice alone, which the pictures would wipe out, one of ``understand``
    whole        the same on long clips, of four steps one each: recall over the whole window
    rollout      the history is what the model itself would have answered, so that free running stays on its path

A solver of few steps draws the likeliest picture, and a blink is never that: so the noise tells it when to blink. In
training a unit with a blink gets noise whose mean over one token is high, one without gets other noise, in shares that
leave the noise what it was. This is what optimal-transport flow matching (arXiv 2302.00482) does for whole batches.

The network predicts clean latents, from which the velocity follows (``Config.predicts``). Guides stand beside the
losses of words and latents: what was heard and seen, how far an answer is (notes.py), how the agent looks (sight.py).

The loss of the latents is weighted evenly over solver times that few-step solvers visit (1, 3/4, 1/2, 1/4) and a few
between them. Batches depend on (seed, stage, step) alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.batches import Batch, Drawn, batch_of, draw
from edge_streamer.export.demo_model.compute import half
from edge_streamer.export.demo_model.dataset import Clips, place_table
from edge_streamer.export.demo_model.fitting import Losses, Stage, Task, Tell, fit, in_turn
from edge_streamer.export.demo_model.listening import LISTEN, Backdrops, Ear, learn_to_listen
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.sequence import Hidden, Noisy, Tokens, forward
from edge_streamer.export.demo_model.sight import Sight
from edge_streamer.export.demo_model.speaking import SPEAK, Spoken, answers_of, solver_times, voice_task
from edge_streamer.export.demo_model.speech import Bank
from edge_streamer.export.wan_streamer.model import Latents, WanStreamer
from edge_streamer.runtime.evaluation.world.motion import BLINK_CHANCE

UNDERSTAND = Stage("understand", steps=240, rate=2e-3, turn=2e-3)
JOINT = Stage("joint", steps=1500, rate=2e-3, turn=2e-3)
WHOLE = Stage("whole", steps=280, rate=1e-3, turn=1e-3, average=0.98)
ROLLOUT = Stage("rollout", steps=140, rate=5e-4, turn=5e-4, average=0.97)
HISTORY_NOISE = 0.5
"""Largest deviation of the noise on the history's latents; drawn evenly up to it for each clip."""
BLIND = 0.35
"""Share of clips whose history of pictures is that of another clip of the same identity."""
BLINK_TOKEN = 1
"""The token of the picture whose noise says whether to blink: most of the face."""
FLOW = 2.0
"""Weight of the losses of predicted latents."""
REHEARSED = 16
"""Streams of words that every later step listens to as well. Clips hold too few words: without these, other words in
voices never heard were named as commands four to five times as often after `joint` as after `listen`."""
CUTS = 3.0
"""Weight of the slots of units in which an answer is cut."""


@dataclass
class Lesson:
    """What all stages share."""

    model: WanStreamer
    short: Clips
    long: Clips
    bank: Bank
    commands: tuple[str, ...]
    others: tuple[str, ...]
    seed: int
    history_noise: float = HISTORY_NOISE

    def __post_init__(self) -> None:
        backdrops = Backdrops(self.bank, self.others, self.seed)
        assert self.model.config.predicts == "clean", "what these stages fit"
        width, world = self.model.config.transformer.width, self.long.scenes[0].world
        self.notes = Notes(width, len(self.commands), world.table.cards, place_table(world)[-1], self.seed)
        self.sight = Sight(self.long)
        self.ear = Ear(self.model, self.notes, self.bank, self.commands, self.others, backdrops)

    def parts(self) -> nn.ModuleDict:
        """Everything that these stages train."""
        m = self.model
        taught = {"audio": m.user_audio, "core": m.transformer, "solver": m.solver, "tokens": Tables(m)}
        return nn.ModuleDict(taught | {"notes": self.notes})

    @cached_property
    def spoken(self) -> Spoken:
        """All answers of the clips."""
        return answers_of([self.short, self.long])

    def draw(self, clips: Clips, stage: int, step: int, size: int, prefix: bool = False, fresh: bool = False) -> Drawn:
        """The batch of this step; ``fresh``: with words of its own."""
        rng = np.random.default_rng([self.seed, stage, step])
        config = self.model.config if fresh else None
        return draw(self.ear, clips, rng, size, prefix, config, REHEARSED)

    def voice(self, number: int) -> Task[np.random.Generator]:
        """The voice alone; ``number`` tells stages apart."""
        return voice_task(self.model, self.notes, self.spoken, self.history_noise, self.seed, number)

    def words(self, hidden: Hidden, batch: Batch) -> Losses:
        """Losses of slots and notes, and of what ``listen`` taught."""
        notes = self.notes.commands(hidden.middle, batch.ended) | self.notes.cards(hidden.middle, batch.cards)
        again = self.ear.losses(batch.streams)
        return slot_loss(self.model, hidden, batch.tokens.slots, batch.ended > 0) | notes | {"streams": again["heard"]}


class Tables(nn.Module):
    """The token table and the head as a module."""

    def __init__(self, model: WanStreamer) -> None:
        super().__init__()
        assert model.embedding is not None
        assert model.head is not None
        self.embedding, self.head = model.embedding, model.head


def disturb(lesson: Lesson, batch: Batch) -> Latents:
    """The history with noise, a strength per clip, and in some clips another's pictures."""
    size = len(batch.clean[0])
    strength = lesson.history_noise * torch.rand(size, 1, 1, 1)
    video, audio = (x + strength * torch.randn_like(x) for x in batch.clean)
    blind = torch.rand(size, 1, 1, 1) < BLIND
    return torch.where(blind, batch.other, video), audio


def slot_loss(model: WanStreamer, hidden: Hidden, slots: Tensor, ended: Tensor) -> Losses:
    """Cross entropy of all slots. Units in which a command that ``ended`` [B, U] cuts an answer count CUTS times: the
    words that are being said go on by themselves. Silence is nearly all there is, so the first words of answers are
    shown apart, and those that cut."""
    logits = model.logits(hidden.before_slots).float().flatten(0, 2)
    wanted = slots.flatten()
    each = F.cross_entropy(logits, wanted, reduction="none")
    right = (logits.argmax(-1) == wanted).reshape(slots.shape)
    padded = slots[..., 1] == model.config.token_pad
    first = ~padded & torch.cat([torch.zeros_like(padded[:, :1]), padded[:, :-1]], 1)
    speaks = slots[..., 0] == model.config.token_speak
    cuts = ended & torch.cat([torch.zeros_like(speaks[:, :1]), speaks[:, :-1]], 1)
    by_unit = each.reshape(slots.shape).sum(-1)
    share = lambda units: right[units].all(-1).float().mean() if bool(units.any()) else torch.ones(())  # noqa: E731
    return {
        "slots": (by_unit * torch.where(cuts, CUTS, 1.0)).mean() * 3.0,
        "_state": each.reshape(slots.shape)[..., 0].mean().detach(),
        "_first": share(first),
        "_cuts": share(cuts),
    }


def blinking_noise(noise: Tensor, blinks: Tensor) -> Tensor:
    """``noise`` [B, U, tokens, values] of pictures such that its mean over BLINK_TOKEN's values is among the highest
    BLINK_CHANCE where ``blinks`` [B, U] is 1, below where it is 0, as it was where it is -1. Blinks that come by chance
    come with that chance, so the noise of all units stays normal."""
    count = noise.shape[-1]
    size = noise[:, :, BLINK_TOKEN].sum(-1) / count**0.5
    drawn = torch.rand(blinks.shape).clamp(1e-6, 1 - 1e-6)
    share = torch.where(blinks == 1, 1 - BLINK_CHANCE * drawn, (1 - BLINK_CHANCE) * drawn)
    move = torch.where(blinks >= 0, torch.special.ndtri(share.double()).float() - size, 0.0)
    moved = noise.clone()
    moved[:, :, BLINK_TOKEN] += move[..., None] / count**0.5
    return moved


def make_noisy(clean: Latents, blinks: Tensor, rng: np.random.Generator) -> Noisy:
    """Latents on their way from noise."""
    t, dt = solver_times(clean[0].shape[0], clean[0].shape[1], rng)
    noise = (blinking_noise(torch.randn_like(clean[0]), blinks), torch.randn_like(clean[1]))
    video, audio = ((1 - t[..., None]) * z + t[..., None] * e for z, e in zip(clean, noise, strict=True))
    return Noisy((video, audio), t, dt)


def flow_loss(lesson: Lesson, hidden: Hidden, batch: Batch, noisy: Noisy) -> Losses:
    """How far the predicted clean latents are off. A unit with voice counts twice for the sound: silence is easy.

    The velocity's error is this one over t: the last step's result counts as it is heard, and what is known without
    any look at the answer, at t = 1, counts most. Of pictures, which follow from what is seen, the end counts more.
    """
    assert hidden.noisy is not None
    assert hidden.noisy_middle is not None
    video, audio = lesson.model.predict(hidden.noisy, noisy.t, noisy.dt)
    weight = (1.0 + (batch.tokens.slots[..., 0] == lesson.model.config.token_speak).float())[..., None, None]
    late = noisy.t[..., None].rsqrt()
    losses = {
        "video": FLOW * (late * (video.float() - batch.clean[0])).pow(2).mean(),
        "looks": FLOW * lesson.sight.loss(late * (video - batch.clean[0])),
        "audio": FLOW * (weight * (audio.float() - batch.clean[1]).pow(2)).mean() / weight.mean(),
    }
    picture = batch.places[..., -1:].expand(-1, -1, video.shape[2])  # where the unit's last frame is
    return losses | lesson.notes.places(hidden.noisy_middle, torch.cat([picture, batch.places], -1))


@torch.no_grad()
def answers(model: WanStreamer, tokens: Tokens, steps: int) -> Latents:
    """What the model would answer in every unit, given ``tokens``: latents from noise in Euler steps."""
    latents = (torch.randn_like(tokens.past[0]), torch.randn_like(tokens.past[1]))
    size, units = tokens.slots.shape[:2]
    dt = torch.full((size, units, 1), 1.0 / steps)
    for i in range(steps):
        t = torch.full((size, units, 1), 1.0 - i / steps)
        hidden = forward(model, tokens, Noisy(latents, t, dt)).noisy
        assert hidden is not None
        share, (video, audio) = 1.0 / (steps - i), model.predict(hidden, t, dt)
        latents = (torch.lerp(latents[0], video.float(), share), torch.lerp(latents[1], audio.float(), share))
    return latents


def own_history(lesson: Lesson, batch: Batch) -> Latents:
    """The history as the model itself would have made it: answers upon answers, two rounds, in most units.

    A round answers every unit at once from the history of the round before, so that after two rounds a unit's
    history holds errors of errors, at the cost of a few passes instead of one pass per unit.
    """
    past = disturb(lesson, batch)
    for _ in range(int(batch.rng.integers(1, 3))):
        batch.tokens.past = past
        made = answers(lesson.model, batch.tokens, steps=2)
        kept = (torch.rand(made[0].shape[:2]) < 0.15).float()[..., None, None]  # the true answer, here and there
        past = tuple(kept * z + (1 - kept) * m for z, m in zip(batch.clean, made, strict=True))  # type: ignore[assignment]
    return past


def listen(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = LISTEN) -> None:
    """Which command has ended."""
    learn_to_listen(lesson.ear, lesson.seed, folder, tell, stage)


def understood(lesson: Lesson, number: int) -> Task[tuple[int, Any]]:
    """Slots and notes, without the agent's past."""
    short, long = _understood(lesson, lesson.short, number, 24), _understood(lesson, lesson.long, 100 + number, 12)
    return in_turn(short, short, long)


def _understood(lesson: Lesson, clips: Clips, number: int, size: int) -> Task[Drawn]:
    def losses(made: Drawn) -> Losses:
        with half():
            batch = batch_of(lesson.model, clips, made)
            return lesson.words(forward(lesson.model, batch.tokens, None), batch)

    return Task(lambda step: lesson.draw(clips, number, step, size, fresh=True), losses)


def understand(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = UNDERSTAND) -> None:
    """Slots only."""
    fit(stage, lesson.parts(), understood(lesson, 5), folder, tell)


def converse(lesson: Lesson, clips: Clips, size: int, own: bool, number: int) -> Task[Drawn]:
    """Slots and latents on ``clips``; ``own``: with the model's own history."""

    def losses(made: Drawn) -> Losses:
        with half():
            batch = batch_of(lesson.model, clips, made)
            batch.tokens.past = own_history(lesson, batch) if own else disturb(lesson, batch)
            noisy = make_noisy(batch.clean, batch.blinks, batch.rng)
            hidden = forward(lesson.model, batch.tokens, noisy)
            return lesson.words(hidden, batch) | flow_loss(lesson, hidden, batch, noisy)

    return Task(lambda step: lesson.draw(clips, number, step, size, prefix=True), losses)


def speak(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = SPEAK) -> None:
    """The voice, and now and then words."""
    voice, words = lesson.voice(11), understood(lesson, 12)
    fit(stage, lesson.parts(), in_turn(voice, voice, words), folder, tell)


def joint(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = JOINT) -> None:
    """Slots and latents on short clips, the voice alone, and words."""
    voice, words, talk = lesson.voice(13), understood(lesson, 14), converse(lesson, lesson.short, 12, False, 6)
    fit(stage, lesson.parts(), in_turn(talk, voice, talk, words, voice), folder, tell)


def whole(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = WHOLE) -> None:
    """The same on long clips."""
    voice, words, talk = lesson.voice(16), understood(lesson, 15), converse(lesson, lesson.long, 6, False, 7)
    fit(stage, lesson.parts(), in_turn(talk, voice, talk, words), folder, tell)


def rollout(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = ROLLOUT) -> None:
    """As ``whole``, from the model's own history."""
    fit(stage, lesson.parts(), converse(lesson, lesson.long, 6, True, 8), folder, tell)


Teach = Callable[[Lesson, Path, Tell, Stage], None]


def stages(with_rollout: bool) -> list[tuple[str, Teach, Stage]]:
    """In order."""
    taught: list[tuple[str, Teach, Stage]] = [
        ("listen", listen, LISTEN),
        ("understand", understand, UNDERSTAND),
        ("speak", speak, SPEAK),
        ("joint", joint, JOINT),
        ("whole", whole, WHOLE),
        ("rollout", rollout, ROLLOUT),
    ]
    return taught if with_rollout else taught[:-1]
