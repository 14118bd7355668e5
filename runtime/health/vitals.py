"""What a run tells of itself while it goes, and how that looks at any moment.

Receives from the thread that runs: the state, when a step begins and ends, that a unit was answered, what went wrong;
hands on :class:`Vitals`, whose ``look`` makes a :class:`~edge_streamer.runtime.health.record.Health` of it on another
thread. Telling is a few assignments, so that it costs a unit nothing; figures are made by whoever looks.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from edge_streamer.runtime.ending import underway
from edge_streamer.runtime.health.record import Device, Health, Named, Recent, Stamp, State, Trouble, Zone
from edge_streamer.runtime.timing import Durations

NEWEST = 500
"""Units that percentiles are of: 80 s."""
LOOKS = 80
"""Looks, one a second, that recent misses are counted over."""
LOOKS_PER_WARMTH = 5
"""Heat changes slowly, and a board has a dozen sensors behind slow buses."""
LONGEST_TEXT = 500
"""Of what went wrong."""


class Counts(NamedTuple):
    """What a loop has counted so far."""

    units: int = 0
    answered: int = 0
    failed: int = 0
    skipped: int = 0
    misses: int = 0
    unit_seconds: float | None = None
    times: Durations | None = None
    """Of the answered units."""
    devices: Mapping[str, Device] = {}


class Vitals:
    """Of one run. ``temperatures`` tells degrees Celsius by name; it is asked where a thread may wait for it."""

    def __init__(self, pace: str, temperatures: Callable[[], Mapping[str, float]] = dict) -> None:
        self._pace, self._temperatures = pace, temperatures
        self._started, self._began = time.time(), time.monotonic()
        self._state: State = "opening"
        self._since = self._began
        self._at: str | None = None
        self._end: tuple[str, int | None] | None = None
        self._bundle: Named | None = None
        self._engine: str | None = None
        self._counts: Callable[[], Counts] = Counts
        self._answered, self._answered_at = 0, 0.0
        self._step_since = 0.0
        """0 between steps."""
        self._errors = 0
        self._trouble: Trouble | None = None
        self._warm: Mapping[str, float] = {}
        self._ticks = 0
        self._history: deque[tuple[int, int, int]] = deque([(0, 0, 0)], maxlen=LOOKS + 1)
        """(units, misses, failed and skipped) at each look of ``tick``."""

    # -- told by the thread that runs

    def opening(self, graph: str, done: int, total: int) -> None:
        """A :data:`~edge_streamer.runtime.timing.Tell`."""
        self._at = f"{graph} {done} of {total}"

    def opened(self, name: str, digest: str, engine: str) -> None:
        """What runs where. The rest until the first unit is warming up."""
        self._bundle, self._engine, self._at = Named(name, digest), engine, None
        self.enter("warming up")

    def enter(self, state: State) -> None:
        if self._end is None:
            self._state, self._since = state, time.monotonic()

    def counted(self, counts: Callable[[], Counts]) -> None:
        """What tells the counts from now on: called on another thread, at any moment."""
        self._counts = counts

    def begin(self) -> None:
        """A step begins."""
        self._step_since = time.monotonic()

    def end(self) -> None:
        """It has ended."""
        self._step_since = 0.0

    def unit(self, answered: int, errors: int = 0, why: str = "") -> None:
        """A unit is over: so many were answered in all, and so many things went wrong, ``why`` the newest of them."""
        if answered != self._answered:
            self._answered, self._answered_at = answered, time.monotonic()
        if errors != self._errors:
            self._errors = errors
            self.error(why)

    def error(self, what: str) -> None:
        """Something went wrong."""
        self._trouble = Trouble(" ".join(what.split())[:LONGEST_TEXT], time.time())

    def stop(self, why: str, exit_status: int | None) -> None:
        """It has ended, and why; only the first end counts."""
        if self._end is None:
            self.enter("stopped")
            self._end = " ".join(why.split())[:LONGEST_TEXT], exit_status

    @property
    def stopped(self) -> bool:
        return self._end is not None

    # -- on other threads

    def tick(self) -> Health:
        """Look, once a second: temperatures are read now and then, and what passed since is counted as recent."""
        if self._ticks % LOOKS_PER_WARMTH == 0:
            self._warm = self._temperatures()
        self._ticks += 1
        counts = self._counts()
        self._history.append((counts.units, counts.misses, counts.failed + counts.skipped))
        return self.look()

    def look(self) -> Health:
        """How it stands now."""
        from edge_streamer import __version__

        counts, now, step = self._counts(), time.monotonic(), self._step_since
        why, status = self._end or (None, None)
        hottest = max(self._warm.items(), key=lambda zone: zone[1], default=None)
        return Health(
            state=self._state, at=self._at, why=why, exit_status=status, state_seconds=_seconds(now - self._since),
            step_seconds=_seconds(now - step) if step else None, engine_at=underway.what or None,
            unit_age_seconds=_seconds(now - self._answered_at) if self._answered else None,
            units=counts.units, answered=counts.answered, failed=counts.failed, skipped=counts.skipped,
            deadline_misses=counts.misses,
            unit_ms=None if counts.unit_seconds is None else 1000 * counts.unit_seconds,
            recent=self._recent(counts), temperatures=dict(self._warm), hottest=Zone(*hottest) if hottest else None,
            devices=dict(counts.devices), last_error=self._trouble, bundle=self._bundle, engine=self._engine,
            pace=self._pace, edge_streamer=__version__, pid=os.getpid(), started=self._started,
            uptime_seconds=_seconds(now - self._began), written=Stamp.now(),
        )  # fmt: skip

    def _recent(self, counts: Counts) -> Recent:
        units, misses, failed = self._history[0]
        passed = {"units": counts.units - units, "deadline_misses": counts.misses - misses,
                  "failed": counts.failed + counts.skipped - failed}  # fmt: skip
        times = counts.times
        if times is None or not len(times):
            return Recent(**passed)
        last, half, most = times.last, times.percentile(50, NEWEST), times.percentile(99, NEWEST)
        return Recent(**passed, last_ms=_ms(last), p50_ms=_ms(half), p99_ms=_ms(most))


def _seconds(seconds: float) -> float:
    return round(seconds, 3)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
