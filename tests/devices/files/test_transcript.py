"""The transcript: the words with their times, whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_streamer.devices.files.transcript import Transcript
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA


def say(transcript: Transcript, *texts: str) -> None:
    nothing = np.zeros(0, np.float32), np.zeros(0, np.uint8)
    for text in texts:
        transcript.write(Unit(), Response(999, *nothing, text, (), 0.0, 0.0))


def lines(path: Path, *texts: str) -> list[str]:
    """The transcript of an agent that says one of ``texts`` in each unit."""
    transcript = Transcript(path, MEDIA)
    say(transcript, *texts)
    transcript.close()
    return path.read_text("utf-8").splitlines()


def test_every_answer_has_a_line_with_the_time_of_its_first_word(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    transcript = Transcript(path, MEDIA)
    say(transcript, "", " Hel", "lo.\n", "", "", " How", " are", " you? 你好\n")
    transcript.finish()
    assert not path.exists()
    transcript.close()
    assert path.read_text("utf-8") == "0.16\tHello.\n0.80\tHow are you? 你好\n"
    assert list(tmp_path.iterdir()) == [path]


def test_an_answer_may_begin_in_the_unit_that_ends_another(tmp_path: Path) -> None:
    words = ("it ", "is s", "-\nla", " la\n\n", "\n", "bye\nno")
    assert lines(tmp_path / "words.txt", *words) == ["0.00\tit is s-", "0.32\tla la", "0.80\tbye", "0.80\tno"]


def test_spaces_alone_do_not_begin_an_answer(tmp_path: Path) -> None:
    assert lines(tmp_path / "words.txt", " ", "\t ", "hello") == ["0.32\thello"]


def test_an_agent_without_line_ends_has_a_line_per_pause(tmp_path: Path) -> None:
    short, long = [""] * 11, [""] * 12  # 1.92 and 2.08 s from word to word
    heard = lines(tmp_path / "words.txt", "one", *short, " two", *long, " three")
    assert heard == ["0.00\tone two", "4.00\tthree"]


def test_what_no_editor_could_show_is_a_space(tmp_path: Path) -> None:
    assert lines(tmp_path / "words.txt", "a\rb\x00c\td\ud800e") == ["0.00\ta b c d e"]


def test_an_agent_that_says_nothing_leaves_an_empty_transcript(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "words.txt", MEDIA)
    say(transcript, "", "")
    transcript.close()
    assert (tmp_path / "words.txt").read_text() == ""


def test_giving_up_leaves_nothing(tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "words.txt", MEDIA)
    say(transcript, "hello")
    transcript.discard()
    assert list(tmp_path.iterdir()) == []
