"""What a person looks at: a film of one case of several kinds, and pictures, intended beside came.

Receives every case as it is played; hands on ``clip.mp4`` (devices are found by dotted name, as in ``run``) and
pictures as PNG bytes.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Protocol

import numpy as np
from PIL import Image

from edge_streamer.runtime.evaluation.measure import Measured
from edge_streamer.runtime.evaluation.runner import Recording
from edge_streamer.runtime.evaluation.suite import Case
from edge_streamer.runtime.evaluation.world.avatar import draw_avatar
from edge_streamer.runtime.evaluation.world.reading import read_eyes, read_sway
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import UNIT
from edge_streamer.runtime.unit import Response, Unit

FILMED = ("smooth", "recall", "interruption", "stop", "backchannel")
"""The first case of each."""
PICTURES = 6
"""Frames of a case that are shown, evenly spread."""


class Film(Protocol):
    """A film of both sides, under a temporary name until it is closed."""

    def write(self, unit: Unit, response: Response) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None: ...


class Highlights:
    """Watches cases, films some and keeps pictures of them."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._left = list(FILMED)
        self.pictures: list[tuple[str, bytes]] = []
        """(what it is, PNG)"""

    def watch(self, case: Case, scene: Scene, recording: Recording, measured: Measured) -> None:
        """One case."""
        if case.kind not in self._left:
            return
        self._left.remove(case.kind)
        camera = scene.camera()
        for k in range(case.script.units):
            heard = recording.heard[k * UNIT : (k + 1) * UNIT]
            self._film.write(Unit(heard, camera[k * 4 : k * 4 + 4]), recording.response(k))
        self.pictures.append((case.kind, picture(scene, recording)))

    def close(self) -> None:
        self._film.close()

    def discard(self) -> None:
        self._film.discard()


def picture(scene: Scene, recording: Recording) -> bytes:
    """PNG: intended frames above, those that came below."""
    frames = recording.frames
    looks = replace(scene.looks, eyes=read_eyes(frames), sway=read_sway(frames))
    chosen = np.linspace(0, len(frames) - 1, PICTURES + 2).astype(int)[1:-1]
    wanted = draw_avatar(looks)
    rows = [np.concatenate(list(which[chosen]), 1) for which in (wanted, frames)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows, 0)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
