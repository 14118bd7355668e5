"""Percentiles by hand, and intervals that know what they do not know."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.runtime.profile.statistics import block_of, difference, drift, histogram, jitter, median, spread

CALM = 30 + np.random.default_rng(0).normal(0, 1, 600)


def test_percentiles_are_times_that_were_measured() -> None:
    found = spread(np.arange(1, 1001, dtype=float))
    assert (found.p50, found.p90, found.p95, found.p99, found.p99_9, found.max) == (500, 900, 950, 990, 999, 1000)
    assert found.mean == 500.5
    assert spread(np.array([7.0])).p99_9 == 7


def test_a_histogram_holds_every_unit() -> None:
    found = histogram(np.append(CALM, 500.0))
    assert sum(found.counts) == 601
    assert found.first + found.width * len(found.counts) < 600
    assert sum(histogram(np.full(5, 3.0)).counts) == 5


def test_jitter_is_from_one_unit_to_the_next() -> None:
    assert jitter(np.array([10.0, 12, 10, 12])) == 2
    assert jitter(np.array([10.0])) == 0


def test_drift_is_seen_and_calm_is_not() -> None:
    calm, warm = drift(CALM), drift(CALM + np.linspace(0, 3, 600))
    assert calm is not None
    assert not calm.certain
    assert warm is not None
    assert warm.certain
    assert warm.value == pytest.approx(2, abs=0.4)
    assert drift(CALM[:9]) is None


def test_an_interval_holds_what_was_planted() -> None:
    after = 32 + np.random.default_rng(1).normal(0, 1, 600)
    found = difference(CALM, after, median)
    assert found.low < 2 < found.high
    assert found.high - found.low < 0.6
    assert found == difference(CALM, after, median)  # the same every time


def test_units_that_are_alike_tell_less_than_single_ones() -> None:
    waves = 30 + np.repeat(np.random.default_rng(2).normal(0, 3, 24), 25)
    other = 30 + np.repeat(np.random.default_rng(3).normal(0, 3, 24), 25)
    found = difference(waves, other, median)
    shuffled = difference(
        np.random.default_rng(4).permutation(waves), np.random.default_rng(5).permutation(other), median
    )
    assert found.high - found.low > 1.5 * (shuffled.high - shuffled.low)


@pytest.mark.parametrize(("units", "block"), [(1, 1), (8, 2), (100, 25), (10_000, 25)])
def test_blocks_are_short_where_units_are_few(units: int, block: int) -> None:
    assert block_of(units) == block
