"""The transcript: the words with their times, whole or absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_streamer.devices.transcript import Transcript
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA


def say(transcript: Transcript, *texts: str) -> None:
    nothing = np.zeros(0, np.float32), np.zeros(0, np.uint8)
    for text in texts:
        transcript.write(Unit(), Response(999, *nothing, text, (), 0.0, 0.0))


def test_words_stand_at_the_time_of_their_unit(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    transcript = Transcript(path, MEDIA)
    say(transcript, "", " Hel", "lo.", "", "", " How\nare", " you? 你好")
    transcript.finish()
    assert not path.exists()
    transcript.close()
    assert path.read_text("utf-8") == (
        "0.16\t Hel\n0.32\tlo.\n0.80\t How are\n0.96\t you? 你好\n\nHello. How\nare you? 你好\n"
    )
    assert list(tmp_path.iterdir()) == [path]


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
