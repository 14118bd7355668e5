"""``edge-streamer demo`` on a session without a model: numbered folders, whole media, nothing left of a failure."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle import shipped
from edge_streamer.runtime.commands import cli, demo, run
from edge_streamer.runtime.errors import MediaError
from tests.fakes import FakeSession, use
from tests.media_files import MEDIA, write_wav


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSession:
    """The session that the command opens."""
    session = use(FakeSession(), monkeypatch)
    for module in (demo, shipped):
        monkeypatch.setattr(module, "bundle_path", lambda floats=False: tmp_path / "bundle")
    return session


DEMO_FILES = ["film.mp4", "report.json", "side-by-side.mp4", "transcript.txt", "voice.wav"]


@pytest.mark.parametrize("named", [True, False])
def test_the_demo_numbers_its_folders(
    embedded: FakeSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--out", str(tmp_path / "results")] if named else []
    name = "results" if named else "edge-streamer-demo"
    for folder in (name, f"{name}-2", f"{name}-3"):
        assert cli.main(["demo", "--seconds", "0.3", *more]) == 0
        assert names(tmp_path / folder) == DEMO_FILES
        assert folder in capsys.readouterr().out.replace("\n", "")
    assert embedded.steps == 6


def test_the_demo_media_are_whole(embedded: FakeSession, tmp_path: Path) -> None:
    assert cli.main(["demo", "--out", str(tmp_path / "results")]) == 0
    assert embedded.steps == 175, "28 s"
    loud = [bool(np.abs(seen.samples).max() > 0.1) for seen in embedded.seen]
    assert 20 < sum(loud) < 60, "eight words, with pauses for the answers"
    assert len({seen.frames.tobytes() for seen in embedded.seen}) == 175, "the picture moves in every unit"
    report = json.loads((tmp_path / "results" / "report.json").read_text())
    assert report["inputs"]["--captions"].endswith("captions.srt")
    total = sum(path.stat().st_size for path in (shipped.MEDIA).iterdir())
    assert total < 600_000


def test_the_demo_says_what_it_understands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--commands"]) == 0
    said = capsys.readouterr()
    shown = json.loads(said.out)
    assert said.err == f"{shipped.VOICES}\n"
    assert "no humans yet" in said.err
    assert shown["weather"] == "it is sunny and warm."
    assert set(shown) >= {"again", "colour", "stop"}


def test_the_shipped_bundles_are_known_by_their_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shipped.bundle_path(), target_is_directory=True)
    for path in (shipped.bundle_path(), shipped.bundle_path(floats=True), tmp_path / "link"):
        assert shipped.is_demo(path)
    assert not shipped.is_demo(tmp_path)


def test_a_demo_that_fails_leaves_no_folder(
    embedded: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*unused: object, **knobs: object) -> None:
        raise MediaError("nothing works today")

    monkeypatch.setattr(run, "open_session", refuse)
    assert cli.main(["demo", "--out", str(tmp_path / "results")]) == 2
    assert not (tmp_path / "results").exists()


def test_a_demo_on_a_full_disk_leaves_no_folder(
    embedded: FakeSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_streamer.devices.files import film

    def full(*unused: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(film, "_video_stream", full)
    assert cli.main(["demo", "--out", str(tmp_path / "results")]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_an_empty_folder_is_used_and_a_file_is_refused(
    embedded: FakeSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"mine")
    assert demo.make_folder(tmp_path / "empty") == tmp_path / "empty"
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err == (
        f"edge-streamer: --out {tmp_path}/file is a file; name a folder, which is made where there is none\n"
    )
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert embedded.steps == 0


def test_a_folder_where_a_killed_demo_was_at_work_is_used_again(embedded: FakeSession, tmp_path: Path) -> None:
    (tmp_path / ".edge-streamer.0123456789abcdef.claim").touch()
    (tmp_path / ".edge-streamer.0123456789abcdef.partial.mp4").touch()
    assert demo.make_folder(tmp_path) == tmp_path
    assert not list(tmp_path.iterdir())


def test_run_without_a_bundle_takes_the_demo(embedded: FakeSession, tmp_path: Path) -> None:
    write_wav(tmp_path / "speech.wav", np.zeros(MEDIA.hears.unit_samples, np.float32), MEDIA.hears.sample_rate)
    assert cli.main(["run", "--mic", f"{tmp_path}/speech.wav", "--speaker", f"{tmp_path}/voice.wav"]) == 0
    assert embedded.steps == 1
    assert names(tmp_path) == ["speech.wav", "voice.wav"]


def test_a_package_without_the_demo_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "EMBEDDED", tmp_path)
    assert cli.main(["demo", "--bundle"]) == 2
    assert "ships no demo bundle" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "inspect"])
def test_commands_that_look_at_a_bundle_take_the_demo(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--json"]) == 0
    without = capsys.readouterr().out
    assert cli.main([command, str(shipped.bundle_path()), "--json"]) == 0
    assert capsys.readouterr().out == without


def test_the_demo_goes_into_no_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    bundle = shipped.bundle_path()
    assert cli.main(["demo", "--out", str(bundle / "mine")]) == 2
    assert "lies inside the demo's bundle" in capsys.readouterr().err
    assert not (bundle / "mine").exists()
