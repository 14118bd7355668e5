"""Typed text: every unit gets its words, every fault names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.devices.files.text_file import read_text
from edge_streamer.runtime.errors import MediaError
from tests.media_files import MEDIA


def write(folder: Path, data: bytes) -> Path:
    path = folder / "text.txt"
    path.write_bytes(data)
    return path


def test_a_text_begins_in_the_unit_that_holds_its_second(tmp_path: Path) -> None:
    path = write(tmp_path, b"0\ta\n0.16\tb\n0.319999\tc\n0.32\td\n0.48\te\n3600\tf\n")
    assert read_text(path, MEDIA) == {0: "a", 1: "b c", 2: "d", 3: "e", 22500: "f"}


def test_every_unit_boundary_is_exact(tmp_path: Path) -> None:
    lines = "".join(f"{16 * k / 100:.2f}\tx\n" for k in range(1000))
    assert list(read_text(write(tmp_path, lines.encode()), MEDIA)) == list(range(1000))


def test_what_editors_and_windows_add_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff0.5\tgrüß dich\r\n\r\n 1.5 \t 你好 \r\n".encode())
    assert read_text(path, MEDIA) == {3: "grüß dich", 9: "你好"}


def test_tabs_in_the_text_stay(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, b"1\ta\tb\n"), MEDIA) == {6: "a\tb"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\n  \n", "is empty"),
        (b"1.0\tfine\n2.0 no tab\n", "line 2: no tab in '2.0 no tab'"),
        (b"soon\thello\n", "line 1: time 'soon' is not a number of seconds"),
        (b"\n\n-1\thello\n", "line 3: time '-1' is negative"),
        (b"nan\thello\n", "line 1: time 'nan'"),
        (b"inf\thello\n", "line 1: time 'inf'"),
        (b"1e3\thello\n", "line 1: time '1e3'"),
        (b"1/3\thello\n", "line 1: time '1/3'"),
        ("\u0663\thello\n".encode(), "is not a number of seconds"),
        (b"\thello\n", "line 1: time ''"),
        (b"1.0\t \n", "line 1: no text after the tab"),
        (b"2\ta\n1.5\tb\n", "line 2: 1.5 s comes after 2 s; wanted times that do not go back"),
        (b"1\ta\n2\tb\n3\t\xff\n", "line 3: not UTF-8"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00", "line 1: no tab"),
    ],
)
def test_faults_name_their_line(tmp_path: Path, data: bytes, words: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(MediaError) as caught:
        read_text(path, MEDIA)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        read_text(tmp_path / "nowhere.txt", MEDIA)
    with pytest.raises(MediaError, match="is a folder; wanted a text file"):
        read_text(tmp_path, MEDIA)
