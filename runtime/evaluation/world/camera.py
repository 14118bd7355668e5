"""What the user's camera sees: somebody before a background, sometimes with a coloured card in the hand.

Receives one camera setting (``View``) and n frames' places of the face and cards; hands on RGB frames uint8
[n, 64, 96, 3], and settings drawn at random from a range of backgrounds, so that training and held-out ones differ.

Choices: a setting's background, person and card are drawn once and kept; per frame the person is shifted, by parts of a
pixel, and laid over the background. The sensor's noise is cut from one pool at a random place, which is far cheaper
than drawing it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.backgrounds import (
    CARD_COLOURS,
    HEIGHT,
    HELD_OUT_BACKGROUNDS,
    WIDTH,
    background_picture,
)
from edge_streamer.runtime.evaluation.world.shapes import (
    INK,
    Bytes,
    Colour,
    Floats,
    arc,
    circle,
    cover,
    ellipse,
    grid,
    paint,
    rounded,
    segment,
)

SKIN_COLOURS: tuple[Colour, ...] = (
    (250, 218, 192),
    (236, 190, 154),
    (214, 160, 118),
    (178, 122, 84),
    (132, 86, 58),
    (94, 60, 44),
)
HAIR_COLOURS: tuple[Colour, ...] = (
    (32, 26, 28),
    (74, 46, 32),
    (130, 82, 44),
    (214, 172, 96),
    (160, 66, 36),
    (168, 168, 172),
)
SHIRT_COLOURS: tuple[Colour, ...] = (
    (70, 84, 120),
    (196, 70, 66),
    (232, 232, 228),
    (50, 52, 58),
    (72, 130, 92),
    (222, 178, 72),
    (122, 92, 150),
    (110, 160, 200),
)
SKINS, HAIRS, SHIRTS = len(SKIN_COLOURS), 2 * len(HAIR_COLOURS), len(SHIRT_COLOURS)
"""How many of each; a hair's second half of indexes is long hair in the same colours."""

FACE_X, FACE_Y, REACH_X, REACH_Y = 48.0, 30.0, 26.0, 12.0
"""Where the face is at x = y = 0 and how far it goes at 1, pixels."""
FACE_WIDE, FACE_HIGH = 10.5, 13.5
"""Radii of the face at size 1, pixels."""
CARD_WIDE, CARD_HIGH = 11.0, 9.0
"""Half sizes of a card, pixels."""
CARD_X, CARD_Y = 16.0, 42.0
"""The middle of a card at the picture's left; at the right it is mirrored."""

_UP, _LEFT, _SPRITE_HIGH, _SPRITE_WIDE = 36, 36, 84, 73
"""The person's own picture: the face's centre in it, and its size."""
_POOL = 1 << 20


@dataclass(frozen=True)
class View:
    """One camera setting, constant in a clip. The defaults are somebody in plain light."""

    background: int = HELD_OUT_BACKGROUNDS.start
    """Seed of the background."""
    skin: int = 1
    hair: int = 0
    shirt: int = 0
    brightness: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """White balance, each for red, green, blue."""
    noise: float = 1.0
    """Sensor noise, standard deviation in levels."""
    size: float = 1.0
    """Of the face."""


VIEW_RANGES: dict[str, tuple[float, float]] = {
    "background": (0, 2**53 - 1), "skin": (0, SKINS - 1), "hair": (0, HAIRS - 1), "shirt": (0, SHIRTS - 1),
    "brightness": (0.6, 1.3), "tint": (0.85, 1.15), "noise": (0, 8), "size": (0.8, 1.25),
}  # fmt: skip
"""What a view may be, field by field. A seed goes as far as every reader of JSON keeps it exact."""


def random_view(rng: np.random.Generator, backgrounds: range) -> View:
    """A setting whose background's seed is one of ``backgrounds``."""
    tint = rng.uniform(0.88, 1.12, 3)
    return View(
        background=int(backgrounds[int(rng.integers(len(backgrounds)))]),
        skin=int(rng.integers(SKINS)),
        hair=int(rng.integers(HAIRS)),
        shirt=int(rng.integers(SHIRTS)),
        brightness=float(rng.uniform(0.65, 1.2)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        noise=float(rng.uniform(0, 6)),
        size=float(rng.uniform(0.8, 1.25)),
    )


def _shaded(colour: Colour, by: float) -> Colour:
    """A colour made darker (below 1) or lighter."""
    return colour[0] * by, colour[1] * by, colour[2] * by


class _Layers:
    """A premultiplied picture: colours [h, w, 3] and how much of what is behind they hide [h, w, 1]."""

    def __init__(self, high: int, wide: int) -> None:
        self.colours = np.zeros((high, wide, 3), np.float32)
        self.hides = np.zeros((high, wide, 1), np.float32)

    def paint(self, covered: Floats, colour: Colour) -> None:
        """Lay a colour over what is there."""
        paint(self.colours, covered, colour)
        paint(self.hides, covered, np.ones(1, np.float32))

    def joined(self, gain: Floats) -> Floats:
        """[h, w, 4] with the colours in a camera's light."""
        return np.concatenate([self.colours * gain, self.hides], axis=2)


def _person(view: View) -> _Layers:
    """Head, hair and shoulders with the face's centre at _LEFT, _UP."""
    layers = _Layers(_SPRITE_HIGH, _SPRITE_WIDE)
    x, y = grid(slice(0, _SPRITE_HIGH), slice(0, _SPRITE_WIDE))
    x, y, unit = (x - _LEFT) / view.size, (y - _UP) / view.size, view.size
    skin, shirt = SKIN_COLOURS[view.skin], SHIRT_COLOURS[view.shirt]
    hair, long = HAIR_COLOURS[view.hair % len(HAIR_COLOURS)], view.hair >= len(HAIR_COLOURS)
    wide, high = FACE_WIDE, FACE_HIGH

    def put(distance: Floats, colour: Colour) -> None:
        layers.paint(cover(distance * np.float32(unit)), colour)

    if long:
        put(rounded(x, y - 3, wide + 3.5, high + 5, 11), _shaded(hair, 0.8))
    put(rounded(x, y - 43, 23, 25, 13), shirt)
    put(rounded(x, y - high, 4.8, 7.5, 3), _shaded(skin, 0.82))
    put(ellipse(x, y + 2.5, wide + 2, high + 2), hair)
    for side in (-1, 1):
        if not long:
            put(ellipse(x - side * wide, y - 1, 2, 3), _shaded(skin, 0.9))
    put(ellipse(x, y, wide, high), skin)
    put(np.maximum(ellipse(x, y, wide + 0.6, high + 0.6), y + 6.5 - 2 * np.cos(x * 0.25 + 0.6)), hair)
    _features(put, x, y, skin)
    return layers


def _features(put: Callable[[Floats, Colour], None], x: Floats, y: Floats, skin: Colour) -> None:
    """Eyes, brows, nose and mouth."""
    for side in (-1, 1):
        put(ellipse(x - side * 4.2, y + 0.8, 2.1, 1.5), (244, 244, 244))
        put(circle(x - side * 4.2, y + 0.8, 1.3), INK)
        put(segment(x, y, (side * 2.6, -3.4), (side * 6, -3.6), 0.55), _shaded(skin, 0.5))
    put(segment(x, y, (0.3, 1.5), (0.8, 4), 0.6), _shaded(skin, 0.82))
    put(arc(x, y - 4.5, 4.4, 0.9, 30, 150), (150, 58, 58))


def _card(view: View, card: int, side: int) -> _Layers:
    """A held card over the whole picture [64, 96], at the left (side -1) or right (1)."""
    layers = _Layers(HEIGHT, WIDTH)
    own = [view.background, view.skin, view.hair, view.shirt, int(view.size * 1e6), int(view.brightness * 1e6), card]
    rng = np.random.default_rng(own)
    shift, lean = rng.uniform(-2, 2, 2), float(rng.uniform(-0.14, 0.14))
    x, y = grid(slice(0, HEIGHT), slice(0, WIDTH))
    middle = CARD_X if side < 0 else WIDTH - 1 - CARD_X
    x, y = x - np.float32(middle + shift[0]), y - np.float32(CARD_Y + shift[1])
    skin, shirt = SKIN_COLOURS[view.skin], SHIRT_COLOURS[view.shirt]
    layers.paint(cover(segment(x, y, (-side * 2, 12), (-side * 9, 34), 4.6)), _shaded(shirt, 0.9))
    layers.paint(cover(segment(x, y, (0, 9), (-side * 3.5, 17), 3.4)), _shaded(skin, 0.92))
    c, s = float(np.cos(lean)), float(np.sin(lean))
    across, down = x * c + y * s, y * c - x * s
    edge = rounded(across, down, CARD_WIDE, CARD_HIGH, 1.5)
    tone = np.asarray(CARD_COLOURS[card]) * rng.uniform(0.88, 1.06) + rng.normal(0, 6, 3)
    tone = np.clip(tone, 0, 255)
    layers.paint(cover(edge), (float(tone[0]), float(tone[1]), float(tone[2])))
    for finger in (-4.2, -1.2, 1.8):
        layers.paint(cover(segment(x, y, (finger, 10.5), (finger, 7.5), 1.3)), skin)
    layers.paint(cover(segment(x, y, (-side * 4.5, 11), (-side * 5.2, 6.2), 1.5)), skin)
    return layers


def _gain(view: View) -> Floats:
    """What brightness and white balance make of the three colours."""
    return np.asarray(view.brightness * np.asarray(view.tint), np.float32)


@lru_cache(maxsize=32)
def _lit_background(view: View) -> Floats:
    """The background [64, 96, 3] in the camera's light."""
    return np.asarray(background_picture(view.background) * _gain(view), np.float32)


@lru_cache(maxsize=32)
def _lit_person(view: View) -> Floats:
    """The person [h, w, 4] in the camera's light."""
    return _person(view).joined(_gain(view))


@lru_cache(maxsize=128)
def _lit_card(view: View, card: int, side: int) -> tuple[slice, slice, Floats]:
    """A held card in the camera's light: rows, columns and [h, w, 4] there."""
    whole = _card(view, card, side).joined(_gain(view))
    across = np.flatnonzero(whole[..., 3].any(axis=0))
    down = np.flatnonzero(whole[..., 3].any(axis=1))
    rows, columns = slice(int(down[0]), int(down[-1]) + 1), slice(int(across[0]), int(across[-1]) + 1)
    return rows, columns, np.ascontiguousarray(whole[rows, columns])


@lru_cache(maxsize=1)
def _noise_pool() -> Floats:
    """Normal noise with standard deviation 1, cut out at random places."""
    return np.random.default_rng(20).standard_normal(_POOL + HEIGHT * WIDTH * 3, dtype=np.float32)


def _lay(picture: Floats, layers: Floats, rows: slice, columns: slice, shown: float) -> None:
    """Lay premultiplied layers [h, w, 4] over a picture's box."""
    if shown < 1:
        layers = layers * np.float32(shown)
    part = picture[rows, columns]
    part *= 1 - layers[..., 3:]
    part += layers[..., :3]


def _shifted(sprite: Floats, left: float, top: float) -> tuple[slice, slice, Floats]:
    """A sprite [h, w, 4] whose corner is at left, top: the rows and columns it covers in the picture and it there."""
    column, row = int(np.floor(left)), int(np.floor(top))
    across, down = np.float32(left - column), np.float32(top - row)
    high, wide = sprite.shape[:2]  # its last row and column are clear at the sides, and below the picture
    rows = slice(max(row + 1, 0), min(row + high, HEIGHT))
    columns = slice(max(column + 1, 0), min(column + wide, WIDTH))
    part = sprite[rows.start - row - 1 : rows.stop - row, columns.start - column - 1 : columns.stop - column]
    part = part[1:] + down * (part[:-1] - part[1:])
    return rows, columns, part[:, 1:] + across * (part[:, :-1] - part[:, 1:])


def _draw(view: View, x: float, y: float, card: int, shown: float) -> Floats:
    """One frame [64, 96, 3] without noise."""
    picture: Floats = _lit_background(view).copy()
    if shown <= 0:
        return picture
    left, top = FACE_X + REACH_X * x - _LEFT, FACE_Y + REACH_Y * y - _UP
    rows, columns, person = _shifted(_lit_person(view), left, top)
    _lay(picture, person, rows, columns, shown)
    if card:
        rows, columns, held = _lit_card(view, card, -1 if x >= 0 else 1)
        _lay(picture, held, rows, columns, shown)
    return picture


def draw_camera(
    view: View,
    x: Floats,
    y: Floats,
    card: NDArray[np.int64],
    present: NDArray[np.bool_] | Floats,
    rng: np.random.Generator,
) -> Bytes:
    """What the camera sees, uint8 [n, 64, 96, 3].

    x, y [n] -1..1: the face's place, right and down; card [n]: 0 none, 1 red, 2 green, 3 blue, 4 yellow, held at the
    side that the face is not at; present [n]: 0 only the background .. 1 somebody there; rng: for the sensor's noise.
    """
    frames = np.empty((len(x), HEIGHT, WIDTH, 3), np.uint8)
    x, y = np.clip(x, -1, 1), np.clip(y, -1, 1)
    starts = rng.integers(_POOL, size=len(x))
    pool, noise = _noise_pool(), np.empty((HEIGHT, WIDTH, 3), np.float32)
    for at, frame in enumerate(frames):
        picture = _draw(view, float(x[at]), float(y[at]), int(card[at]), float(min(present[at], 1)))
        if view.noise > 0:
            cut = pool[starts[at] : starts[at] + noise.size].reshape(noise.shape)
            picture += np.multiply(cut, np.float32(view.noise), out=noise)
        picture += np.float32(0.5)
        frame[:] = np.clip(picture, 0, 255, out=picture)
    return frames
