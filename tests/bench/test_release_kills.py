"""Updates of releases killed two hundred times: always a complete release, proven or watched."""

from __future__ import annotations

import json
import subprocess
import sys


def test_kills_during_an_update_leave_a_complete_release() -> None:
    # A process of its own: a child of one that has tests, torch and threads in it starts slowly.
    words = [sys.executable, "-m", "tests.bench.release_kills", "--times", "200"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = json.loads(done.stdout.splitlines()[-1])
    assert kills["harm"] == []
    assert kills["kills"] == 200
    assert kills["switched"] > 20
    assert kills["left"] > 5
