"""`edge-streamer devices`: what is there, what `run` would take, what is missing."""

from __future__ import annotations

import json

import pytest

from edge_streamer.devices.live import listing
from edge_streamer.devices.live.camera import names as camera_names
from edge_streamer.devices.live.screen import names as screen_names
from edge_streamer.devices.live.sound import names as sound_names
from edge_streamer.runtime.commands import cli
from tests.devices.live.sound.test_names import DEVICES


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board with everything."""
    camera = camera_names.Found("HD Webcam", "/dev/video0", True)
    monkeypatch.setattr(sound_names, "found", lambda: DEVICES)
    monkeypatch.setattr(camera_names, "found", lambda: [camera])
    monkeypatch.setattr(screen_names, "found", lambda: [screen_names.Found("fullscreen", "on the console", True)])


@pytest.mark.usefixtures("board")
def test_everything_is_listed_and_one_of_each_kind_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    taken = {row["kind"]: row["name"] for row in rows if row["taken"]}
    assert taken == {"mic": "default", "speaker": "default", "camera": "HD Webcam", "display": "fullscreen"}
    assert sum(row["kind"] == "mic" for row in rows) == 5
    assert sum(row["kind"] == "speaker" for row in rows) == 6
    jabra = next(row for row in rows if row["name"].startswith("Jabra") and row["kind"] == "mic")
    assert jabra["detail"] == "ALSA, 48000 Hz, up to 1 channels, from 10 ms"


@pytest.mark.usefixtures("board")
def test_the_table_marks_what_run_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("* ") and " takes where " not in line for line in lines) == 4


def test_what_is_missing_has_a_line_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def no_library() -> list[sound_names.SoundDevice]:
        raise RuntimeError(sound_names.MISSING)

    monkeypatch.setattr(sound_names, "found", no_library)
    monkeypatch.setattr(camera_names, "found", list)
    monkeypatch.setattr(screen_names, "found", list)
    monkeypatch.setattr(listing, "find_spec", lambda name: None)
    assert cli.main(["devices", "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert len(missing) == 5
    text = "\n".join(missing)
    for wanted in ("portaudio19-dev", "no camera", "no display", "pygame-ce", "pywebrtc-audio"):
        assert wanted in text


def test_no_device_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sound_names, "found", list)
    assert cli.main(["devices", "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert missing[0].startswith("there is no microphone")
    assert missing[1].startswith("there is no speaker")
