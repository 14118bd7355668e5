"""The clips that the Transformer learns from.

Receives trained codecs and a bank of words; hands on :class:`Clips`: per clip the agent's latents, the camera's tokens
and what the slots say, computed once, while the microphone is mixed anew every time a clip is drawn: another voice,
room and noise for the same conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_streamer.export.demo_model.clips import Writer
from edge_streamer.export.demo_model.compute import drawn, half, tensor
from edge_streamer.export.demo_model.listening import SPLICED, Backdrops
from edge_streamer.export.demo_model.speech import Bank, varied
from edge_streamer.export.layers import Tails, start_state
from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES
from edge_streamer.runtime.evaluation.world.backgrounds import TRAIN_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.camera import random_view
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import FRAME, GRID, UNIT, Intent, start_after, typed_text
from edge_streamer.runtime.evaluation.world.sound import Sound, random_room

Ints = NDArray[np.int64]
REMEMBERED = 58
"""Units after a card's first one in which it is to be remembered: 9.3 s."""
TRAIL = 3
"""Tokens after a phrase's last one that still belong to it: so the last unit knows where it is."""
SPOKEN_INTO = 0.9
"""Share of long answers that somebody speaks into, in clips that are rewritten."""
FACE = 0.92
"""Share of clips in which somebody sits before the camera."""


@dataclass
class Told:
    """What is to be known of N clips of U units, from their scenes alone."""

    slots: Ints
    """[N, U, S]: what the agent's words are."""
    text: Ints
    """[N, U, places]: what is typed."""
    cards: Ints
    """[N, U]: the card that an answer from this unit on would name, 0 for none, -1 where nobody should be asked: one is
    just coming into sight, or was so long ago that it leaves the window."""
    ended: Ints
    """[N, U]: 1 and up for the command whose answer would start in the unit, in the order of ``table.words``; 0 for
    none."""


def told(scenes: Sequence[Scene], config: Config) -> Told:
    """Of ``scenes``, all of one length."""
    slots = np.stack([slot_tokens(s.intent, config) for s in scenes])
    text = np.stack([text_tokens(s, config) for s in scenes])
    return Told(slots, text, np.stack([_cards(s) for s in scenes]), np.stack([_ended(s) for s in scenes]))


def _cards(scene: Scene) -> Ints:
    marks = np.zeros(scene.script.units, np.int64)
    for shown in sorted(scene.script.shown, key=lambda s: s.start):
        first = shown.start * FRAME // UNIT
        marks[first:] = shown.card
        marks[first : first + 3] = marks[first + REMEMBERED :] = -1
    return marks


def _ended(scene: Scene) -> Ints:
    marks, words = np.zeros(scene.script.units, np.int64), list(scene.world.table.words)
    for end, word in scene.script.commands():
        if start_after(end) < len(marks) * UNIT:
            marks[start_after(end) // UNIT] = 1 + words.index(word)
    return marks


@dataclass
class Clips:
    """N clips of U units."""

    scenes: list[Scene]
    video: Tensor
    """[N, U, tokens, values]: the agent's picture."""
    audio: Tensor
    """[N, U, tokens, values]: the agent's sound."""
    camera: Tensor
    """[N, U, tokens, width]: what the user's encoder made of the frames."""
    told: Told

    @property
    def units(self) -> int:
        return self.told.slots.shape[1]

    @cached_property
    def blinks(self) -> Tensor:
        """[N, U]: 1 for a blink, 0 for none, -1 where it is not left to chance: around an answer's start, and right
        after a blink (`motion.blinks`)."""
        found = []
        for scene in self.scenes:
            shut = (scene.looks.eyes.reshape(-1, 4)[:, 1] < 0.5).astype(np.int8)
            marks = shut.copy()
            marks[1:][shut[:-1] == 1] = -1
            for turn in scene.intent.turns:
                marks[max(turn - 1, 0) : turn + 2] = -1
            found.append(marks)
        return tensor(np.stack(found))

    @cached_property
    def places(self) -> Tensor:
        """[N, U, tokens]: which place of which phrase each token of the sound is (:func:`place_table`), 0 for
        silence."""
        table, tokens = place_table(self.scenes[0].world), self.audio.shape[2]
        found = np.zeros((len(self.scenes), self.units * tokens), np.int64)
        for marks, scene in zip(found, self.scenes, strict=True):
            for answer in scene.intent.answers:
                begin, end = answer.start // GRID, -(-answer.end // GRID) + (0 if answer.cut else TRAIL)
                end = min(end, len(marks))
                marks[begin:end] = table[answer.phrase] + np.arange(end - begin)
        return tensor(found.reshape(len(found), -1, tokens))

    @cached_property
    def by_identity(self) -> list[Ints]:
        """The numbers of the clips in which the agent has each identity."""
        has = np.array([scene.identity for scene in self.scenes])
        return [np.flatnonzero(has == identity) for identity in range(IDENTITIES)]


def rewritten(scene: Scene, others: tuple[str, ...], rng: np.random.Generator) -> Scene:
    """Other words at other times before the same camera, more of them spoken into the agent's answers; whatever was
    encoded of the agent fits no more."""
    lengths = [len(phrase) for phrase in scene.world.phrases[scene.identity]]
    writer = Writer(rng, scene.world.table, others, lengths, scene.script.units, scene.script.shown, SPOKEN_INTO)
    return replace(scene, script=writer.write())


def place_table(world: World) -> list[int]:
    """The first place of each phrase, then how many there are in all: a phrase has one every 40 ms, in the slowest
    voice, and place 0 is silence."""
    longest = [max(len(phrase) for phrase in said) for said in zip(*world.phrases, strict=True)]
    return [1, *(1 + int(n) for n in np.cumsum([-(-samples // GRID) + TRAIL for samples in longest]))]


def random_scene(
    seed: int, number: int, world: World, others: tuple[str, ...], units: int, backgrounds: range = TRAIN_BACKGROUNDS
) -> Scene:
    """Training scene ``number``."""
    rng = np.random.default_rng([seed, 4, number])
    identity = int(rng.integers(IDENTITIES))
    script = Writer(rng, world.table, others, [len(p) for p in world.phrases[identity]], units).write()
    face = bool(rng.random() < FACE)
    return Scene(
        world, script, identity, random_view(rng, backgrounds), random_room(rng), int(rng.integers(2**31)), face
    )


def slot_tokens(intent: Intent, config: Config) -> Ints:
    """[U, S]: the state slot, then three bytes or padding."""
    slots = np.full((len(intent.text), 1 + config.text_slots), config.token_pad, np.int64)
    slots[:, 0] = np.where(intent.speaking, config.token_speak, config.token_listen)
    for unit, text in enumerate(intent.text):
        slots[unit, 1 : 1 + len(text)] = list(text)
    return slots


def text_tokens(scene: Scene, config: Config) -> Ints:
    """[U, places]: typed bytes, as many a unit as there are places."""
    text = np.full((scene.script.units, config.user_text), config.token_pad, np.int64)
    for unit, words in typed_text(scene.script).items():
        for at, byte in enumerate(words.encode()):
            row, place = unit + at // config.user_text, at % config.user_text
            if row < len(text):
                text[row, place] = byte
    return text


Frames = NDArray[np.uint8]


@torch.no_grad()
def encode_clip(model: WanStreamer, agent: Frames, camera: Frames, samples: Sound) -> tuple[Tensor, Tensor, Tensor]:
    """(video, audio, camera) of one clip, each [U, tokens, values or width], from the agent's frames, the camera's and
    the agent's samples."""
    with half():
        video = model.video_vae.encode(tensor(agent)[None], Tails(start_state(model.video_vae)))
        seen = model.user_video(tensor(camera)[None], Tails(start_state(model.user_video)))
    audio = model.audio_vae.encode(tensor(samples)[None], Tails(start_state(model.audio_vae)))
    audio = audio.reshape(1, len(samples) // UNIT, -1, audio.shape[-1])
    return video[0].float(), audio[0].float(), seen[0].float()


def make_clips(
    model: WanStreamer, scenes: Sequence[Scene], tell: Callable[[int, int], None] = lambda *_: None
) -> Clips:
    """Encode ``scenes``, all of one length."""
    draw = lambda n: (scenes[n].avatar(), scenes[n].camera(), scenes[n].intent.samples)  # noqa: E731
    made = []
    for media in drawn(draw, range(len(scenes))):
        made.append(encode_clip(model, *media))
        tell(len(made), len(scenes))
    video, audio, camera = (torch.stack(part) for part in zip(*made, strict=True))
    return Clips(list(scenes), video, audio, camera, told(scenes, model.config))


def microphone(
    scene: Scene, bank: Bank, commands: tuple[str, ...], backdrops: Backdrops, rng: np.random.Generator
) -> Sound:
    """``scene`` as heard in a room and voices of its own; a conversation has one speaker mostly."""
    room = random_room(rng)
    fresh = Scene(scene.world, scene.script, scene.identity, scene.view, room, int(rng.integers(2**31)))
    noise = lambda kind, count: backdrops.cut(kind, count, rng)  # noqa: E731
    return fresh.microphone(partial(_utter, bank, commands, rng), agent=scene.intent.samples, backdrop=noise)


def _utter(bank: Bank, commands: tuple[str, ...], rng: np.random.Generator, word: str, kind: str) -> Sound:
    """A recording of ``word``; in place of a word that is to be ignored now and then two halves of commands."""
    nearly = kind == "other" and rng.random() < SPLICED
    return varied(bank.splice(commands, rng) if nearly else bank.draw(word, rng), rng)
