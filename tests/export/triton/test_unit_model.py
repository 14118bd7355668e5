"""The whole bundle in Triton's Python backend: a sequence is a session, its bits are a session's, and it ends well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.export.triton.config import Served
from edge_streamer.export.triton.repository import write_repository
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.errors import DeviceLost, StepError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs, Unit
from tests.bundles import ROOM, room_bundle
from tests.export.triton.server import END, START, Arrays, UnitModel

BIAS = {"bias": np.ones((1, 1), np.float32)}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UnitModel:
    """The room bundle's model, for two conversations at once."""
    write_repository(room_bundle(tmp_path / "room"), tmp_path / "out", "unit", Served(2))
    return UnitModel(tmp_path / "out/room", monkeypatch)


def hear(value: float) -> Arrays:
    return {"samples": np.full(ROOM, value, np.float32), **BIAS}


def test_two_conversations_are_two_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words, pictures, sound and knobs go in and come out; in one request each, or in one batch."""
    write_repository(bundle_path(), tmp_path / "out", "unit")
    (folder,) = (tmp_path / "out").glob("*/")
    model = UnitModel(folder, monkeypatch)
    knobs = {7: {}, "bee": {"seed": 5, "temperature": "0.7", "steps": 1}}
    first = open_session(bundle_path(), engine="cpu")
    sessions = {7: first, "bee": first.twin(Knobs(seed=5, temperature=0.7, steps=1))}
    for k in range(3):
        units = {name: made_unit(first.media, seed, k) for seed, name in enumerate(sessions)}
        flags = START if k == 0 else 0
        answers = model.ask(*(
            (name, flags, knobs[name] if k == 0 else {}, {
                "samples": unit.samples, "frames": unit.frames, "text": np.array([unit.text.encode()], np.object_),
            })
            for name, unit in units.items()
        ))  # fmt: skip
        for answer, (name, unit) in zip(answers, units.items(), strict=True):
            response = sessions[name].step(unit)
            assert answer["samples"].tobytes() == response.samples.tobytes()  # type: ignore[union-attr]
            assert answer["frames"].tobytes() == response.frames.tobytes()  # type: ignore[union-attr]
            assert answer["text"].tolist() == [response.text.encode()]
            assert answer["tokens"].tolist() == list(response.tokens)
            assert (answer["unit"].tolist(), answer["speaking"].tolist()) == (
                [k], [{True: 1, False: 0, None: -1}[response.speaking]],
            )  # fmt: skip
            assert {spec.name for spec in model.config.output} == answer.keys()
    model.model.finalize()


def test_knobs_stay_as_they_were_turned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later one is turned beside those of START, a refused one turns nothing, the next sequence begins without."""
    write_repository(bundle_path(), tmp_path / "out", "unit")
    (folder,) = (tmp_path / "out").glob("*/")
    model = UnitModel(folder, monkeypatch)
    turned: list[Knobs] = []
    monkeypatch.setattr(Session, "turn", lambda self, knobs: turned.append(knobs))
    monkeypatch.setattr(model.model, "_step", lambda session, request: [])
    model.ask((1, START, {"seed": 5}, {}))
    model.ask((1, 0, {"steps": "many"}, {}))
    model.ask((1, 0, {"steps": 1}, {}))
    model.ask((1, END, {"top_k": 2}, {}), (2, START, {}, {}))
    assert turned == [Knobs(), Knobs(seed=5), Knobs(seed=5, steps=1), Knobs(seed=5, steps=1, top_k=2), Knobs()]


def test_a_sequence_begins_from_nothing_and_ends(room: UnitModel) -> None:
    (lone,) = room.ask((1, 0, {}, hear(1)))
    assert "no sequence 1" in str(lone)
    levels = [
        float(answer["level"][0, 0])
        for flags in (START, 0, END, START | END, START, START)
        for answer in room.ask((1, flags, {}, hear(1)))
    ]
    assert levels == [ROOM, 2 * ROOM, 3 * ROOM, ROOM, ROOM, ROOM]
    (after,) = room.ask((1, END, {}, hear(1)))
    assert float(after["level"][0, 0]) == 2 * ROOM
    assert "no sequence 1" in str(room.ask((1, 0, {}, hear(1)))[0])


def test_the_one_that_was_silent_for_longest_makes_room(room: UnitModel) -> None:
    """Triton drops silent sequences and tells no model: no session is held for ever."""
    room.ask((1, START, {}, hear(1)), (2, START, {}, hear(1)))
    room.ask((1, 0, {}, hear(1)))
    room.ask((3, START, {}, hear(1)))
    answers = room.ask((1, 0, {}, hear(1)), (2, 0, {}, hear(1)), (3, 0, {}, hear(1)))
    assert [isinstance(answer, dict) for answer in answers] == [True, False, True]
    assert len(room.model._live) == 2
    assert not room.model._free


@pytest.mark.parametrize(
    ("given", "inputs", "says"),
    [
        ({}, {**BIAS, "samples": np.full(ROOM, np.nan, np.float32)}, "a NaN or an infinity"),
        ({}, {}, "wanted ['bias']"),
        ({"steps": 0}, BIAS, "steps is 0"),
        ({"top_p": "most"}, BIAS, "the parameter top_p is 'most'; wanted a number"),
    ],
)
def test_what_is_wrong_is_told_and_the_conversation_stands(
    room: UnitModel, given: dict[str, Any], inputs: Arrays, says: str
) -> None:
    room.ask((1, START, {}, hear(1)))
    wrong, other = room.ask((1, 0, given, inputs), (2, START, {}, hear(2)))
    assert says in str(wrong)
    assert wrong.code == 3
    assert float(other["level"][0, 0]) == 2 * ROOM
    (after,) = room.ask((1, 0, {}, hear(1)))
    assert (float(after["level"][0, 0]), int(after["unit"][0])) == (2 * ROOM, 1)


def test_a_unit_that_fails_and_a_device_that_is_lost(room: UnitModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> None:
        def step(self: Session, unit: Unit) -> None:
            raise error

        monkeypatch.setattr(Session, "step", step)

    room.ask((1, START, {}, hear(1)))
    with monkeypatch.context():
        whole = Session.step
        fails(StepError("graph 'x': a NaN"))
        (failed,) = room.ask((1, 0, {}, hear(1)))
        assert (str(failed), failed.code) == ("graph 'x': a NaN", 1)
        fails(DeviceLost("the GPU\nis gone"))
        (lost,) = room.ask((1, 0, {}, hear(1)))
        assert str(lost) == "the GPU is gone"
        monkeypatch.setattr(Session, "step", whole)
    assert "no sequence 1" in str(room.ask((1, 0, {}, hear(1)))[0])
    (again,) = room.ask((1, START, {}, hear(1)))
    assert float(again["level"][0, 0]) == ROOM
