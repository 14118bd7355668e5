"""A reading over time: its extremes, its integral, and so many of its values that a picture needs.

Receives (seconds, value) one after another; hands on sums that are exact and points that are bounded, however long it
runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

POINTS = 1024
"""Kept at most, at least half of it; each is the mean of several values where it ran longer."""
GAP = 10.0
"""Seconds: between values further apart nobody knows what was."""


@dataclass
class Series:
    """Of one reading."""

    first: float = 0.0
    last: float = 0.0
    low: float = 0.0
    high: float = 0.0
    integral: float = 0.0
    """Value times seconds: linear between values, or each held since the one before."""
    covered: float = 0.0
    """Seconds that the integral is of."""
    count: int = 0
    total: float = 0.0
    changed: float | None = None
    """When it first was another value than at the start."""
    points: list[tuple[float, float]] = field(default_factory=list)
    """(seconds, value)."""
    _at: float = 0.0
    _each: int = 1
    _open: list[tuple[float, float]] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Over time where it is known between values, else of the values."""
        return self.integral / self.covered if self.covered else self.total / max(self.count, 1)

    def add(self, seconds: float, value: float, held_since: float | None = None) -> None:
        """``held_since``: ``value`` is the mean since then, as a counter tells it."""
        if held_since is not None:
            self._integrate(seconds - held_since, value)
        elif self.count:
            self._integrate(seconds - self._at, (self.last + value) / 2)
        if not self.count:
            self.first = self.low = self.high = value
        elif value != self.first and self.changed is None:
            self.changed = seconds
        self.last, self._at = value, seconds
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.count, self.total = self.count + 1, self.total + value
        self._point(seconds, value)

    def _integrate(self, seconds: float, value: float) -> None:
        if 0 < seconds <= GAP:
            self.integral += seconds * value
            self.covered += seconds

    def _point(self, seconds: float, value: float) -> None:
        if self._each == 1:
            self.points.append((seconds, value))
        else:
            self._open.append((seconds, value))
            if len(self._open) < self._each:
                return
            self.points.append(_mean(self._open))
            self._open.clear()
        if len(self.points) == POINTS:
            self.points = [_mean(self.points[n : n + 2]) for n in range(0, POINTS, 2)]
            self._each *= 2


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(at for at, _ in points) / len(points), sum(value for _, value in points) / len(points)
