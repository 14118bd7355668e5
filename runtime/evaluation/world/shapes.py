"""Soft shapes: what the toy world's pictures are made of.

Receives places of pixels; hands on signed distances in pixels, coverage, and pictures with colours laid over them.
Every edge is a distance cut to one pixel, so a shape moved by a fraction of a pixel moves the picture by that fraction.
"""

from __future__ import annotations

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

INK: Colour = (30, 26, 44)
WHITE: Colour = (255, 255, 255)


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


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """A colour with a share of another."""
    return tuple(a + share * (b - a) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]
