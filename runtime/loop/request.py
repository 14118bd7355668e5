"""What ``edge-streamer run`` is asked to do: on recorded media, or live.

Receives nothing; hands on :class:`Plan` (files in, files out) and :class:`LivePlan` (devices, and files that record
them).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.loop.echoes import Echo as Echo
from edge_streamer.runtime.loop.playout import TARGET_SECONDS
from edge_streamer.runtime.loop.recorded import Pace
from edge_streamer.runtime.outputs import BUNDLE
from edge_streamer.runtime.unit import Knobs


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Files that a run leaves; None means none."""

    voice: Path | None = None
    film: Path | None = None
    side_by_side: Path | None = None
    transcript: Path | None = None
    json: Path | None = None
    health: tuple[Place, ...] = ()
    """Where the run tells how it stands."""

    def outputs(self) -> dict[str, Path]:
        """Option -> file, of those that are written."""
        return named(("--speaker", self.voice), ("--display", self.film), ("--side-by-side", self.side_by_side),
                     ("--transcript", self.transcript), ("--json", self.json))  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan(Outputs):
    """One run on recorded media. None among the files means ``none``."""

    bundle: Path
    mic: Path | None = None
    channel: int | None = None
    """Of the microphone's file, from 1; None: the mean of all."""
    camera: Path | None = None
    text: Path | None = None
    captions: Path | None = None
    """What the user says, for the side-by-side film; the model does not read it."""
    prefix: Path | None = None
    knobs: Knobs = field(default_factory=Knobs)
    engine: str = "auto"
    """The name of one, or the best that is here."""
    pace: Pace = "fast"
    seconds: Fraction | None = None
    """At most so much of the microphone; needed where there is none."""

    def inputs(self) -> dict[str, Path]:
        """Option -> file, of those that are read."""
        return named((BUNDLE, self.bundle), ("--mic", self.mic), ("--camera", self.camera), ("--text", self.text),
                     ("--captions", self.captions), ("--prefix", self.prefix))  # fmt: skip


DEFAULT = "default"
"""The device that the system would take."""

IF_THERE = "default, if there is one"
"""A camera or a screen that nobody asked for: taken where there is one, and told where there is none."""


@dataclass(frozen=True, kw_only=True)
class LivePlan(Outputs):
    """One live conversation. Devices by name; None is a device that is off."""

    bundle: Path
    mic: str | Path | None = DEFAULT
    """A path is a sound file, played into the loop in real time."""
    channel: int | None = None
    """Of such a file, from 1; None: the mean of all."""
    speaker: str | None = DEFAULT
    camera: str | None = IF_THERE
    display: str | None = IF_THERE
    echo: Echo = "full"
    target_seconds: float = TARGET_SECONDS
    push_to_talk: bool = False
    prefix: Path | None = None
    record: Path | None = None
    log: Path | None = None
    knobs: Knobs = field(default_factory=Knobs)
    engine: str = "auto"
    """The name of one, or the best that is here."""
    seconds: Fraction | None = None

    def inputs(self) -> dict[str, Path]:
        """Option -> file, of those that are read."""
        mic = self.mic if isinstance(self.mic, Path) else None
        return named((BUNDLE, self.bundle), ("--mic", mic), ("--prefix", self.prefix))


def named(*pairs: tuple[str, Path | None]) -> dict[str, Path]:
    """Those that are not None."""
    return {name: path for name, path in pairs if path is not None}
