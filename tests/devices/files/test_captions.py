"""Captions: what players read is read, every fault names its line, each is seen in its time only."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from edge_streamer.devices.files.captions import Caption, Captions, read_captions
from edge_streamer.runtime.bundle.shipped import EMBEDDED
from edge_streamer.runtime.errors import InputError, MediaError

GOOD = """1
00:00:01,170 --> 00:00:03,200
hello

2
01:02:03,004 --> 01:02:04,000
two
lines
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "captions.srt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_entries_are_read_exactly(tmp_path: Path) -> None:
    assert read_captions(write(tmp_path, GOOD)) == [
        Caption(Fraction("1.17"), Fraction("3.2"), "hello"),
        Caption(Fraction("3723.004"), Fraction(3724), "two\nlines"),
    ]


def test_what_editors_and_players_add_is_accepted(tmp_path: Path) -> None:
    wild = "\ufeff\r\n" + GOOD.replace("\n", "\r\n").strip() + "\r\n\r\n\r\n7\r\n"
    wild += "00:00:00.000-->00:00:01.500  X1:10 X2:20 Y1:1 Y2:2\r\n<i>grüß</i> {\\an8}dich, 2 < 3 <b>\r\n"
    assert [caption.text for caption in read_captions(write(tmp_path, wild))] == [
        "hello", "two\nlines", "grüß dich, 2 < 3"
    ]  # fmt: skip


def test_an_entry_ends_where_the_next_begins_with_or_without_an_empty_line(tmp_path: Path) -> None:
    crammed = "".join(line + "\n" for line in GOOD.splitlines() if line)
    crammed += "3\n00:00:05,000 --> 00:00:06,000\n12\n2 --> 3\n7\n4\n00:00:07,000 --> 00:00:08,000\nend"
    captions = read_captions(write(tmp_path, crammed))
    assert [caption.text for caption in captions] == ["hello", "two\nlines", "12\n2 --> 3\n7", "end"]
    assert [float(caption.start) for caption in captions] == [1.17, 3723.004, 5, 7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; wanted captions"),
        ("\n \n", "is empty; wanted captions"),
        ("WEBVTT\n\n" + GOOD, "line 1: 'WEBVTT'; wanted the number of a caption, e.g. 1"),
        ("00:00:01,000 --> 00:00:02,000\nhello\n", "line 1: '00:00:01,000 --> 00:00:02,000'; wanted the number"),
        (GOOD + "\n3\n", "line 10: nothing follows the number; wanted its times"),
        (GOOD + "\n3\nhello\n", "line 11: 'hello'; wanted from when to when, e.g. 00:00:01,000 --> 00:00:02,500"),
        ("1\n00:01,000 --> 00:02,000\nhello\n", "line 2: '00:01,000 --> 00:02,000'; wanted from when"),
        ("1\n00:60:00,000 --> 01:00:01,000\nhello\n", "line 2: '00:60:00"),
        ("1\n00:00:02,000 --> 00:00:02,000\nhello\n", "line 2: ends at 2 s, begins at 2 s; wanted an end after it"),
        ("1\n00:00:02,000 --> 00:00:01,500\nhello\n", "line 2: ends at 1.5 s, begins at 2 s"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\nhello\n", "line 2: no words follow; wanted them on the next line"),
        ("1\n00:00:01,000 --> 00:00:02,000\n<i></i>\n", "line 3: no words follow"),
        (GOOD + "\n3\n00:00:01,000 --> 00:00:02,000\na\n\nb\n", "line 14: 'b'; wanted the number of a caption"),
        (
            GOOD.strip() + "\n00:00:05,000 --> 00:00:06,000\nx\n",
            "line 9: '00:00:05,000 --> 00:00:06,000'; wanted an empty",
        ),
        (
            GOOD.strip() + "\n3\n00:00:05,000 --> 00:00:99,000\nx\n",
            "line 10: '00:00:05,000 --> 00:00:99,000'; wanted from",
        ),
        ("1\n00:00:01,000 --> 00:00:02,000\n2\n00:00:02,000 --> 00:00:03,000\nx\n", "line 2: no words follow"),
        (b"1\n00:00:01,000 --> 00:00:02,000\ngr\xfc\xdf\n", "line 3: not UTF-8"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MediaError) as caught:
        read_captions(path)
    assert isinstance(caught.value, InputError)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"does not exist; wanted a SubRip file \(\.srt\)"):
        read_captions(tmp_path / "nowhere.srt")
    with pytest.raises(MediaError, match="is a folder"):
        read_captions(tmp_path)


def test_a_caption_is_seen_from_its_start_until_its_end() -> None:
    later, earlier = Caption(Fraction(2), Fraction(4), "later"), Caption(Fraction(1), Fraction(3), "earlier")
    captions = Captions([later, earlier])
    seen = [captions.at(Fraction(half, 2)) for half in range(10)]
    assert seen == ["", "", "earlier", "earlier", "earlier\nlater", "earlier\nlater", "later", "later", "", ""]


def test_a_time_that_is_leapt_over_shows_nothing_of_it() -> None:
    captions = Captions([Caption(Fraction(1), Fraction(2), "gone"), Caption(Fraction(5), Fraction(9), "here")])
    assert captions.at(Fraction(6)) == "here"


def test_the_demo_s_captions_are_read_in_order() -> None:
    captions = read_captions(EMBEDDED / "media" / "captions.srt")
    texts = [caption.text for caption in captions]
    assert texts[:4] == ["hello", "weather", "story", "stop"]
    assert "[shows a red card]" in texts
    assert all(one.end <= other.start for one, other in pairwise(captions)), "one at a time"
    assert captions[-1].end <= 28
