"""Negative controls: every fault of `controls.py` is seen in numbers, the ones that people notice also in behaviour.

On the bundle that ships with the package, closed loop on its own history. A score that cannot see a broken runtime is
worse than none: for each fault here stands the score that sees it, and the sound bundle on the other side of the bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import measure
from edge_streamer.runtime.evaluation.parity import Parity, bundle_parity
from edge_streamer.runtime.evaluation.runner import SessionAgent, run_case
from edge_streamer.runtime.evaluation.score import Scores, score
from edge_streamer.runtime.evaluation.suite import Case, duplex, scene_of
from edge_streamer.runtime.scenes.assets import HeldOut, load_assets
from edge_streamer.runtime.scenes.scene import World
from edge_streamer.runtime.session import Session, open_session
from edge_streamer.runtime.shipped import bundle_path
from tests.runtime.evaluation.controls import FAULTS, SPOILERS, broken, spoiled

SAME_DB = -80.0
"""Error against oneself at most, dB. Measured: -200 (bit for bit)."""
SEEN_DB = -50.0
"""A fault makes at least this error in some quantity. Measured: see docs/evaluation.md."""


@cache
def world() -> tuple[World, HeldOut]:
    return load_assets()


@cache
def case() -> Case:
    """A question, its answer, and enough units that every ring has wrapped."""
    return next(c for c in duplex(60.0, 0, *world()).cases if c.kind == "recall" and c.script.units > 66)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    return open_session(bundle_path(floats=True))


def parity(tested: Session, session: Session) -> Parity:
    return bundle_parity(tested, session.twin(), case(), *world())


def seen(found: Parity) -> bool:
    return max(found.error_db.values()) > SEEN_DB or found.same_tokens < 1.0


def test_a_sound_session_is_the_same_in_all_numbers(session: Session) -> None:
    found = parity(session.twin(), session)
    assert max(found.worst_db.values()) < SAME_DB
    assert not seen(found)


@pytest.mark.parametrize("fault", FAULTS)
def test_numbers_see_every_fault_of_the_runtime(fault: str, session: Session) -> None:
    assert seen(parity(broken(session, fault), session))


@pytest.mark.parametrize("fault", SPOILERS)
def test_numbers_see_spoiled_weights(fault: str, session: Session, tmp_path: Path) -> None:
    assert seen(parity(spoiled(bundle_path(floats=True), fault, tmp_path), session))


# ---- what a person would notice ----

NOTICED: dict[str, tuple[str, str, float]] = {
    "zeros as history": ("identity.units", "below", 0.9),
    "window cut to 4 units": ("recall", "below", 0.6),
    "pinned prefix lost": ("identity.units", "below", 0.9),
    "shuffled weights": ("right", "below", 0.1),
    "int2 weights": ("right", "below", 0.5),
    "never speaks": ("missed", "above", 0.9),
    "always speaks": ("false_answers_a_minute", "above", 3.0),
    "sound a unit late": ("late_ms.p50", "above", 120.0),
}
"""Fault -> a score, and the bound beyond which it lies with the fault and not without."""
KINDS = {"smooth": 2, "recall": 4, "again": 2, "silence": 1, "stop": 1, "noise": 1}
"""How many scenes of each kind are played."""


@cache
def scenes() -> list[Case]:
    left, chosen = dict(KINDS), list[Case]()
    for each in duplex(20.0, 1, *world()).cases:
        if left.get(each.kind, 0):
            left[each.kind] -= 1
            chosen.append(each)
    return chosen


def behaviour(session: Session) -> Scores:
    toy, held_out = world()
    agent, ear, made = SessionAgent(session, toy), Ear(toy), []
    for each in scenes():
        scene = scene_of(each, toy)
        made.append(measure(each, scene, run_case(agent, each, scene, held_out), ear))
    return score(made)


def beyond(scores: Scores, fault: str) -> bool:
    name, side, bound = NOTICED[fault]
    value = scores[name].value
    assert value is not None, f"{name} was not measured"
    return value < bound if side == "below" else value > bound


@pytest.fixture(scope="module")
def sound(session: Session) -> Scores:
    return behaviour(session.twin())


@pytest.mark.parametrize("fault", NOTICED)
def test_behaviour_sees_what_a_person_would_notice(fault: str, session: Session, sound: Scores, tmp_path: Path) -> None:
    assert not beyond(sound, fault), "the sound bundle would be called broken"
    tested = broken(session, fault) if fault in FAULTS else spoiled(bundle_path(floats=True), fault, tmp_path)
    assert beyond(behaviour(tested), fault)
