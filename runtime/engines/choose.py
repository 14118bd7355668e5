"""Which engine runs the graphs: by name, or the best that is here.

Receives a name; hands on a :class:`Choice`, an engine and why it is this one. An engine more is a line in ``ENGINES``:
how it is made, and what says why it cannot be made on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.runtime.engines.contract import Engine

AUTO = "auto"
"""The best that is here."""


class Entry(NamedTuple):
    """An engine that this edge-streamer knows."""

    name: str
    make: Callable[[], Engine]
    lacking: Callable[[], str]
    """What it needs that is not here and what would install it, as ``needs ...``; empty where nothing is missing."""


class Choice(NamedTuple):
    """An engine, and why it is this one."""

    engine: Engine
    why: str
    """For reports: ``cpu: the best that is here``, with what the better ones lack."""


def _cpu() -> Engine:
    from edge_streamer.runtime.engines.cpu import OrtEngine

    return OrtEngine()


ENGINES = (Entry("cpu", _cpu, lambda: ""),)
"""The best first."""

NAMES = (AUTO, *(entry.name for entry in ENGINES))
"""What ``--engine`` takes."""


def choose(name: str = AUTO, engines: Sequence[Entry] = ENGINES) -> Choice:
    """The engine of this name. InputError where there is none, or where this machine lacks something for it."""
    lacking = {entry.name: entry.lacking() for entry in engines if name in (AUTO, entry.name)}
    if not lacking:
        raise InputError(f"there is no engine {name!r}; there are {', '.join((AUTO, *(e.name for e in engines)))}")
    for entry in engines:
        if lacking.get(entry.name) == "":
            why = "the best that is here" if name == AUTO else "as asked"
            others = [f"{other} {what}" for other, what in lacking.items() if what]
            return Choice(entry.make(), "; ".join((f"{entry.name}: {why}", *others)))
    here = ", ".join(entry.name for entry in engines if not entry.lacking())
    told = "; ".join(f"{other} {what}" for other, what in lacking.items())
    raise InputError(f"engine {told}; here is {here or 'none'}")
