"""Where every token of a unit stands: which pass, which ring, which position in time.

Receives the constants of a ``wan_streamer`` bundle; hands on a :class:`Layout` that the program, the torch
streamer and the whole-sequence proof all read, so that the three cannot disagree about the order of tokens.

A unit k is computed in this order, from top to bottom; a pass is one run of the Transformer over T tokens::

    pass    T                 tokens       belongs to              group  committed to  time (unit)
    ------  ----------------  -----------  ----------------------  -----  ------------  -----------
    block   agent + user + 1  agent.video  y of unit k-1, clean    0      video         k - 1
                              agent.audio  y of unit k-1, clean    0      main          k - 1
                              user.video   u of unit k             1      video         k
                              user.audio   u of unit k             1      main          k
                              user.text    u of unit k             1      main          k
                              start        opens y of unit k       2      main          k
    slot s  1                 slots[s]     y of unit k, its words  0      main          k
    solve   agent             agent.video  y of unit k, noisy      0      never         k
                              agent.audio  y of unit k, noisy      0      never         k

In a pass a token sees the tokens of its own and of lower groups, and all that was committed before. ``slot`` runs once
for each of the S slots, ``solve`` once for each step of the solver. Which ring a segment is committed to is what the
constants say; shown are those of the models that we export.

The clean tokens of unit k-1 may be computed ahead, in a pass of their own (``settle``, T = agent) once unit k-1 has
been answered; the block is then [user | start] (T = user + 1). Same groups, same ring places, same window: unit k's.

A token's position in time is ``unit * positions_per_unit + offset``; the offset is fixed by its place in the unit.
Order inside the unit, slot counts and positions are not in the papers: they are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import msgspec
import numpy as np

from edge_streamer.runtime.errors import BundleError

RingName = Literal["main", "video"]

GROUP_AGENT, GROUP_USER, GROUP_START = 0, 1, 2
AGENT = ("agent.video", "agent.audio")
"""The segments of clean and solver passes, in the order of their tokens."""
USER = ("user.video", "user.audio", "user.text", "start")
"""The segments of a block after the agent's, in the order of their tokens."""

Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Position = Annotated[float, msgspec.Meta(ge=-(2**20), le=2**20)]


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run of neighbouring tokens of one kind."""

    name: Literal["agent.video", "agent.audio", "user.video", "user.audio", "user.text", "start", "slots"]
    count: Positive
    ring: RingName
    offset: Position
    """Position of its first token inside the unit."""
    step: Position
    """Distance between its tokens; 0 for the patches of one picture, which share their time."""


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``manifest.constants`` of the program ``wan_streamer``."""

    width: Positive
    layers: Positive
    kv_heads: Positive
    head_size: Positive
    rope_base: Annotated[float, msgspec.Meta(gt=1, le=1e12)]
    positions_per_unit: Annotated[int, msgspec.Meta(ge=1, le=2**20)]
    segments: Annotated[tuple[Segment, ...], msgspec.Meta(max_length=7)]
    """agent.video, agent.audio, user.video, user.audio, user.text, start, slots: in this order."""
    slot_kinds: Annotated[tuple[Literal["state", "text"], ...], msgspec.Meta(max_length=64)]
    """One word per slot; the first is the state slot (listening or speaking)."""
    audio_latent: tuple[Positive, Positive]
    """[tokens, values] of the agent's sound per unit."""
    video_latent: tuple[Positive, Positive]
    """[tokens, values] of the agent's picture per unit."""
    window_units: Positive
    """Units that the main ring remembers."""
    video_window_units: Positive
    prefix_tokens: Natural
    """Places of the pinned prefix ring; 0 where the bundle has none."""
    candidates: Positive
    """How many of the likeliest tokens a slot samples among."""
    default_steps: Annotated[int, msgspec.Meta(ge=1, le=64)]
    token_pad: Natural
    """Fills the user's text places when nothing is typed, and the agent's text slots when it says nothing."""
    token_start: Natural
    """Opens the agent's slots."""
    token_listen: Natural
    token_speak: Natural


def read_constants(constants: dict[str, object]) -> Constants:
    """A manifest's constants, checked. BundleError names the key."""
    try:
        return msgspec.convert(constants, Constants)
    except msgspec.ValidationError as error:
        raise BundleError(f"manifest.json: constants: {error}") from None


@dataclass(frozen=True)
class Layout:
    """The arithmetic of :class:`Constants`. Sizes are in tokens."""

    constants: Constants

    def __post_init__(self) -> None:
        names = tuple(s.name for s in self.constants.segments)
        wanted = ("agent.video", "agent.audio", "user.video", "user.audio", "user.text", "start", "slots")
        if names != wanted:
            raise BundleError(f"segments are {', '.join(names)}; wanted {', '.join(wanted)} in this order")
        c = self.constants
        for name, count in (("agent.audio", c.audio_latent[0]), ("agent.video", c.video_latent[0]), ("start", 1),
                            ("slots", len(c.slot_kinds))):  # fmt: skip
            if self.segment(name).count != count:
                raise BundleError(f"segment {name} has {self.segment(name).count} tokens; wanted {count}")
        if c.slot_kinds[:1] != ("state",):
            raise BundleError(f"slot_kinds is {c.slot_kinds}; the first slot must be the state slot")

    def segment(self, name: str) -> Segment:
        """The segment called ``name``."""
        return next(s for s in self.constants.segments if s.name == name)

    @cached_property
    def agent(self) -> int:
        """Tokens of the agent's picture and sound: the length of solve and early-commit passes."""
        return self.segment("agent.video").count + self.segment("agent.audio").count

    @cached_property
    def user(self) -> int:
        """Tokens of the user's picture, sound and text."""
        return sum(s.count for s in self.constants.segments if s.name.startswith("user."))

    @property
    def slots(self) -> int:
        """Slots per unit."""
        return len(self.constants.slot_kinds)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The closed list of lengths of ``core``: slot, agent (solve and early commit), user + 1, whole block."""
        return tuple(sorted({1, self.agent, self.user + 1, self.agent + self.user + 1}))

    def places(self, ring: RingName) -> int:
        """Ring places that one unit fills."""
        return sum(s.count for s in self.constants.segments if s.ring == ring)

    def place(self, name: str) -> slice:
        """Where segment ``name`` lies inside its ring's places of one unit."""
        segment, start = self.segment(name), 0
        for other in self.constants.segments:
            if other.name == name:
                break
            start += other.count if other.ring == segment.ring else 0
        return slice(start, start + segment.count)

    def window(self, ring: RingName) -> int:
        """Units that ``ring`` remembers, the unit in progress not counted."""
        return self.constants.window_units if ring == "main" else self.constants.video_window_units

    def capacity(self, ring: RingName) -> int:
        """Places of ``ring``: its window and one unit of slack."""
        return (self.window(ring) + 1) * self.places(ring)

    def offsets(self, *names: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Positions inside the unit of the tokens of these segments, in order; float64."""
        parts = [s.offset + s.step * np.arange(s.count, dtype=np.float64) for s in map(self.segment, names)]
        return np.concatenate(parts)

    @property
    def prefix_distance_units(self) -> int:
        """From this unit on, the prefix is no further away: the main window's length."""
        return self.constants.window_units
