"""The agent's picture: a friendly robot head with an answer's icon beside it.

Receives how the agent looks in n frames (``Looks``); hands on RGB frames uint8 [n, 96, 160, 3], and to the other files
of this folder the places where pictures are measured.

Choices: what does not move (background, icons) and what moves along one line (the head's sway) is drawn once and kept;
per frame only the eyes and the mouth are drawn, inside their boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.icons import draw_icon
from edge_streamer.runtime.evaluation.world.shapes import (
    INK,
    WHITE,
    Box,
    Bytes,
    Colour,
    Floats,
    Ints,
    Numbers,
    circle,
    cover,
    ellipse,
    grid,
    mixed,
    paint,
    rounded,
    segment,
    to_bytes,
)

HEIGHT, WIDTH = 96, 160
IDENTITIES = 3

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
ICON_X, ICON_Y = 132.0, 48.0

LEFT_EYE: Box = (slice(30, 59), slice(30, 58))
RIGHT_EYE: Box = (slice(30, 59), slice(59, 87))
MOUTH: Box = (slice(56, 83), slice(43, 74))
HEAD_COLUMNS = slice(0, 108)
ICON_COLUMNS = slice(108, WIDTH)

SWAY_STEPS = 128
"""Head layers from sway -1 to 1: a step is 1/25 pixel, below what eight bits show."""
_AT_ONCE = 32
"""Frames drawn together: their boxes stay in a core's cache."""

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


def resting(count: int, identity: int = 0) -> Looks:
    """``count`` frames with open eyes that look straight, a closed mouth and no icon."""
    return Looks(
        identity=np.full(count, identity, np.int64), mouth=np.zeros(count, np.float32),
        gaze=np.zeros((count, 2), np.float32), eyes=np.ones(count, np.float32), sway=np.zeros(count, np.float32),
        icon=np.zeros(count, np.int64),
    )  # fmt: skip


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
    paint(picture, cover(rounded(x, y - 88, 9, 8, 3)), mixed(colours.body, INK, 0.35))


def _crown(picture: Floats, x: Floats, y: Floats, identity: int) -> None:
    """What stands on and beside the head, behind it: one antenna, headphones or a tuft with ears."""
    colours = PALETTES[identity]
    dark = mixed(colours.head, INK, 0.45)
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
        paint(picture, cover(rounded(x - side * 34, y - 2, 3.5, 8, 3)), mixed(colours.accent, INK, 0.25))


def _skull(picture: Floats, x: Floats, y: Floats, identity: int) -> None:
    """The head itself with its light, cheeks and the whites of the eyes."""
    colours = PALETTES[identity]
    edge = rounded(x, y, HEAD_WIDE, HEAD_HIGH, 27)
    paint(picture, cover(edge), mixed(colours.head, INK, 0.3))
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


@cache
def icon_layer(identity: int, icon: int) -> Bytes:
    """The right of the picture [96, 52, 3] with an icon, or with none."""
    picture = _wall(identity)[:, ICON_COLUMNS].copy()
    if icon:
        x, y = grid(slice(0, HEIGHT), ICON_COLUMNS)
        draw_icon(picture, x - np.float32(ICON_X), y - np.float32(ICON_Y), icon)
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
