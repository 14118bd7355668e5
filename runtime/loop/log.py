"""The log of a live conversation: JSON lines, appended.

Receives events and counters; hands on a file whose every line is one object with ``time`` (ISO 8601, UTC) and
``event``: ``counters`` now and then, everything else when it happens. Lines of earlier conversations stay. A line that
cannot be written (the disk is full) is counted, and the next one is tried all the same.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.timing import Clock

COUNTERS_SECONDS = 10.0
"""Between two lines of counters: 4 MB a day."""


class Log:
    """``path`` None: writes nowhere. InputError where the file cannot be opened. Events may come from any thread."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._due = clock.now() + COUNTERS_SECONDS
        self.lost = 0
        try:
            self._file = path.open("ab", buffering=0) if path else None
        except OSError as error:
            raise InputError(f"--log {path}: {error.strerror}; name another file") from error

    def event(self, what: str, **more: object) -> None:
        """One line, now."""
        if self._file is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = to_json({"time": now, "event": what, **more}, indent=-1) + b"\n"
        with self._lock:
            try:
                self._file.write(line)
            except (OSError, ValueError):  # ValueError: it was closed
                self.lost += 1

    def counters(self, counters: Counters) -> None:
        """A line of counters where it is time."""
        now = self._clock.now()
        if now >= self._due:
            self._due = now + COUNTERS_SECONDS
            self.event("counters", **counters.brief())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
