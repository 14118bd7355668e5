"""The agent's picture: a friendly robot head with an answer's icon beside it.

Receives how the agent looks in n frames (``Looks``); hands on RGB frames uint8 [n, 96, 160, 3], and to the other files
of this folder the soft shapes and the places that pictures are made of and measured at.

Choices: every edge is a signed distance cut to one pixel, so a shape moved by a fraction of a pixel moves the picture
by that fraction. What does not move (background, icons) and what moves along one line (the head's sway) is drawn once
and kept; per frame only the eyes and the mouth are drawn, inside their boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Colour = tuple[float, float, float]
Box = tuple[slice, slice]
"""Rows and columns of a picture."""

HEIGHT, WIDTH = 96, 160
IDENTITIES = 3
ICONS = 15
"""Icon 0 is none; 1..14 are the picture that goes with an answer: greeting, sun, note, book, seven, bowl, sea, cat,
door, red card, green card, blue card, yellow card, question mark."""

HEAD_X, HEAD_Y, HEAD_WIDE, HEAD_HIGH = 58.0, 50.0, 34.0, 36.0
"""Centre and radii of the resting head, pixels."""
SWAY_X, SWAY_Y = 2.5, 1.0
"""How far the head moves at sway 1, pixels right and down."""
EYE_X, EYE_Y, EYE_RADIUS = 14.5, 44.0, 9.7
"""An eye's distance from the head's centre line, the eyes' height in the picture, their radius."""
LID_TRAVEL, LID_BULGE = 1.0, 0.25
"""How far from the eye's middle open lids are, and how far down closed ones hang there, eye radii."""
PUPIL_RADIUS, PUPIL_REACH = 4.0, 4.0
MOUTH_Y, MOUTH_WIDE = 69.0, 9.8
MOUTH_LINE, MOUTH_HIGH = 0.8, 7.0
"""Half the mouth's height, closed and wide open."""
ICON_X, ICON_Y, ICON_HALF = 132.0, 48.0, 22.0

LEFT_EYE: Box = (slice(30, 59), slice(30, 58))
RIGHT_EYE: Box = (slice(30, 59), slice(59, 87))
MOUTH: Box = (slice(56, 83), slice(43, 74))
HEAD_COLUMNS = slice(0, 108)
ICON_COLUMNS = slice(108, WIDTH)

SWAY_STEPS = 128
"""Head layers from sway -1 to 1: a step is 1/25 pixel, below what eight bits show."""
_AT_ONCE = 32
"""Frames drawn together: their boxes stay in a core's cache."""

INK: Colour = (30, 26, 44)
WHITE: Colour = (255, 255, 255)
TONGUE: Colour = (226, 92, 104)


@dataclass(frozen=True)
class Palette:
    """One identity's colours, 0..255."""

    head: Colour
    lid: Colour
    background: Colour
    accent: Colour
    body: Colour
    cheek: Colour


PALETTES = (
    Palette((242, 116, 92), (214, 92, 72), (252, 236, 206), (252, 190, 60), (96, 84, 128), (255, 150, 128)),
    Palette((58, 196, 186), (38, 162, 156), (28, 40, 92), (255, 206, 84), (232, 236, 244), (122, 222, 206)),
    Palette((156, 108, 226), (128, 82, 196), (204, 238, 196), (255, 128, 176), (64, 120, 108), (204, 146, 240)),
)


@dataclass(frozen=True)
class Looks:
    """How the agent looks, n frames."""

    identity: Ints
    """[n] 0..IDENTITIES-1."""
    mouth: Floats
    """[n] 0 closed .. 1 wide open."""
    gaze: Floats
    """[n, 2] pupils right and down, -1..1."""
    eyes: Floats
    """[n] 1 open .. 0 closed."""
    sway: Floats
    """[n] head to the right (and a little down), -1..1."""
    icon: Ints
    """[n] 0..ICONS-1."""


def grid(rows: slice, columns: slice) -> tuple[Floats, Floats]:
    """x [1, w] and y [h, 1] of the pixels in a box, in the picture's pixels."""
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None]
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    return x, y


def cover(distance: Numbers) -> Floats:
    """Coverage 0..1 of pixels at a signed distance (negative inside) in pixels."""
    return np.asarray(np.clip(np.float32(0.5) - distance, 0, 1), np.float32)


def circle(x: Numbers, y: Numbers, radius: float) -> Floats:
    """Signed distance to a circle around 0, 0."""
    return np.asarray(np.sqrt(x * x + y * y) - radius, np.float32)


def ellipse(x: Numbers, y: Numbers, wide: float, high: float) -> Floats:
    """Signed distance, first order, to an ellipse with radii wide and high."""
    k = np.sqrt((x / wide) ** 2 + (y / high) ** 2)
    slope = np.sqrt((x / wide**2) ** 2 + (y / high**2) ** 2)
    inside = -min(wide, high)  # the centre, where the slope is nothing
    return np.asarray(np.where(slope > 1e-6, k * (k - 1) / np.maximum(slope, 1e-6), inside), np.float32)


def rounded(x: Numbers, y: Numbers, wide: float, high: float, corner: float) -> Floats:
    """Signed distance to a box of half sizes wide and high with round corners."""
    across, down = np.abs(x) - (wide - corner), np.abs(y) - (high - corner)
    outside = np.hypot(np.maximum(across, 0), np.maximum(down, 0))
    return np.asarray(outside + np.minimum(np.maximum(across, down), 0) - corner, np.float32)


def segment(x: Numbers, y: Numbers, start: tuple[float, float], end: tuple[float, float], radius: float) -> Floats:
    """Signed distance to a thick line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    return np.asarray(np.hypot(x - start[0] - along * dx, y - start[1] - along * dy) - radius, np.float32)


def polygon(x: Numbers, y: Numbers, corners: list[tuple[float, float]]) -> Floats:
    """Signed distance, exact near the edges, to a convex polygon given clockwise on the screen."""
    far = np.full(np.broadcast_shapes(x.shape, y.shape), -np.inf, np.float32)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        length = float(np.hypot(bx - ax, by - ay))
        far = np.maximum(far, ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length)
    return far


def arc(x: Numbers, y: Numbers, radius: float, thick: float, start: float, end: float) -> Floats:
    """Signed distance to a piece of a ring; angles in degrees, clockwise from the right on the screen."""
    middle, half = np.deg2rad((start + end) / 2), np.deg2rad((end - start) / 2)
    turned = (np.arctan2(y, x) - middle + np.pi) % (2 * np.pi) - np.pi
    ring = np.abs(np.hypot(x, y) - radius) - thick
    tips = [np.hypot(x - radius * np.cos(a), y - radius * np.sin(a)) - thick for a in (middle - half, middle + half)]
    return np.asarray(np.where(np.abs(turned) <= half, ring, np.minimum(*tips)), np.float32)


def paint(picture: Floats, covered: Numbers, colour: Colour | Floats) -> None:
    """Lay a colour over a picture [h, w, 3] where it is covered [h, w]."""
    picture += covered[..., None] * (np.asarray(colour, np.float32) - picture)


def to_bytes(picture: Floats) -> Bytes:
    """A picture of 0..255 as whole levels."""
    return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)


def _wall(identity: int) -> Floats:
    """The background [96, 160, 3]: one colour, a soft glow behind the head, a little darker to the floor."""
    x, y = grid(slice(0, HEIGHT), slice(0, WIDTH))
    colour = np.asarray(PALETTES[identity].background, np.float32)
    lit = np.broadcast_to(colour, (HEIGHT, WIDTH, 3)) * (1.02 - 0.08 * (y / HEIGHT))[..., None]
    picture = np.asarray(lit, np.float32)
    glow = np.exp(-((x - HEAD_X) ** 2 + (y - HEAD_Y) ** 2) / (2 * 34**2))
    paint(picture, 0.22 * glow, WHITE)
    return picture


def _body(picture: Floats, identity: int, shift: float) -> None:
    """Shoulders at the lower edge, which lean half as far as the head."""
    x, y = grid(slice(0, HEIGHT), HEAD_COLUMNS)
    colours = PALETTES[identity]
    x = x - HEAD_X - shift / 2
    paint(picture, cover(ellipse(x, y - 103, 37, 19)), colours.body)
    paint(picture, cover(rounded(x, y - 88, 9, 8, 3)), _mixed(colours.body, INK, 0.35))


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def _crown(picture: Floats, x: Floats, y: Floats, identity: int) -> None:
    """What stands on and beside the head, behind it: one antenna, headphones or a tuft with ears."""
    colours = PALETTES[identity]
    dark = _mixed(colours.head, INK, 0.45)
    if identity == 0:
        paint(picture, cover(segment(x, y, (0, -30), (0, -42), 1.8)), dark)
        paint(picture, cover(circle(x, y + 43, 4.6)), colours.accent)
        paint(picture, 0.7 * cover(circle(x + 1.4, y + 44.4, 1.4)), WHITE)
    elif identity == 1:
        for side in (-1, 1):
            paint(picture, cover(segment(x, y, (side * 14, -28), (side * 21, -42), 1.7)), dark)
            paint(picture, cover(circle(x - side * 21, y + 42, 4.0)), colours.accent)
    else:
        for at, high, radius in ((-11, -33, 8.0), (11, -33, 8.0), (0, -37, 9.5)):
            paint(picture, cover(circle(x - at, y - high, radius)), colours.accent)
    for side in (-1, 1):
        paint(picture, cover(rounded(x - side * 35, y - 2, 6.5, 11, 5)), colours.accent)
        paint(picture, cover(rounded(x - side * 34, y - 2, 3.5, 8, 3)), _mixed(colours.accent, INK, 0.25))


def _skull(picture: Floats, x: Floats, y: Floats, identity: int) -> None:
    """The head itself with its light, cheeks and the whites of the eyes."""
    colours = PALETTES[identity]
    edge = rounded(x, y, HEAD_WIDE, HEAD_HIGH, 27)
    paint(picture, cover(edge), _mixed(colours.head, INK, 0.3))
    light = np.clip(-y / 110, -0.3, 0.3)[..., None]
    lit = np.asarray(colours.head, np.float32) * (1 + np.minimum(light, 0)) + np.maximum(light, 0) * 120
    paint(picture, cover(edge + 1.6), np.asarray(lit, np.float32))
    paint(picture, 0.3 * np.clip(-ellipse(x + 12, y + 27, 15, 5) / 3, 0, 1), WHITE)
    for side in (-1, 1):
        paint(picture, 0.75 * np.clip(-ellipse(x - side * 22.5, y - 12, 7, 4.5) / 2, 0, 1), colours.cheek)
        eye = circle(x - side * EYE_X, y + (HEAD_Y - EYE_Y), EYE_RADIUS)
        paint(picture, 0.45 * cover(eye - 1.2), colours.lid)
        paint(picture, cover(eye), WHITE)


@cache
def head_layer(identity: int, step: int) -> Bytes:
    """The left of the picture [96, 108, 3] without pupils, lids and mouth, at one step of the sway."""
    sway = 2 * step / SWAY_STEPS - 1
    picture = _wall(identity)[:, HEAD_COLUMNS].copy()
    _body(picture, identity, SWAY_X * sway)
    x, y = grid(slice(0, HEIGHT), HEAD_COLUMNS)
    x, y = x - np.float32(HEAD_X + SWAY_X * sway), y - np.float32(HEAD_Y + SWAY_Y * sway)
    _crown(picture, x, y, identity)
    _skull(picture, x, y, identity)
    return to_bytes(picture)


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


def _icon(picture: Floats, icon: int) -> None:
    """Draw an icon over the right of the picture [96, 52, 3]."""
    x, y = grid(slice(0, HEIGHT), ICON_COLUMNS)
    x, y = x - np.float32(ICON_X), y - np.float32(ICON_Y)
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


@cache
def icon_layer(identity: int, icon: int) -> Bytes:
    """The right of the picture [96, 52, 3] with an icon, or with none."""
    picture = _wall(identity)[:, ICON_COLUMNS].copy()
    if icon:
        _icon(picture, icon)
    return to_bytes(picture)


def _column(values: NDArray[np.generic]) -> Floats:
    """[n] as float32 [n, 1, 1]."""
    return np.asarray(values, np.float32)[:, None, None]


def _take(frames: Bytes, box: Box) -> Floats:
    """A box of every frame as planes, float32 [3, n, h, w]."""
    return np.ascontiguousarray(np.moveaxis(frames[:, box[0], box[1]], 3, 0), np.float32)


def _put(frames: Bytes, box: Box, planes: Floats) -> None:
    """Planes [3, n, h, w] back into their box."""
    planes += np.float32(0.5)
    frames[:, box[0], box[1]] = np.moveaxis(planes.astype(np.uint8), 0, 3)


def _lay(planes: Floats, covered: Numbers, colour: Colour | Floats) -> None:
    """Lay a colour, or colours [3, n, 1, 1], over planes [3, n, h, w] where covered [n, h, w]."""
    for plane, level in zip(planes, colour, strict=True):
        plane += covered * (level - plane)


def _draw_mouth(frames: Bytes, looks: Looks, at: Floats) -> None:
    """The mouth at the swaying head's place; ``at`` [n] is the sway."""
    x, y = grid(*MOUTH)
    opened = _column(looks.mouth)
    x, y = x - (HEAD_X + SWAY_X * at), y - (MOUTH_Y + SWAY_Y * at)
    y = y + (1 - 0.75 * opened) * 2.4 * ((x / MOUTH_WIDE) ** 2 - 0.4)  # the closed mouth smiles
    high = MOUTH_LINE + (MOUTH_HIGH - MOUTH_LINE) * opened
    corner = np.minimum(high, 6.5)
    across, down = np.abs(x) - (MOUTH_WIDE - corner), np.abs(y) - (high - corner)
    outside = np.sqrt(np.maximum(across, 0) ** 2 + np.maximum(down, 0) ** 2)
    mouth = cover(outside + np.minimum(np.maximum(across, down), 0) - corner)
    tongue = cover(np.sqrt(x * x + (y - high * 1.05) ** 2 * 1.6) - 7 * opened)
    planes = _take(frames, MOUTH)
    _lay(planes, mouth, INK)
    _lay(planes, mouth * tongue * np.clip(4 * opened - 1.2, 0, 1), TONGUE)
    _put(frames, MOUTH, planes)


def _draw_eye(frames: Bytes, looks: Looks, at: Floats, box: Box, side: int, lids: Floats) -> None:
    """One eye's pupil and lids over the white that the head layer holds."""
    x, y = grid(*box)
    x, y = x - (HEAD_X + side * EYE_X + SWAY_X * at), y - (EYE_Y + SWAY_Y * at)
    planes = _take(frames, box)
    disc = np.sqrt(x * x + y * y) - EYE_RADIUS
    px, py = x - PUPIL_REACH * _column(looks.gaze[:, 0]), y - PUPIL_REACH * _column(looks.gaze[:, 1])
    _lay(planes, cover(np.sqrt(px * px + py * py) - PUPIL_RADIUS) * cover(disc), INK)
    _lay(planes, cover(np.sqrt((px + 1.3) ** 2 + (py + 1.4) ** 2) - 1.1), WHITE)
    shut = 1 - _column(looks.eyes)
    bulge = (LID_BULGE * shut * EYE_RADIUS) * (1 - (x / EYE_RADIUS) ** 2)
    upper = y - (LID_TRAVEL * EYE_RADIUS) * (shut - 1) - bulge
    lower = (LID_TRAVEL * EYE_RADIUS) * (1 - shut) + bulge - y
    whole = cover(disc - 1)
    _lay(planes, whole * np.maximum(cover(upper), cover(lower)), lids)
    _lay(planes, whole * cover(np.abs(upper) - 0.9) * np.clip(3 * shut, 0, 1), INK)
    _put(frames, box, planes)


def _draw_some(frames: Bytes, looks: Looks) -> None:
    """Draw a handful of frames in place."""
    step = np.rint((np.clip(looks.sway, -1, 1) + 1) * (SWAY_STEPS / 2)).astype(np.int64)
    for frame, identity, sway, icon in zip(frames, looks.identity, step, looks.icon, strict=True):
        frame[:, HEAD_COLUMNS] = head_layer(int(identity), int(sway))
        frame[:, ICON_COLUMNS] = icon_layer(int(identity), int(icon))
    at = _column(2 * step / SWAY_STEPS - 1)
    colours = np.asarray([palette.lid for palette in PALETTES], np.float32)
    lids = np.ascontiguousarray(colours[looks.identity].T)[:, :, None, None]
    _draw_mouth(frames, looks, at)
    _draw_eye(frames, looks, at, LEFT_EYE, -1, lids)
    _draw_eye(frames, looks, at, RIGHT_EYE, 1, lids)


def _part(looks: Looks, some: slice) -> Looks:
    """Some frames' looks, cut to their ranges."""
    return Looks(
        identity=looks.identity[some],
        mouth=np.clip(looks.mouth[some], 0, 1).astype(np.float32),
        gaze=np.clip(looks.gaze[some], -1, 1).astype(np.float32),
        eyes=np.clip(looks.eyes[some], 0, 1).astype(np.float32),
        sway=np.clip(looks.sway[some], -1, 1).astype(np.float32),
        icon=looks.icon[some],
    )


def draw_avatar(looks: Looks) -> Bytes:
    """The agent's picture, uint8 [n, 96, 160, 3]; values beyond their ranges are cut to them."""
    count = len(looks.identity)
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    for first in range(0, count, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        _draw_some(frames[some], _part(looks, some))
    return frames
