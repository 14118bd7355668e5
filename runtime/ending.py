"""Ends a command that does not end by itself: an engine that does not return, a second signal.

Receives the signals of a command and what its engine is at; hands on :class:`Guard`, a context around a whole command.

Python answers a signal between two of its own instructions: while a graph runs for ever, or a driver hangs, no handler
is called. So a thread of its own hears of signals (the interpreter writes their numbers to a pipe) and looks at the
engine: it tells of a graph that takes long, ends the process where one is given up, and ends it after a second signal,
in whatever code the main thread is. First whoever is there saves what can be saved, or takes away what is half written.
"""

from __future__ import annotations

import faulthandler
import math
import os
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, NoReturn

from edge_streamer.runtime.errors import InputError

LIMIT = "EDGE_STREAMER_HUNG_SECONDS"
"""The variable for :data:`HUNG_SECONDS`."""
SLOW_SECONDS, HUNG_SECONDS = 10.0, 300.0
"""Of one run of one graph, or of its loading, until it is told, and until it is given up. The slowest that we know of
takes 2 s (an emulated board); half a billion weights at 50 tokens are 25 s for a board that does two billion operations
in a second."""
TOLD_SECONDS = 1.0
"""After a first signal, until somebody is told what is waited for."""
GRACE_SECONDS = 2.0
"""After a second signal, for Python to clean up where it can."""
LOOK_SECONDS = 0.25
HUNG = 1
"""Exit status where an engine was given up."""
ENDING = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal that ends a command at once, with its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Underway:
    """What the engine is at. Set by the thread that runs graphs, read by the one that watches."""

    def __init__(self) -> None:
        self.what = ""
        """Empty: nothing."""
        self.since = 0.0
        """When that began; ``perf_counter``."""

    def begin(self, what: str, now: float) -> None:
        self.since = now
        self.what = what

    def end(self) -> None:
        self.what = ""

    def seconds(self) -> float:
        """How long it has taken."""
        return perf_counter() - self.since if self.what else 0.0


underway = _Underway()

_last_words: list[tuple[Callable[[str], object], Callable[[], object]]] = []
_one_end = threading.Lock()
"""Taken by the thread that ends the process, and never given back."""


class Guard:
    """Watches one command. Only in the main thread, where signals arrive; elsewhere it does nothing.

    Raises InputError where the variable for the limit holds no number.
    """

    current: Guard | None = None
    """The one of this process's command; none where the package is used as a library."""

    def __init__(self) -> None:
        self.hung_seconds = hung_seconds()
        self._signals: list[tuple[int, float]] = []
        self._told_signal = self._gave_up = False
        self._told_slow = 0.0
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def __enter__(self) -> Guard:
        if threading.current_thread() is not threading.main_thread() or Guard.current is not None:
            return self
        Guard.current = self
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.signal(signal.SIGTERM, _stop)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self.terminal = _terminal()
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if Guard.current is not self:
            return
        signal.set_wakeup_fd(self._wakeup)
        signal.signal(signal.SIGTERM, self._before)
        os.close(self._write)  # which the thread sees
        self._thread.join()
        os.close(self._read)
        Guard.current = None

    def _watch(self) -> None:
        while True:
            if select.select([self._read], [], [], LOOK_SECONDS)[0]:
                numbers = os.read(self._read, 64)
                if not numbers:
                    return
                self._signals += [(number, perf_counter()) for number in numbers if number in ENDING]
            self._look()

    def _look(self) -> None:
        """Tell what is due, and end what is over."""
        now, what, taken = perf_counter(), underway.what, underway.seconds()
        if len(self._signals) > 1:
            number, came = self._signals[1]
            if taken > TOLD_SECONDS or len(self._signals) > 2 or now - came > GRACE_SECONDS:
                _one_end.acquire(timeout=GRACE_SECONDS)
                _end(128 + number, "stopped; what was not finished is not kept")
        elif self._signals and taken > TOLD_SECONDS and not self._told_signal:
            self._told_signal = True
            _tell(f"{what} is still running; a second signal (Ctrl-C) ends at once and keeps nothing")
        if taken > self.hung_seconds and not self._gave_up:
            self._gave_up = True
            why = f"{what} has not returned for {taken:.0f} s: the engine hangs, or {LIMIT} is too short for it"
            threading.Thread(target=give_up, args=(why,), daemon=True).start()  # this one goes on hearing signals
        elif taken > SLOW_SECONDS and self._told_slow != underway.since:
            self._told_slow = underway.since
            limit = (
                f"it is given up after {self.hung_seconds:.0f} s ({LIMIT}); " if self.hung_seconds < math.inf else ""
            )
            _tell(f"{what} has not returned for {taken:.0f} s; {limit}Ctrl-C twice ends at once")


@contextmanager
def last_words(
    keep: Callable[[str], object] = lambda why: None, discard: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """What another thread does last for a command whose own code stands still: ``keep`` is told why an engine was given
    up, ``discard`` removes what is half written."""
    words = (keep, discard)
    _last_words.append(words)
    try:
        yield
    finally:
        _last_words.remove(words)


def give_up(why: str) -> None:
    """Save what can be saved and end the process, from whatever thread: nobody else can."""
    if not _one_end.acquire(blocking=False):
        return
    for keep, _ in _last_words:
        with suppress(Exception):  # whatever is wrong with one, the others and the end still come
            keep(why)
    _end(HUNG, why)


@contextmanager
def deaf() -> Iterator[None]:
    """Around a call that lets no other thread run: the guard hears nothing within, so that one signal ends the process,
    and a thread of C gives it up."""
    guard = Guard.current
    if guard is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, signal.SIG_DFL)
    if guard.hung_seconds < math.inf:
        faulthandler.dump_traceback_later(guard.hung_seconds, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        for number in heard:
            signal.signal(number, before[number])


def hung_seconds() -> float:
    """How long a graph may take; infinite where the variable says 0. InputError where it says no number."""
    said = os.environ.get(LIMIT, "")
    try:
        seconds = float(said or HUNG_SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise InputError(f"{LIMIT} is {said!r}; wanted a number of seconds, or 0 to wait for ever")
    return seconds or math.inf


def _stop(number: int, frame: object) -> NoReturn:
    raise Stopped(number)


def _end(status: int, why: str) -> NoReturn:
    for _, discard in _last_words:
        with suppress(Exception):  # as for what is kept
            discard()
    if Guard.current and Guard.current.terminal:
        number, before = Guard.current.terminal
        with suppress(termios.error, OSError):
            termios.tcsetattr(number, termios.TCSANOW, before)
    if os.isatty(2):
        with suppress(OSError):
            os.write(2, b"\x1b[?25h\n")  # a live line hides the cursor
    _tell(why)
    os._exit(status)


def _terminal() -> tuple[int, list[Any]] | None:
    """The terminal as it is now, to be put back: keys that are read one by one change it."""
    for number in (0, 2):
        with suppress(termios.error, OSError):
            return number, termios.tcgetattr(number)
    return None


def _tell(text: str) -> None:
    """Straight to standard error: the main thread may stand still with a lock in its hand."""
    with suppress(OSError):
        os.write(2, f"edge-streamer: {text}\n".encode())
