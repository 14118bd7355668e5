"""Negative controls: every fault of `controls.py` is seen in numbers, the ones that people notice also in behaviour.

On the bundle that ships with the package, closed loop on its own history. A score that cannot see a broken runtime is
worse than none: for each fault here stands the score that sees it, and the sound bundle on the other side of the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.error_over_time import HEARD_AND_SEEN
from edge_streamer.runtime.session.session import Session, open_session
from tests.runtime.evaluation.controls import FAULTS, SPOILERS, Behaviour, broken, early_parity, parity, spoiled

SAME_DB = -80.0
"""Error against oneself at most, dB. Measured: -200 (bit for bit)."""
SEEN_DB = -50.0
"""A fault makes at least this error in some quantity. Measured: see docs/evaluation.md."""


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    return open_session(bundle_path(floats=True))


WHEN_WRAPPED = ("ring cursor off by one unit", "ring forgets to evict", "window cut to 4 units")
"""Faults of rings, looked at until every ring has wrapped; the others are seen before."""


def seen(error_db: Mapping[str, float], same_tokens: float) -> bool:
    return max(error_db[name] for name in HEARD_AND_SEEN) > SEEN_DB or same_tokens < 1.0


def seen_early(tested: Session, session: Session) -> bool:
    found = early_parity(tested, session)
    return seen(found.error_db, found.same_slots)


def test_a_sound_session_is_the_same_in_all_numbers(session: Session) -> None:
    found = parity(session.twin(), session)
    assert max(found.worst_db.values()) < SAME_DB
    assert not seen(found.error_db, found.same_tokens)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in WHEN_WRAPPED])
def test_numbers_see_every_fault_of_the_runtime(fault: str, session: Session) -> None:
    assert seen_early(broken(session, fault), session)


@pytest.mark.parametrize("fault", WHEN_WRAPPED)
def test_numbers_see_every_fault_of_the_rings(fault: str, session: Session) -> None:
    found = parity(broken(session, fault), session)
    assert seen(found.error_db, found.same_tokens)


@pytest.mark.parametrize("fault", SPOILERS)
def test_numbers_see_spoiled_weights(fault: str, session: Session, tmp_path: Path) -> None:
    assert seen_early(spoiled(bundle_path(floats=True), fault, tmp_path), session)


# ---- what a person would notice ----

NOTICED: dict[str, tuple[str, str, float, tuple[str, ...]]] = {
    "zeros as history": ("identity.units", "below", 0.9, ("smooth",)),
    "window cut to 4 units": ("recall", "below", 0.6, ("recall",)),
    "pinned prefix lost": ("identity.units", "below", 0.9, ("smooth",)),
    "shuffled weights": ("right", "below", 0.1, ("smooth", "again")),
    "int2 weights": ("right", "below", 0.5, ("smooth", "again")),
    "never speaks": ("missed", "above", 0.9, ("smooth", "again")),
    "always speaks": ("false_answers_a_minute", "above", 3.0, ("smooth", "silence", "noise")),
    "sound a unit late": ("late_ms.p50", "above", 120.0, ("smooth", "again")),
}
"""Fault -> a score, the bound beyond which it lies with the fault and not without, and the scenes it is measured in."""


def beyond(behaviour: Behaviour, fault: str) -> bool:
    name, side, bound, kinds = NOTICED[fault]
    value = behaviour.scores(kinds)[name].value
    assert value is not None, f"{name} was not measured"
    return value < bound if side == "below" else value > bound


@pytest.fixture(scope="module")
def sound(session: Session) -> Behaviour:
    return Behaviour(session.twin())


@pytest.mark.parametrize("fault", NOTICED)
def test_behaviour_sees_what_a_person_would_notice(
    fault: str, session: Session, sound: Behaviour, tmp_path: Path
) -> None:
    assert not beyond(sound, fault), "the sound bundle would be called broken"
    tested = broken(session, fault) if fault in FAULTS else spoiled(bundle_path(floats=True), fault, tmp_path)
    assert beyond(Behaviour(tested), fault)
