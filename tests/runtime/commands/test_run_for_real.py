"""``edge-streamer run`` on a real bundle: what is in the files is what the session said; a full disk leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Knobs, Unit
from tests.media_files import decoded_pictures, decoded_sound, grey, write_film, write_wav

SPEECH = Path("/usr/share/sounds/alsa/Front_Center.wav")
PCM_STEP = 1 / 32767
"""The voice is written in 16 bits: half a step of rounding, and one for the scale."""


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Recorded speech at 48 kHz (Debian's alsa-utils); noise where it is not installed, which CI never meets."""
    if SPEECH.is_file() or os.environ.get("CI"):
        return SPEECH
    return write_wav(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 68545), 48000)


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    return write_film(tmp_path / "camera.mp4", [grey(4 * i, 96, 64) for i in range(20)], 30)


def command(bundle: Path, speech: Path, camera: Path, out: Path) -> list[str]:
    return ["run", str(bundle), "--mic", str(speech), "--camera", str(camera), "--speaker", str(out / "voice.wav"),
            "--display", str(out / "film.mp4"), "--json", str(out / "report.json")]  # fmt: skip


def test_the_files_hold_what_the_session_said(tiny_bundle: Path, speech: Path, camera: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert cli.main([*command(tiny_bundle, speech, camera, out), "--steps", "3", "--seed", "4"]) == 0
    media = open_session(tiny_bundle).media
    units = json.loads((out / "report.json").read_text())["units"]
    voice, rate = decoded_sound(out / "voice.wav")
    assert (rate, voice.size) == (media.hears.sample_rate, units * media.hears.unit_samples)
    assert units == -(-68545 * 100 // (48000 * 16))  # 68,545 samples at 48 kHz
    for name in ("film.mp4", "film-side-by-side.mp4"):
        assert len(decoded_pictures(out / name)) == units * media.sees.unit_frames
    again = said_by_session(tiny_bundle, speech, camera, units)
    np.testing.assert_allclose(voice.reshape(-1) * PCM_STEP, again, atol=1.5 * PCM_STEP)


def said_by_session(bundle: Path, speech: Path, camera: Path, units: int) -> NDArray[np.float32]:
    """The same conversation through the Python API."""
    from edge_streamer.devices.files.audio_file import AudioFile
    from edge_streamer.devices.files.video_file import VideoFile

    session = open_session(bundle, knobs=Knobs(steps=3, seed=4), engine=OrtEngine())
    media, said = session.media, []
    microphone, film = AudioFile(speech, media), VideoFile(camera, media)
    samples = np.empty(media.hears.unit_samples, np.float32)
    frames = np.empty((media.sees.unit_frames, *media.sees.size, 3), np.uint8)
    for _ in range(units):
        assert microphone.read(samples)
        film.read(frames)
        said.append(session.step(Unit(samples, frames)).samples.copy())
    assert not microphone.read(samples)
    return np.concatenate(said)


FULL = """
import resource, signal, sys
from edge_streamer.runtime.commands import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_disk_that_fills_ends_the_run_and_leaves_nothing(
    tiny_bundle: Path, speech: Path, camera: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    words = [sys.executable, "-c", FULL, *command(tiny_bundle, speech, camera, out)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 2, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("edge-streamer: ")]
    assert len(lines) == 1, ran.stderr
    assert list(out.iterdir()) == []


def test_a_picture_as_prefix_is_the_snapshot_of_it(
    tiny_bundle: Path, speech: Path, camera: Path, tmp_path: Path
) -> None:
    picture, snapshot = tmp_path / "persona.png", tmp_path / "persona.npz"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)).save(picture)
    assert cli.main(["prefix", str(tiny_bundle), "--image", str(picture), "--out", str(snapshot)]) == 0
    voices = []
    for name, more in (("picture", [picture]), ("snapshot", [snapshot]), ("neither", [])):
        (tmp_path / name).mkdir()
        prefix = [word for path in more for word in ("--prefix", str(path))]
        assert cli.main([*command(tiny_bundle, speech, camera, tmp_path / name), *prefix]) == 0
        voices.append(decoded_sound(tmp_path / name / "voice.wav")[0])
    np.testing.assert_array_equal(voices[0], voices[1])
    assert not np.array_equal(voices[0], voices[2])


def test_a_disk_that_fills_ends_a_prefix_and_leaves_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    words = ["prefix", str(tiny_bundle), "--text", "you are a cat", "--out", str(tmp_path / "persona.npz")]
    full = FULL.replace("6000, 6000", "500, 500")
    ran = subprocess.run([sys.executable, "-c", full, *words], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
