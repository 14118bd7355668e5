"""The predictor against published figures: constants that come of the fit, at most half of the rows in it, the rest
within what is wanted."""

from __future__ import annotations

import statistics

import pytest

from edge_streamer.runtime.profile.predict import SHARES
from tests.bench.predictor import MEDIAN, MOST, error_of, fit
from tests.bench.published import ROWS

BEYOND = ("Gemma-2-2B", "Gemma-2-9B")
"""On MLC: their soft caps are kernels that no constant knows of, and of the larger one 8 GB hold hardly the weights."""


def test_the_constants_saw_at_most_half_of_the_rows() -> None:
    assert 2 * sum(row.fit for row in ROWS) <= len(ROWS)
    assert not any(row.fit for row in ROWS if row.model in BEYOND)


def test_every_row_is_within_what_is_wanted_but_those_that_are_named() -> None:
    errors = {row: abs(error_of(row)) for row in ROWS}
    assert {row.model for row, error in errors.items() if error > MOST} == set(BEYOND)
    assert statistics.median(error for row, error in errors.items() if not row.fit) <= MEDIAN


def test_the_constants_are_those_of_the_fit() -> None:
    for key, found in fit().items():
        shipped = SHARES[key]
        assert found.bandwidth == pytest.approx(shipped.bandwidth, rel=2e-3)
        assert found.attention == pytest.approx(shipped.attention, rel=2e-3)
        assert found.layer_cycles == pytest.approx(shipped.layer_cycles, rel=2e-3)
        assert found.token_cycles == pytest.approx(shipped.token_cycles, rel=5e-3)
        assert found.compute == pytest.approx(shipped.compute, rel=2e-3)
