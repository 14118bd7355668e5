"""The rules of the toy world: who answers what, from which sample to which, in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.motion import BLINK, blinks, breathing, face_path
from edge_streamer.runtime.evaluation.world.script import (
    FRAME,
    GRID,
    UNIT,
    Said,
    Script,
    Shown,
    Typed,
    direct,
    mouth_of,
    start_after,
    typed_text,
)  # fmt: skip
from edge_streamer.runtime.evaluation.world.table import SHIPPED, read_table

TABLE = read_table()
SECOND = 16000
PHRASES = [np.full(SECOND + 400 * i, 0.1, np.float32) for i in range(len(TABLE.phrases))]
WEATHER = TABLE.phrases.index("it is sunny and warm.")


def command(word: str, end: int) -> Said:
    return Said(word, end, "command")


def test_an_answer_starts_a_unit_after_the_word_on_a_grid_of_40_ms() -> None:
    for end in (0, 1, 639, 640, 12345):
        start = start_after(end)
        assert start % GRID == 0
        assert UNIT <= start - end < UNIT + GRID


def test_a_command_is_answered_in_sound_words_state_and_picture() -> None:
    intent = direct(Script(30, (command("weather", 10000),)), TABLE, PHRASES)
    (answer,) = intent.answers
    start, end = 12800, 12800 + len(PHRASES[WEATHER])
    assert (answer.phrase, answer.start, answer.end, answer.cut) == (WEATHER, start, end, False)
    assert np.array_equal(np.flatnonzero(intent.samples), np.arange(start, end))
    assert b"".join(intent.text) == b"it is sunny and warm.\n"
    assert intent.text[start // UNIT] == b"it "
    speaking = [k for k in range(30) if start < (k + 1) * UNIT <= end]
    assert np.flatnonzero(intent.speaking).tolist() == speaking
    assert np.flatnonzero(intent.icon).tolist() == list(range(start // FRAME, -(-end // FRAME)))
    assert intent.turns == [start // UNIT]


@pytest.mark.parametrize(("place", "first"), [(0, b"it "), (1, b"it"), (2, b"i"), (3, b"")])
def test_words_keep_pace_with_the_sound(place: int, first: bytes) -> None:
    intent = direct(Script(30, (command("weather", 10240 + place * GRID),)), TABLE, PHRASES)
    assert intent.answers[0].start == 12800 + place * GRID
    assert intent.text[5] == first
    assert intent.speaking[5], "the state says that it speaks, with or without a word"
    assert b"".join(intent.text) == b"it is sunny and warm.\n"


def test_what_is_no_command_is_let_pass() -> None:
    intent = direct(Script(20, (Said("weather", 9000, "other"),)), TABLE, PHRASES)
    assert not intent.answers
    assert not intent.samples.any()
    assert not intent.speaking.any()
    assert b"".join(intent.text) == b""


def test_stop_cuts_with_a_fade_and_leaves_the_words_open() -> None:
    script = Script(30, (command("weather", 10000), command("stop", 18000)))
    intent = direct(script, TABLE, PHRASES)
    (answer,) = intent.answers
    assert answer.cut
    assert answer.end == start_after(18000)
    assert not intent.samples[answer.end :].any()
    assert abs(intent.samples[answer.end - 1]) < 0.01
    assert not intent.speaking[answer.end // UNIT :].any(), "silent within the unit after the word"
    assert b"".join(intent.text) == b"it is sunn-\n"


@pytest.mark.parametrize(("place", "last"), [(0, b"-\n"), (1, b"n-\n"), (2, b"ny-"), (3, b"ny ")])
def test_words_that_are_cut_say_where(place: int, last: bytes) -> None:
    intent = direct(Script(30, (command("weather", 10000), command("stop", 17920 + place * GRID))), TABLE, PHRASES)
    assert intent.answers[0].end == 8 * UNIT + place * GRID
    assert intent.text[8] == last
    assert b"".join(intent.text).endswith(b"-\n")


def test_a_command_during_an_answer_replaces_it() -> None:
    intent = direct(Script(40, (command("weather", 10000), command("dinner", 18000))), TABLE, PHRASES)
    first, second = intent.answers
    assert first.end == second.start
    assert first.cut
    assert not second.cut
    assert b"".join(intent.text) == b"it is sunn-\npasta with tomatoes.\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (Script(60, (command("again", 9000),)), "nothing yet."),
        (Script(60, (command("weather", 9000), command("again", 60000))), "it is sunny and warm."),
        (Script(60, (command("colour", 9000),)), "nothing yet."),
        (Script(60, (command("colour", 90000),), shown=(Shown(3, 10, 40),)), "that was blue."),
        (Script(60, (command("colour", 90000),), shown=(Shown(3, 10, 40), Shown(4, 60, 70))), "that was yellow."),
        (Script(60, (command("colour", 90000), command("again", 130000)), shown=(Shown(1, 10, 40),)), "that was red."),
    ],
)
def test_history_decides(script: Script, said: str) -> None:
    assert TABLE.phrases[direct(script, TABLE, PHRASES).answers[-1].phrase] == said


def test_typed_commands_are_answered_in_the_unit_after_their_last_byte() -> None:
    script = Script(30, typed=(Typed("weather", 4),))
    assert typed_text(script) == {4: "weather\n"}
    last_byte_unit = 4 + (len("weather\n") - 1) // 2
    assert direct(script, TABLE, PHRASES).answers[0].start == (last_byte_unit + 1) * UNIT


def test_the_mouth_follows_the_voice() -> None:
    samples = np.zeros(4 * FRAME, np.float32)
    samples[FRAME : 2 * FRAME] = 0.2
    assert mouth_of(samples).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_blinks_fill_a_unit_and_fall_on_turns() -> None:
    eyes = blinks(np.random.default_rng(0), [3, 50], 3000).reshape(-1, 4)
    closed = np.flatnonzero(eyes.min(1) < 0.5)
    assert np.array_equal(eyes[3], BLINK)
    assert np.array_equal(eyes[50], BLINK)
    assert 12 < len(closed) / (3000 * 0.16 / 60) < 24
    assert (np.diff(closed) > 1).all()


def test_motion_stays_in_the_picture() -> None:
    for seed in range(20):
        x, y = face_path(np.random.default_rng(seed), 500)
        assert max(abs(x).max(), abs(y).max()) <= 1.0
        assert abs(np.diff(x)).max() < 0.5
    assert np.ptp(breathing(0.3, 200)) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"again": "again"', '"again": "hello"', "once"),
        ('"stop": "stop"', '"stop": "Stop!"', "matching regex"),
        ('"nothing": "nothing yet."', '"other": 1', "unknown field"),
        ('"red"', '"pink"', "wanted red, green, blue, yellow"),
        ("{", "", "table of commands"),
    ],
)
def test_a_wrong_table_is_refused_by_name(before: str, after: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(SHIPPED.read_text().replace(before, after, 1))
    with pytest.raises(InputError, match=said):
        read_table(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "none.json")
