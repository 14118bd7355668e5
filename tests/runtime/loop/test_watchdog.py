"""The watchdog: tells once of a slow step and once of one that hangs, and of nothing else."""

from __future__ import annotations

import threading

from edge_streamer.runtime.loop.watchdog import Watchdog
from edge_streamer.runtime.timing import FakeClock


def test_it_tells_once_of_each() -> None:
    clock, told = FakeClock(), list[tuple[str, float]]()
    dog = Watchdog(
        lambda taken: told.append(("slow", taken)), lambda taken: told.append(("hung", taken)),
        slow_seconds=2.0, hung_seconds=30.0, clock=clock,
    )  # fmt: skip
    dog.look()
    dog.begin()
    for _ in range(40):
        clock.advance(1.0)
        dog.look()
    assert told == [("slow", 2.0), ("hung", 30.0)]


def test_steps_that_end_in_time_are_not_told_however_many() -> None:
    clock, told = FakeClock(), list[float]()
    dog = Watchdog(told.append, told.append, slow_seconds=2.0, clock=clock)
    for _ in range(10):
        dog.begin()
        clock.advance(1.9)
        dog.look()
        dog.end()
        clock.advance(5.0)
        dog.look()
    assert told == []


def test_its_own_thread_sees_a_step_that_never_returns() -> None:
    hung = threading.Event()
    with Watchdog(lambda taken: None, lambda taken: hung.set(), slow_seconds=0.0, hung_seconds=0.01) as dog:
        dog.begin()
        assert hung.wait(10)
