"""Rotary rows from time, exact at any hour.

Receives positions (float64: ``unit * positions_per_unit + offset``); hands on float32 cosines and sines. The angle of a
unit and the angle of a place inside it are taken separately in float64 and joined by the addition theorem, so a unit
costs one small set of cosines instead of one per token, and hour 24 is as exact as minute 1: at unit 10,000,000 (18
days) the angle's float64 rounding is some 1e-8 of a radian, below what a float32 cosine can show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def frequencies(base: float, head_size: int) -> Float64:
    """[head_size / 2] angles per position: ``base ** (-2 i / head_size)`` (Su et al. 2021, as in Qwen2.5)."""
    exponent = np.arange(0, head_size, 2, dtype=np.float64) / head_size
    return np.asarray(1.0 / base**exponent, np.float64)


class Rotary:
    """Cosines and sines for a fixed set of places at any unit."""

    def __init__(self, base: float, head_size: int, offsets: Float64, positions_per_unit: int):
        self._frequency = frequencies(base, head_size)
        self._per_unit = positions_per_unit
        angle = offsets[:, None] * self._frequency[None, :]
        self._cos, self._sin = np.cos(angle), np.sin(angle)
        self._left, self._right = np.empty_like(angle), np.empty_like(angle)

    def rows(self, unit: int, cos: NDArray[np.float32], sin: NDArray[np.float32]) -> None:
        """Fill ``cos`` and ``sin`` [places, head_size / 2] for these places at ``unit``."""
        angle = np.float64(unit * self._per_unit) * self._frequency
        c, s = np.cos(angle), np.sin(angle)
        np.multiply(self._cos, c, out=self._left)
        np.multiply(self._sin, s, out=self._right)
        np.subtract(self._left, self._right, out=cos, casting="same_kind")
        np.multiply(self._sin, c, out=self._left)
        np.multiply(self._cos, s, out=self._right)
        np.add(self._left, self._right, out=sin, casting="same_kind")
