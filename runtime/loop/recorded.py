"""The loop over recorded media: devices -> unit k -> session.step -> unit k -> devices.

Receives a session, a microphone, a camera, what is typed, and whatever records; hands on a :class:`RunReport`. It owns
no device and no file: who opened them finishes, closes or discards them.

Two paces. ``real``: unit k becomes available at (k + 1) unit lengths on the clock, as it would live, and the idle time
before the next one is used to settle. ``fast``: a unit is available when the one before it was answered.

A unit that fails is concealed (silence, the last picture held) and counted; the session has rolled it back, so the
next unit goes on from the one before. Recording comes after the answer, on the same thread: where it eats all idle
time of ``real`` pace, the next unit begins late, and the report tells the misses that are due to this alone. After
``MOST_FAILURES`` in a row the loop stops and says why. Recorded media are never skipped: a late unit is counted, and
the output stays exactly as long as the input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import DeviceLost, StepError
from edge_streamer.runtime.loop.concealment import Concealment
from edge_streamer.runtime.loop.media import Camera, Display, Frames, Microphone, Speaker, TypedText, Watcher, filled
from edge_streamer.runtime.loop.report import RunReport
from edge_streamer.runtime.loop.watchdog import Watch, watched
from edge_streamer.runtime.timing import Clock, Sections
from edge_streamer.runtime.unit import Response, Unit

Pace = Literal["real", "fast"]

MOST_FAILURES = 5
"""Units that may fail one after the other (0.8 s of concealment) before the loop gives up. Our choice."""


class Steps(Protocol):
    """The part of a session that the loop drives."""

    @property
    def media(self) -> MediaSpec: ...

    def step(self, unit: Unit) -> Response: ...


@runtime_checkable
class Settles(Protocol):
    """A session that can use idle time."""

    def settle(self) -> None: ...


@dataclass(frozen=True)
class Ends:
    """Everything that the loop connects the session to."""

    microphone: Microphone
    camera: Camera
    texts: TypedText = field(default_factory=dict)
    speaker: Speaker | None = None
    display: Display | None = None
    watchers: Sequence[Watcher] = ()
    watch: Watch | None = None


def run_loop(
    session: Steps,
    ends: Ends,
    clock: Clock,
    *,
    pace: Pace = "fast",
    units: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[RunReport, Response], None] = lambda report, response: None,
    sections: Sections | None = None,
) -> RunReport:
    """Run until the microphone ends, ``units`` were done, ``stopped`` says so, or too many units failed in a row.

    ``stopped`` is asked before every unit; ``progress`` is told the report so far after every unit. ``sections``
    are told what a unit's time is spent on. Raises what the devices raise (MediaError, InputError).
    """
    sections = sections or Sections()
    loop = _Loop(session, ends, clock, pace, sections)
    while not stopped() and (units is None or loop.report.units < units) and loop.report.stopped is None:
        with sections("unit"):
            unit = loop.perceive()
            if unit is None:
                break
            response = loop.answer(unit)
            loop.deliver(unit, response)
            with sections("progress", "apart"):
                progress(loop.report, response)
            loop.settle()
    loop.report.wall_seconds = clock.now() - loop.begun
    return loop.report


class _Loop:
    """The stages of one unit, in order: perceive, answer, deliver, settle."""

    def __init__(self, session: Steps, ends: Ends, clock: Clock, pace: Pace, sections: Sections) -> None:
        self._sections = sections
        media, self._has = filled(session.media), session.media
        self._session, self._ends, self._clock, self._pace = session, ends, clock, pace
        self._samples = np.zeros(media.hears.unit_samples, np.float32)
        self._frames: Frames = np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8)
        self._concealment = Concealment(media)
        self._failures = 0
        self._held_up = 0.0
        """How far the loop is behind, in seconds, for no other reason than the time that recording took."""
        self.report = RunReport(unit_seconds=media.unit_seconds)
        self.begun = clock.now()

    @property
    def _available(self) -> float:
        """When the next unit is full, in ``real`` pace."""
        return self.begun + (self.report.units + 1) * self.report.unit_seconds

    def perceive(self) -> Unit | None:
        """Unit k from the devices; None where the microphone ended."""
        with self._sections("microphone", "media"):
            if not self._ends.microphone.read(self._samples):
                return None
        with self._sections("camera", "media"):
            self._ends.camera.read(self._frames)
        text = self._ends.texts.get(self.report.units, "")
        return Unit(
            samples=self._samples if self._has.sound_in else None,
            frames=self._frames if self._has.pictures_in else None,
            text=text,
        )

    def answer(self, unit: Unit) -> Response:
        """Step the session, in ``real`` pace not before the unit is full."""
        if self._pace == "real":
            late = max(self._clock.now() - self._available, 0.0)
            self._held_up = min(self._held_up, late)  # idle time pays for recording
            with self._sections("wait", "apart"):
                self._clock.sleep_until(self._available)
        else:
            self._held_up = 0.0  # a unit is available when the loop asks for it
        began = self._clock.now()
        try:
            with watched(self._ends.watch):
                response = self._session.step(unit)
        except (StepError, DeviceLost) as error:
            return self._conceal(error)
        ready = self._clock.now()
        self._failures = 0
        available = self._available if self._pace == "real" else began
        self.report.add(
            step=ready - began, engine=response.engine_seconds, latency=ready - available, held_up=self._held_up
        )
        return self._concealment.complete(response)

    def _conceal(self, error: StepError | DeviceLost) -> Response:
        """Silence and the last picture, for a unit that failed."""
        self._failures += 1
        self.report.conceal(str(error))
        if self._failures >= MOST_FAILURES:
            self.report.stopped = f"{self._failures} units failed in a row, the last one with: {error}"
        if isinstance(error, DeviceLost):
            self.report.stopped = str(error)
        return self._concealment.answer(self.report.units - 1)

    def deliver(self, unit: Unit, response: Response) -> None:
        """Hand unit k's answer to everything that records."""
        ends, began, (samples, frames) = self._ends, self._clock.now(), response.both()
        if ends.speaker:
            with self._sections("speaker", "media"):
                ends.speaker.write(samples)
        if ends.display:
            with self._sections("display", "media"):
                ends.display.write(frames, samples)
        for watcher in ends.watchers:
            with self._sections("watchers", "media"):
                watcher.write(unit, response)
        took = self._clock.now() - began
        self.report.recordings.add(took)
        self._held_up += took

    def settle(self) -> None:
        """Commit early, where there is idle time and the session can use it. A failure there is the next step's."""
        idle = self._pace == "real" and self._clock.now() < self._available
        if not idle or self._failures or not isinstance(self._session, Settles):
            return
        try:
            with watched(self._ends.watch):
                self._session.settle()
        except (StepError, DeviceLost) as error:
            self.report.settle_failed(str(error))
