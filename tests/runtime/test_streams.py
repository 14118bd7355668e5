"""Standard streams that are closed, full or unread end no command, and names that are no text are one line or work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle import checksums as checksumming
from edge_streamer.runtime.bundle.checksums import Checksums, cache_folder
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json
from edge_streamer.runtime.streams import as_text

NO_TEXT = os.fsdecode(b"n\xff")


def shell(script: str, *words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """``script`` with the command line as ``es`` and ``words`` as $1, $2 ..."""
    es = f'es() {{ "{sys.executable}" -m edge_streamer "$@"; }}\n'
    return subprocess.run(["bash", "-c", es + script, "bash", *words], capture_output=True, check=False, cwd=cwd)


@pytest.mark.parametrize(
    ("to", "status", "says"),
    [
        (">&- 2>&-", 0, b""), ("<&- >&- 2>&-", 0, b""), (">/dev/full 2>/dev/full", 1, b""),
        (">/dev/full", 1, b"edge-streamer: standard output cannot be written to: No space left on device; the command "
                          b"is done, but what it had to say is lost\n"),
    ],
)  # fmt: skip
def test_without_a_standard_output_the_file_is_made(
    counter: Path, tmp_path: Path, to: str, status: int, says: bytes
) -> None:
    ran = shell(f'es pack "$1" --out "$2" {to}', counter, tmp_path / "a.tar")
    assert (ran.returncode, ran.stderr) == (status, says)
    assert shell('es pack "$1" --out "$2"', counter, tmp_path / "b.tar").returncode == 0
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_name_that_is_no_text_works(counter: Path, tmp_path: Path) -> None:
    place = tmp_path / NO_TEXT
    place.mkdir()
    shutil.move(counter, place / "bundle")
    for words in (["pack", place / "bundle", "--out", place / f"{NO_TEXT}.tar"], ["inspect", place / f"{NO_TEXT}.tar"],
                  ["inspect", place / "bundle"]):  # fmt: skip
        ran = shell('es "$@"', *words)
        assert ran.returncode == 0, ran.stderr
    ran = shell('es pack "$1" --out "$2"', place / "bundle", place / f"{NO_TEXT}.tgz")
    assert ran.stdout.startswith(bytes(place / f"{NO_TEXT}.tgz"))


def test_reports_hold_names_that_are_no_text() -> None:
    assert json.loads(to_json({"inputs": [NO_TEXT, "ü"], NO_TEXT: ("\ud800", 1)})) == {
        "inputs": ["n\\xff", "ü"], "n\\xff": ["\\ud800", 1],
    }  # fmt: skip
    assert as_text("plain ü") == "plain ü"


@pytest.mark.parametrize("words", [["inspect", "y" * 300], ["check", "y" * 300], ["pack", "y" * 300, "--out", "a.tar"]])
def test_a_name_that_is_too_long_is_one_line(tmp_path: Path, words: list[str]) -> None:
    ran = shell('es "$@"', *words, cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1


def test_an_archive_of_the_longest_name_is_made(counter: Path, tmp_path: Path) -> None:
    assert shell('es pack "$1" --out "$2"', counter, tmp_path / ("ü" * 125 + "x.tar")).returncode == 0
    ran = shell('es pack "$1" --out "$2"', counter, tmp_path / ("x" * 256 + ".tar"))
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1


def test_a_current_folder_that_is_gone_is_told_where_it_is_needed(counter: Path, tmp_path: Path) -> None:
    script = 'mkdir "$3" && cd "$3" && rmdir "$3" && es pack "$1" --out "$2"'
    assert shell(script, counter, tmp_path / "a.tar", tmp_path / "gone").returncode == 0
    ran = shell(script, counter, "a.tar", tmp_path / "gone")
    assert ran.returncode == 2
    assert ran.stderr == b"edge-streamer: the current folder was removed; change to one that is there\n"


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home_goes_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # nobody knows it
    else:
        monkeypatch.setenv("HOME", home)
    with pytest.raises(InputError, match="has no home folder to keep a cache in; set XDG_CACHE_HOME"):
        cache_folder()
    (tmp_path / "large").write_bytes(bytes(checksumming.REMEMBERED_BYTES))
    monkeypatch.setattr(checksumming, "SETTLED_NANOSECONDS", -1)
    checksums = Checksums()
    assert checksums.sha256(tmp_path / "large") == checksumming.digest(tmp_path / "large")
    checksums.save()
    checksumming.sweep_cache()
    assert [path.name for path in tmp_path.iterdir()] == ["large"]
