"""Signals, noted and answered at a time that suits.

Receives nothing; hands on :class:`Signals`, a context in which SIGINT and SIGTERM are noted (the run ends after the
unit in progress and keeps what it has), and SIGHUP too where ``hangup`` is asked for (devices are opened anew).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from edge_streamer.runtime.ending import Stopped


class Signals:
    """Catches the first SIGINT or SIGTERM; a second one of either is a :class:`Stopped`, a KeyboardInterrupt."""

    def __init__(self, *, hangup: bool = False) -> None:
        self.caught = 0
        """The signal's number; 0 while there was none."""
        self._numbers = [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if hangup else [])
        self._hung_up = False

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._catch) for number in self._numbers}
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hung_up(self) -> bool:
        """Whether SIGHUP came since the last call."""
        came, self._hung_up = self._hung_up, False
        return came

    def _catch(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:
            self._hung_up = True
            return
        if self.caught:
            raise Stopped(number)
        self.caught = number


@contextmanager
def no_hangup() -> Iterator[None]:
    """SIGHUP does nothing meanwhile: by default it ends a process."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
