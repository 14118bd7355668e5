"""Chance, owned by the host and the same everywhere.

Receives a seed, a stream number and a unit index; hands on normal or Gumbel noise that depends on these three alone.
Philox's raw bits are specified (Salmon et al., SC 2011) while numpy's samplers may change between versions, so the
samplers are ours: Box-Muller and inverse transform in float64. A unit can be replayed without its past, a rollback has
nothing to restore, and a golden unit recorded on one machine has the same noise on another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SOLVER, SLOTS, INPUTS, START = range(4)
"""Streams: solver noise, slot noise, made-up inputs (golden units), made-up starting states."""


class Noise:
    """Noise for a seed, 0 to 2**64 - 1. Streams and units never share numbers."""

    def __init__(self, seed: int):
        self._bits = np.random.Philox(key=np.array([seed, 0], np.uint64))
        self._state: Any = self._bits.state  # a dictionary that numpy types only in its newest versions

    def _uniform(self, stream: int, unit: int, count: int) -> NDArray[np.float64]:
        """[count] in (0, 1]: 53 random bits each."""
        self._state["state"]["counter"][:] = (0, 0, unit, stream)
        self._bits.state = self._state
        raw = self._bits.random_raw(count)
        return np.asarray(((raw >> np.uint64(11)) + np.uint64(1)) * 2.0**-53, np.float64)

    def normal(self, stream: int, unit: int, out: NDArray[np.float32]) -> None:
        """Fill ``out`` (any shape, contiguous) with standard normal values."""
        half = (out.size + 1) // 2
        uniform = self._uniform(stream, unit, 2 * half)
        radius = np.sqrt(-2.0 * np.log(uniform[:half]))
        angle = 2.0 * np.pi * uniform[half:]
        flat = out.reshape(-1)
        flat[:half] = radius * np.cos(angle)
        flat[half:] = (radius * np.sin(angle))[: out.size - half]

    def gumbel(self, stream: int, unit: int, out: NDArray[np.float32]) -> None:
        """Fill ``out`` with standard Gumbel values: argmax(logits + gumbel) samples from softmax(logits)."""
        uniform = np.minimum(self._uniform(stream, unit, out.size), 1.0 - 2.0**-53)
        out.reshape(-1)[:] = -np.log(-np.log(uniform))
