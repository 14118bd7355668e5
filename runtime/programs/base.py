"""What every program is: the logic between the graphs of one kind of model.

Receives a bundle's manifest, opened graphs and the state store; hands on :class:`Program`, which sessions, comparisons
and loops drive without knowing which one it is. A program keeps its own small history (:meth:`Program.host`) as one
value, so that a session can take it out, put it back and restore it after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array, Form
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.contract import Buffer, Engine, OpenGraph
from edge_streamer.runtime.programs.passes import Meter
from edge_streamer.runtime.state.store import StateStore
from edge_streamer.runtime.unit import LAST_UNIT, Knobs, Response, Unit

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
    """What a session wants of a program. What changes state is called within a transaction of the session: it is
    committed where the call returns, taken back where it raises."""

    @property
    def constants(self) -> msgspec.Struct:
        """The manifest's constants, as the program's own type: equal where two bundles have one geometry."""

    @property
    def default_steps(self) -> int | None:
        """Solver steps of a unit where the knobs name none; None where nothing is solved."""

    @property
    def slots(self) -> int:
        """Tokens that a unit chooses and that may be forced."""

    @property
    def token_count(self) -> int:
        """Such tokens are 0 to one less; 0 where there are none."""

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        """One unit. ``forced`` are the tokens of all slots, instead of those that the model chooses.

        Raises ValueError for what the bundle does not take, StepError or EngineError from a pass.
        """

    def settle(self) -> None:
        """Do now, in idle time, what the next step would have to do first. Nothing is a fine answer."""

    def turn(self, knobs: Knobs) -> None:
        """Take up new knobs, from the next unit on. ValueError for those that the bundle cannot follow."""

    def probe(self) -> dict[str, Array]:
        """Copies of what the last unit computed beside its response, by name: what comparisons look at. Names and
        shapes are the same before the first unit. Where tokens are chosen, ``tokens`` int32 [slots] are those that the
        model would have chosen, whatever was forced, and ``scores`` what it chose by."""

    def takes(self) -> dict[str, Form]:
        """The arrays that every unit must have beside sound, pictures and text, by name."""

    def gives(self) -> dict[str, Form]:
        """The arrays that every response has beside sound, pictures and text, by name."""

    def prefix(self) -> Prefix:
        """What fills the pinned prefix. InputError where the bundle has none, or where the conversation has begun."""

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


class Prefix(Protocol):
    """What fills a pinned prefix: context that is never evicted."""

    @property
    def places(self) -> int:
        """Of the whole prefix, one per token."""

    @property
    def left(self) -> int:
        """Places that are still free."""

    @property
    def places_per_unit(self) -> int:
        """Places that a unit of picture and sound takes."""

    def text(self, text: str) -> int:
        """Append ``text``; returns how many places it took. InputError where it does not fit."""

    def unit(self, unit: Unit) -> int:
        """Append a unit of the agent's own picture and sound; returns the places it took. InputError where it does not
        fit."""


def form_of(buffer: Buffer) -> Form:
    """Of what an engine's buffer holds."""
    return Form(np.dtype(buffer.dtype), buffer.shape)


def read_host(host: dict[str, object], kind: type[History]) -> History:
    """What ``set_host`` was given, as the program's own type. ValueError naming the value."""
    try:
        return msgspec.convert(host, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
