"""An artifact is written by Mender's own program, of a payload that the same folder always gives."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.mender.artifact import write_payload
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.trust.release import list_release
from tests.devices.jetson.releases.made import plain

PROGRAM = """#!/bin/sh
echo "$@" >{asked}
for word; do out=$word; done
[ -e {refuses} ] && {{ echo "no such key" >&2; exit 1; }}
echo an artifact >"$out"
"""
"""Writes down its words; the last is where the artifact goes, which is how the command below gives them."""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin/mender-artifact"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(asked=tmp_path / "asked", refuses=tmp_path / "refuses"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return plain(tmp_path / "app", {"bundle/note": b"new"})


def test_the_words_are_those_of_mender_artifact(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mender", "artifact", "app", "--name", "talker-2", "--device-type", "nx", "--device-type", "agx"]
    more = ["--software-version", "2.0", "--software-filesystem", "data-partition", "--depends", "a:b", "--key", "k"]
    assert cli.main(words) == 0
    asked = (app.parent / "asked").read_text().split()
    before = ["write", "module-image", "-T", "edge-streamer", "-n", "talker-2", "-t", "nx", "-t", "agx"]
    assert asked[:-4] == [*before, "--software-name", "edge-streamer", "--software-version", "talker-2"]
    assert (asked[-4], asked[-2]) == ("-f", "-o")
    assert asked[-3].endswith("/release.tar")
    assert "talker-2.mender: 12 bytes, talker-2 for nx, agx" in capsys.readouterr().out
    assert cli.main([*words, *more, "--payload", "app.tar"]) == 0
    said = capsys.readouterr().out.split()
    assert said[11:] == ["--software-name", "edge-streamer", "--software-version", "2.0", "--software-filesystem",
                         "data-partition", "--depends", "a:b", "-k", "k", "-f", "app.tar", "-o",
                         "talker-2.mender"]  # fmt: skip
    assert sorted(os.listdir()) == ["app", "app.tar", "asked", "bin", "talker-2.mender"]


def test_a_signature_goes_along(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_release(app, "talker")
    Path("app.sig").write_text("signed")
    assert cli.main(["mender", "artifact", "app", "--name", "n", "--device-type", "t", "--payload", "made.tar"]) == 0
    assert "-f made.tar -f made.tar.sig -o n.mender" in capsys.readouterr().out
    assert Path("made.tar.sig").read_text() == "signed"
    assert cli.main(["pack", "app", "--out", "packed.tar"]) == 0
    capsys.readouterr()
    words = ["mender", "artifact", "packed.tar", "--name", "n", "--device-type", "t", "--payload", "x.tar"]
    assert cli.main(words) == 0
    assert "-f packed.tar -f packed.tar.sig -o n.mender" in capsys.readouterr().out


def test_the_same_folder_gives_the_same_payload(app: Path) -> None:
    write_payload(app, Path("one.tar"))
    (app / "bundle/note").touch()
    other = Path(shutil.copytree(app, "other"))
    write_payload(other, Path("two.tar"))
    assert Path("one.tar").read_bytes() == Path("two.tar").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bin"], "bin has neither settings.toml"),
        (["none"], "none is no folder"),
        (["asked"], "asked: wanted a release's folder, or a .tar of it"),
        (["asked.tar"], "is no whole .tar"),
        (["app", "--depends", "a"], "'a': wanted KEY:VALUE"),
        (["app", "--payload", "app.zip"], "wanted a name that ends in .tar"),
        (["app", "--out", "no/such.mender"], "there is no folder"),
        (["app", "--key", "k"], "mender-artifact wrote nothing: no such key"),
        (["changed"], "changed/bundle/note"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line(
    app: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("asked").write_text("nothing")
    Path("asked.tar").write_text("nothing")
    Path("refuses").touch()
    changed = Path(shutil.copytree(app, "changed"))
    list_release(changed, "talker")
    (changed / "bundle/note").write_bytes(b"old")
    before = sorted(os.listdir())
    try:
        status = cli.main(["mender", "artifact", *words, "--name", "n", "--device-type", "t"])
    except SystemExit as error:
        status = error.code
    assert status == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_without_the_program_it_says_what_to_do(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["mender", "artifact", "app", "--name", "n", "--device-type", "t"]) == 2
    assert "there is no mender-artifact here" in (said := capsys.readouterr().err)
    assert "--payload FILE" in said
    assert not Path("n.mender").exists()


def test_what_every_device_would_refuse(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(app / "env")
    (app / "wheels").mkdir()
    words = ["mender", "artifact", "app", "--name", "n", "--payload", "p.tar"]
    assert cli.main([*words, "--device-type", "t"]) == 2
    assert "app/wheels holds no wheel of edge_streamer" in capsys.readouterr().err
    assert cli.main([*words, "--device-type", ""]) == 2
    assert "argument --device-type: it is empty; wanted the device's" in capsys.readouterr().err
    assert not Path("p.tar").exists()
