"""A session without a model, for tests of what is built on sessions: no bundle, no engine, no waiting.

Receives units; hands on responses. It answers unit k with half of what it heard, a grey picture that tells k
(:func:`level`), and a word every third unit; on a fake clock its steps take as long as told.

    session = edge_streamer.FakeSession(media)
    assert my_robot(session, microphone).heard == [...]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.programs.intake import take, take_sound
from edge_streamer.runtime.session.snapshot import Snapshot, Stamp
from edge_streamer.runtime.timing import FakeClock, Sections
from edge_streamer.runtime.unit import Knobs, Response, Unit

NAME = "fake"
WORD_EVERY = 3
"""Units from word to word."""
SPEAKS = 1
"""The token of its one slot."""


@dataclass
class Seen:
    """A copy of one unit as the session got it."""

    samples: Array
    """[unit_samples]; of a unit without sound silence."""
    frames: Array
    """[unit_frames, height, width, 3]; of a unit without pictures black."""
    text: str


class FakeSession:
    """What :class:`~edge_streamer.runtime.session.session.Session` is to whoever steps it.

    ``clock`` advances by ``step_seconds`` (one number per step, the last one repeated); ``failing`` lists the steps,
    counted from 0 with the failed ones, that raise StepError and leave rubbish in the arrays; ``during`` is called
    inside every step.
    """

    def __init__(
        self,
        media: MediaSpec,
        clock: FakeClock | None = None,
        step_seconds: Sequence[float] = (0.0,),
        failing: Sequence[int] = (),
        during: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.media = media
        self.closed = False
        self.knobs = Knobs()
        self.seen: list[Seen] = []
        self.settled: list[int] = []
        """Units answered when ``settle`` was called."""
        self.pinned: list[str | Unit] = []
        """What the prefix was filled with."""
        self.restored: list[Snapshot] = []
        self.steps = self.answered = 0
        self.sections = Sections()
        self._clock, self._times, self._failing, self._during = clock, step_seconds, set(failing), during
        sound, pictures = media.sound_out, media.pictures_out
        self._samples = None if sound is None else np.zeros(sound.unit_samples, np.float32)
        self._frames = None if pictures is None else np.zeros((pictures.unit_frames, *pictures.size, 3), np.uint8)

    def step(self, unit: Unit, forced: Sequence[int] | None = None) -> Response:
        with self.sections("step"):
            return self._answer(unit, forced)

    def _answer(self, unit: Unit, forced: Sequence[int] | None) -> Response:
        step, self.steps = self.steps, self.steps + 1
        taken = self._times[min(step, len(self._times) - 1)]
        if self._clock:
            self._clock.advance(taken)
        self._during(step)
        if step in self._failing:
            for array, rubbish in ((self._frames, 255), (self._samples, np.nan)):
                if array is not None:
                    array[:] = rubbish
            raise StepError(f"core gave a NaN in step {step}; the unit was rolled back")
        seen = self._take_in(unit)
        self.seen.append(seen)
        if self._samples is not None:
            self._samples[:] = 0.5 * seen.samples if len(seen.samples) == len(self._samples) else 0
        if self._frames is not None:
            self._frames[:] = level(self.answered)
        text = f" word{self.answered}" if self.answered % WORD_EVERY == 0 else ""
        self.answered += 1
        tokens = (SPEAKS,) if forced is None else tuple(forced)
        return Response(self.answered - 1, self._samples, self._frames, text, tokens, taken, 0.9 * taken)

    def _take_in(self, unit: Unit) -> Seen:
        """As a session does: ValueError for what the media contract does not have."""
        sound, pictures = self.media.sound_in, self.media.pictures_in
        heard = np.empty(sound.unit_samples if sound else 0, np.float32)
        saw = np.zeros((pictures.unit_frames, *pictures.size, 3) if pictures else (0, 0, 0, 3), np.uint8)
        take_sound(heard, unit.samples)
        if unit.frames is not None:
            take(saw, unit.frames, "frames")
        return Seen(heard, saw, unit.text)

    def settle(self) -> None:
        self.settled.append(self.answered)

    def turn(self, knobs: Knobs) -> None:
        self.knobs = knobs

    def prefill(self, *parts: str | Unit) -> int:
        self.pinned += parts
        return 0

    def snapshot(self) -> Snapshot:
        return Snapshot(Stamp(bundle="0" * 64, name=NAME, host={"unit": self.answered}, rings={}), {})

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of its own; any other is taken for one of a prefix."""
        self.restored.append(snapshot)
        if isinstance(snapshot, Snapshot) and snapshot.stamp.name == NAME:
            self.answered = int(str(snapshot.stamp.host["unit"]))

    def reset(self, unit: int = 0) -> None:
        self.answered = unit

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def level(index: int) -> int:
    """The grey of the fake agent's picture in its unit ``index``."""
    return 20 + 5 * (index % 40)
