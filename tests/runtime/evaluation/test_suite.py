"""The shipped recordings and scenarios: held out means held out, and a suite survives its file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.export.demo_model.speech import HELD_OUT_VARIANTS, TRAIN_VARIANTS
from edge_streamer.export.demo_model.words import TRAIN
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.drafts import DISTANCES, DRAFTS, ORDER
from edge_streamer.runtime.evaluation.suite import FIRST_SEED, Case, Suite, duplex, read_suite, scene_of
from edge_streamer.runtime.scenes.assets import from_mu_law, load_assets, to_mu_law
from edge_streamer.runtime.scenes.backgrounds import HELD_OUT_BACKGROUNDS, TRAIN_BACKGROUNDS
from edge_streamer.runtime.scenes.script import UNIT, Said, Shown, Typed
from tests.media_files import write_wav


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
    assert read_suite(file, *load_assets()) == suite


@pytest.mark.parametrize("text", ["{}", "no json", '{"format": 9, "name": "x", "cases": []}'])
def test_what_is_no_suite_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"suite\.json"):
        read_suite(file, *load_assets())


def changed(case: Case, part: str, **changes: object) -> Case:
    """A case with something else in its script, room or view."""
    return msgspec.structs.replace(case, **{part: replace(getattr(case, part), **changes)})


@pytest.mark.parametrize(
    ("part", "changes", "says"),
    [
        ("script", {"said": (Said("sing", 5000, "command"),)}, "the command 'sing'; wanted one of the table's: hello"),
        ("script", {"typed": (Typed("sing", 3),)}, "the command 'sing'; wanted one of the table's"),
        ("script", {"said": (Said("hello", 0, "command"),)}, "the end of 'hello' at 0; wanted 1 to "),
        ("script", {"said": (Said("hello", 9**9, "command"),)}, "the end of 'hello' at 387420489; wanted 1 to "),
        ("script", {"said": (Said("abracadabra", 5000, "other"),)}, "no recording of 'abracadabra'; wanted a WAV file"),
        ("script", {"typed": (Typed("hello", 4000),)}, "'hello' typed in unit 4000; wanted 0 to "),
        ("script", {"shown": (Shown(5, 3, 9),)}, "card 5; wanted 1 to 4"),
        ("script", {"shown": (Shown(1, 9, 3),)}, "a card from frame 9 to 3; wanted a start"),
        ("script", {"units": 0, "said": (), "typed": ()}, "units 0; wanted 1 to 4000"),
        ("room", {"noise": "loud"}, "noise 'loud'; wanted one of white, pink, brown, hum, babble"),
        ("room", {"echo_delay": -1}, "echo_delay -1; wanted 0 or more"),
        ("view", {"skin": 6}, "skin 6; wanted 0 to 5"),
        ("view", {"hair": 12}, "hair 12; wanted 0 to 11"),
        ("view", {"shirt": -1}, "shirt -1; wanted 0 to 7"),
        ("view", {"size": 0.0}, "size 0.0; wanted 0.8 to 1.25"),
        ("view", {"tint": (1.0, 2.0, 1.0)}, "tint 2.0; wanted 0.85 to 1.15"),
    ],
)  # fmt: skip
def test_a_case_that_cannot_be_played_is_refused(
    part: str, changes: dict[str, object], says: str, suite: Suite, tmp_path: Path
) -> None:
    case = changed(suite.cases[1], part, **changes)
    with pytest.raises(InputError, match=re.escape(f"suite.json: case 1 has {says}")):
        read_suite(written(tmp_path, case), *load_assets())


def test_stop_recall_and_again_are_commands_too(suite: Suite, tmp_path: Path) -> None:
    words = load_assets()[0].table.words
    said = tuple(Said(word, 3000 * (n + 1), "command") for n, word in enumerate(words))
    case = changed(suite.cases[1], "script", units=99, said=said)
    assert read_suite(written(tmp_path, case), *load_assets()).cases == (case,)


@pytest.mark.parametrize(
    ("name", "says"),
    [("none.wav", "none.wav cannot be read"), ("wide.wav", "wide.wav has 32 bits; wanted 16"),
     ("short.wav", "short.wav is empty or cut short"), ("text.wav", "text.wav cannot be read")],
)  # fmt: skip
def test_a_recording_that_cannot_be_played_is_refused(name: str, says: str, suite: Suite, tmp_path: Path) -> None:
    for good, form in (("good.wav", "s16"), ("wide.wav", "s32"), ("short.wav", "s16")):
        write_wav(tmp_path / good, np.full(500, 0.5), 16000, form)
    (tmp_path / "short.wav").write_bytes((tmp_path / "short.wav").read_bytes()[:-1])
    (tmp_path / "text.wav").write_text("no sound")
    said = (Said("hello", 5000, "command"), Said("abracadabra", 9000, "other"))
    case = changed(suite.cases[1], "script", said=said)
    good = msgspec.structs.replace(case, recordings=("", "good.wav"))
    assert read_suite(written(tmp_path, good), *load_assets()).cases == (good,)
    with pytest.raises(InputError, match=says):
        read_suite(written(tmp_path, msgspec.structs.replace(case, recordings=("", name))), *load_assets())


def written(folder: Path, case: Case) -> Path:
    """A suite's file of one case."""
    file = folder / "suite.json"
    file.write_bytes(msgspec.json.encode(Suite(format=1, name="mine", cases=(case,))))
    return file
