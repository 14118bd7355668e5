"""A session without a model, for tests of the loop and the commands.

It answers unit k with half of what it heard, the level of its picture telling k, and a word every third unit; on a fake
clock its steps take as long as told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.commands import run
from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.timing import FakeClock, Tell
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.media_files import MEDIA


@dataclass
class Seen:
    """A copy of one unit as the session got it."""

    samples: np.ndarray
    frames: np.ndarray
    text: str


class FakeSession:
    """``clock`` advances by ``step_seconds`` (one number per step, the last one repeated); ``failing`` lists the
    steps, counted from 0 with the failed ones, that raise StepError; ``during`` is called inside every step."""

    def __init__(
        self,
        clock: FakeClock | None = None,
        step_seconds: Sequence[float] = (0.0,),
        failing: Sequence[int] = (),
        media: MediaSpec = MEDIA,
        during: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.media = media
        self.bundle = SimpleNamespace(
            manifest=SimpleNamespace(name="fake", provenance=SimpleNamespace(weights="none")),
            hash="f" * 64,
            path=Path("fake"),
        )
        self.engine = SimpleNamespace(name="fake 1.0")
        self.engine_why, self.engine_asked = "fake: as asked", ""
        self.closed = False
        self.streamer = SimpleNamespace(constants=SimpleNamespace(default_steps=4))
        self.knobs = Knobs()
        self.restored: list[Any] = []
        self.pinned: list[Any] = []
        self.seen: list[Seen] = []
        self.settled: list[int] = []
        """Units answered when ``settle`` was called."""
        self.steps = self.answered = 0
        self._clock, self._times, self._failing, self._during = clock, step_seconds, set(failing), during
        self._samples = np.zeros(media.hears.unit_samples, np.float32)
        self._frames = np.zeros((media.sees.unit_frames, *media.shows.size, 3), np.uint8)

    def step(self, unit: Unit) -> Response:
        step, self.steps = self.steps, self.steps + 1
        taken = self._times[min(step, len(self._times) - 1)]
        if self._clock:
            self._clock.advance(taken)
        self._during(step)
        if step in self._failing:
            self._frames[:], self._samples[:] = 255, np.nan  # a failed step leaves rubbish in its buffers
            raise StepError(f"core gave a NaN in step {step}; the unit was rolled back")
        assert unit.samples is not None
        assert unit.frames is not None
        self.seen.append(Seen(unit.samples.copy(), unit.frames.copy(), unit.text))
        self._samples[:] = 0.5 * unit.samples
        self._frames[:] = level(self.answered)
        text = f" word{self.answered}" if self.answered % 3 == 0 else ""
        self.answered += 1
        return Response(self.answered - 1, self._samples, self._frames, text, (1,), taken, 0.9 * taken)

    def settle(self) -> None:
        self.settled.append(self.answered)

    def close(self) -> None:
        self.closed = True

    def prefill(self, *parts: Any) -> int:
        self.pinned += parts
        return 0

    def restore(self, snapshot: Any) -> None:
        self.restored.append(snapshot)


def level(index: int) -> int:
    """The grey of the fake agent's picture in its unit ``index``."""
    return 20 + 5 * (index % 40)


def use(session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Let the commands open ``session``."""

    def opened(bundle: Path, *, knobs: Knobs, engine: str, tell: Tell) -> FakeSession:
        session.knobs, session.engine_asked = knobs, engine
        return session

    monkeypatch.setattr(run, "open_session", opened)
    return session
