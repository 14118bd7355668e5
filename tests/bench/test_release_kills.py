"""Updates of releases killed two hundred times: always a complete release, proven or watched."""

from __future__ import annotations

from pathlib import Path

from tests.bench.release_kills import kill


def test_kills_during_an_update_leave_a_complete_release(tmp_path: Path) -> None:
    kills = kill(tmp_path, 200)
    assert kills.harm == []
    assert kills.kills == 200
    assert kills.switched > 20
    assert kills.left > 5
