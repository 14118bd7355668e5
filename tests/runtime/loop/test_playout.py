"""The play-out buffer: the margin comes back to its target from everywhere, without a click."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.runtime.loop.playout import (
    FASTEST_PPM,
    GROWTH_SECONDS,
    LARGEST_TARGET,
    QUIET_DEFICIT_SECONDS,
    QUIET_SURPLUS_SECONDS,
    SURE_UNITS,
    SURPLUS_SECONDS,
    Playout,
    cut,
    cut_quiet,
)
from edge_streamer.runtime.timing import FakeClock
from tests.runtime.loop.devices import RATE, SECONDS, UNIT, Speaker

SILENT = np.zeros(UNIT, np.float32)
LOUD = (0.5 * np.sin(2 * np.pi * 200 * np.arange(UNIT) / RATE)).astype(np.float32)
"""A whole number of periods: units of it join without a step."""


class Scene:
    def __init__(self, target: float = 0.06, ppm: float = 0.0) -> None:
        self.clock = FakeClock()
        self.speaker = Speaker(self.clock, ppm)
        self.playout = Playout(self.speaker, RATE, target)

    def unit(self, samples: np.ndarray = LOUD, after: float = SECONDS) -> float:
        """Write one; the margin that it found."""
        margin, _ = self.playout.write(samples)
        self.clock.advance(after)
        return margin


def test_the_first_unit_waits_for_the_target() -> None:
    scene = Scene()
    assert [scene.unit() for _ in range(3)] == pytest.approx([0.06, 0.06, 0.06])
    assert scene.playout.counts.dry == 0
    assert not scene.speaker.heard[0].any()


def test_a_speaker_that_ran_dry_gets_its_target_again_and_more_of_it() -> None:
    scene = Scene()
    scene.unit(after=SECONDS + 0.1)  # 40 ms too late
    assert scene.unit() == 0.0
    assert scene.playout.counts.dry == 1
    assert scene.playout.counts.prefilled == round(0.06 * RATE)
    assert scene.playout.target == pytest.approx(0.06 + GROWTH_SECONDS, rel=1e-3)
    for _ in range(100):
        scene.unit(after=2 * SECONDS + 1)
    assert scene.playout.target <= LARGEST_TARGET


def test_a_lost_device_is_no_reason_for_a_larger_buffer() -> None:
    scene = Scene()
    scene.unit(after=2 * SECONDS)
    scene.playout.write(LOUD, excused=True)
    assert scene.playout.counts.dry == 1
    assert scene.playout.target == pytest.approx(0.06)
    scene.clock.advance(2 * SECONDS)
    scene.speaker.reopen()
    scene.unit(after=2 * SECONDS)
    assert scene.playout.counts.dry == 2
    assert scene.playout.target == pytest.approx(0.06)
    scene.unit()
    assert scene.playout.target == pytest.approx(0.06 + GROWTH_SECONDS, rel=1e-3), "the opening is no longer new"


def test_a_grown_target_is_given_back_slowly() -> None:
    scene = Scene()
    scene.unit(after=SECONDS + 0.1)
    for _ in range(20000):
        scene.unit(SILENT)
    assert 0.06 < scene.playout.target < 0.065
    assert scene.playout.counts.dry == 1


def test_a_small_surplus_is_paced_and_a_usual_one_goes_in_a_pause() -> None:
    scene = Scene()
    scene.unit(after=SECONDS - QUIET_SURPLUS_SECONDS - 0.02)
    for _ in range(5):
        scene.unit()  # loud: nothing is cut
    assert scene.playout.counts.cut_quiet == 0
    scene.unit(SILENT)
    assert scene.playout.counts.cut_quiet > 0.04 * RATE
    assert scene.unit() == pytest.approx(0.06, abs=0.011)
    assert scene.playout.counts.cut_loud == 0


def test_the_place_of_the_first_units_is_found_at_once() -> None:
    """A server that hands out its first sound in one piece makes the first unit early, all others late beside it."""
    scene = Scene()
    scene.unit(after=SECONDS + 0.05)
    assert scene.unit() == pytest.approx(0.06), "was given"
    assert [scene.unit() for _ in range(20)] == pytest.approx([0.06] * 20)
    assert scene.playout.counts.made_room == pytest.approx(0.05 * RATE, abs=1)
    scene.clock.advance(0.05)
    assert scene.unit() == pytest.approx(0.01), "later on it is the model that is late"
    scene.playout.look_anew()
    assert scene.unit() == pytest.approx(0.06)


def test_a_slow_model_gets_no_buffer_for_it_at_the_beginning() -> None:
    scene = Scene()
    scene.playout.write(LOUD)
    scene.clock.advance(SECONDS + 0.05)
    margin, _ = scene.playout.write(LOUD, in_time=False)
    assert margin == pytest.approx(0.01)
    assert scene.playout.counts.made_room == 0


def test_a_usual_deficit_is_filled_up_in_a_pause() -> None:
    scene = Scene()
    for _ in range(SURE_UNITS + 1):
        scene.unit()
    scene.unit(after=SECONDS + QUIET_DEFICIT_SECONDS + 0.02)  # units come later from now on
    for _ in range(48):
        assert scene.unit() < 0.06 - QUIET_DEFICIT_SECONDS  # loud: nothing is put between
    assert scene.playout.counts.made_room == 0
    assert scene.unit(SILENT) == pytest.approx(0.06, abs=0.01), "was given"
    assert scene.unit(SILENT) == pytest.approx(0.06, abs=0.005)
    assert scene.playout.counts.dry == 0
    room = scene.playout.counts.made_room
    for _ in range(50):
        scene.unit(SILENT)
    assert scene.playout.counts.made_room == room, "once is enough"


def test_one_late_unit_is_no_deficit() -> None:
    scene = Scene()
    for late in [0.0] * 12 + [0.05, -0.05] + [0.0] * 20 + [0.05, -0.05] + [0.0] * 20:
        scene.unit(SILENT, after=SECONDS + late)
    assert scene.playout.counts.made_room == 0
    assert scene.playout.counts.cut_quiet == 0


def test_a_large_surplus_is_cut_at_once() -> None:
    scene = Scene()
    scene.unit(after=0.01)
    scene.unit()
    assert scene.playout.counts.cut_loud > 0
    scene.unit()
    assert scene.unit() < 0.06 + SURPLUS_SECONDS


def test_pacing_follows_the_error_and_has_a_bound() -> None:
    scene = Scene()
    scene.unit(after=SECONDS - 0.01)
    for _ in range(100):
        scene.unit()
    assert scene.playout.ratio > 1.0  # too much waits: faster
    assert abs(scene.playout.ratio - 1) <= FASTEST_PPM * 1e-6
    assert scene.playout.drift_ppm == pytest.approx(1e6 * (1 - scene.playout.ratio))


def test_room_is_silence_between_units() -> None:
    scene = Scene()
    scene.unit()
    scene.playout.make_room(0.05)
    assert scene.unit() == pytest.approx(0.06 + 0.05)
    assert scene.playout.counts.made_room == round(0.05 * RATE)


def test_positions_count_every_sample_that_was_written() -> None:
    scene = Scene()
    positions = [scene.playout.write(LOUD)[1] for _ in range(1)]
    scene.clock.advance(SECONDS)
    positions.append(scene.playout.write(LOUD)[1])
    assert positions == [round(0.06 * RATE), round(0.06 * RATE) + UNIT]
    assert sum(len(part) for part in scene.speaker.heard) == scene.playout.position


def test_a_cut_makes_no_step_larger_than_the_sound_itself() -> None:
    for begin in (0, 100, 1000):
        kept = cut(LOUD, begin, 333, 32)
        assert len(kept) == UNIT - 333
        steepest = np.abs(np.diff(LOUD)).max()
        assert np.abs(np.diff(kept)).max() < 2 * steepest + 1 / 32
    assert len(cut(LOUD, 0, UNIT * 2, 32)) == 32  # as much as leaves room to fade


def test_only_quiet_pieces_are_cut_and_the_rest_stays_in_order() -> None:
    samples = np.concatenate((LOUD[:800], SILENT[:800], LOUD[800:1600]))
    kept = cut_quiet(samples, 400, piece=80, fade=32)
    assert len(kept) == len(samples) - 400
    np.testing.assert_array_equal(kept[:800], LOUD[:800])
    np.testing.assert_array_equal(kept[-768:], LOUD[832:1600])  # behind the fade into it
    assert len(cut_quiet(LOUD, 400, 80, 32)) == UNIT
