"""A whole scene: what the user does, and what the agent should do, as sound, pictures and words.

Receives a script, a voice, a room, a camera setting and a seed; hands on :class:`Scene`: samples and frames to feed,
and the agent's intended answer to hold a model against. Nothing is drawn before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.avatar import Looks, draw_avatar
from edge_streamer.runtime.evaluation.world.camera import View, draw_camera
from edge_streamer.runtime.evaluation.world.motion import blinks, breathing, face_path
from edge_streamer.runtime.evaluation.world.script import Intent, Script, direct
from edge_streamer.runtime.evaluation.world.sound import Room, Sound, hear
from edge_streamer.runtime.evaluation.world.table import Table

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class World:
    """What all scenes share."""

    table: Table
    phrases: list[list[Sound]]
    """Per identity: the recordings of ``table.phrases``."""


@dataclass
class Scene:
    """One scene. Equal arguments give equal scenes."""

    world: World
    script: Script
    identity: int
    view: View
    room: Room
    seed: int
    face: bool = True
    """Whether somebody sits before the camera."""

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.script.units * 4

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, part])

    @cached_property
    def intent(self) -> Intent:
        """What the agent should do."""
        return direct(self.script, self.world.table, self.world.phrases[self.identity])

    @cached_property
    def path(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where the user's face is, x and y [frames]."""
        return face_path(self._rng(0), self.frames)

    @cached_property
    def cards(self) -> NDArray[np.int64]:
        """The card before the camera, [frames]; 0 for none."""
        cards = np.zeros(self.frames, np.int64)
        for shown in self.script.shown:
            cards[shown.start : shown.end] = shown.card
        return cards

    def camera(self) -> Pictures:
        """What the camera sees, [frames, 64, 96, 3]."""
        x, y = self.path
        return draw_camera(self.view, x, y, self.cards, np.full(self.frames, self.face), self._rng(1))

    def microphone(self, utter: Callable[[str, str], Sound], murmur: Callable[[], Sound] | None = None,
                   agent: Sound | None = None,
                   backdrop: Callable[[str, int], Sound] | None = None) -> Sound:  # fmt: skip
        """What the microphone hears, [units * 2560]; ``agent`` is what is really said there (default: the intent); the
        rest as in :func:`hear`."""
        return hear(self.script, utter, self.intent.samples if agent is None else agent, self.room, self._rng(2),
                    murmur, backdrop)  # fmt: skip

    @cached_property
    def looks(self) -> Looks:
        """How the agent should look, frame by frame."""
        x, y = self.path
        gaze = np.stack([x, y], 1) if self.face else np.zeros((self.frames, 2), np.float32)
        rng = self._rng(3)
        return Looks(
            identity=np.full(self.frames, self.identity),
            mouth=self.intent.mouth,
            gaze=gaze.astype(np.float32),
            eyes=blinks(rng, self.intent.turns, self.script.units),
            sway=breathing(float(rng.uniform(0, 2 * np.pi)), self.frames),
            icon=self.intent.icon,
        )

    def avatar(self) -> Pictures:
        """How the agent should look, [frames, 96, 160, 3]."""
        return draw_avatar(self.looks)
