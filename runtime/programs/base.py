"""What every program is: the logic between the graphs of one kind of model.

Receives a bundle's manifest, opened graphs and the state store; hands on one ``step``. A program keeps its own small
history (:attr:`host`) as one value, so that a session can take it out, put it back and restore it after a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import msgspec

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import Buffer, Engine, OpenGraph
from edge_streamer.runtime.programs.passes import Meter
from edge_streamer.runtime.state.store import StateStore
from edge_streamer.runtime.unit import LAST_UNIT, Knobs

UnitIndex = Annotated[int, msgspec.Meta(ge=0, le=LAST_UNIT)]

History = TypeVar("History", bound=msgspec.Struct)


@dataclass
class Workplace:
    """What a session hands a program to work with."""

    bundle: Bundle
    engine: Engine
    graph: Callable[[str], OpenGraph]
    """Opens a graph at its first use."""
    store: StateStore
    meter: Meter
    knobs: Knobs


class Program(Protocol):
    """The contract between session and program. ``step`` itself differs per program."""

    def host(self) -> dict[str, object]:
        """The program's own history outside tensors, as JSON values."""

    def held(self) -> dict[str, Buffer]:
        """History that is neither carry nor ring, by path."""

    def set_host(self, host: dict[str, object]) -> None:
        """Take up a history that ``host`` gave earlier (the buffers of ``held`` are filled by the session).

        ValueError for what it cannot have given; then nothing has changed.
        """

    def reset(self, unit: int) -> None:
        """Start over, at this unit index."""


def read_host(host: dict[str, object], kind: type[History]) -> History:
    """What ``set_host`` was given, as the program's own type. ValueError naming the value."""
    try:
        return msgspec.convert(host, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
