"""The degradation ladder: down at once, up with patience, no swinging."""

from __future__ import annotations

import pytest

from edge_streamer.runtime.loop.ladder import CALM_UNITS, MOST_CALM_UNITS, Ladder, Rung, rungs_for

TARGET = 0.06


def ladder(steps: int = 4) -> Ladder:
    return Ladder(rungs_for(steps), 0.16)


def climb(one: Ladder, step: float, margin: float = TARGET, most: int = 10000, quiet: bool = True) -> int:
    """Answers until the rung goes up; how many there were."""
    for count in range(1, most + 1):
        if one.answered(margin, TARGET, step, quiet) > 0:
            return count
    return 0


@pytest.mark.parametrize(("steps", "wanted"), [(1, [1, 1]), (2, [2, 1, 1]), (4, [4, 2, 1, 1]), (6, [6, 3, 1, 1])])
def test_rungs_halve_the_steps_and_then_hold_the_picture(steps: int, wanted: list[int]) -> None:
    rungs = rungs_for(steps)
    assert [rung.steps for rung in rungs] == wanted
    assert [rung.hold for rung in rungs] == [False] * (len(wanted) - 1) + [True]


def test_one_answer_too_close_goes_down_one_rung_and_the_last_one_is_the_last() -> None:
    one = ladder()
    assert [one.answered(0.01, TARGET, 0.1, True) for _ in range(5)] == [-1, -1, -1, 0, 0]
    assert one.rung == Rung(1, hold=True)
    assert one.downs == 3


def test_up_only_after_calm_answers() -> None:
    one = ladder()
    one.answered(0.0, TARGET, 0.03, True)
    assert climb(one, 0.02) == CALM_UNITS
    assert one.index == 0
    # One that was merely all right begins the count anew.
    one = ladder()
    one.answered(0.0, TARGET, 0.03, True)
    for _ in range(CALM_UNITS - 1):
        assert one.answered(TARGET, TARGET, 0.02, True) == 0
    assert one.answered(0.5 * TARGET, TARGET, 0.02, True) == 0
    assert climb(one, 0.02) == CALM_UNITS


def test_a_longer_step_waits_for_a_pause_and_asks_for_room() -> None:
    one = ladder()
    one.answered(0.0, TARGET, 0.14, True)  # four steps take 140 ms
    assert climb(one, 0.07, quiet=False, most=500) == 0
    assert climb(one, 0.07) == 1
    assert one.room == pytest.approx(0.35 * TARGET - (TARGET - 0.07))
    one.answered(TARGET, TARGET, 0.14, True)
    assert one.room == 0.0


def test_a_rung_that_cannot_be_kept_up_is_tried_after_the_longest_patience_only() -> None:
    one = ladder()
    one.answered(0.0, TARGET, 0.21, True)
    assert climb(one, 0.13) == MOST_CALM_UNITS


def test_a_machine_that_became_faster_is_trusted() -> None:
    one = ladder()
    one.answered(0.0, TARGET, 0.21, True)
    assert climb(one, 0.02) == CALM_UNITS  # twice 20 ms is the most that four steps can take


def test_a_stall_says_nothing_of_the_rung() -> None:
    one = ladder()
    for _ in range(10):
        one.answered(TARGET, TARGET, 0.02, True)
    one.answered(0.0, TARGET, 5.0, True)
    assert climb(one, 0.015) == CALM_UNITS


def test_a_rung_left_again_soon_is_tried_half_as_often() -> None:
    one, waits = ladder(), []
    one.answered(0.0, TARGET, 0.03, True)
    for _ in range(4):
        waits.append(climb(one, 0.02))
        one.answered(0.0, TARGET, 0.03, True)
    assert waits == [CALM_UNITS, 2 * CALM_UNITS, 4 * CALM_UNITS, 8 * CALM_UNITS]
