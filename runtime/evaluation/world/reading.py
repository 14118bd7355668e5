"""Measures the agent's picture: what ``avatar.py`` drew is read back from frames that a codec may have blurred.

Receives RGB frames uint8 [n, 96, 160, 3]; hands on each of the looks: identity, sway, gaze, eyes, mouth and icon.

Choices: every measure is linear in the picture, or a comparison with softened drawings, so that blur and noise move it
little; whatever bias remains is taken out by scales measured once on our own sharp drawings. The identity is read
first, then the sway, and the face is measured where the head then is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from edge_streamer.runtime.evaluation.world.avatar import (
    EYE_RADIUS,
    EYE_X,
    EYE_Y,
    HEAD_COLUMNS,
    HEAD_X,
    HEAD_Y,
    ICON_COLUMNS,
    IDENTITIES,
    LID_BULGE,
    LID_TRAVEL,
    MOUTH,
    PALETTES,
    PUPIL_RADIUS,
    PUPIL_REACH,
    SWAY_STEPS,
    SWAY_X,
    SWAY_Y,
    draw_avatar,
    head_layer,
    icon_layer,
    resting,
)
from edge_streamer.runtime.evaluation.world.icons import ICONS
from edge_streamer.runtime.evaluation.world.shapes import (
    INK,
    Box,
    Bytes,
    Floats,
    Ints,
    Numbers,
    circle,
    cover,
    grid,
    rounded,
)

CLOSED = 0.4
"""Eyes less open than this show too little of the pupils: no gaze is read."""

_AT_ONCE = 32
_STRIDE = 4
"""Sway's drawings to compare with are every fourth step apart."""
_WALL_PATCH: Box = (slice(30, 84), slice(0, 12))
_HEAD_PATCH: Box = (slice(22, 32), slice(44, 74))
_ICON_ROWS = slice(22, 74)
_REACH, _LID_REACH = 10, 13
"""Half the side of the square cut out around an eye, pixels: for its pupil, and for its lids with the head around."""
_LID_WIDE, _LID_HIGH = 5.0, EYE_RADIUS + 2.6
"""Lids are measured in a band down an eye's middle, where their share is nearly a straight line of the openness; it is
high enough that blur moves nothing out of it."""
_INNER = EYE_RADIUS - 1.2
"""Inside this radius an eye is free of the head's colour, softened or not."""
_GREY = np.asarray((0.3, 0.59, 0.11), np.float32)
_INK_LEVEL = float(_GREY @ np.asarray(INK, np.float32))


def _softened(pictures: Numbers | Bytes, sigma: float, axes: tuple[int, int]) -> Floats:
    """Pictures blurred along two axes, their borders repeated."""
    reach = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    soft = np.asarray(pictures, np.float32)
    for axis in axes:
        count = soft.shape[axis]
        places = [np.clip(np.arange(count) + tap, 0, count - 1) for tap in range(-reach, reach + 1)]
        moved = [np.float32(tap) * soft.take(place, axis) for tap, place in zip(taps, places, strict=True)]
        soft = np.asarray(sum(moved), np.float32)
    return soft


@dataclass(frozen=True)
class _Pose:
    """Whose head is in some frames, and where."""

    frames: Bytes
    identity: Ints
    sway: Floats


def _resting(frames: Bytes, identity: int) -> _Pose:
    """Frames known to show one head at rest."""
    return _Pose(frames, np.full(len(frames), identity, np.int64), np.zeros(len(frames), np.float32))


def _patches(frames: Bytes) -> Floats:
    """The wall's and the head's mean colours, [n, 6]."""
    patches = [frames[:, rows, columns] for rows, columns in (_WALL_PATCH, _HEAD_PATCH)]
    return np.concatenate([patch.mean(axis=(1, 2), dtype=np.float32) for patch in patches], axis=1)


@cache
def _palette_patches() -> Floats:
    """The same of our own drawings, [identities, 6]."""
    return _patches(np.concatenate([draw_avatar(resting(1, identity)) for identity in range(IDENTITIES)]))


def _find_identity(frames: Bytes) -> Ints:
    """Nearest palette, [n]."""
    far = ((_patches(frames)[:, None] - _palette_patches()) ** 2).sum(axis=2)
    return np.asarray(far.argmin(axis=1), np.int64)


@cache
def _outline() -> tuple[Ints, Ints]:
    """Rows and columns of the pixels that tell the sway: a band around the head's edge, ears and crown."""
    x, y = grid(slice(0, 96), HEAD_COLUMNS)
    x, y = x - HEAD_X, y - HEAD_Y
    far = np.hypot(x, y)
    rows, columns = np.nonzero((far > 27) & (far < 50) & (np.abs(x) < 48))
    return rows.astype(np.int64), columns.astype(np.int64)


@cache
def _sway_drawings(identity: int) -> tuple[Floats, Floats]:
    """Softened outlines [steps, pixels * 3] at every _STRIDE-th sway, and what their fit is lessened by [steps].

    Taken off the fit, it makes the best fit the nearest drawing; the outlines are without their mean, which float32's
    sums would otherwise be lost in.
    """
    rows, columns = _outline()
    layers = np.stack([head_layer(identity, step) for step in range(0, SWAY_STEPS + 1, _STRIDE)])
    outlines = _softened(layers, 0.8, (1, 2))[:, rows, columns]
    mean = outlines.mean(axis=0)
    outlines = (outlines - mean).reshape(len(layers), -1)
    return outlines, np.asarray(0.5 * (outlines**2).sum(axis=1) + outlines @ mean.reshape(-1), np.float32)


def _vertex(before: Numbers, middle: Numbers, after: Numbers) -> Floats:
    """Where between its neighbours a parabola through three values has its end, -0.5..0.5."""
    bend = before - 2 * middle + after
    safe = np.where(np.abs(bend) > 1e-9, bend, 1)
    return np.asarray(np.clip(np.where(np.abs(bend) > 1e-9, 0.5 * (before - after) / safe, 0), -0.5, 0.5), np.float32)


def _find_sway(frames: Bytes, identity: Ints) -> Floats:
    """Which outline fits best, between drawings by a parabola, [n]."""
    rows, columns = _outline()
    sway = np.zeros(len(frames), np.float32)
    for who in np.unique(identity):
        own = np.flatnonzero(identity == who)
        outlines, bias = _sway_drawings(int(who))
        pixels = frames[own].reshape(len(own), -1, 3).take(rows * frames.shape[2] + columns, axis=1)
        seen = pixels.reshape(len(own), -1).astype(np.float32)
        fit = seen @ outlines.T - bias
        best = np.clip(fit.argmax(axis=1), 1, len(bias) - 2)
        every = np.arange(len(own))
        part = _vertex(fit[every, best - 1], fit[every, best], fit[every, best + 1])
        part = np.where(fit.argmax(axis=1) == best, part, fit.argmax(axis=1) - best)
        sway[own] = 2 * (best + part) * _STRIDE / SWAY_STEPS - 1
    return np.clip(sway, -1, 1)


def _in_parts(frames: Bytes, read: Callable[[_Pose], Numbers], width: tuple[int, ...] = ()) -> Floats:
    """Find a few frames' heads at a time, read something there, and join what was read, [n, *width]."""
    found = np.zeros((len(frames), *width), np.float32)
    for first in range(0, len(frames), _AT_ONCE):
        some = frames[first : first + _AT_ONCE]
        identity = _find_identity(some)
        found[first : first + _AT_ONCE] = read(_Pose(some, identity, _find_sway(some, identity)))
    return found


def _eye(pose: _Pose, side: int, half: int) -> Floats:
    """A square around an eye's centre where the head now is, between pixels by their mixture, [n, h, w, 3]."""
    reach = np.arange(-half, half + 1)
    x = HEAD_X + side * EYE_X + SWAY_X * pose.sway[:, None] + reach
    y = EYE_Y + SWAY_Y * pose.sway[:, None] + reach
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = (x - column)[:, None, :, None], (y - row)[:, :, None, None]
    every = np.arange(len(pose.frames))[:, None, None]
    rows, columns = (np.concatenate([at, at[:, -1:] + 1], axis=1) for at in (row, column))
    patch = pose.frames[every, rows[:, :, None], columns[:, None]].astype(np.float32)
    size = len(reach)
    corners = [[patch[:, below : below + size, right : right + size] for right in (0, 1)] for below in (0, 1)]
    upper, lower = (left + across * (right - left) for left, right in corners)
    return np.asarray(upper + down * (lower - upper), np.float32)


def _eye_grid(half: int) -> tuple[Floats, Floats]:
    """x [1, w] and y [h, 1] of such a square, from the eye's centre."""
    return grid(slice(-half, half + 1), slice(-half, half + 1))


@cache
def _lid_hues() -> Floats:
    """For each identity the weights [identities, 3] that give 1 for the lid's colour and 0 for white and ink."""
    weights = []
    for palette in PALETTES:
        ends = np.asarray([palette.lid, (255, 255, 255), INK], np.float64)
        weights.append(np.linalg.solve(ends, np.asarray([1.0, 0.0, 0.0])))
    return np.asarray(weights, np.float32)


def _lid_share(pose: _Pose) -> Floats:
    """How much of the lids' hue is in and around the eyes, [n], on no particular scale.

    The head above and below has that hue too and always adds the same.
    """
    inside = cover(rounded(*_eye_grid(_LID_REACH), _LID_WIDE, _LID_HIGH, 1))
    means = [np.einsum("nhwc,hw->nc", _eye(pose, side, _LID_REACH), inside) for side in (-1, 1)]
    hues = _lid_hues()[pose.identity]
    return np.asarray(((means[0] + means[1]) * hues).sum(axis=1) / (2 * inside.sum()), np.float32)


@cache
def _eye_scale(identity: int) -> tuple[Floats, Floats]:
    """Lid shares in rising order and the openness that each means."""
    steps = 41
    looks = replace(resting(steps, identity), eyes=np.linspace(1, 0, steps, dtype=np.float32))
    share = np.zeros(steps, np.float32)
    for right, down in ((0, 0), (-0.6, 0), (0.6, 0), (0, -0.6), (0, 0.6)):
        gaze = np.tile(np.asarray([[right, down]], np.float32), (steps, 1))
        share += _lid_share(_resting(draw_avatar(replace(looks, gaze=gaze)), identity))
    return np.maximum.accumulate(share / 5), np.linspace(1, 0, steps, dtype=np.float32)


def _openness(pose: _Pose) -> Floats:
    """[n] 0..1."""
    share, openness = _lid_share(pose), np.zeros(len(pose.frames), np.float32)
    for who in np.unique(pose.identity):
        own = pose.identity == who
        openness[own] = np.interp(share[own], *_eye_scale(int(who)))
    return openness


_PLACES = np.arange(-10, 11, dtype=np.float32) / 2
"""Where a pupil is looked for, pixels from the eye's centre, in each direction."""


@cache
def _pupils() -> Floats:
    """Softened pupils' darkness at every place, [21 down * 21 right, 21 * 21 pixels]."""
    x, y = _eye_grid(_REACH)
    drawings = []
    for down in _PLACES:
        for right in _PLACES:
            px, py = x - right, y - down
            glint = cover(circle(px + np.float32(1.3), py + np.float32(1.4), 1.1))
            drawings.append(cover(circle(px, py, PUPIL_RADIUS)) - glint)
    return _softened(np.stack(drawings), 0.9, (1, 2)).reshape(len(drawings), -1)


def _opening(openness: Floats) -> Floats:
    """Where an eye shows neither lid nor lashes, even softened, [n, 21, 21]."""
    x, y = _eye_grid(_REACH)
    shut = (1 - openness)[:, None, None]
    bulge, travel = LID_BULGE * shut * EYE_RADIUS * (1 - (x / EYE_RADIUS) ** 2), LID_TRAVEL * EYE_RADIUS * (1 - shut)
    upper, lower = bulge - travel, bulge + travel
    lids = np.minimum(y - upper - 2.2, lower - y - 1.2)
    return cover(circle(x, y, _INNER + 0.4)) * cover(-lids)


def _pupil_places(pose: _Pose, openness: Floats) -> Floats:
    """Both eyes' common pupil place, pixels right and down of the eyes' centres, [n, 2]."""
    pupils, count = _pupils(), len(pose.frames)
    seen = _opening(openness).reshape(count, -1)
    misfit = 2 * seen @ (pupils**2).T
    for side in (-1, 1):
        dark = (255 - _eye(pose, side, _REACH) @ _GREY).reshape(count, -1) / (255 - _INK_LEVEL)
        misfit -= 2 * (seen * dark) @ pupils.T
    misfit = misfit.reshape(count, len(_PLACES), len(_PLACES))
    best = misfit.reshape(count, -1).argmin(axis=1)
    down, right = (np.clip(at, 1, len(_PLACES) - 2) for at in np.divmod(best, len(_PLACES)))
    every = np.arange(count)
    middle = misfit[every, down, right]
    across = _vertex(misfit[every, down, right - 1], middle, misfit[every, down, right + 1])
    below = _vertex(misfit[every, down - 1, right], middle, misfit[every, down + 1, right])
    return np.stack([_PLACES[right] + across / 2, _PLACES[down] + below / 2], axis=1).astype(np.float32)


def _gaze(pose: _Pose) -> Floats:
    """[n, 2], NaN where the eyes are closed."""
    openness = _openness(pose)
    gaze: Floats = np.clip(_pupil_places(pose, openness) / np.float32(PUPIL_REACH), -1, 1)
    gaze[openness < CLOSED] = np.nan
    return gaze


def _mouth_area(pose: _Pose) -> Floats:
    """How many pixels of ink the mouth adds to the bare head, [n]."""
    step = np.rint((pose.sway + 1) * (SWAY_STEPS / 2)).astype(np.int64)
    bare = [head_layer(int(who), int(at))[MOUTH] for who, at in zip(pose.identity, step, strict=True)]
    reference = np.stack(bare).astype(np.float32)
    towards = np.asarray(INK, np.float32) - reference
    share = ((pose.frames[:, MOUTH[0], MOUTH[1]] - reference) * towards).sum(axis=3) / (towards**2).sum(axis=3)
    return np.asarray(share.sum(axis=(1, 2)), np.float32)


@cache
def _mouth_scale(identity: int) -> tuple[Floats, Floats]:
    """Ink areas in rising order and the opening that each means."""
    steps = 41
    opening = np.linspace(0, 1, steps, dtype=np.float32)
    area = _mouth_area(_resting(draw_avatar(replace(resting(steps, identity), mouth=opening)), identity))
    return np.maximum.accumulate(area), opening


def _mouth(pose: _Pose) -> Floats:
    """[n] 0..1."""
    area, opening = _mouth_area(pose), np.zeros(len(pose.frames), np.float32)
    for who in np.unique(pose.identity):
        own = pose.identity == who
        opening[own] = np.interp(area[own], *_mouth_scale(int(who)))
    return opening


@cache
def _icon_drawings(identity: int) -> tuple[Floats, Floats]:
    """Icons before an identity's wall [icons, pixels * 3], and half their squares' sums [icons]."""
    boxes = np.stack([icon_layer(identity, icon) for icon in range(ICONS)])
    drawings = _softened(boxes, 0.7, (1, 2))[:, _ICON_ROWS].reshape(ICONS, -1)
    return drawings, np.asarray(0.5 * (drawings**2).sum(axis=1), np.float32)


def read_identity(frames: Bytes) -> Ints:
    """Whose head it is, [n] 0..IDENTITIES-1."""
    return _find_identity(frames)


def read_gaze(frames: Bytes) -> Floats:
    """Pupils' place right and down, [n, 2] -1..1; NaN where the eyes are less than CLOSED open."""
    return _in_parts(frames, _gaze, (2,))


def read_eyes(frames: Bytes) -> Floats:
    """How open the eyes are, [n] 0..1."""
    return _in_parts(frames, _openness)


def read_mouth(frames: Bytes) -> Floats:
    """How open the mouth is, [n] 0..1."""
    return _in_parts(frames, _mouth)


def read_sway(frames: Bytes) -> Floats:
    """The head's place sideways, [n] -1..1."""
    return _in_parts(frames, lambda pose: pose.sway)


def read_icon(frames: Bytes) -> Ints:
    """Which icon stands at the right, [n] 0..ICONS-1."""
    identity, icons = _find_identity(frames), np.zeros(len(frames), np.int64)
    for who in np.unique(identity):
        own = np.flatnonzero(identity == who)
        drawings, bias = _icon_drawings(int(who))
        seen = frames[own][:, _ICON_ROWS, ICON_COLUMNS].reshape(len(own), -1).astype(np.float32)
        icons[own] = (seen @ drawings.T - bias).argmax(axis=1)
    return icons
