"""All that is measured in one case.

Receives a case, its scene and a recording; hands on :class:`Measured`, small enough to keep hours of it. Pure: the same
functions measure a model, the codec's ceiling and the perfect agent of the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.behaviour import Halt, Question, halts, let_pass, questions, unasked, went_on
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.runner import Recording
from edge_streamer.runtime.evaluation.suite import Case
from edge_streamer.runtime.evaluation.world.avatar import draw_avatar
from edge_streamer.runtime.evaluation.world.reading import (
    read_eyes,
    read_gaze,
    read_icon,
    read_identity,
    read_mouth,
    read_sway,
)
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import mouth_of

SHUT = 0.5
"""Openness of the eyes below which it is a blink."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """One case of U units and F frames."""

    kind: str
    condition: str
    seconds: float
    questions: list[Question]
    halts: list[Halt]
    unasked: list[int]
    """Units in which it spoke with no reason."""
    let_pass: list[bool]
    """Per word that means nothing."""
    went_on: list[bool]
    """Per word that means nothing during an answer."""
    identity: NDArray[np.bool_]
    """[U] the head is the prefix's."""
    voice: list[bool]
    """Per answer with a voiced sound: the pitch is the prefix's."""
    gaze: Floats
    """[F, 4] came right and down, wanted right and down; NaN where eyes are closed or nobody is there."""
    mouth: Floats
    """[F, 2] the picture's mouth, and the mouth of its own voice."""
    blinks: NDArray[np.int64]
    """[2] onsets while it listens, while it speaks."""
    listening: float
    """Share of the time."""
    error: Floats
    """[F] mean squared error of the picture, levels of 255."""
    icon: NDArray[np.bool_]
    """[F] the right icon, where the intended one stands for longer than a unit's edge."""
    unit_ms: Floats
    """[U]"""


def measure(case: Case, scene: Scene, recording: Recording, ear: Ear) -> Measured:
    """Everything about one case."""
    asked = questions(scene, recording, ear)
    frames = recording.frames
    eyes = read_eyes(frames)
    voices = [q.reply.voice for q in asked if q.reply is not None and q.verdict != "missed"]
    begun = (eyes < SHUT) & ~np.concatenate([[False], eyes[:-1] < SHUT])
    speaking = recording.speaking.repeat(4)
    who = read_identity(frames).reshape(-1, 4) == scene.identity
    return Measured(
        kind=case.kind, condition=case.condition, seconds=case.seconds,
        questions=asked, halts=halts(scene, recording), unasked=unasked(scene, recording),
        let_pass=let_pass(scene, recording), went_on=went_on(scene, recording),
        identity=who.all(1), voice=[voice == scene.identity for voice in voices if voice is not None],
        gaze=_gaze(scene, frames), mouth=np.stack([read_mouth(frames), mouth_of(recording.samples)], 1),
        blinks=np.array([int((begun & ~speaking).sum()), int((begun & speaking).sum())]),
        listening=float(1 - speaking.mean()), error=picture_error(scene, frames, eyes),
        icon=_icon(scene, frames), unit_ms=1000 * recording.seconds,
    )  # fmt: skip


def _gaze(scene: Scene, frames: NDArray[np.uint8]) -> Floats:
    wanted = np.stack(scene.path, 1) if scene.face else np.full((len(frames), 2), np.nan)
    return np.concatenate([read_gaze(frames), wanted], 1).astype(np.float32)


def picture_error(scene: Scene, frames: NDArray[np.uint8], eyes: Floats) -> Floats:
    """[F] against the intended picture. When it blinks and where it is in its breath is the agent's own affair: both
    are read from its frames."""
    looks = replace(scene.looks, eyes=eyes, sway=read_sway(frames))
    wanted = draw_avatar(looks)
    return np.array(
        [np.square(a.astype(np.float32) - b).mean() for a, b in zip(frames, wanted, strict=True)], np.float32
    )


def _icon(scene: Scene, frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    wanted = scene.looks.icon
    steady = np.ones(len(wanted), np.bool_)
    change = np.flatnonzero(np.diff(wanted))
    for near in range(-2, 4):  # a frame or two around a change either is right
        steady[np.clip(change + near, 0, len(wanted) - 1)] = False
    return np.asarray((read_icon(frames) == wanted)[steady], np.bool_)
