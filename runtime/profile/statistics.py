"""Figures of one number per unit: percentiles, a histogram, jitter, drift, and how sure a difference is.

Receives milliseconds in the order of the units; hands on :class:`Spread` and its kin.

Choices: percentiles are times that were really measured (nearest rank). Units that follow each other are alike (a busy
neighbour, a warm chip), so intervals come from a bootstrap over blocks of ``BLOCK`` units that follow each other, not
over single units: 95 %, of ``DRAWS`` draws with a fixed seed, so that they are the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

BLOCK = 25
"""Units of a block: 4 s."""
DRAWS = 1000
FEWEST_BLOCKS = 4
"""With fewer, blocks are shortened."""
BINS = 40
AT_ONCE = 2_000_000
"""Numbers that are drawn at once: 16 MB."""

Row = NDArray[np.float64]
Figure = Callable[[Row], Row]
"""A figure of each row of [..., units]."""


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p99_9: float
    max: float


class Histogram(msgspec.Struct, frozen=True):
    """Units by their time; what is beyond the last edge is in the last bin."""

    first: float
    """The lower edge of the first bin, ms."""
    width: float
    counts: tuple[int, ...]


class Interval(msgspec.Struct, frozen=True):
    """A figure and where it lies with 95 %."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether it is not 0."""
        return self.low > 0 or self.high < 0


def spread(row: Row) -> Spread:
    """Of at least one number."""
    ranked = np.sort(row)

    def at(percent: float) -> float:
        return rounded(ranked[max(math.ceil(round(percent / 100 * len(ranked), 9)), 1) - 1])

    return Spread(rounded(row.mean()), at(50), at(90), at(95), at(99), at(99.9), rounded(ranked[-1]))


def rounded(value: float) -> float:
    """To a tenth of a microsecond."""
    return round(float(value), 4)


def histogram(row: Row) -> Histogram:
    """Up to the 99.9th percentile, so that one outlier does not make it a single bar."""
    figures = spread(row)
    first, last = float(row.min()), figures.p99_9
    width = max((last - first) / BINS, 1e-4)
    places = np.minimum(((row - first) / width).astype(int), BINS - 1)
    return Histogram(rounded(first), width, tuple(np.bincount(places, minlength=BINS).tolist()))


def jitter(row: Row) -> float:
    """Mean difference between a unit's time and the one before it."""
    return rounded(np.abs(np.diff(row)).mean()) if len(row) > 1 else 0.0


def drift(row: Row) -> Interval | None:
    """How much longer the last third's median is than the first third's; None of too few units."""
    third = len(row) // 3
    return difference(row[:third], row[-third:], median) if third >= FEWEST_BLOCKS else None


def mean(rows: Row) -> Row:
    """Of each row."""
    return np.asarray(rows.mean(-1))


def median(rows: Row) -> Row:
    """Of each row."""
    return _ranked(rows, 50)


def p95(rows: Row) -> Row:
    """Of each row."""
    return _ranked(rows, 95)


def _ranked(rows: Row, percent: float) -> Row:
    """The nearest rank, as in :func:`spread`."""
    return np.asarray(np.percentile(rows, percent, -1, method="inverted_cdf"))


def difference(before: Row, after: Row, figure: Figure) -> Interval:
    """``figure`` of ``after`` less that of ``before``."""
    random = np.random.default_rng(0)
    draws = _drawn(after, figure, random) - _drawn(before, figure, random)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(rounded((figure(after) - figure(before)).item()), rounded(low), rounded(high))


def block_of(units: int) -> int:
    """Units of a block of a run of so many."""
    return max(1, min(BLOCK, units // FEWEST_BLOCKS))


def _drawn(row: Row, figure: Figure, random: np.random.Generator) -> Row:
    """``figure`` of so many draws of blocks, each as long as ``row``."""
    block = block_of(len(row))
    count, found = math.ceil(len(row) / block), []
    at_once = max(1, AT_ONCE // len(row))
    for first in range(0, DRAWS, at_once):
        starts = random.integers(0, len(row) - block + 1, (min(at_once, DRAWS - first), count, 1))
        places = (starts + np.arange(block)).reshape(len(starts), -1)[:, : len(row)]
        found.append(figure(row[places]))
    return np.concatenate(found)
