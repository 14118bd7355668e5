"""What lies behind whoever sits before the camera: rooms, windows, shelves, drawn from a seed.

Receives a seed; hands on a picture, as large as the camera's. Training and evaluation draw from seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from edge_streamer.runtime.evaluation.world.shapes import (
    Colour,
    Floats,
    circle,
    cover,
    grid,
    paint,
    polygon,
    rounded,
    segment,
)

HEIGHT, WIDTH = 64, 96
TRAIN_BACKGROUNDS = range(0, 4000)
HELD_OUT_BACKGROUNDS = range(100_000, 104_000)
CARDS = 5
"""0 none, 1 red, 2 green, 3 blue, 4 yellow."""
CARD_COLOURS: dict[int, Colour] = {1: (214, 40, 46), 2: (38, 158, 72), 3: (40, 84, 212), 4: (246, 208, 40)}


def _hue(hue: float, vivid: float, light: float) -> Colour:
    """A colour from hue, saturation and value, all 0..1."""
    turn = (np.asarray([5.0, 3.0, 1.0]) + hue * 6) % 6
    levels = 255 * light * (1 - vivid * np.clip(np.minimum(turn, 4 - turn), 0, 1))
    return float(levels[0]), float(levels[1]), float(levels[2])


def _any_colour(rng: np.random.Generator) -> Colour:
    """A wall's or thing's colour: mostly muted, now and then as strong as a card."""
    if rng.random() < 0.25:
        near = np.asarray(CARD_COLOURS[int(rng.integers(1, CARDS))]) * rng.uniform(0.6, 1.1)
        near = np.clip(near + rng.normal(0, 12, 3), 0, 255)
        return float(near[0]), float(near[1]), float(near[2])
    return _hue(float(rng.random()), float(rng.uniform(0.02, 0.55)), float(rng.uniform(0.3, 0.97)))


def _gradient(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    turn = rng.uniform(0, 2 * np.pi)
    along = np.clip(0.5 + ((x - 48) * np.cos(turn) + (y - 32) * np.sin(turn)) / 96, 0, 1)
    paint(p, np.asarray(along, np.float32), _any_colour(rng))


def _blobs(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    """Lights and things out of focus."""
    for _ in range(int(rng.integers(4, 10))):
        radius, soft = rng.uniform(5, 20), rng.uniform(2, 8)
        far = circle(x - np.float32(rng.uniform(0, 96)), y - np.float32(rng.uniform(0, 64)), float(radius))
        paint(p, np.asarray(0.8 * np.clip(0.5 - far / soft, 0, 1), np.float32), _any_colour(rng))


def _shelves(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    """Boards with narrow books."""
    wood = _hue(float(rng.uniform(0.05, 0.11)), float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.3, 0.8)))
    for floor in np.arange(rng.uniform(10, 20), 70, rng.uniform(17, 24)):
        at = float(rng.uniform(-3, 6))
        while at < WIDTH:
            wide, high = float(rng.uniform(2, 5)), float(rng.uniform(9, 15))
            if rng.random() < 0.8:
                book = rounded(x - np.float32(at + wide / 2), y - np.float32(floor - high / 2), wide / 2, high / 2, 0.5)
                paint(p, cover(book), _any_colour(rng))
            at += wide + float(rng.uniform(0, 1.5))
        paint(p, cover(np.broadcast_to(np.abs(y - np.float32(floor + 1)) - 1.5, p.shape[:2])), wood)


def _stripes(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    """Striped paper, or with a low contrast a curtain's folds."""
    turn, period = float(rng.choice([0.0, 0.0, 0.6, 1.57])), float(rng.uniform(7, 22))
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * 2 * np.pi / period + rng.uniform(0, 6))
    sharp = float(rng.choice([0.5, 3.0]))
    paint(p, np.asarray(rng.uniform(0.2, 0.8) * np.clip(0.5 + sharp * wave, 0, 1), np.float32), _any_colour(rng))


def _window(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    """A pale sky behind a wide frame, with hills or a curtain."""
    wide, high = float(rng.uniform(18, 34)), float(rng.uniform(17, 26))
    x, y = x - np.float32(rng.uniform(12, 84)), y - np.float32(rng.uniform(14, 30))
    frame, pane = _hue(0.08, float(rng.uniform(0, 0.5)), float(rng.uniform(0.4, 1))), rounded(x, y, wide, high, 1)
    paint(p, cover(pane - 2), frame)
    paint(p, cover(pane), _hue(float(rng.uniform(0.52, 0.62)), float(rng.uniform(0.1, 0.35)), 0.97))
    hill = y - high * 0.5 + 3 * np.sin(x * 0.15 + rng.uniform(0, 6))
    paint(p, cover(np.maximum(pane, -hill)), _hue(float(rng.uniform(0.2, 0.4)), 0.4, 0.65))
    bars = np.minimum(np.abs(x), np.abs(y)) - 1
    paint(p, cover(np.maximum(pane, bars)), frame)
    if rng.random() < 0.5:
        cloth = np.maximum(np.abs(y) - high - 4, wide * 0.7 - np.abs(x))
        folds = cover(np.maximum(cloth, np.abs(x) - wide - 4)) * (0.85 + 0.15 * np.sin(x * 1.2))
        paint(p, folds, _any_colour(rng))


def _room(rng: np.random.Generator, p: Floats, x: Floats, y: Floats) -> None:
    """A wall with a lamp, a plant and a sofa's back."""
    wide, high = float(rng.uniform(24, 40)), float(rng.uniform(12, 20))
    back = rounded(x - np.float32(rng.uniform(20, 76)), y - 60, wide, high, 6)
    at, low = float(rng.uniform(6, 90)), float(rng.uniform(40, 56))
    for lean in rng.uniform(-14, 14, 6):
        tip = (at + float(lean), low - float(rng.uniform(12, 26)))
        leaf = segment(x, y, (at, low), tip, float(rng.uniform(1, 2.5)))
        paint(p, cover(leaf), _hue(float(rng.uniform(0.25, 0.4)), 0.5, float(rng.uniform(0.3, 0.6))))
    paint(p, cover(back), _any_colour(rng))
    x = x - np.float32(rng.uniform(8, 88))
    glow = np.exp(-(x * x + (y - 12) ** 2) / 500)
    paint(p, np.asarray(0.5 * glow, np.float32), (255, 236, 190))
    paint(p, cover(polygon(x, y, [(-4, 6), (4, 6), (7, 15), (-7, 15)])), (255, 232, 180))


_SCENES: tuple[Callable[[np.random.Generator, Floats, Floats, Floats], None], ...] = (
    _gradient,
    _blobs,
    _shelves,
    _stripes,
    _window,
    _room,
)


@lru_cache(maxsize=256)
def background_picture(seed: int) -> Floats:
    """The background [64, 96, 3] that belongs to a seed, 0..255, before brightness and tint. Not to be written to."""
    rng = np.random.default_rng([7, seed])
    x, y = grid(slice(0, HEIGHT), slice(0, WIDTH))
    picture = np.empty((HEIGHT, WIDTH, 3), np.float32)
    picture[:] = _any_colour(rng)
    if rng.random() < 0.6:
        _gradient(rng, picture, x, y)
    for scene in rng.permutation(len(_SCENES))[: int(rng.integers(0, 3))]:
        _SCENES[int(scene)](rng, picture, x, y)
    corner = ((x - 48) / 48) ** 2 + ((y - 32) / 32) ** 2
    picture *= (1 - float(rng.uniform(0, 0.18)) * corner / 2)[..., None]
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(1, 4))):
            picture = _softer(picture)
    return picture


def _softer(picture: Floats) -> Floats:
    """One step out of focus."""
    for axis in (0, 1):
        padded = np.concatenate([picture.take([0], axis), picture, picture.take([-1], axis)], axis)
        count = picture.shape[axis]
        before, after = padded.take(range(count), axis), padded.take(range(2, count + 2), axis)
        picture = np.asarray(0.25 * before + 0.5 * picture + 0.25 * after, np.float32)
    return picture
