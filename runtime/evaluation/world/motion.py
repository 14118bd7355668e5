"""How faces move: the user's head before the camera, the agent's blinks and breathing.

Receives a generator and a length; hands on curves over frames. The same curves serve training and evaluation, drawn
from other seeds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float32]

BLINK = np.array([0.45, 0.0, 0.1, 0.7], np.float32)
"""Openness of the eyes over the four frames of a blink: one unit, so that a blink needs no memory."""
BLINKS_A_MINUTE = 17.0
"""At random; one more falls on the unit in which an answer starts."""
BLINK_CHANCE = BLINKS_A_MINUTE / 60.0 * 0.16
"""In a unit that is left to chance."""
BREATH_FRAMES = 80
"""Frames of one breath: 3.2 s."""


def face_path(rng: np.random.Generator, frames: int) -> tuple[Curve, Curve]:
    """(x, y) in -1..1 of a head that sways, shifts and now and then moves to another place."""
    time = np.arange(frames) / 25.0
    x = rng.uniform(0.2, 0.7) * np.sin(2 * np.pi * time / rng.uniform(2.5, 8) + rng.uniform(0, 6.28))
    y = rng.uniform(0.1, 0.5) * np.sin(2 * np.pi * time / rng.uniform(2.5, 8) + rng.uniform(0, 6.28))
    x, y = x + rng.uniform(-0.5, 0.5), y + rng.uniform(-0.4, 0.4)
    for _ in range(rng.poisson(frames / 25.0 / 5.0)):
        ramp = np.clip((np.arange(frames) - rng.integers(frames)) / rng.uniform(6, 16), 0, 1)
        x, y = x + rng.uniform(-0.9, 0.9) * ramp, y + rng.uniform(-0.6, 0.6) * ramp
    return np.sin(x).astype(np.float32), np.sin(y).astype(np.float32)  # folds what would leave the picture back in


def blinks(rng: np.random.Generator, turns: list[int], units: int) -> Curve:
    """Openness of the eyes, [units * 4]: blinks at random and where an answer starts, never two in a row."""
    eyes = np.ones((units, 4), np.float32)
    chance = rng.random(units) < BLINK_CHANCE
    for turn in turns:
        chance[max(turn - 1, 0) : turn + 2] = False
    chance[[t for t in turns if t < units]] = True
    last = -2
    for unit in np.flatnonzero(chance).tolist():
        if unit > last + 1:
            eyes[unit], last = BLINK, unit
    return eyes.reshape(-1)


def breathing(phase: float, frames: int) -> Curve:
    """Sway of the head, [frames], from ``phase`` (radians) on."""
    return np.sin(phase + 2 * np.pi * np.arange(frames) / BREATH_FRAMES).astype(np.float32)
