"""Notices a step that never returns.

Receives when a step begins and ends; hands on two calls from a thread of its own: ``slow`` once for a step that takes
longer than a person would wait, ``hung`` once for one that is given up. A step that hangs sits in a driver or an engine
and cannot be interrupted from Python: whoever takes ``hung`` saves what can be saved and ends the process, so that
whatever started it (a service manager) starts it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from edge_streamer.runtime.timing import Clock, MonotonicClock

SLOW_SECONDS = 2.0
HUNG_SECONDS = 30.0
"""Longer than anything that ends by itself: the first step of a large model on a cold board takes seconds."""

LOOK_SECONDS = 0.25


class Watch(Protocol):
    """Told when a step begins and ends."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


class Watches:
    """Several as one."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = watches

    def begin(self) -> None:
        for watch in self._watches:
            watch.begin()

    def end(self) -> None:
        for watch in self._watches:
            watch.end()


@contextmanager
def watched(watch: Watch | None) -> Iterator[None]:
    """``watch``, where there is one, looks at what the engine does within."""
    if watch:
        watch.begin()
    try:
        yield
    finally:
        if watch:
            watch.end()


class Watchdog:
    """Watches one loop; a context manager. ``slow`` and ``hung`` are told the seconds so far."""

    def __init__(
        self,
        slow: Callable[[float], None],
        hung: Callable[[float], None],
        *,
        slow_seconds: float = SLOW_SECONDS,
        hung_seconds: float = HUNG_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._tell = ((slow_seconds, slow), (hung_seconds, hung))
        self._clock = clock or MonotonicClock()
        self._begun: float | None = None
        self._told = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._ending.set()
        self._thread.join()

    def begin(self) -> None:
        """A step begins."""
        self._told = 0
        self._begun = self._clock.now()

    def end(self) -> None:
        """It has ended."""
        self._begun = None

    def look(self) -> None:
        """Tell what is due now. Called by the watchdog's own thread."""
        begun = self._begun
        if begun is None:
            return
        taken = self._clock.now() - begun
        while self._told < len(self._tell) and taken >= self._tell[self._told][0]:
            self._told += 1
            self._tell[self._told - 1][1](taken)

    def _watch(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            self.look()
