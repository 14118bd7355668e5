"""The real-time loop on a fake clock: when units are answered, what is counted, and that it always recovers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime.errors import DeviceLost, InputError, StepError
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import LiveEnds, Settings
from edge_streamer.runtime.loop.live import GRACE_SECONDS, run_live
from edge_streamer.runtime.loop.playout import GROWTH_SECONDS, SURPLUS_SECONDS, TARGET_SECONDS
from edge_streamer.runtime.loop.recorded import MOST_FAILURES
from edge_streamer.runtime.loop.recorders import Recorders
from edge_streamer.runtime.timing import FakeClock, Sections
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.loop.devices import RATE, SECONDS, UNIT, Camera, Keys, Microphone, Model, Screen, Speaker


class Scene:
    """One conversation and everything in it."""

    def __init__(self, units: int, model: Callable[[FakeClock], Model] = Model, **parts: Any) -> None:
        self.clock = parts.pop("clock", FakeClock())
        self.model = model(self.clock)
        self.microphone = parts.pop("microphone", None) or Microphone(self.clock)
        self.speaker = parts.pop("speaker", None) or Speaker(self.clock)
        self.camera, self.screen = parts.pop("camera", Camera()), Screen()
        self.keys = parts.pop("keys", Keys())
        self.events: list[tuple[str, str]] = []
        self.ends = LiveEnds(
            self.microphone, self.speaker, self.camera, self.screen, self.keys, parts.pop("recorders", Recorders())
        )
        self._settings = Settings(Knobs(steps=4), units=units)
        self._more = parts

    def run(self) -> Counters:
        return run_live(
            self.model, self.ends, self.clock, self._settings,
            event=lambda what, why: self.events.append((what, why)), **self._more,
        )  # fmt: skip


def test_a_quiet_conversation_counts_nothing_but_its_units() -> None:
    scene = Scene(50)
    counters = scene.run()
    assert (counters.units, counters.answered) == (50, 50)
    assert counters.troubles() == {}
    assert counters.misses == 0
    assert scene.events == []
    assert scene.microphone.taken == 50 * UNIT  # every sample once, none skipped
    np.testing.assert_allclose(scene.model.first, [(k * UNIT % 2**20) * 1e-6 for k in range(50)], rtol=1e-6)


def test_whoever_listens_hears_every_stage_of_every_unit() -> None:
    sections, heard = Sections(), list[str]()
    scene = Scene(3, sections=sections)
    with sections.told_to(lambda path, kind, begin, seconds: heard.append(path)):
        scene.run()
    stages = ["wait", "microphone", "camera", "speaker", "display", "count", "watchers", "count", "progress"]
    assert heard == [*(f"unit/{stage}" for stage in stages), "unit"] * 3


def test_mouth_to_ear_is_the_sum_of_its_parts_and_what_the_devices_say() -> None:
    scene = Scene(20)
    scene.speaker.latency = 0.03
    counters = scene.run()
    # fill 160, input 0 (up to one nap), step 20, buffer = target, output 30 ms
    wanted = SECONDS + 0.02 + TARGET_SECONDS + 0.03
    assert counters.mouth_to_ear.percentile(50) == pytest.approx(wanted, abs=0.003)
    parts = sum(part.percentile(50) for part in counters.parts.values())
    assert SECONDS + parts == pytest.approx(counters.mouth_to_ear.percentile(50), abs=1e-9)


def test_pictures_are_due_with_the_sound_they_belong_to() -> None:
    scene = Scene(10)
    scene.speaker.latency = 0.03
    scene.run()
    grey, due = scene.screen.shown[4]
    assert grey == 4
    # Unit 4 is full at 5 units; it is heard a step, the target and the device's latency later.
    assert due[0] == pytest.approx(5 * SECONDS + 0.02 + TARGET_SECONDS + 0.03, abs=0.003)
    assert np.diff(due) == pytest.approx([0.04] * 3)


@pytest.mark.parametrize("ppm", [300.0, -300.0])
def test_an_hour_of_clocks_that_drift_apart_loses_nothing(ppm: float) -> None:
    clock = FakeClock()
    speaker = Speaker(clock, ppm)
    speaker.keep = False
    counters = Scene(22500, clock=clock, speaker=speaker).run()
    assert counters.units == counters.answered == 22500
    assert counters.misses == 0
    assert (counters.playout.cut_quiet, counters.playout.cut_loud, counters.playout.prefilled) == (0, 0, 0)
    assert counters.drift_ppm == pytest.approx(ppm, abs=15)
    # The margin has settled where pacing holds it: off the target by drift * CORRECTION_SECONDS = 6 ms.
    buffer = counters.parts["buffer"]
    assert buffer.percentile(50, 1000) == pytest.approx(TARGET_SECONDS - ppm * 20e-6, abs=0.002)
    assert buffer.max < TARGET_SECONDS + 0.02


@pytest.mark.parametrize("ppm", [300.0, -300.0])
def test_an_hour_of_a_microphone_that_is_fast_or_slow_is_the_clock(ppm: float) -> None:
    clock = FakeClock()
    speaker = Speaker(clock)
    speaker.keep = False
    counters = Scene(22500, clock=clock, speaker=speaker, microphone=Microphone(clock, ppm)).run()
    assert counters.answered == 22500
    assert clock.now() == pytest.approx(3600 * (1 - ppm * 1e-6), abs=0.5)
    assert counters.misses == counters.starved == counters.crept_samples == 0


def test_a_stall_of_two_seconds_is_skipped_and_forgotten() -> None:
    scene = Scene(100, lambda clock: Model(clock, lambda step, steps: 2.0 if step == 20 else 0.02))
    counters = scene.run()
    # 2 s after unit 20 was full, 12 units are full and the 13th is not: the newest is answered, 11 are given up.
    assert counters.skipped == 11
    assert scene.microphone.skipped == 11 * UNIT
    assert counters.units == 100
    assert counters.answered == 100 - 11
    assert counters.misses == 1
    assert counters.rungs_down == 1
    assert scene.events[0] == ("skipped", "11 units had piled up") or scene.events[0][0] == "ladder down"
    # Recovered: back on the first rung, with no more delay than before but what waits for a pause.
    assert counters.rung == 0
    assert counters.mouth_to_ear.last < counters.mouth_to_ear.first + SURPLUS_SECONDS + 1e-6
    assert counters.target_ms == pytest.approx(1000 * TARGET_SECONDS), "no buffer makes up for two seconds"


def test_a_model_that_is_too_slow_takes_fewer_steps_and_keeps_up() -> None:
    # 50 ms and 40 ms for each solver step: four take 210 ms, two 130 ms.
    scene = Scene(200, lambda clock: Model(clock, lambda step, steps: 0.05 + 0.04 * steps))
    counters = scene.run()
    assert scene.model.turned[0] == 2
    assert counters.rung >= 1
    assert counters.misses <= 3
    assert counters.hasty > 190
    # A unit, the step on two solver steps, the target that grew with each miss, and what waits for a pause.
    most = SECONDS + 0.13 + TARGET_SECONDS + counters.misses * GROWTH_SECONDS + SURPLUS_SECONDS
    assert counters.mouth_to_ear.percentile(95) < most


def test_a_machine_that_was_slow_for_a_while_comes_back_to_all_steps() -> None:
    scene = Scene(400, lambda clock: Model(clock, lambda step, steps: (0.05 if 50 <= step < 100 else 0.005) * steps))
    scene.model.quiet = True
    counters = scene.run()
    assert counters.rungs_down >= 1
    assert counters.rungs_up == counters.rungs_down
    assert (counters.rung, counters.steps) == (0, 4)
    assert scene.model.turned[-1] == 4


def test_a_microphone_that_falls_silent_does_not_stop_the_conversation() -> None:
    clock = FakeClock()
    scene = Scene(60, clock=clock, microphone=Microphone(clock, silent=[(3.2, 6.4)]))
    counters = scene.run()
    assert counters.answered == 60
    assert counters.starved == pytest.approx(20, abs=1)  # 3.2 s of it
    assert counters.missing_samples == pytest.approx(3.2 * RATE, abs=2 * UNIT)
    assert counters.failed == 0
    # It came back: the last units are whole, on time.
    assert counters.parts["input"].last < 0.03
    assert clock.now() == pytest.approx(60 * SECONDS, abs=2 * GRACE_SECONDS + SECONDS)


def test_sound_that_comes_late_after_all_does_not_delay_what_follows() -> None:
    clock = FakeClock()
    scene = Scene(120, clock=clock, microphone=Microphone(clock, held=[(3.2, 3.9)]))
    counters = scene.run()
    assert counters.starved >= 3
    assert counters.crept_samples + UNIT * counters.skipped > 0
    assert scene.microphone.available() < 0.04 * RATE
    assert counters.parts["input"].last < 0.035


def test_faults_of_devices_do_not_make_the_buffer_larger() -> None:
    clock = FakeClock()
    outages = [(3.2 + 5 * n, 3.9 + 5 * n) for n in range(6)]
    scene = Scene(240, clock=clock, microphone=Microphone(clock, silent=outages))
    counters = scene.run()
    assert counters.misses >= 6
    assert counters.target_ms == pytest.approx(1000 * TARGET_SECONDS)
    assert counters.mouth_to_ear.last < counters.mouth_to_ear.first + SURPLUS_SECONDS + 1e-6


def test_units_that_are_late_of_themselves_make_the_buffer_larger() -> None:
    scene = Scene(100, lambda clock: Model(clock, lambda step, steps: 0.25 if step in (30, 60) else 0.02))
    counters = scene.run()
    assert counters.misses == 2
    assert counters.target_ms == pytest.approx(1000 * (TARGET_SECONDS + 2 * GROWTH_SECONDS), abs=1)


def test_a_process_that_was_stopped_does_not_make_the_buffer_larger() -> None:
    class Stopped(Microphone):
        """The process stands still between two looks; after it the worker's messages are not all in yet."""

        begun = False

        def available(self) -> int:
            if self.begun or clock.now() < 3.3:
                return super().available()
            self.begun = True
            clock.advance(2.0)
            return UNIT

    clock = FakeClock()
    scene = Scene(100, clock=clock, microphone=Stopped(clock))
    counters = scene.run()
    assert counters.skipped >= 10
    assert counters.misses >= 1
    assert counters.target_ms == pytest.approx(1000 * TARGET_SECONDS)


def test_one_failed_unit_is_concealed_and_counted() -> None:
    scene = Scene(30, lambda clock: Model(clock, raises=lambda step: StepError("a NaN") if step == 10 else None))
    counters = scene.run()
    assert (counters.answered, counters.failed) == (29, 1)
    assert counters.reasons == ["unit 11: a NaN"]
    assert ("failed", "a NaN") in scene.events
    assert not scene.speaker.heard[1 + 10].any()  # silence; the first write was the target's
    assert scene.screen.shown[10][0] == 9  # the picture before is held
    assert counters.stopped is None


def test_an_error_that_nobody_foresaw_is_a_failed_unit_with_its_name() -> None:
    counters = Scene(10, lambda clock: Model(clock, raises=lambda step: KeyError("x") if step == 3 else None)).run()
    assert counters.failed == 1
    assert counters.reasons == ["unit 4: KeyError: 'x'"]


class Settling(Model):
    """Commits early; ``settling`` is called each time."""

    settling: Callable[[], None] = staticmethod(lambda: None)

    def settle(self) -> None:
        self.settling()


class Dog:
    """Notes whether it watches."""

    watching = False

    def begin(self) -> None:
        self.watching = True

    def end(self) -> None:
        self.watching = False


def test_settling_is_watched_and_outlives_what_nobody_foresaw() -> None:
    scene, dog, watched = Scene(10, Settling), Dog(), list[bool]()

    def settling() -> None:
        watched.append(dog.watching)
        if len(watched) == 3:
            raise RuntimeError("cuda")

    assert isinstance(scene.model, Settling)
    scene.model.settling = settling  # type: ignore[method-assign]
    scene.ends = replace(scene.ends, watch=dog)
    counters = scene.run()
    assert all(watched)
    assert not dog.watching
    assert (counters.answered, counters.settles, counters.settle_failures) == (10, len(watched) - 1, 1)
    assert ("settle failed", "RuntimeError: cuda") in scene.events


def test_after_repeated_failure_the_loop_stops_with_the_reason() -> None:
    counters = Scene(
        100, lambda clock: Model(clock, raises=lambda step: StepError("dead") if step >= 5 else None)
    ).run()
    assert counters.failed == MOST_FAILURES
    assert counters.units == 5 + MOST_FAILURES
    assert counters.stopped == f"{MOST_FAILURES} units failed in a row, the last one with: dead"


def test_a_lost_device_stops_the_loop_at_once() -> None:
    counters = Scene(
        100, lambda clock: Model(clock, raises=lambda step: DeviceLost("the GPU was lost") if step == 5 else None)
    ).run()
    assert (counters.units, counters.failed, counters.stopped) == (6, 1, "the GPU was lost")


def test_errors_of_the_user_are_not_concealed() -> None:
    with pytest.raises(InputError, match="knob"):
        Scene(10, lambda clock: Model(clock, raises=lambda step: InputError("knob"))).run()


def test_typed_text_reaches_the_model_and_mute_silences_the_microphone() -> None:
    scene = Scene(5, keys=Keys({2: "hello"}, muted=[3]))
    counters = scene.run()
    assert scene.model.texts == ["", "", "hello", "", ""]
    assert scene.model.first[3] == 0.0
    assert scene.model.first[4] == pytest.approx(4 * UNIT * 1e-6, rel=1e-6)
    assert counters.muted == 1


def test_the_user_may_leave() -> None:
    assert Scene(100, keys=Keys(leave_at=7)).run().units == 7


def test_a_camera_that_stands_still_is_counted_and_never_waited_for() -> None:
    assert Scene(10, camera=Camera(age=1.5)).run().stale_pictures == 10
    assert Scene(10, camera=Camera(age=None)).run().stale_pictures == 10
    fresh = Scene(10)
    assert fresh.run().stale_pictures == 0
    assert fresh.camera.until[3] == pytest.approx(4 * SECONDS, abs=0.003)


def test_a_lost_speaker_is_told_and_its_return_begins_with_the_target() -> None:
    scene = Scene(40)
    begin = scene.run
    seen: list[bool] = []

    def progress(counters: Counters, said: str) -> None:
        scene.speaker.open = not 10 <= counters.units < 20
        seen.append(scene.speaker.open)

    scene._more["progress"] = progress
    counters = begin()
    assert [what for what, why in scene.events] == ["speaker lost", "speaker open"]
    assert counters.answered == 40
    assert counters.rungs_down == 0  # a speaker that is away says nothing of the model
    assert len(counters.mouth_to_ear) == len(counters.parts["output"]) == counters.answered - 10  # nor reaches an ear
    assert counters.misses == 0


def test_devices_are_opened_anew_where_the_user_asks() -> None:
    asked = iter([False, False, True])
    scene = Scene(10, reopen=lambda: next(asked, False))
    counters = scene.run()
    assert counters.reopens == 1
    assert scene.microphone.reopens == scene.speaker.reopens == scene.camera.reopens == scene.screen.reopens == 1


class Full:
    """A recorder whose disk is full after some units."""

    def __init__(self, units: int) -> None:
        self.left, self.finished = units, False

    def write(self, unit: Unit, response: Response) -> None:
        if not self.left:
            raise InputError("cannot write x: the disk is full")
        self.left -= 1

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None: ...
    def discard(self) -> None: ...


def test_a_full_disk_ends_the_recording_and_not_the_conversation() -> None:
    full = Full(4)
    counters = Scene(20, recorders=Recorders(watchers={"transcript": full})).run()
    assert counters.answered == 20
    assert counters.record_stopped == "transcript: cannot write x: the disk is full"
    assert full.finished


def test_every_counter_has_its_figure_and_a_row_where_it_matters() -> None:
    scene = Scene(30, lambda clock: Model(clock, raises=lambda step: StepError("a NaN") if step == 10 else None))
    counters = scene.run()
    figures = counters.figures()
    assert figures["failed"] == 1
    assert figures["mouth_to_ear_ms"]["p50"] > 160
    assert dict(counters.rows())["trouble"] == "failed 1"
    assert "echo" not in dict(counters.rows())
    counters.echo_loss_db = 20.6
    counters.echo = {"mode": "full", "delay_ms": 43.1, "reference moved": 2, "garbage": 0}
    assert counters.figures()["echo"]["delay_ms"] == 43.1
    told = "full; 21 dB of the agent's own voice taken away; heard 43 ms after it was played; reference moved 2"
    assert dict(counters.rows())["echo"] == told
    assert "failed 1" in counters.line("hello\nworld")
    assert "hello world" in counters.line("hello\nworld")


class Part(Model):
    """A model that has sound one way or both, and neither pictures nor text."""

    def __init__(self, clock: FakeClock, speaks: bool) -> None:
        super().__init__(clock)
        none = dict.fromkeys(("pictures_in", "pictures_out", "text_in", "text_out"))
        self.media = msgspec.structs.replace(self.media, sound_out=self.media.sound_out if speaks else None, **none)
        self.seen: list[Unit] = []

    def step(self, unit: Unit) -> Response:
        self.seen.append(replace(unit, samples=None))
        came = super().step(unit)
        return replace(came, samples=came.samples if self.media.sound_out else None, frames=None, text="")


@pytest.mark.parametrize("speaks", [True, False])
def test_what_a_bundle_lacks_is_silent_and_black(speaks: bool) -> None:
    scene = Scene(20, lambda clock: Part(clock, speaks), keys=Keys({3: "hello"}))
    counters = scene.run()
    assert (counters.answered, counters.failed, counters.misses) == (20, 0, 0)
    assert all(unit.frames is None and unit.text == "" for unit in scene.model.seen)  # type: ignore[attr-defined]
    assert scene.events == [("not read", "'hello' was typed; the bundle reads no text")]
    assert len(scene.model.first) == 20
    assert {grey for grey, _ in scene.screen.shown} == {0}
    heard = np.concatenate(scene.speaker.heard)
    assert bool(np.abs(heard).max() > 0.1) is speaks
