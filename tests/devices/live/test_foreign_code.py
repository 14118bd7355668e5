"""Code in the current directory is never run, though it is named as one of our modules or as a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path

NAMES = ("edge_streamer", "pyaudio", "pygame", "pywebrtc_audio", "numpy", "av", "PIL", "soxr", "picamera2", "cv2",
         "tokenizers", "onnxruntime", "json", "runpy", "socket", "sitecustomize")  # fmt: skip
HOSTILE = "with open({mark!r}, 'a') as file: file.write(__name__ + '\\n')\nraise SystemExit(0)\n"
INSTALLED = "import sys; from edge_streamer.runtime.commands.cli import main; sys.exit(main())"
"""What an installed command does: its own folder is on the path, the current one is not."""
COMMANDS = {
    "devices": ["devices", "--json"],
    "a live run": [
        "run", str(bundle_path()), "--mic", "default", "--speaker", "default", "--camera", "pattern", "--seconds", "1"
    ],
    "a live run that begins": [
        "run", str(bundle_path()), "--mic", "none", "--speaker", "none", "--camera", "pattern", "--seconds", "1"
    ],
}  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of such files. Whichever is run leaves its name in ``mark``."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(HOSTILE.format(mark=str(tmp_path / "mark")))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_nothing_of_the_current_directory(hostile: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/edge-streamer").write_text(INSTALLED)
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "bin/edge-streamer"), *COMMANDS[command]], cwd=hostile, capture_output=True,
        text=True, check=False, timeout=120, stdin=subprocess.DEVNULL, env={**os.environ, "SDL_VIDEODRIVER": "dummy"},
    )  # fmt: skip
    assert ran.returncode in (0, 2), ran.stderr  # 2 where there is no sound
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()


def test_such_a_file_would_be_run(hostile: Path, tmp_path: Path) -> None:
    """The control."""
    subprocess.run([sys.executable, "-c", "import pyaudio"], cwd=hostile, check=True)
    assert (tmp_path / "mark").read_text() == "pyaudio\n"
