"""The loop on a fake clock: what is delivered, when, and how it is counted; every assertion is exact."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.runtime.errors import DeviceLost, MediaError, StepError
from edge_streamer.runtime.loop.recorded import MOST_FAILURES, Ends, run_loop
from edge_streamer.runtime.loop.report import RunReport
from edge_streamer.runtime.timing import FakeClock
from edge_streamer.runtime.unit import Response, Unit
from tests.fakes import FakeSession, level
from tests.media_files import MEDIA

UNIT = MEDIA.hears.unit_samples
SECONDS = UNIT / MEDIA.hears.sample_rate


class Microphone:
    """Unit k is full of 0.01 * (k + 1)."""

    def __init__(self, units: int, clock: FakeClock | None = None, takes: float = 0.0) -> None:
        self.units, self._given, self._clock, self._takes = units, 0, clock, takes

    def read(self, out: np.ndarray) -> bool:
        if self._given == self.units:
            return False
        if self._clock:
            self._clock.advance(self._takes)
        self._given += 1
        out[:] = 0.01 * self._given
        return True

    def close(self) -> None: ...


class Camera:
    """Frame i is grey i."""

    def __init__(self) -> None:
        self._index = 0

    def read(self, out: np.ndarray) -> None:
        for picture in out:
            picture[:] = self._index % 256
            self._index += 1

    def close(self) -> None: ...


class Recorder:
    """Speaker, display and watcher in one: keeps copies."""

    def __init__(self) -> None:
        self.samples: list[np.ndarray] = []
        self.frames: list[np.ndarray] = []
        self.pairs: list[tuple[float, int, str, int]] = []

    def write(self, first: object, second: object = None) -> None:
        if isinstance(first, Unit):
            assert isinstance(second, Response)
            assert first.samples is not None
            self.pairs.append((float(first.samples[0]), int(second.frames[0, 0, 0, 0]), second.text, second.index))
        elif second is None:
            self.samples.append(np.array(first))
        else:
            self.frames.append(np.array(first))

    def finish(self) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None: ...


def ends(units: int, recorder: Recorder | None = None, texts: dict[int, str] | None = None) -> Ends:
    kept = recorder or Recorder()
    return Ends(Microphone(units), Camera(), texts or {}, kept, kept, [kept])


def test_unit_k_gets_what_belongs_to_it_and_its_answer_lies_at_k() -> None:
    session, recorder = FakeSession(), Recorder()
    report = run_loop(session, ends(5, recorder, {0: "hello", 3: "bye"}), FakeClock())
    assert report.units == 5
    assert report.seconds == 0.8
    assert [seen.text for seen in session.seen] == ["hello", "", "", "bye", ""]
    for k, seen in enumerate(session.seen):
        assert (seen.samples == np.float32(0.01 * (k + 1))).all()
        assert [int(frame[0, 0, 0]) for frame in seen.frames] == [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3]
        assert (recorder.samples[k] == seen.samples * 0.5).all()
        assert (recorder.frames[k] == level(k)).all()
        assert recorder.pairs[k] == (float(seen.samples[0]), level(k), " word" + str(k) if k % 3 == 0 else "", k)


def test_outputs_are_optional() -> None:
    assert run_loop(FakeSession(), Ends(Microphone(3), Camera()), FakeClock()).units == 3


def test_units_limit_and_stop_are_asked_before_every_unit() -> None:
    assert run_loop(FakeSession(), ends(9), FakeClock(), units=4).units == 4
    session = FakeSession()
    assert run_loop(session, ends(9), FakeClock(), stopped=lambda: session.steps >= 2).units == 2


def test_fast_pace_measures_steps_alone() -> None:
    clock = FakeClock(100.0)
    session = FakeSession(clock, [0.25, 0.03125, 0.0625])
    devices = Ends(Microphone(4, clock, takes=5.0), Camera())
    report = run_loop(session, devices, clock)
    times = report.unit_times
    assert (times.first, times.last, times.max, times.total) == (0.25, 0.0625, 0.25, 0.40625)
    assert report.latencies.total == 0.40625
    assert report.misses == 1, "0.25 s is longer than a unit"
    assert report.wall_seconds == 4 * 5.0 + 0.40625
    assert clock.slept == []
    assert session.settled == [], "there is no idle time"


def test_a_step_of_exactly_one_unit_is_no_miss() -> None:
    clock = FakeClock()
    report = run_loop(FakeSession(clock, [SECONDS]), ends(1), clock)
    assert report.latencies.last == SECONDS
    assert report.misses == 0


def test_real_pace_waits_until_the_unit_is_full() -> None:
    clock = FakeClock(50.0)
    session = FakeSession(clock, [0.0625])
    report = run_loop(session, ends(3), clock, pace="real")
    wanted = [50.0 + (k + 1) * SECONDS for k in range(3)]
    assert [until for _, until in clock.slept] == wanted
    assert clock.now() == wanted[-1] + 0.0625
    assert report.misses == 0
    assert report.latencies.max == pytest.approx(0.0625, abs=1e-12)
    assert session.settled == [1, 2, 3], "each answer left idle time"


def test_real_pace_counts_what_is_late_and_catches_up() -> None:
    clock = FakeClock()
    # Unit 1 takes two and a half units, so that 2 and 3 wait for it; unit 4 is in time again.
    session = FakeSession(clock, [0.0, 0.4, 0.04, 0.0])
    recorder = Recorder()
    report = run_loop(session, ends(6, recorder), clock, pace="real")
    latencies = [report.latencies.percentile(100 * (k + 1) / 6) for k in range(6)]
    assert report.units == len(recorder.samples) == 6, "nothing is skipped"
    # available at .16 .32 .48 .64 .80 .96; ready at .16 .72 .76 .76 .80 .96
    assert latencies == pytest.approx([0.0, 0.0, 0.0, 0.12, 0.28, 0.4], abs=1e-12)
    assert report.misses == 2
    assert report.unit_times.max == pytest.approx(0.4, abs=1e-12)
    assert session.settled == [1, 4, 5, 6], "no idle time while it is behind"


def test_a_failed_unit_is_concealed_and_the_next_goes_on() -> None:
    session, recorder = FakeSession(failing=[2]), Recorder()
    report = run_loop(session, ends(4, recorder), FakeClock())
    assert (report.units, report.concealed, report.stopped) == (4, 1, None)
    assert len(report.unit_times) == 3, "a failed unit has no unit time"
    assert not recorder.samples[2].any(), "silence"
    assert (recorder.frames[2] == level(1)).all(), "the picture of unit 1, held"
    assert recorder.pairs[2][3] == 2
    assert (recorder.samples[3] == np.float32(0.5) * np.float32(0.04)).all(), "unit 3 hears what belongs to it"
    assert (recorder.frames[3] == level(2)).all(), "the session goes on from the unit before the failed one"
    assert report.failures == ["unit 2: core gave a NaN in step 2; the unit was rolled back"]


def test_failures_from_the_start_show_a_black_picture() -> None:
    recorder = Recorder()
    run_loop(FakeSession(failing=[0]), ends(2, recorder), FakeClock())
    assert not recorder.frames[0].any()


def test_a_lost_device_ends_the_run_at_once_and_keeps_what_there_is() -> None:
    def lose(step: int) -> None:
        if step == 3:
            raise DeviceLost("the GPU was lost")

    recorder = Recorder()
    report = run_loop(FakeSession(during=lose), ends(30, recorder), FakeClock())
    assert (report.units, report.stopped) == (4, "the GPU was lost")


def test_too_many_failures_in_a_row_end_the_run_and_say_why() -> None:
    recorder = Recorder()
    report = run_loop(FakeSession(failing=range(3, 20)), ends(30, recorder), FakeClock())
    assert report.units == 3 + MOST_FAILURES
    assert len(recorder.samples) == report.units, "what was concealed is recorded"
    assert (
        report.stopped
        == "5 units failed in a row, the last one with: core gave a NaN in step 7; the unit was rolled back"
    )


def test_failures_that_are_not_in_a_row_do_not_end_the_run() -> None:
    failing = [1, 2, 3, 4, 6, 7, 8, 9]
    report = run_loop(FakeSession(failing=failing), ends(12), FakeClock())
    assert (report.units, report.concealed, report.stopped) == (12, 8, None)


def test_a_failed_early_commit_is_counted_and_the_run_goes_on() -> None:
    class Unsettled(FakeSession):
        def settle(self) -> None:
            raise StepError("core gave an infinity")

    report = run_loop(Unsettled(FakeClock()), ends(3), FakeClock(), pace="real")
    assert (report.units, report.concealed, report.settle_failures) == (3, 0, 3)


def test_a_session_that_cannot_settle_is_not_asked_to() -> None:
    class Plain:
        """A session of steps alone."""

        def __init__(self) -> None:
            self.media, self.step = MEDIA, FakeSession().step

    assert run_loop(Plain(), ends(3), FakeClock(), pace="real").units == 3


def test_host_overhead_is_what_the_engine_did_not_take() -> None:
    clock = FakeClock()
    report = run_loop(FakeSession(clock, [0.1]), ends(10), clock)
    assert report.host_overhead == pytest.approx(0.1)
    assert report.real_time_factor == pytest.approx(0.1 / SECONDS)


def test_recording_is_measured_apart() -> None:
    clock = FakeClock()

    class Slow(Recorder):
        def write(self, first: object, second: object = None) -> None:
            clock.advance(0.5)

    report = run_loop(FakeSession(clock, [0.125]), ends(4, Slow()), clock)
    assert report.unit_times.max == report.latencies.max == 0.125
    assert report.recordings.total == 4 * 3 * 0.5
    assert report.misses == 0


@pytest.mark.parametrize(
    ("step", "recording", "misses", "held_up"),
    [
        (0.04, 0.10, 0, 0),  # recording fits into the idle time
        (0.04, 0.20, 7, 7),  # unit k begins 0.08 k late and is answered 0.04 s later: beyond 0.16 s from unit 2 on
        (0.20, 0.00, 9, 0),  # the model alone is too slow
        (0.20, 0.20, 9, 0),  # it would have been too late without recording too
    ],
)
def test_misses_that_are_due_to_recording_alone_are_told_apart(
    step: float, recording: float, misses: int, held_up: int
) -> None:
    clock = FakeClock()

    class Slow(Recorder):
        def write(self, first: object, second: object = None) -> None:
            clock.advance(recording)

    kept = Slow()
    devices = Ends(Microphone(9), Camera(), speaker=kept)
    report = run_loop(FakeSession(clock, [step]), devices, clock, pace="real")
    assert (report.misses, report.misses_held_up) == (misses, held_up)


def test_idle_time_pays_for_recording() -> None:
    clock = FakeClock()

    class SlowOnce(Recorder):
        def write(self, first: object, second: object = None) -> None:
            clock.advance(0.0 if clock.now() > 0.3 else 0.5)

    # Unit 0 is recorded until 0.66 s, so 1 and 2 wait; unit 8, long after, is late by itself.
    steps = [0.0] * 8 + [0.3]
    devices = Ends(Microphone(9), Camera(), speaker=SlowOnce())
    report = run_loop(FakeSession(clock, steps), devices, clock, pace="real")
    assert (report.misses, report.misses_held_up) == (3, 2)


def test_progress_is_told_after_every_unit() -> None:
    told: list[tuple[int, str]] = []

    def note(report: RunReport, response: Response) -> None:
        told.append((report.units, response.text))

    run_loop(FakeSession(), ends(4), FakeClock(), progress=note)
    assert told == [(1, " word0"), (2, ""), (3, ""), (4, " word3")]


def test_a_device_that_fails_ends_the_run() -> None:
    class Broken(Microphone):
        def read(self, out: np.ndarray) -> bool:
            if self._given == 2:
                raise MediaError("speech.wav is damaged")
            return super().read(out)

    session = FakeSession()
    with pytest.raises(MediaError, match="damaged"):
        run_loop(session, Ends(Broken(9), Camera()), FakeClock())
    assert session.steps == 2
