"""Codes err least where inputs are large: each method beats rounding where it should, and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.quantization.formats import INT4, INT8, Codes, Format, to_nearest
from edge_streamer.quantization.rounding import clipped, compensated, migrated, output_error, smoothed


def inputs(seed: int = 0, count: int = 600, width: int = 96) -> np.ndarray:
    """Inputs that vary together, some of them large, as behind a norm."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((width, width)) * np.exp(1.2 * rng.standard_normal(width))
    return np.asarray(rng.standard_normal((count, width)) @ mix / 10, np.float32)


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight = np.random.default_rng(9).standard_normal((96, 40)).astype(np.float32) / 10
    x = inputs()
    return weight, x, (x.T @ x).astype(np.float64)


def decibels(weight: np.ndarray, codes: Codes, x: np.ndarray) -> float:
    """On inputs that the method has not seen."""
    lost, whole = x @ (weight - codes.floats()), x @ weight
    return float(10 * np.log10(np.sum(lost**2) / np.sum(whole**2)))


def test_the_error_is_that_of_the_output() -> None:
    weight, x, seen = problem()
    codes = to_nearest(weight, INT4)
    assert 10 * np.log10(output_error(weight, codes, seen)) == pytest.approx(decibels(weight, codes, x), abs=0.05)


@pytest.mark.parametrize(("format", "gain"), [(INT8, 1.0), (INT4, 1.5)], ids=lambda v: getattr(v, "name", str(v)))
def test_errors_made_good_beat_rounding_on_inputs_not_seen(format: Format, gain: float) -> None:
    weight, _, seen = problem()
    fresh = inputs()[::-1] * np.float32(0.7) + inputs(0, 600) * np.float32(0.1)
    plain, better = (decibels(weight, codes, fresh) for codes in
                     (to_nearest(weight, format), compensated(weight, format, seen)))  # fmt: skip
    assert better < plain - gain


def test_cutting_the_largest_weight_pays_with_few_codes() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_t(4, (32, 50)).astype(np.float32)
    cost = rng.uniform(0.2, 5.0, 32)
    widest, chosen = np.abs(weight).max(0) / 7, clipped(weight, INT4, cost)
    errors = [
        np.sum(cost[:, None] * np.square(np.clip(np.round(weight / s), -7, 7) * s - weight)) for s in (widest, chosen)
    ]
    assert (chosen <= widest * 1.0001).all()
    assert errors[1] < 0.9 * errors[0]


def test_an_input_that_was_never_seen_keeps_its_nearest_code() -> None:
    weight, x, _ = problem()
    x[:, [5, 40]] = 0
    codes = compensated(weight, INT8, (x.T @ x).astype(np.float64))
    assert np.abs(codes.floats() - weight)[[5, 40]].max() <= 0.51 * codes.scales.max()


def test_migration_beats_rounding_and_helps_errors_made_good() -> None:
    weight, x, seen = problem()
    scale = migrated(weight, INT4, seen)
    moved, divided = weight * scale[:, None], x / scale
    plain = decibels(weight, to_nearest(weight, INT4), x)
    alone = decibels(moved, to_nearest(moved, INT4), divided)
    both = decibels(moved, compensated(moved, INT4, (divided.T @ divided).astype(np.float64)), divided)
    assert alone < plain - 1.0
    assert both < plain - 3.0


def test_smoothing_brings_inputs_and_weights_to_one_range() -> None:
    weight, x, _ = problem()
    scale = smoothed(weight, np.abs(x).max(0), 0.5)
    ranges = np.abs(x / scale).max(0), np.abs(weight * scale[:, None]).max(1)
    assert np.ptp(np.log(ranges[0] / ranges[1])) < 1e-3
    assert np.allclose((x / scale) @ (weight * scale[:, None]), x @ weight, atol=1e-4)
