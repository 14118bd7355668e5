"""The line through a driver's times: true in the long run, smooth from block to block."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from edge_streamer.runtime.loop.sample_clock import JUMP_SECONDS, SampleClock

RATE = 48000
BLOCK = 480


@pytest.mark.parametrize("ppm", [300.0, 0.0, -300.0])
def test_rate_and_time_are_found_through_jitter(ppm: float) -> None:
    clock, chance = SampleClock(RATE), random.Random(1)
    true = [7.0 + block * 0.01 / (1 + ppm * 1e-6) for block in range(12000)]  # two minutes
    moved = []
    for block, time in enumerate(true):
        clock.add(block * BLOCK, time + abs(chance.gauss(0, 0.004)))
        moved.append(clock.time_of(block * BLOCK) - time)
    assert clock.ppm == pytest.approx(ppm, abs=20)
    late = moved[6000:]
    assert max(late) - min(late) < 0.002  # it sits still on the mean of the jitter (3.2 ms)
    assert max(abs(b - a) for a, b in pairwise(late)) < 0.0001
    assert clock.jumps == 0


def test_position_and_time_are_each_others_inverse() -> None:
    clock = SampleClock(RATE)
    for block in range(100):
        clock.add(block * BLOCK, 3.0 + block * 0.01)
    assert clock.position_at(clock.time_of(12345)) == pytest.approx(12345)


def test_a_device_that_stood_still_begins_a_new_line_at_once() -> None:
    clock = SampleClock(RATE)
    for block in range(1000):
        clock.add(block * BLOCK, block * 0.01)
    later = 10.0 + 2 * JUMP_SECONDS
    clock.add(1000 * BLOCK, later)
    assert clock.time_of(1000 * BLOCK) == later
    assert clock.jumps == 1


def test_nothing_is_known_before_the_first_pair_and_after_a_reset() -> None:
    clock = SampleClock(RATE)
    assert not clock.known
    assert clock.ppm == 0.0
    with pytest.raises(ValueError, match="no time"):
        clock.time_of(0)
    clock.add(0, 1.0)
    assert clock.known
    clock.reset()
    with pytest.raises(ValueError, match="no time"):
        clock.position_at(1.0)
