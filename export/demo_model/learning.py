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

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.demo_model.dataset import Clips, Ints, microphone, place_table
from edge_streamer.export.demo_model.fitting import Losses, Stage, Tell, fit
from edge_streamer.export.demo_model.listening import LISTEN, Backdrops, Ear, learn_to_listen
from edge_streamer.export.demo_model.notes import Notes
from edge_streamer.export.demo_model.sequence import Hidden, Noisy, Tokens, forward, heard
from edge_streamer.export.demo_model.sight import Sight
from edge_streamer.export.demo_model.speaking import SPEAK, Spoken, answers_of, solver_times, voice_losses
from edge_streamer.export.demo_model.speech import Bank
from edge_streamer.export.model import Latents, WanStreamer
from edge_streamer.runtime.scenes.motion import BLINK_CHANCE

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
PREFIX = 0.5
"""Share of batches with a pinned prefix."""
PREFIX_UNITS = (1, 2, 3, 4, 5, 6)


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

    def voice(self, number: int) -> Callable[[int], Losses]:
        """Losses of the voice alone; ``number`` tells stages apart."""
        return voice_losses(self.model, self.notes, self.spoken, self.history_noise, self.seed, number)

    def words(self, hidden: Hidden, batch: Batch) -> Losses:
        """Losses of slots and notes, and of what ``listen`` taught."""
        notes = self.notes.commands(hidden.middle, batch.ended) | self.notes.cards(hidden.middle, batch.cards)
        again = self.ear.losses(batch.rng, REHEARSED)
        return slot_loss(self.model, hidden, batch.tokens.slots, batch.ended > 0) | notes | {"streams": again["heard"]}


class Tables(nn.Module):
    """The token table and the head as a module."""

    def __init__(self, model: WanStreamer) -> None:
        super().__init__()
        assert model.embedding is not None
        assert model.head is not None
        self.embedding, self.head = model.embedding, model.head


@dataclass
class Batch:
    """Some clips."""

    numbers: Ints
    rng: np.random.Generator
    clean: Latents
    tokens: Tokens
    other: Tensor
    """Video latents of other clips of the same identities."""
    blinks: Tensor
    """[B, U]: 1 for a blink, 0 for none, -1 where it is not left to chance."""
    cards: Tensor
    """[B, U]: as Clips.cards."""
    ended: Tensor
    """[B, U]: as Clips.ended."""
    places: Tensor
    """[B, U, tokens]: as Clips.places."""


def draw(lesson: Lesson, clips: Clips, stage: int, step: int, size: int, prefix: bool = True) -> Batch:
    """The batch of this step."""
    rng = np.random.default_rng([lesson.seed, stage, step])
    torch.manual_seed(int(rng.integers(2**31)))
    return batch_of(lesson, clips, rng.integers(0, len(clips.scenes), size), rng, prefix)


def draw_words(lesson: Lesson, clips: Clips, stage: int, step: int, size: int) -> Batch:
    """The batch of this step, with words of its own; of the agent's part only the slots hold."""
    rng = np.random.default_rng([lesson.seed, stage, step])
    torch.manual_seed(int(rng.integers(2**31)))
    numbers = rng.integers(0, len(clips.scenes), size)
    some = clips.rewritten(numbers, lesson.others, lesson.model.config, rng)
    return batch_of(lesson, some, np.arange(size), rng, prefix=False)


def batch_of(lesson: Lesson, clips: Clips, numbers: Ints, rng: np.random.Generator, prefix: bool) -> Batch:
    """Clips ``numbers``, newly heard."""
    pinned_units = int(rng.choice(PREFIX_UNITS)) if prefix and rng.random() < PREFIX else 0
    samples = [microphone(clips.scenes[n], lesson.bank, lesson.commands, lesson.ear.backdrops, rng) for n in numbers]
    picked = torch.from_numpy(numbers)
    clean = (clips.video[picked], clips.audio[picked])
    others = np.array([rng.choice(clips.by_identity[clips.scenes[n].identity]) for n in numbers])
    return Batch(numbers, rng, clean, Tokens(
        user_video=clips.camera[picked],
        user_audio=heard(lesson.model, torch.from_numpy(np.stack(samples))),
        text=clips.text[picked],
        slots=clips.slots[picked],
        past=clean,
        pinned=_pinned(clips, numbers, pinned_units, rng) if pinned_units else None,
    ), clips.video[torch.from_numpy(others)],
        *(part[picked] for part in (clips.blinks, clips.cards, clips.ended, clips.places)),
    )  # fmt: skip


def _pinned(clips: Clips, numbers: Ints, units: int, rng: np.random.Generator) -> Latents:
    """A prefix for each clip: the start of another clip of the same identity, or a piece of one."""
    video, audio = [], []
    for number in numbers:
        other = int(rng.choice(clips.by_identity[clips.scenes[number].identity]))
        last = clips.slots.shape[1] - units
        begin = 0 if rng.random() < 0.3 else int(rng.integers(last))
        video.append(clips.video[other, begin : begin + units])
        audio.append(clips.audio[other, begin : begin + units])
    return torch.stack(video), torch.stack(audio)


def disturb(lesson: Lesson, batch: Batch) -> Latents:
    """The history with noise, a strength per clip, and in some clips another's pictures."""
    size = len(batch.numbers)
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


def understood(lesson: Lesson, number: int) -> Callable[[int], Losses]:
    """Losses of slots and notes, without the agent's past."""

    def losses(step: int) -> Losses:
        with torch.autocast("cpu", torch.bfloat16):
            clips, size = (lesson.long, 12) if step % 3 == 2 else (lesson.short, 24)
            batch = draw_words(lesson, clips, number, step, size)
            return lesson.words(forward(lesson.model, batch.tokens, None), batch)

    return losses


def understand(lesson: Lesson, folder: Path, tell: Tell, stage: Stage = UNDERSTAND) -> None:
    """Slots only."""
    fit(stage, lesson.parts(), understood(lesson, 5), folder, tell)


def converse(lesson: Lesson, clips: Clips, size: int, own: bool, number: int) -> Callable[[int], Losses]:
    """Losses of slots and latents on ``clips``; ``own``: with the model's own history."""

    def losses(step: int) -> Losses:
        with torch.autocast("cpu", torch.bfloat16):
            batch = draw(lesson, clips, number, step, size)
            batch.tokens.past = own_history(lesson, batch) if own else disturb(lesson, batch)
            noisy = make_noisy(batch.clean, batch.blinks, batch.rng)
            hidden = forward(lesson.model, batch.tokens, noisy)
            return lesson.words(hidden, batch) | flow_loss(lesson, hidden, batch, noisy)

    return losses


def in_turn(*lessons: Callable[[int], Losses]) -> Callable[[int], Losses]:
    """One after the other; each counts its own steps."""
    taken = {lesson: lessons.count(lesson) for lesson in lessons}

    def losses(step: int) -> Losses:
        rounds, place = divmod(step, len(lessons))
        lesson = lessons[place]
        return lesson(rounds * taken[lesson] + lessons[:place].count(lesson))

    return losses


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
