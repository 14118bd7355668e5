"""The shipped recordings and scenarios: held out means held out, and a suite survives its file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.export.demo_model.speech import HELD_OUT_VARIANTS, TRAIN_VARIANTS
from edge_streamer.export.demo_model.words import TRAIN
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.drafts import DISTANCES, DRAFTS, ORDER
from edge_streamer.runtime.evaluation.suite import FIRST_SEED, Suite, duplex, read_suite, scene_of
from edge_streamer.runtime.scenes.assets import from_mu_law, load_assets, to_mu_law
from edge_streamer.runtime.scenes.backgrounds import HELD_OUT_BACKGROUNDS, TRAIN_BACKGROUNDS
from edge_streamer.runtime.scenes.script import UNIT


@pytest.fixture(scope="module")
def suite() -> Suite:
    return duplex(20.0, 0, *load_assets())


def test_mu_law_keeps_speech_well_above_its_own_noise() -> None:
    _, held_out = load_assets()
    sound = np.concatenate([recorded.sound for recorded in held_out.by_word["weather"]])
    wrong = from_mu_law(to_mu_law(0.7 * sound)) - 0.7 * sound
    assert 20 * np.log10(np.linalg.norm(0.7 * sound) / np.linalg.norm(wrong)) > 35


def test_no_voice_and_no_unknown_word_is_one_of_training() -> None:
    _, held_out = load_assets()
    variants = {voice.partition("+")[2] for voice in held_out.voices}
    assert variants <= set(HELD_OUT_VARIANTS)
    assert not variants & set(TRAIN_VARIANTS)
    assert not set(held_out.unknown) & set(TRAIN)


def test_no_seed_and_no_background_is_one_of_training(suite: Suite) -> None:
    assert all(case.seed >= FIRST_SEED for case in suite.cases)
    assert all(case.view.background in HELD_OUT_BACKGROUNDS for case in suite.cases)
    assert not set(HELD_OUT_BACKGROUNDS) & set(TRAIN_BACKGROUNDS)
    assert len({case.seed for case in suite.cases}) == len(suite.cases)


def test_every_kind_and_every_distance_occurs(suite: Suite) -> None:
    assert {case.kind for case in suite.cases} == set(DRAFTS) == set(ORDER)
    assert {f"{d} s" for d in DISTANCES} == {case.condition for case in suite.cases if case.kind == "recall"}
    assert 20 <= sum(case.seconds for case in suite.cases) / 60 < 20.5
    assert all(6 < case.seconds < 20 for case in suite.cases)


def test_every_scene_asks_what_it_says_it_asks(suite: Suite) -> None:
    world, _ = load_assets()
    for case in suite.cases:
        answers = scene_of(case, world).intent.answers
        assert all(answer.end <= case.script.units * UNIT for answer in answers)
        if case.kind in ("interruption", "stop"):
            assert any(answer.cut for answer in answers)
        if case.kind in ("recall", "again"):  # never the phrase for "nothing there"
            assert all(answer.phrase < len(world.table.phrases) - 1 for answer in answers)
        if case.kind in ("silence", "noise", "others"):
            assert not answers


def test_equal_seeds_give_equal_suites_and_others_do_not() -> None:
    world, held_out = load_assets()
    assert duplex(1.0, 3, world, held_out) == duplex(1.0, 3, world, held_out)
    assert duplex(1.0, 3, world, held_out) != duplex(1.0, 4, world, held_out)


def test_a_suite_survives_its_file(suite: Suite, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_bytes(msgspec.json.encode(suite))
    assert read_suite(file) == suite


@pytest.mark.parametrize("text", ["{}", "no json", '{"format": 9, "name": "x", "cases": []}'])
def test_what_is_no_suite_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"suite\.json"):
        read_suite(file)
