"""What the real-time loop connects the session to, and how it is told to run.

Receives open devices and recorders; hands on :class:`LiveEnds` and :class:`Settings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edge_streamer.runtime.loop.playout import TARGET_SECONDS
from edge_streamer.runtime.loop.ports import Keys, LiveCamera, LiveDevice, LiveMicrophone, LiveScreen, LiveSpeaker
from edge_streamer.runtime.loop.recorders import Recorders
from edge_streamer.runtime.loop.stand_ins import NoKeys
from edge_streamer.runtime.loop.watchdog import Watch
from edge_streamer.runtime.unit import Knobs, Response, Unit


@runtime_checkable
class Turns(Protocol):
    """A session whose knobs can be turned."""

    def turn(self, knobs: Knobs) -> None: ...


class Journal(Protocol):
    """Keeps what a replay needs."""

    def unit(self, unit: Unit, steps: int, response: Response | None) -> None:
        """One unit as the session got it; no response where it failed."""

    def settled(self) -> None: ...


@dataclass(frozen=True)
class LiveEnds:
    """Everything that the loop connects the session to."""

    microphone: LiveMicrophone
    speaker: LiveSpeaker
    camera: LiveCamera
    screen: LiveScreen
    keys: Keys = field(default_factory=NoKeys)
    recorders: Recorders = field(default_factory=Recorders)
    journal: Journal | None = None
    watch: Watch | None = None

    def devices(self) -> dict[str, LiveDevice]:
        return {"mic": self.microphone, "speaker": self.speaker, "camera": self.camera, "display": self.screen}


@dataclass(frozen=True)
class Settings:
    """How the loop runs."""

    knobs: Knobs
    """As asked for; its steps are never None here."""
    target_seconds: float = TARGET_SECONDS
    units: int | None = None
    """At most so many."""


Event = Callable[[str, str], None]
"""Told (what, why) of everything that a person might want to know later."""
