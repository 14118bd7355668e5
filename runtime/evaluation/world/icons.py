"""The icons that go with the agent's answers.

Receives a number; draws the picture of that answer over the right of the agent's picture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_streamer.runtime.evaluation.world.shapes import (
    INK,
    WHITE,
    Colour,
    Floats,
    arc,
    circle,
    cover,
    ellipse,
    paint,
    polygon,
    rounded,
    segment,
)

ICONS = 15
"""Icon 0 is none; 1..14 are the picture that goes with an answer: greeting, sun, note, book, seven, bowl, sea, cat,
door, red card, green card, blue card, yellow card, question mark."""
ICON_HALF = 22.0
"""Half of an icon's side, pixels."""


def _hand(p: Floats, x: Floats, y: Floats) -> None:
    skin, x = (255, 205, 150), x + 1
    for tip, thick in (((-11, -8), 2.7), ((-5, -14), 2.9), ((2, -14.5), 2.9), ((8.5, -10.5), 2.7)):
        paint(p, cover(segment(x, y, (tip[0] * 0.55, 2), tip, thick)), skin)
    paint(p, cover(segment(x, y, (5, 9), (13, 2), 3.0)), skin)
    paint(p, cover(rounded(x, y - 6, 8.2, 8.8, 6)), skin)
    for radius in (5, 9):
        paint(p, cover(arc(x - 10, y + 11, radius, 1.0, -70, 20)), WHITE)


def _sun(p: Floats, x: Floats, y: Floats) -> None:
    for turn in np.arange(8) * np.pi / 4:
        c, s = float(np.cos(turn)), float(np.sin(turn))
        paint(p, cover(segment(x, y, (13 * c, 13 * s), (17 * c, 17 * s), 1.8)), (255, 196, 30))
    paint(p, cover(circle(x, y, 10)), (255, 214, 50))


def _note(p: Floats, x: Floats, y: Floats) -> None:
    paint(p, cover(polygon(x, y, [(-8, -14), (12, -18), (12, -11), (-8, -7)])), WHITE)
    for at, low in ((-7, 11.0), (11, 7.0)):
        paint(p, cover(segment(x, y, (at, low), (at, low - 22), 1.4)), WHITE)
        paint(p, cover(ellipse(x - at + 3.5, y - low, 5.4, 4.2)), WHITE)


def _book(p: Floats, x: Floats, y: Floats) -> None:
    paint(p, cover(rounded(x, y - 1, 18, 13.5, 2)), (132, 44, 36))
    for side in (-1, 1):
        corners = [(0.0, -11.0), (16.0, -14.0), (16.0, 10.0), (0.0, 13.0)]
        paint(p, cover(polygon(side * x, y, corners)), (255, 250, 236))
        for line in (-6, 0, 6):
            stroke = segment(side * x, y, (4, line - 0.5), (13, line - 2), 0.9)
            paint(p, cover(stroke), (150, 140, 140))
    paint(p, cover(segment(x, y, (0, -10), (0, 12), 0.9)), (190, 170, 150))


def _seven(p: Floats, x: Floats, y: Floats) -> None:
    paint(p, cover(segment(x, y, (-9, -13), (9, -13), 3.0)), WHITE)
    paint(p, cover(segment(x, y, (9, -13), (-3, 14), 3.0)), WHITE)


def _bowl(p: Floats, x: Floats, y: Floats) -> None:
    for at in (-7, 0, 7):
        paint(p, cover(arc(x - at + 2, y + 13, 3, 1.0, -80, 80)), (170, 150, 140))
    for at, radius in ((-8, 5.0), (0, 7.0), (8, 5.0)):
        paint(p, cover(circle(x - at, y - 1, radius)), (255, 255, 250))
    paint(p, cover(np.maximum(ellipse(x, y - 2, 17, 14), 2 - y)), (214, 62, 52))
    paint(p, cover(rounded(x, y - 16, 7, 2, 1.5)), (160, 40, 36))


def _sea(p: Floats, x: Floats, y: Floats) -> None:
    tile = rounded(x, y, ICON_HALF, ICON_HALF, 8)
    paint(p, cover(circle(x - 12, y + 12, 5.5)), (255, 190, 60))
    paint(p, cover(polygon(x, y, [(-2, -15), (-2, 3), (-14, 3)])), WHITE)
    paint(p, cover(polygon(x, y, [(0, -12), (10, 3), (0, 3)])), (255, 120, 90))
    paint(p, cover(polygon(x, y, [(-14, 5), (12, 5), (7, 11), (-9, 11)])), (120, 64, 40))
    for level, colour in ((9.5, (30, 130, 200)), (15.5, (16, 84, 160))):
        wave = y - level + 1.6 * np.sin(x * 0.55 + level)
        paint(p, cover(np.maximum(-wave, tile)), colour)


def _cat(p: Floats, x: Floats, y: Floats) -> None:
    fur, pink = (250, 160, 60), (255, 170, 170)
    for side in (-1, 1):
        ear = [(4.0, -9.0), (13.5, -17.0), (15.0, -2.0)]
        paint(p, cover(polygon(side * x, y, ear)), fur)
        paint(p, cover(polygon(side * x, y, [(8.0, -9.0), (12.5, -13.0), (13.2, -5.0)])), pink)
    paint(p, cover(ellipse(x, y - 3, 16, 13.5)), fur)
    paint(p, cover(ellipse(x, y - 8, 8, 5.5)), (255, 240, 220))
    for side in (-1, 1):
        paint(p, cover(ellipse(x - side * 7, y + 0.5, 2.3, 3.2)), INK)
        paint(p, cover(arc(x - side * 2.2, y - 8, 2.2, 0.7, 10, 170)), INK)
    paint(p, cover(polygon(x, y, [(-2.6, 4.4), (2.6, 4.4), (0, 7.6)])), (226, 92, 104))


def _door(p: Floats, x: Floats, y: Floats) -> None:
    paint(p, cover(rounded(x + 6, y, 11.5, 17, 2)), (92, 58, 40))
    paint(p, cover(rounded(x + 6, y - 1, 8.8, 15.5, 1)), (168, 108, 66))
    paint(p, cover(circle(x + 0.5, y - 1, 1.5)), (255, 214, 90))
    paint(p, cover(segment(x, y, (2, 0), (12, 0), 2.6)), (30, 170, 80))
    paint(p, cover(polygon(x, y, [(10, -8), (19, 0), (10, 8)])), (30, 170, 80))


def _question(p: Floats, x: Floats, y: Floats) -> None:
    paint(p, cover(arc(x, y + 7, 7.5, 2.6, -175, 70)), WHITE)
    paint(p, cover(segment(x, y, (2.6, 0.2), (0, 5), 2.6)), WHITE)
    paint(p, cover(circle(x, y - 13.5, 3.1)), WHITE)


_TILES: dict[int, tuple[Colour, Callable[[Floats, Floats, Floats], None]]] = {
    1: ((240, 110, 150), _hand),
    2: ((110, 196, 250), _sun),
    3: ((116, 70, 190), _note),
    4: ((222, 168, 110), _book),
    5: ((246, 140, 30), _seven),
    6: ((250, 226, 190), _bowl),
    7: ((176, 226, 250), _sea),
    8: ((60, 150, 140), _cat),
    9: ((224, 226, 232), _door),
    14: ((84, 90, 104), _question),
}
CARD_ICONS: dict[int, Colour] = {10: (220, 36, 44), 11: (34, 164, 72), 12: (36, 84, 220), 13: (252, 212, 32)}


def draw_icon(picture: Floats, x: Floats, y: Floats, icon: int) -> None:
    """Draw an icon over a picture [h, w, 3] whose pixels lie ``x`` [1, w] and ``y`` [h, 1] from the icon's middle."""
    wide = 17.0 if icon in CARD_ICONS else ICON_HALF
    shape = rounded(x, y, wide, ICON_HALF, 8 if wide == ICON_HALF else 4)
    paint(picture, 0.3 * np.clip(0.5 - rounded(x, y - 2, wide - 1, ICON_HALF - 1, 8) / 3, 0, 1), INK)
    if icon in CARD_ICONS:
        paint(picture, cover(shape), WHITE)
        paint(picture, cover(shape + 2.5), CARD_ICONS[icon])
        gloss = np.maximum(shape + 2.5, x * 0.8 + y + 14)
        paint(picture, 0.18 * cover(gloss), WHITE)
    else:
        colour, draw = _TILES[icon]
        paint(picture, cover(shape), colour)
        draw(picture, x, y)
