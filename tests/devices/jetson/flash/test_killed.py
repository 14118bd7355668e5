"""The preparation of a root file system is killed at random instants, and run again: it is whole each time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
MEMORY = Path("/dev/shm")


def kill(times: int, seed: int) -> str:
    """In memory where that can be: a disk that is slow to sync makes it minutes."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.devices.jetson.flash.killed", folder, str(seed), str(times)], cwd=ROOT,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_killed_anywhere_it_is_whole_when_run_again() -> None:
    assert "of 200 were killed before their end" in kill(200, 7)


@pytest.mark.long
def test_killed_anywhere_it_is_whole_when_run_again_at_length() -> None:
    kill(1000, 11)
