"""``edge-streamer profile --live`` without sound devices: what it measures, keeps and refuses. In real time."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import profile as command
from edge_streamer.runtime.profile.report import Profile, read_profile
from tests.media_files import write_wav

OFF = ("--mic", "none", "--speaker", "none", "--camera", "pattern", "--display", "none")
WORDS = ("--live", "--engine", "cpu")


@pytest.fixture(autouse=True)
def no_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured for twenty seconds."""
    monkeypatch.setattr(command._Further, "_limits", lambda self, hurry: None)


def live(bundle: Path, out: Path, *more: str) -> Profile:
    assert cli.main(["profile", str(bundle), *WORDS, "--out", str(out), *more]) == 0
    return read_profile(out / "profile.json")


def test_a_conversation_is_profiled(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = live(tiny_bundle, tmp_path / "out", *OFF, "--units", "8", "--trace")
    assert (found.units, found.wanted_units, found.pace, found.stopped, found.failed) == (8, 8, "live", None, 0)
    assert found.inputs == {"mic": "none", "speaker": "none", "display": "none", "camera": found.inputs["camera"]}
    assert found.live is not None
    assert found.live.mouth_to_ear_ms is None  # no mouth, no ear
    assert found.live.picture_age_ms is not None
    assert found.live.counts["settles"] > 0
    assert {"unit/microphone", "unit/camera", "unit/step", "unit/speaker", "unit/display"} <= set(found.sections)
    assert "unit/wait" not in found.sections
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["profile.json", "report.html", "trace.json"]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "The conversation" in page
    assert not re.search(r"https?:|src=|<link|@import|url\(", page)
    assert "Mouth to ear is not measured" in capsys.readouterr().out


def test_the_end_of_a_sound_file_ends_it(tiny_bundle: Path, tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "sound.wav", np.zeros(16_000), 16_000)
    words = ("--mic", str(sound), "--speaker", "none", "--camera", "none", "--display", "none")
    found = live(tiny_bundle, tmp_path / "out", *words, "--units", "100")
    assert 5 <= found.units <= 8  # of 160 ms
    assert found.stopped is not None
    assert found.stopped.startswith("the sound of --mic was over")


def test_a_bound_on_the_speaker_is_kept_or_broken(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "budget.toml"
    budget.write_text("[live]\nconcealed = 0\n[live.mouth_to_ear_ms]\np95 = 400\n[live.misses]\ncount = 1e6\n")
    words = ["profile", str(tiny_bundle), *WORDS, *OFF, "--units", "3", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--budget", str(budget)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("over budget")]
    assert lines == ["over budget: live.mouth_to_ear_ms.p95 was not measured; at most 400 is allowed"]


def test_ctrl_c_keeps_what_was_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "edge_streamer", "profile", str(tiny_bundle), *WORDS, *OFF, "--out", str(out)]
    running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert running.stderr is not None
    while b"priority" not in running.stderr.readline():  # told when the conversation begins
        assert running.poll() is None
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    found = read_profile(out / "profile.json")
    assert 0 < found.units < 375
    assert found.stopped == f"by a signal, after {found.units} units"
    assert found.live is not None


def test_devices_that_are_missing_are_told_a_line_each(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--mic", "none", "--speaker", "none", "--camera", "/dev/video99", "--display", "none"]
    out = tmp_path / "out"
    assert cli.main(["profile", str(tiny_bundle), *WORDS, "--out", str(out), *words]) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("edge-streamer:")]
    assert len(told) == 1
    assert "/dev/video99 does not exist" in told[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--live", "--media", "a", "b"], "--media is for recorded media, and --live for devices"),
        (["--live", "--pace", "real"], "--pace is for recorded media, and --live for devices"),
        (["--mic", "none", "--no-aec"], "--mic, --aec are for a live conversation; add --live"),
        (["--live", "--speaker", "out.wav"], "--speaker out.wav is a file, and a profile records nothing"),
        (["--live", "--display", "film.mp4"], "--display film.mp4 is a file"),
        (["--live", "--channel", "2"], "--channel picks one channel of a sound file"),
        (["--live", "--mic", "none", "--steps", "99"], "--steps is 99"),
    ],
)
def test_words_that_do_not_go_together_are_refused_in_a_line(
    words: list[str], says: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "start", None)  # refused before anything is opened
    assert cli.main(["profile", str(tiny_bundle), "--out", str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert says in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_does_not_converse_is_refused(
    counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["profile", str(counter), *WORDS, *OFF, "--out", str(tmp_path / "out")]) == 2
    assert "no device gives them" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_compare_runs_nothing_live_either(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["profile", "--live", "--compare", "a", "b"]) == 2
    assert "leave --live out" in capsys.readouterr().err
