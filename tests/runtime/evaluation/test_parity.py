"""Parity: both sessions hear the case itself, what cannot be compared is refused first, no unit hides another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import Golden, Meta
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.bench import Wish, evaluate
from edge_streamer.runtime.evaluation.ceiling import Intended
from edge_streamer.runtime.evaluation.parity import bundle_parity, together_db
from edge_streamer.runtime.evaluation.runner import run_case
from edge_streamer.runtime.evaluation.suite import Case, Suite, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import load_assets
from edge_streamer.runtime.evaluation.world.script import UNIT, Said, Script, Typed
from edge_streamer.runtime.evaluation.world.sound import Room
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import write_wav

UNITS = 10


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    return open_session(bundle_path(floats=True))


def a_case(word: str = "") -> Case:
    """A word over babble, recorded where a file is named, and a typed one."""
    first = duplex(0.1, 0, *load_assets()).cases[0]
    script = Script(UNITS, (Said("weather", 3 * UNIT, "command"),), (Typed("hello", 4),))
    room = Room(snr_db=10.0, noise="babble", tilt=0.2, gain=0.7)
    return msgspec.structs.replace(first, script=script, room=room, recordings=(word,))


def test_both_sessions_get_what_the_case_is(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "word.wav", np.sin(np.arange(4000) / 9) / 2, 16000)
    world, held_out = load_assets()
    case, step, got = a_case(str(tmp_path / "word.wav")), Session.step, list[Unit]()

    def noted(self: Session, unit: Unit, tokens: tuple[int, ...] | None = None) -> Response:
        if tokens is None:  # the reference
            got.append(Unit(np.array(unit.samples), np.array(unit.frames), unit.text))
        return step(self, unit, tokens)

    monkeypatch.setattr(Session, "step", noted)
    found = bundle_parity(session.twin(), session, case, world, held_out)
    assert (found.units, found.same_tokens, max(found.error_db.values())) == (UNITS, 1.0, -200.0)
    scene = scene_of(case, world)
    heard = run_case(Intended(), case, scene, held_out).heard
    assert np.array_equal(np.concatenate([unit.samples for unit in got]), heard)
    assert np.array_equal(np.concatenate([unit.frames for unit in got]), scene.camera())
    assert [unit.text for unit in got] == ["hello\n" if k == 4 else "" for k in range(UNITS)]


def test_another_preset_is_refused_before_anything_is_played(session: Session, tiny_bundle: Path) -> None:
    world, held_out = load_assets()
    suite = Suite(format=1, name="one", cases=(a_case(),))

    def played(*_: object) -> None:
        pytest.fail("a case was played first")

    with pytest.raises(InputError, match=r"has other constants than .*; name a bundle of the same preset"):
        evaluate(session, suite, Wish(reference=open_session(tiny_bundle)), world, held_out, played)


def test_the_error_over_all_units_is_not_that_of_the_worst() -> None:
    wanted = {f"{k}.samples": np.ones(100, np.float32) for k in range(4)} | {"0.tokens": np.zeros(3, np.int32)}
    came = wanted | {"2.samples": np.full(100, 1.1, np.float32)}  # -20 dB there, over four units a quarter of it
    found = together_db(Golden(Meta(program="p", seed=0, units=4), wanted), came)
    assert found == {"samples": pytest.approx(-26.02, abs=0.01)}


def test_what_is_no_number_is_the_largest_error_and_stays_a_number() -> None:
    """JSON knows no infinity: a report would say nothing."""
    wanted = {f"{k}.samples": np.ones(100, np.float32) for k in range(2)}
    came = wanted | {"1.samples": np.full(100, np.nan, np.float32)}
    assert together_db(Golden(Meta(program="p", seed=0, units=2), wanted), came) == {"samples": 200.0}
