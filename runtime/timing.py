"""Clocks, and what is measured with them.

Receives nothing; hands on the :class:`Clock` that the loop is given (the machine's monotonic one, or a fake one
with which tests are exact), :class:`Durations`, which remembers one number per unit, :class:`Sections`, by which loops
and sessions say what they spend a unit's time on, and :data:`Tell`, by which long work says how far it is.

Choices: durations are kept, 8 bytes each (180 kB for an hour of units), so percentiles are exact and are times that
were really measured (nearest rank, never interpolated). What may run for weeks keeps the newest ones only.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Literal, Protocol

Tell = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much in all."""


def untold(what: str, done: int, total: int) -> None:
    """A :data:`Tell` for nobody."""


class Clock(Protocol):
    """Where time comes from. Seconds, from an arbitrary start."""

    def now(self) -> float: ...

    def sleep_until(self, when: float) -> None:
        """Return at ``when``, or at once where that has passed."""


class MonotonicClock:
    """The machine's own clock, which no change of the date disturbs and which all processes share."""

    def now(self) -> float:
        return time.monotonic()

    def sleep_until(self, when: float) -> None:
        rest = when - self.now()
        if rest > 0:
            time.sleep(rest)


class FakeClock:
    """A clock that goes only when told: ships with the package, so that a loop can be tested exactly anywhere."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self.slept: list[tuple[float, float]] = []
        """(from, until) of every sleep that took time."""

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._now += seconds

    def sleep_until(self, when: float) -> None:
        if when > self._now:
            self.slept.append((self._now, when))
            self._now = when


class Durations:
    """Durations in seconds, one per unit, in the order they came. ``newest``: that at least so many are kept, and not
    many more; ``first``, ``max`` and ``total`` are of all, whatever was kept.

    >>> times = Durations()
    >>> for ms in (10, 40, 20, 30):
    ...     times.add(ms / 1000)
    >>> times.percentile(50), times.percentile(95), times.total
    (0.02, 0.04, 0.1)
    """

    def __init__(self, newest: int | None = None) -> None:
        self._seconds = array("d")
        self._newest = newest
        self.first = 0.0
        """The first one, in which caches are cold; 0 where there is none."""
        self.max = 0.0
        """The longest one; 0 where there is none."""
        self._forgotten = 0.0

    def __len__(self) -> int:
        return len(self._seconds)

    def __iter__(self) -> Iterator[float]:
        """Those that are kept."""
        return iter(self._seconds)

    def add(self, seconds: float) -> None:
        """Remember one duration."""
        if not self._seconds:
            self.first = self.max = seconds
        self.max = max(self.max, seconds)
        self._seconds.append(seconds)
        if self._newest and len(self._seconds) > self._newest * 9 // 8:
            old = len(self._seconds) - self._newest
            self._forgotten += math.fsum(self._seconds[:old])
            del self._seconds[:old]

    @property
    def total(self) -> float:
        """Their sum, rounded only once."""
        return math.fsum((self._forgotten, *self._seconds))

    @property
    def last(self) -> float:
        """The newest one; 0 where there is none."""
        return self._seconds[-1] if self._seconds else 0.0

    def percentile(self, percent: float, newest: int | None = None) -> float:
        """The smallest duration that ``percent`` per cent of them (or of the ``newest`` ones) do not exceed; 0 where
        there is none."""
        seconds = self._seconds[-newest:] if newest else self._seconds
        if not seconds:
            return 0.0
        rank = math.ceil(percent / 100 * len(seconds))
        return sorted(seconds)[max(rank, 1) - 1]


Kind = Literal["host", "media", "graph", "transfer", "apart"]
"""Of a section: what the host does, what devices and files do, runs of graphs, what lies between them (and on a device
the copies to it and from it), and what is no part of a unit's own time: waiting for it, telling how far it is."""

Heard = Callable[[str, Kind, float, float], None]
"""Told of a section when it is over: its path from the outermost one (``unit/step/play``), its kind, when it began by
``time.perf_counter``, and its seconds. Inner sections are told before the outer one."""

_UNHEARD = nullcontext()


class Sections:
    """Named stretches of time, told to one listener. Where nobody listens a section is a call that does nothing.

    >>> sections = Sections()
    >>> with sections.told_to(lambda path, kind, begin, seconds: print(path, kind)):
    ...     with sections("unit"), sections("camera", "media"):
    ...         pass
    unit/camera media
    unit host
    """

    __slots__ = ("_heard", "_made", "path")

    def __init__(self) -> None:
        self._heard: Heard | None = None
        self._made: dict[str, _Section] = {}
        """Path -> its section: the same ones come in every unit, and no path is open twice at once."""
        self.path = ""
        """Of the sections that are open, ended by a slash."""

    def __call__(self, name: str, kind: Kind = "host") -> AbstractContextManager[None]:
        """A section of this name within those that are open."""
        if self._heard is None:
            return _UNHEARD
        path = self.path + name
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = _Section(self, path, kind, self._heard)
        return made

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return self._heard is not None

    def tell(self, name: str, kind: Kind, begin: float, seconds: float) -> None:
        """A section that somebody else measured, within those that are open."""
        if self._heard is not None:
            self._heard(f"{self.path}{name}", kind, begin, seconds)

    @contextmanager
    def told_to(self, listener: Heard) -> Iterator[None]:
        """While the block runs, ``listener`` is told."""
        self._heard, self._made = listener, {}
        try:
            yield
        finally:
            self._heard = None


class _Section:
    """One that is heard."""

    __slots__ = ("_begin", "_heard", "_inner", "_kind", "_outer", "_path", "_sections")

    def __init__(self, sections: Sections, path: str, kind: Kind, heard: Heard) -> None:
        self._sections, self._path, self._kind, self._heard = sections, path, kind, heard
        self._outer, self._inner = sections.path, f"{path}/"

    def __enter__(self) -> None:
        self._sections.path = self._inner
        self._begin = perf_counter()

    def __exit__(self, *unused: object) -> None:
        seconds = perf_counter() - self._begin
        self._sections.path = self._outer
        self._heard(self._path, self._kind, self._begin, seconds)
