"""docs/plain/drive.cpp, written from the pages alone: a bundle driven from C++ answers as a session does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "docs" / "plain"
HEADERS = "EDGE_STREAMER_ONNXRUNTIME_HEADERS"


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs Python in the root of the repository; what it printed, error or not, is in ``stdout``."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_at_most_250_lines() -> None:
    lines = (PLAIN / "drive.cpp").read_text("utf-8").splitlines()
    assert len(lines) <= 250
    assert max(map(len, lines)) <= 120
    assert len((PLAIN / "drive_cpp.py").read_text("utf-8").splitlines()) <= 60


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="drive_cpp.py knows the names of libraries on Linux")
@pytest.mark.skipif(not os.environ.get(HEADERS), reason=f"{HEADERS} names no folder; docs/plain/headers.sh fills one")
@pytest.mark.skipif(not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler")
def test_answers_as_a_session_does(tmp_path: Path) -> None:
    bundle = bundle_path(floats=True)
    build = python(PLAIN / "drive_cpp.py", "--build", tmp_path)
    assert build.returncode == 0, build.stdout
    sampled = ["--temperature", 0.8, "--top-k", 20, "--top-p", 0.9, "--seed", 2**64 - 1, "--steps", 3]
    for knobs in [], [*sampled, "--settle", "--prefix", "be kind"]:
        reference, mine = tmp_path / "reference.npz", tmp_path / "mine.npz"
        for command in (
            ["-m", "tests.plain.reference", bundle, reference, "--units", 4, *knobs],
            [PLAIN / "drive_cpp.py", "--program", tmp_path / "drive", bundle, reference, mine],
            ["-m", "tests.plain.compare", reference, mine, "--tolerance", 1e-5],
        ):
            done = python(*command)
            assert done.returncode == 0, done.stdout
