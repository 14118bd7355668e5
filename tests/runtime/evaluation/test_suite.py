"""The shipped recordings and scenarios: held out means held out, and a suite survives its file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_streamer.export.demo_model.speech import HELD_OUT_VARIANTS, TRAIN_VARIANTS
from edge_streamer.export.demo_model.words import TRAIN
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.behaviour import questions
from edge_streamer.runtime.evaluation.drafts import DISTANCES, DRAFTS, ORDER
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.runner import Recording
from edge_streamer.runtime.evaluation.suite import (
    APART,
    FIRST_SEED,
    Case,
    Suite,
    duplex,
    read_suite,
    read_wav,
    scene_of,
)
from edge_streamer.runtime.evaluation.world.assets import from_mu_law, load_assets, to_mu_law
from edge_streamer.runtime.evaluation.world.backgrounds import HELD_OUT_BACKGROUNDS, TRAIN_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.camera import VIEW_RANGES, View, random_view
from edge_streamer.runtime.evaluation.world.script import UNIT, Said, Script, Shown, Typed
from edge_streamer.runtime.evaluation.world.sound import ROOM_RANGES, Room, random_room
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


def test_all_that_the_shipped_suite_can_draw_is_accepted(tmp_path: Path) -> None:
    world, held_out = load_assets()
    for seed in range(20):
        drawn = duplex(20.0, seed, world, held_out)
        (tmp_path / "suite.json").write_bytes(msgspec.json.encode(drawn))
        assert read_suite(tmp_path / "suite.json", world, held_out) == drawn


def test_rooms_and_views_of_training_lie_in_the_ranges() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        room, view = random_room(rng), random_view(rng, TRAIN_BACKGROUNDS)
        for made, ranges in ((room, ROOM_RANGES), (view, VIEW_RANGES)):
            values = {name: np.atleast_1d(getattr(made, name)) for name in ranges if getattr(made, name)}
            assert all(ranges[name][0] <= v <= ranges[name][1] for name in values for v in values[name])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "suite.json is not a suite: Object missing required field `format`"),
        ("json", "suite.json is no JSON: line 1, column 1 has 'json'"),
        ('{"format": 9, "name": "x", "cases": []}', "suite.json has format 9; this edge-streamer reads format 1"),
        ('{"format": 1,\n "name": Infinity}', "line 2, column 10 has 'Infinity'; a number must be finite"),
        ('{"format": NaN}', "line 1, column 12 has 'NaN'; a number must be finite"),
        ('{"format": 1, "name": "x", "cases": [{"script": {"x": 1e999}}]}', "suite.json is not a suite: "),
        ('{"format": 1, "name": "', "suite.json is no JSON: Input data was truncated"),
        ('{"format": 1, "name": "x", "cases": [], "case": 1}', "unknown field `case`"),
    ],
)
def test_what_is_no_suite_is_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "suite.json"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        read_suite(file, *load_assets())


PLAIN = Case(
    number=1, kind="mine", identity=0, seed=1, script=Script(60, (Said("hello", 32000, "command"),))
)  # fmt: skip


def written(folder: Path, *cases: Case) -> Path:
    """A suite's file."""
    file = folder / "suite.json"
    file.write_bytes(msgspec.json.encode(Suite(format=1, name="mine", cases=cases)))
    return file


def said(*words: Said) -> dict[str, object]:
    return {"said": words}


@pytest.mark.parametrize(
    ("part", "changes", "says"),
    [
        ("", {"number": -1}, "number -1; wanted 0 to 999999"),
        ("", {"kind": ""}, "kind ''; wanted a word of letters, digits, - and _"),
        ("", {"kind": "[red]x"}, "kind '[red]x'; wanted a word of letters"),
        ("", {"condition": "a\nb"}, "condition 'a\\nb'; wanted one line"),
        ("", {"condition": "[/b]"}, "condition '[/b]'; wanted one line"),
        ("", {"identity": 3}, "identity 3; wanted 0 to 2"),
        ("", {"seed": 2**53}, "seed 9007199254740992; wanted 0 to 9007199254740991"),
        ("", {"recordings": ("", "")}, "2 recordings of 1 words; wanted none, or one for each word"),
        ("script", {"units": 0, "said": ()}, "script.units 0; wanted 1 to 4000"),
        ("script", {"units": 28}, "script.units 28, too few for an answer to 'hello', which ends at 32000; wanted 30"),
        ("script", said(Said("sing", 32000, "command")), "script.said[0] with the command 'sing'; wanted one of the"),
        ("script", said(Said("Hello", 32000, "other")), "script.said[0] of kind 'other' with the command 'Hello'; wa"),
        ("script", said(Said("hello", 0, "command")), "script.said[0].end 0; wanted 1 to 153600"),
        ("script", said(Said("hello", 9**9, "command")), "script.said[0].end 387420489; wanted 1 to 153600"),
        ("script", said(Said("hello", 100, "command")), "script.said[0].end 100, but 'hello' lasts 12160 samples; wa"),
        ("script", said(Said("hello", 32000, "command", -1.0)), "script.said[0].gain -1.0; wanted 0.01 to 10"),
        ("script", said(Said("hello", 32000, "command", 1e9)), "script.said[0].gain 1000000000.0; wanted 0.01 to 10"),
        ("script", said(Said("abracadabra", 32000, "other")), "no recording of 'abracadabra', script.said[0]; wanted"),
        ("script", said(Said("hello", 32000, "command"), Said("again", 35999, "command")),
         "the commands 'hello' and 'again', which end at 32000 and 35999; wanted 4000 samples or more"),
        ("script", {"typed": (Typed("sing", 30),)}, "script.typed[0] with the command 'sing'; wanted one of the tabl"),
        ("script", {"typed": (Typed("hello", 58),)}, "script.typed[0].unit 58; wanted 0 to 57"),
        ("script", {"typed": (Typed("hello", 30), Typed("stop", 32))},
         "'stop' typed in unit 32, when 'hello' is not all in; wanted unit 33 or later"),
        ("script", {"shown": (Shown(5, 3, 9),)}, "script.shown[0].card 5; wanted 1 to 4"),
        ("script", {"shown": (Shown(1, 9, 3),)}, "script.shown[0] from frame 9 to 3; wanted a start from 0 on"),
        ("script", {"shown": (Shown(1, 9, 241),)}, "script.shown[0] from frame 9 to 241; wanted a start from 0 on"),
        ("script", {"shown": (Shown(1, 9, 30), Shown(2, 29, 40))}, "a card from frame 29 on, before the one until 30"),
        ("room", {"noise": "loud"}, "room.noise 'loud'; wanted one of white, pink, brown, hum, babble"),
        ("room", {"gain": 0.0}, "room.gain 0.0; wanted 0.01 to 10"),
        ("room", {"snr_db": 100.0}, "room.snr_db 100.0; wanted -20 to 60"),
        ("room", {"reverb_seconds": -1.0}, "room.reverb_seconds -1.0; wanted 0.01 to 10, or 0 for none"),
        ("room", {"reverb_seconds": 1e6}, "room.reverb_seconds 1000000.0; wanted 0.01 to 10, or 0 for none"),
        ("room", {"tilt": 0.7}, "room.tilt 0.7; wanted -0.6 to 0.6"),
        ("room", {"echo_db": 21.0}, "room.echo_db 21.0; wanted -80 to 20"),
        ("room", {"echo_delay": -1}, "room.echo_delay -1; wanted 0 to 32000"),
        ("view", {"background": -1}, "view.background -1; wanted 0 to 9007199254740991"),
        ("view", {"skin": 6}, "view.skin 6; wanted 0 to 5"),
        ("view", {"hair": 12}, "view.hair 12; wanted 0 to 11"),
        ("view", {"shirt": -1}, "view.shirt -1; wanted 0 to 7"),
        ("view", {"brightness": 2.0}, "view.brightness 2.0; wanted 0.6 to 1.3"),
        ("view", {"noise": 9.0}, "view.noise 9.0; wanted 0 to 8"),
        ("view", {"size": 0.0}, "view.size 0.0; wanted 0.8 to 1.25"),
        ("view", {"tint": (1.0, 2.0, 1.0)}, "view.tint 2.0; wanted 0.85 to 1.15"),
    ],
)  # fmt: skip
def test_a_case_that_cannot_be_played_is_refused(part: str, changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    changed = {part: replace(getattr(PLAIN, part), **changes)} if part else changes
    case = msgspec.structs.replace(PLAIN, **changed)
    with pytest.raises(InputError, match=re.escape(f"suite.json: case {case.number} has {says}")):
        read_suite(written(tmp_path, case), *load_assets())


def test_a_card_that_nobody_holds_is_refused(tmp_path: Path) -> None:
    case = msgspec.structs.replace(PLAIN, face=False, script=replace(PLAIN.script, shown=(Shown(1, 9, 30),)))
    with pytest.raises(InputError, match="a card, but face false; wanted face true"):
        read_suite(written(tmp_path, case), *load_assets())


def test_two_cases_of_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 2 cases of number 1; wanted a number of its own"):
        read_suite(written(tmp_path, PLAIN, PLAIN), *load_assets())


@pytest.mark.parametrize(
    "path", [("room",), ("view",), ("script",), *(("script", n, 0) for n in ("said", "typed", "shown"))]
)
def test_a_key_that_nobody_reads_is_refused(path: tuple[str | int, ...], tmp_path: Path) -> None:
    script = Script(60, PLAIN.script.said, (Typed("hello", 40),), (Shown(1, 9, 30),))
    raw = msgspec.to_builtins(Suite(format=1, name="mine", cases=(msgspec.structs.replace(PLAIN, script=script),)))
    part: Any = raw["cases"][0]
    for step in path:
        part = part[step]
    part["gian"] = 1
    (tmp_path / "suite.json").write_bytes(msgspec.json.encode(raw))
    where = ".".join(map(str, path)).replace(".0", "[0]")
    with pytest.raises(InputError, match=re.escape(f"case 1 has an unknown key 'gian' in {where}; wanted only ")):
        read_suite(tmp_path / "suite.json", *load_assets())


def test_a_case_needs_neither_room_nor_view(tmp_path: Path) -> None:
    for given in ("", ', "room": {}, "view": {}'):
        case = f'{{"number": 1, "kind": "mine", "identity": 0, "seed": 1, "script": {{"units": 60}}{given}}}'
        (tmp_path / "suite.json").write_text(f'{{"format": 1, "name": "mine", "cases": [{case}]}}')
        (read,) = read_suite(tmp_path / "suite.json", *load_assets()).cases
        assert (read.room, read.view) == (Room(), View())


def test_stop_recall_and_again_are_commands_too(tmp_path: Path) -> None:
    words = load_assets()[0].table.words
    spoken = tuple(Said(word, 40000 * (n + 1), "command") for n, word in enumerate(words))
    case = msgspec.structs.replace(PLAIN, script=Script(210, spoken))
    assert read_suite(written(tmp_path, case), *load_assets()).cases == (case,)


def test_commands_just_far_enough_apart_are_scored_as_they_should_be() -> None:
    world, _ = load_assets()
    ear = Ear(world)
    for first in range(32000, 32000 + UNIT, 320):
        for word in ("weather", "stop"):
            script = Script(60, (Said("hello", first, "command"), Said(word, first + APART, "command")))
            scene = scene_of(msgspec.structs.replace(PLAIN, script=script), world)
            intent, nothing = scene.intent, np.zeros(0)
            words = [text.decode() for text in intent.text]
            made = Recording(nothing, intent.samples, nothing, intent.speaking, words, nothing)  # type: ignore[arg-type]
            assert {question.verdict for question in questions(scene, made, ear)} == {"right"}


ROOT = Path(__file__).parents[3]
TONE = 0.3 * np.sin(np.arange(8000) / 3)
"""Half a second at 16 kHz."""


def spoken(folder: Path, name: str, end: int = 32000) -> Path:
    case = msgspec.structs.replace(PLAIN, script=replace(PLAIN.script, said=(Said("hello", end, "command"),)))
    return written(folder, msgspec.structs.replace(case, recordings=(name,)))


def test_recordings_are_named_from_the_root(tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", TONE, 16000)
    (case,) = read_suite(spoken(tmp_path, "good.wav"), *load_assets()).cases
    assert case.recordings == (str(good.resolve()),)
    (tmp_path / "elsewhere").mkdir()
    assert read_suite(written(tmp_path / "elsewhere", case), *load_assets()).cases == (case,)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.wav", "none.wav does not exist; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("folder", "folder is no file; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("text.wav", "text.wav is no WAV file; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("s24.wav", "s24.wav has 24 bits; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("f32.wav", "f32.wav is a WAV file, but cut short or not 16-bit PCM; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("head.wav", "head.wav is a WAV file, but cut short or not 16-bit PCM; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("short.wav", "short.wav is cut short: it says 8000 samples; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("long.wav", "long.wav says it lasts 67109 s, longer than any case; wanted a 16-bit PCM WAV file: ffmpeg"),
        ("empty.wav", "empty.wav lasts 0 ms; wanted a word of 100 ms or more"),
        ("brief.wav", "brief.wav lasts 10 ms; wanted a word of 100 ms or more"),
        ("slow.wav", "slow.wav has 4000 samples a second; wanted 8000 to 192000"),
        ("silent.wav", "silent.wav is silent; wanted a word that can be heard"),
        ("opposed.wav", "opposed.wav is silent; wanted a word that can be heard"),
    ],
)  # fmt: skip
def test_a_recording_that_cannot_be_played_is_refused(name: str, says: str, tmp_path: Path) -> None:
    for form in ("s24", "f32"):
        write_wav(tmp_path / f"{form}.wav", TONE, 16000, form)
    for short, kept in (("head.wav", 20), ("short.wav", -1000)):
        whole = write_wav(tmp_path / short, TONE, 16000).read_bytes()
        (tmp_path / short).write_bytes(whole[:kept])
    write_wav(tmp_path / "long.wav", TONE, 16000, data_size=2**31)
    write_wav(tmp_path / "empty.wav", TONE[:0], 16000)
    write_wav(tmp_path / "brief.wav", TONE[:160], 16000)
    write_wav(tmp_path / "slow.wav", TONE, 4000)
    write_wav(tmp_path / "silent.wav", TONE / 1000, 16000)
    write_wav(tmp_path / "opposed.wav", np.stack([TONE, -TONE], 1), 16000)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "folder").mkdir()
    says = f"suite.json: case 1 has recordings[0], for 'hello': {tmp_path}/{says}"
    with pytest.raises(InputError, match=re.escape(says)):
        read_suite(spoken(tmp_path, name), *load_assets())


def test_a_recording_that_would_begin_before_the_case_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", TONE, 8000)
    assert read_suite(spoken(tmp_path, "good.wav", 16000), *load_assets())
    with pytest.raises(InputError, match=re.escape("script.said[0].end 15999, but 'hello' lasts 16000 samples")):
        read_suite(spoken(tmp_path, "good.wav", 15999), *load_assets())


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_and_channels_are_resampled_and_mixed(rate: int, tmp_path: Path) -> None:
    def tone(rate: int) -> NDArray[np.float64]:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)

    stereo = np.stack([tone(rate), np.zeros(rate // 2)], 1)
    came = read_wav(write_wav(tmp_path / "stereo.wav", stereo, rate))
    assert len(came) == 8000
    assert np.abs(came - tone(16000) / 2)[200:-200].max() < 1e-3


def test_the_example_of_the_docs_is_a_suite(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "evaluation.md").read_text(), re.DOTALL)
    (tmp_path / "mine.json").write_text(example)
    write_wav(tmp_path / "hello.wav", TONE, 16000)
    assert len(read_suite(tmp_path / "mine.json", *load_assets()).cases) == 1
