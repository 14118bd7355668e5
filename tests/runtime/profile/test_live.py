"""A live conversation's profile: a planted sleep shows in its stage and at the speaker; the loop's counts are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import LiveEnds, Settings
from edge_streamer.runtime.loop.live import run_live
from edge_streamer.runtime.profile.live import Live, live_lines, live_of
from edge_streamer.runtime.profile.live_page import conversation
from edge_streamer.runtime.profile.report import timed
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.timing import FakeClock, Sections
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.loop.devices import SECONDS, Camera, Keys, Microphone, Model, Screen, Speaker
from tests.runtime.profile.test_timeline import planted_sleep

UNITS, SLEEP = 12, 0.02
PLANTED = (3, 7)
"""Units in which somebody sleeps, for real and on the loop's clock."""


class Told(Model):
    """A session that tells its step, as real ones do."""

    def __init__(self, clock: FakeClock, sections: Sections, **more: Any) -> None:
        super().__init__(clock, **more)
        self.sections = sections

    def step(self, unit: Unit) -> Response:
        with self.sections("step"):
            return super().step(unit)


class Room:
    """A conversation on a fake clock under a timeline; ``asleep`` is the stage in which somebody sleeps."""

    def __init__(self, asleep: str = "", target_seconds: float = 0.01, **model: Any) -> None:
        self.clock, self.sections, self.timeline = FakeClock(), Sections(), Timeline()
        self.session = Told(self.clock, self.sections, **model)
        self.microphone, self.speaker = Microphone(self.clock), Speaker(self.clock)
        self.camera, self.screen = Camera(), Screen()
        self.dry: list[int] = []
        self._settings = Settings(Knobs(steps=4), target_seconds, UNITS)
        if asleep:
            device = {"camera": self.camera, "step": self.session, "microphone": self.microphone}[asleep]
            method = "step" if asleep == "step" else "read"
            setattr(device, method, self.sleepy(getattr(device, method)))

    def sleepy(self, call: Callable[..., Any]) -> Callable[..., Any]:
        calls = iter(range(10**6))

        def slow(*args: Any) -> Any:
            with self.sections("step") if isinstance(args[0], Unit) else nullcontext():
                if next(calls) in PLANTED:
                    time.sleep(SLEEP)
                    self.clock.advance(SLEEP)
            return call(*args)

        return slow

    def each(self, counters: Counters, said: str) -> None:
        if counters.misses > len(self.dry):
            self.dry.append(counters.units - 1)

    def run(self) -> Live:
        ends = LiveEnds(self.microphone, self.speaker, self.camera, self.screen, Keys())
        with self.sections.told_to(self.timeline):
            counters = run_live(self.session, ends, self.clock, self._settings, progress=self.each,
                                sections=self.sections)  # fmt: skip
        return live_of(counters, self.dry, 0.5)


@pytest.mark.parametrize("stage", ["microphone", "camera", "step"])
def test_a_sleep_shows_in_its_stage_in_the_trace_and_at_the_speaker(stage: str, tmp_path: Path) -> None:
    room = Room(stage)
    live = room.run()
    planted_sleep(room.timeline, f"unit/{stage}", tmp_path)
    assert PLANTED[0] in live.misses.units  # after it the buffer is longer
    assert set(live.misses.units) <= set(PLANTED)
    assert live.misses.count == len(live.misses.units)
    assert live.misses.share == live.misses.count / UNITS


def test_without_a_sleep_the_speaker_misses_nothing() -> None:
    live = Room().run()
    assert (live.misses.count, live.misses.units, live.concealed, live.skipped) == (0, (), 0, 0)
    assert any("never ran dry" in line for line in live_lines(live))


def test_times_are_those_of_the_loop() -> None:
    room = Room(target_seconds=0.06)
    room.speaker.latency = 0.03
    live = room.run()
    assert live.mouth_to_ear_ms is not None
    assert live.mouth_to_ear_ms.p50 == pytest.approx(1e3 * (SECONDS + 0.02 + 0.06 + 0.03), abs=3)
    assert list(live.parts_ms) == ["input", "step", "buffer", "output"]
    assert live.parts_ms["step"].p50 == pytest.approx(20, abs=0.1)
    assert live.picture_age_ms is not None
    assert (live.picture_age_ms.p50, live.buffer_ms, live.open_ms) == (20, 60, 500)
    assert live.counts["starved"] == 0
    assert live.devices["speaker"].latency_ms == 30
    assert any(line.startswith("Mouth to ear: 27") for line in live_lines(live))


def test_units_that_fail_are_concealed_and_told() -> None:
    live = Room(raises=lambda step: StepError(step, "core", "a fault") if step in PLANTED else None).run()
    assert live.concealed == len(PLANTED)
    assert "Trouble: concealed units 2." in list(live_lines(live))


def test_under_and_overruns_of_a_device_are_told() -> None:
    room = Room()
    room.speaker.counts, room.microphone.counts = {"underruns": 3}, {"overflows": 0}
    live = room.run()
    assert live.devices["speaker"].counts == {"underruns": 3}
    assert "Trouble: speaker underruns 3." in list(live_lines(live))
    page = "".join(conversation(live, 160.0))
    assert "underruns 3" in page
    assert "From mouth to ear" in page
    assert page.count("<svg") == 1


def test_the_stages_of_a_live_unit_add_up() -> None:
    """What no stage takes is small also beside a step of 20 ms."""
    room = Room("step")
    room.run()
    rows = room.timeline.milliseconds()
    assert float(np.median(rows["unit/rest"])) < 0.02 * 1e3 * SLEEP
    assert timed(room.timeline, 160.0)["adds_up"] < 1
