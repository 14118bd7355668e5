"""Chance is the same everywhere and independent across units; rotary rows are exact at any hour."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.runtime.programs.noise import SLOTS, SOLVER, Noise
from edge_streamer.runtime.programs.rotary import Rotary, frequencies

PINNED = [-0.8608776330947876, 0.1974801868200302, -0.37213370203971863, 0.6945122480392456]
COSINE_ERROR = 3e-7
"""Of a float32 cosine, its own rounding included. Measured 3e-8 at unit 0 and at unit 10,000,000."""


def drawn(seed: int, stream: int, unit: int, count: int = 4096) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    out = np.empty(count, np.float32)
    Noise(seed).normal(stream, unit, out)
    return out


def test_the_numbers_are_pinned() -> None:
    """A golden unit recorded years ago must get the same noise: these values never change."""
    np.testing.assert_allclose(drawn(25, SOLVER, 3, 4), PINNED, rtol=1e-6)


def test_noise_is_standard_normal() -> None:
    values = drawn(1, SOLVER, 0, 200_001)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.1
    assert np.isfinite(values).all()


@pytest.mark.parametrize("other", [(2, SOLVER, 5), (1, SLOTS, 5), (1, SOLVER, 6)])
def test_seeds_streams_and_units_share_nothing(other: tuple[int, int, int]) -> None:
    one, two = drawn(1, SOLVER, 5), drawn(*other)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06
    for shift in (1, 4, 8):
        assert not np.array_equal(one[shift:], two[:-shift])


def test_large_seeds_differ() -> None:
    """They went through a float once, where 2**63 and its neighbours are one."""
    seeds = [0, 1, 2**63, 2**63 + 1, 2**64 - 1]
    noises = [drawn(seed, SOLVER, 5, 8) for seed in seeds]
    for i, one in enumerate(noises):
        for other in noises[i + 1 :]:
            assert not np.array_equal(one, other)


def test_a_unit_needs_no_past() -> None:
    noise, out = Noise(3), np.empty(64, np.float32)
    for unit in (9, 2, 7):
        noise.normal(SOLVER, unit, out)
    np.testing.assert_array_equal(out, drawn(3, SOLVER, 7, 64))


def test_gumbel_noise_samples_as_softmax_does() -> None:
    logits, noise, out = np.log([0.7, 0.2, 0.1]), Noise(1), np.empty(3, np.float32)
    counts = np.zeros(3)
    for unit in range(4000):
        noise.gumbel(SLOTS, unit, out)
        counts[np.argmax(logits + out)] += 1
    np.testing.assert_allclose(counts / 4000, [0.7, 0.2, 0.1], atol=0.03)


@pytest.mark.parametrize("unit", [0, 1, 1000, 540_000, 10_000_000])
def test_rotary_rows_are_those_of_exact_arithmetic(unit: int) -> None:
    """Against integers and Python's own reduction: cos of (position x frequency) with 30 digits."""
    from fractions import Fraction

    offsets = np.array([0.0, 1.0, 7.0, 24.0])
    rotary = Rotary(1e6, 64, offsets, 25)
    cos, sin = np.empty((4, 32), np.float32), np.empty((4, 32), np.float32)
    rotary.rows(unit, cos, sin)
    turn = 2 * Fraction("3.14159265358979323846264338327950288")
    for row, offset in enumerate(offsets):
        for column, frequency in enumerate(frequencies(1e6, 64)):
            angle = float((Fraction(int(offset)) + unit * 25) * Fraction(float(frequency)) % turn)
            assert abs(cos[row, column] - np.cos(angle)) < COSINE_ERROR
            assert abs(sin[row, column] - np.sin(angle)) < COSINE_ERROR
