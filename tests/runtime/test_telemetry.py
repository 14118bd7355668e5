"""Nothing is sent to anybody: no telemetry of ONNX Runtime, no socket of a network, no file of a device's identity."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path

STEP = """
import os, sys
import edge_streamer
edge_streamer.open(sys.argv[1]).step(edge_streamer.Unit())
at = "/proc/self/fd"
links = [os.readlink(f"{at}/{fd}") for fd in os.listdir(at) if os.path.islink(f"{at}/{fd}")]
print([link for link in links if link.startswith("socket")])
"""
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=socket,connect", "-o"]
COMMANDS = {
    "check": ["check"],
    "a recorded run": ["run", "--mic", "none", "--seconds", "1", "--speaker", "voice.wav"],
    "a live run": [
        "run", "--mic", "none", "--speaker", "none", "--camera", "pattern", "--display", "none", "--seconds", "1"
    ],
}  # fmt: skip


def traceable() -> bool:
    """Whether there is a strace that may look at its children: containers often forbid it."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run([*STRACE, os.devnull, "true"], capture_output=True, check=False).returncode == 0


def fresh(folder: Path) -> dict[str, str]:
    """The environment of a user who has run nothing yet, on a machine that is not a build server."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    made = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "XDG_CACHE_HOME": folder / "cache"}
    for path in made.values():
        path.mkdir()
    return {**kept, **{name: str(path) for name, path in made.items()}}


def left(environment: dict[str, str]) -> list[str]:
    """What lies in its folders that is not our own cache."""
    roots = [Path(environment[name]) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")]
    found = [path for root in roots for path in root.rglob("*") if not path.is_dir()]
    return [str(path) for path in found if path.parent.name != "edge-streamer"]


def test_a_step_leaves_no_file_and_opens_no_socket(tmp_path: Path) -> None:
    environment = fresh(tmp_path)
    command = [sys.executable, "-W", "error", "-c", STEP, str(bundle_path())]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
    assert left(environment) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_opens_no_socket_of_a_network(tmp_path: Path, command: str) -> None:
    if not traceable():
        pytest.skip("needs strace, and leave to use it")
    environment = fresh(tmp_path)
    name, *words = COMMANDS[command]
    words = [
        *STRACE,
        "trace",
        sys.executable,
        "-m",
        "edge_streamer.runtime.commands.cli",
        name,
        str(bundle_path()),
        *words,
    ]
    ran = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    calls = re.findall(r"(?:socket|connect)\(.*", (tmp_path / "trace").read_text())
    assert [call for call in calls if "AF_UNIX" not in call] == []
    assert left(environment) == []


def test_a_process_that_has_telemetry_on_already_is_told() -> None:
    """It cannot be stopped there any more."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment["CI"] = "true"  # ONNX Runtime itself sends nothing then
    command = [sys.executable, "-c", "import onnxruntime, edge_streamer"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    sends = [int(part) for part in onnxruntime.__version__.split(".")[:2]] >= [1, 29]
    assert ("onnxruntime was imported before edge_streamer and sends telemetry" in ran.stderr) == sends
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
