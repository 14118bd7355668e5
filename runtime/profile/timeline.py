"""Every section of every unit of a run, kept as numbers.

Receives sections as :class:`~edge_streamer.runtime.timing.Sections` tells them; hands on :class:`Timeline`: each
path's milliseconds unit by unit, and every stretch with its begin for a trace.

Choices: 22 bytes a stretch, some 50 stretches a unit (25 MB for an hour). What is outside a unit, or belongs to one
that came to no step (the end of the media), is dropped. Of a section with others inside, ``rest`` is what none of them
took (of a play ``transfers``); paths of graphs (``unit/step/play/core``) are the sum of their runs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.timing import Kind

UNIT = "unit"
STEP = f"{UNIT}/step"
REST = "rest"
AT_ONCE = 32
BETWEEN = "transfers"
"""What a play takes between its runs."""


_Told = tuple[str, Kind, float, float]


class Stretch(NamedTuple):
    """One section of one unit."""

    unit: int
    path: str
    begin: float
    """Seconds, as ``time.perf_counter`` has them."""
    seconds: float


class Run(NamedTuple):
    """Of a graph at a length, per unit."""

    runs: float
    ms: float
    """Of one run, in the median unit."""


class Timeline:
    """A listener of sections."""

    def __init__(self) -> None:
        self.units = 0
        """That are complete and were taken in."""
        self.kinds: dict[str, Kind] = {}
        """Path -> kind, in the order in which they were first told."""
        self._numbers: dict[str, int] = {}
        self._open: list[_Told] = []
        self._waiting: list[list[_Told]] = []
        """Complete units that are not in the arrays yet: many at once take less time than one by one."""
        self._unit, self._path, self._begin, self._seconds = array("L"), array("H"), array("d"), array("d")

    def __call__(self, path: str, kind: Kind, begin: float, seconds: float) -> None:
        self._open.append((path, kind, begin, seconds))
        if path == UNIT:
            self._waiting.append(self._open)
            self._open = []
            if len(self._waiting) >= AT_ONCE:
                self.settle()

    def settle(self) -> None:
        """Take in what waits: to be called before anything is asked for."""
        for told in self._waiting:
            if any(one[0] == STEP for one in told):
                self._keep(told)
        self._waiting = []

    def _keep(self, told: list[_Told]) -> None:
        for path, kind, begin, seconds in told:
            if path not in self._numbers:
                self._numbers[path] = len(self._numbers)
                self.kinds[path] = kind
            self._unit.append(self.units)
            self._path.append(self._numbers[path])
            self._begin.append(begin)
            self._seconds.append(seconds)
        self.units += 1

    def stretches(self) -> Iterator[Stretch]:
        """All of them, in the order in which they ended."""
        self.settle()
        paths = list(self._numbers)
        for unit, path, begin, seconds in zip(self._unit, self._path, self._begin, self._seconds, strict=True):
            yield Stretch(unit, paths[path], begin, seconds)

    def counts(self) -> dict[str, float]:
        """Path -> how often it came in a unit, on average."""
        self.settle()
        found = np.bincount(np.asarray(self._path, np.int64), minlength=len(self._numbers))
        return {path: float(found[n]) / self.units for path, n in self._numbers.items()} if self.units else {}

    def milliseconds(self) -> dict[str, NDArray[np.float64]]:
        """Path -> [units], outer ones before inner ones. ``unit`` is without what is apart from it (waiting, telling),
        which has no row."""
        self.settle()
        told = np.zeros((len(self._numbers), self.units))
        np.add.at(told, (np.asarray(self._path, np.int64), np.asarray(self._unit, np.int64)),
                  1e3 * np.asarray(self._seconds))  # fmt: skip
        rows = {path: told[n] for path, n in self._numbers.items()}
        for path, kind in self.kinds.items():
            if kind == "apart":
                rows[UNIT] = rows[UNIT] - rows.pop(path)
            if kind == "graph":
                rows[outer(path)] = rows.get(outer(path), 0) + rows[path]
        return dict(self._ordered(rows, UNIT)) if self.units else {}

    def runs(self) -> dict[str, Run]:
        """Graph at its length (``core at 9``) -> its runs in steps. Those that only a few units have are left out."""
        rows, counts = self.milliseconds(), self.counts()
        found: dict[str, Run] = {}
        for path, row in rows.items():
            runs = sum(n for inner, n in counts.items() if outer(inner) == path and self.kinds[inner] == "graph")
            if runs and path.startswith(f"{STEP}/") and (median := float(np.median(row))):
                found[path.rpartition("/")[2]] = Run(round(runs, 3), median / runs)
        return found

    def _ordered(self, rows: dict[str, NDArray[np.float64]], path: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """``path``, all that lies in it, and what that leaves."""
        yield path, rows[path]
        inner = [one for one in rows if outer(one) == path]
        for one in inner:
            yield from self._ordered(rows, one)
        if inner and path in self.kinds:  # not a graph, which is nothing but its runs
            yield (
                f"{path}/{BETWEEN if self.kinds[path] == 'transfer' else REST}",
                rows[path] - sum(rows[one] for one in inner),
            )


def outer(path: str) -> str:
    """The section that ``path`` lies in; empty where there is none."""
    return path.rpartition("/")[0]
