"""Whole conversations on the stand-in: the CPU engine's answers, captured, plain and watched; a lost device."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.commands.warm_up import warm_up
from edge_streamer.runtime.compare.golden import made_unit, seed_state
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import DeviceLost, StepError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs, Unit
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.cuda_stand_in.kernels import compiled_kernels
from tests.runtime.engines.test_contract import ROW
from tests.runtime.engines.test_tape import TALKS, talk
from tests.runtime.session.conversation import assert_same

ROUNDS, STEPWISE = 200, 33
"""Units, and those that are watched and timed as well."""


@pytest.fixture(scope="module")
def pair(tiny_bundle: Path) -> tuple[Session, Session]:
    """On the CPU and on the stand-in."""
    made = (
        open_session(tiny_bundle, engine=engine, verify=False) for engine in (OrtEngine(threads=1), StandInEngine())
    )
    one, other = made
    return one, other


def assert_same_state(one: Session, other: Session) -> None:
    left, right = one.snapshot(), other.snapshot()
    assert left.stamp == right.stamp
    assert left.arrays.keys() == right.arrays.keys()
    for name, array in left.arrays.items():
        np.testing.assert_array_equal(right.arrays[name], array, err_msg=name)


# ---- the same numbers ----


@pytest.mark.parametrize("kind", TALKS)
def test_every_kind_of_conversation_is_the_cpus_bit_for_bit(pair: tuple[Session, Session], kind: str) -> None:
    plain, device = (session.twin(TALKS[kind]) for session in pair)
    for one, other in zip(talk(plain, kind, 9), talk(device, kind, 9), strict=True):
        assert_same(other, one)
    assert_same_state(plain, device)


def test_a_chain_is_the_cpus(made_counter: Path) -> None:
    session = open_session(made_counter, engine=StandInEngine())
    for k in range(1, 7):
        np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * k * ROW)


def test_captured_plain_watched_and_timed_units_are_the_cpus(pair: tuple[Session, Session]) -> None:
    plain, captured = (session.twin() for session in pair)
    watched, timed, seen = captured.twin(), captured.twin(), []
    timed.place.meter.timed = True
    units = [made_unit(plain.media, 4, k) for k in range(8)]
    with watched.recording(lambda name, came, went: seen.append(name)):
        for k in range(ROUNDS):
            wanted = plain.step(units[k % 8]).copy()
            others = (captured, watched, timed) if k < STEPWISE else (captured,)
            for session in others:
                assert_same(session.step(units[k % 8]), wanted)
            if k % 5 == 4:
                for session in (plain, *others):
                    session.settle()
            if k == STEPWISE - 1:
                for session in others:
                    assert_same_state(plain, session)
    assert_same_state(plain, captured)
    runs = timed.place.meter.last.runs
    assert list(runs) == seen[-len(runs) :], "every run by its name, in order"
    assert all(seconds > 0 for seconds in runs.values())


def test_the_kernels_own_source_gives_the_same_conversation(tiny_bundle: Path, pair: tuple[Session, Session]) -> None:
    plain, device = pair[0].twin(), open_session(tiny_bundle, engine=StandInEngine(StandIn(kernels=compiled_kernels())))
    for one, other in zip(talk(plain, "settled", 9), talk(device, "settled", 9), strict=True):
        assert_same(other, one)
    assert_same_state(plain, device)


# ---- calls ----


def test_a_unit_is_waited_for_once_and_launched_once_beside_its_commit(pair: tuple[Session, Session]) -> None:
    session = pair[1].twin()
    driver: StandIn = session.engine.driver  # type: ignore[attr-defined]
    unit = made_unit(session.media, 3, 0)
    for _ in range(4):
        session.step(unit)
    for _ in range(3):
        driver.calls.clear()
        session.step(unit)
        assert driver.calls == {"cuStreamSynchronize": 1, "cuGraphLaunch": 2}


def test_after_the_warm_up_nothing_is_captured_any_more(pair: tuple[Session, Session]) -> None:
    plain, session = (one.twin(Knobs(steps=4, seed=1)) for one in pair)
    driver: StandIn = session.engine.driver  # type: ignore[attr-defined]
    for one in (plain, session):
        seed_state(one, 5)
        one.step(made_unit(one.media, 3, 0))
        before = one.snapshot()
        warm_up(one, Knobs(steps=4, seed=1))
        after = one.snapshot()
        assert after.stamp == before.stamp
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(after.arrays[name], array, err_msg=name)
    driver.calls.clear()
    for k, steps in enumerate((4, 4, 2, 2, 1, 1, 4, 4)):
        for one in (plain, session):
            one.turn(Knobs(steps=steps, seed=1))
        assert_same(session.step(made_unit(session.media, 3, k)), plain.step(made_unit(plain.media, 3, k)))
        if k % 2:
            session.settle()
            plain.settle()
    assert "cuStreamBeginCapture" not in driver.calls
    assert "cuMemAlloc" not in driver.calls
    assert_same_state(plain, session)


def test_the_warm_up_of_an_engine_that_captures_nothing_plays_each_kind_of_unit_and_no_more(
    pair: tuple[Session, Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, played = pair[0].twin(Knobs(steps=4)), []
    step = session.step
    monkeypatch.setattr(session, "step", lambda unit: played.append(session.program.host()["past"]) or step(unit))
    warm_up(session, Knobs(steps=4))
    assert played == [False, True, False, True]


# ---- a lost device ----


@pytest.mark.parametrize("when", ["in a unit", "after it"])
def test_a_lost_device_ends_the_session_and_the_snapshot_goes_on_elsewhere(
    tiny_bundle: Path, pair: tuple[Session, Session], when: str
) -> None:
    plain, driver = pair[0].twin(), StandIn()
    lost = open_session(tiny_bundle, engine=StandInEngine(driver), verify=False)
    units = [made_unit(plain.media, 4, k) for k in range(8)]
    for k in range(4):
        assert_same(lost.step(units[k]), plain.step(units[k]))
    kept = lost.snapshot()
    driver.lose("CUDA_ERROR_ECC_UNCORRECTABLE")
    says = r"the GPU was lost \(CUDA_ERROR_ECC_UNCORRECTABLE, .*\); its sessions are over: start the program again"
    for act in (lambda: lost.step(units[4]), lost.settle, lost.snapshot, lambda: lost.restore(kept)):
        if when == "after it" and act is not lost.snapshot:
            continue
        with pytest.raises(DeviceLost, match=says):
            act()
    lost.close()
    again = open_session(tiny_bundle, engine=StandInEngine(), verify=False)
    again.restore(kept)
    for k in range(4, 8):
        assert_same(again.step(units[k]), plain.step(units[k]))


def test_a_commit_that_fails_is_told_as_one(tiny_bundle: Path) -> None:
    driver = StandIn()
    session = open_session(tiny_bundle, engine=StandInEngine(driver), verify=False)
    for _ in range(4):
        session.step(Unit())
    driver.fail("cuGraphLaunch", "CUDA_ERROR_INVALID_VALUE", after=1)
    with pytest.raises(
        StepError, match=r"CUDA_ERROR_INVALID_VALUE, .*; the session's state is lost: restore a snapshot"
    ):
        session.step(Unit())


# ---- giving back ----


def test_a_session_opened_and_closed_fifty_times_leaves_nothing(made_counter: Path) -> None:
    driver = StandIn()
    for k in range(50):
        engine = StandInEngine(driver)
        with open_session(made_counter, engine=engine, verify=False) as session:
            for _ in range(4 if k % 10 == 0 else 1):
                response = session.step(Unit(arrays={"x": ROW}))
        del session, response
        engine.close()
        engine.close()
        assert driver.standing == {}, f"after {k + 1}"


def test_the_whole_program_leaves_nothing(tiny_bundle: Path) -> None:
    driver = StandIn()
    engine = StandInEngine(driver)
    session: Any = open_session(tiny_bundle, engine=engine, verify=False)
    other = session.twin()
    kept: list[Callable[[], object]] = []
    for one in (session, other):
        for kind in range(4):
            response = one.step(Unit())
            if kind % 2:
                one.settle()
    session.close()
    engine.close()
    other.step(Unit())
    assert driver.standing["graph executable"] > 0
    other.close()
    samples = response.samples
    del session, other, one, response, kept
    gc.collect()
    assert driver.standing == {"context": 1, "stream": 1, "module": 1, "pinned bytes": driver.standing["pinned bytes"]}
    assert np.isfinite(samples).all(), "what a caller kept can still be read"
    del samples
    gc.collect()
    assert driver.standing == {}
