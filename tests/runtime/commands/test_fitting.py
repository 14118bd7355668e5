"""``run`` on bundles that lack parts of a conversation: what is not there is silence, black, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.fitting import fitted
from edge_streamer.runtime.loop.request import LivePlan
from edge_streamer.runtime.session.session import open_session
from tests.bundles import ROOM, rewrite, room_bundle
from tests.media_files import decoded_sound, write_wav


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A chain that hears and says, and takes nothing else."""
    folder = room_bundle(tmp_path / "room")
    rewrite(folder, lambda manifest: manifest["constants"].update(order=["reverb"], inputs=["x"], outputs=["y"]))
    return folder


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Ten units of a tone."""
    sound = 0.4 * np.sin(np.arange(10 * ROOM) / 3)
    write_wav(tmp_path / "speech.wav", sound, 1000)
    return tmp_path / "speech.wav"


def run(*words: Any) -> int:
    return cli.main(["run", *map(str, words)])


def test_a_chain_of_sound_runs_on_a_recording(room: Path, speech: Path, tmp_path: Path) -> None:
    voice, report = tmp_path / "voice.wav", tmp_path / "report.json"
    words = ("--mic", speech, "--camera", "none", "--display", "none", "--speaker", voice, "--json", report)
    assert run(room, *words) == 0
    found = json.loads(report.read_text())
    assert (found["units"], found["knobs"]["steps"]) == (10, None)
    came, heard = np.ravel(decoded_sound(voice)[0]) / 2**15, 0.4 * np.sin(np.arange(10 * ROOM) / 3)
    wanted = heard / 2
    for k in range(1, 10):
        for past in range(max(0, k - 3), k):
            wanted[k * ROOM : (k + 1) * ROOM] += heard[past * ROOM : (past + 1) * ROOM] / 4
    np.testing.assert_allclose(came, wanted, atol=2e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--camera", "SPEECH"), "--camera {speech}: bundle 'room' sees nothing; leave --camera out"),
        (("--camera", "none", "--display", "film.mp4"), "--display film.mp4: bundle 'room' shows nothing"),
        (("--camera", "none", "--transcript", "t.txt"), "--transcript t.txt: bundle 'room' writes no text"),
        (("--camera", "none", "--text", "SPEECH"), "--text {speech}: bundle 'room' reads no text"),
    ],
)
def test_what_is_not_there_is_refused_by_name(
    room: Path, speech: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = [speech if word == "SPEECH" else word for word in words]
    assert run(room, "--mic", speech, *([] if "--display" in words else ["--display", "none"]), *given) == 2
    assert said.format(speech=speech) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room", "speech.wav"]


def test_a_bundle_that_takes_arrays_is_for_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = room_bundle(tmp_path / "room")
    assert run(folder, "--mic", "none", "--seconds", 1, "--camera", "none", "--display", "none") == 2
    assert "takes arrays in every unit (bias); no device gives them" in capsys.readouterr().err


def test_a_live_run_leaves_out_what_nobody_asked_for(room: Path) -> None:
    session = open_session(room)
    plan = fitted(LivePlan(bundle=room), session)
    assert (plan.mic, plan.speaker, plan.camera, plan.display) == ("default", "default", None, None)
