"""A board with keys takes what one of them signed, release and bundle, and nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.runtime.commands import cli
from tests.devices.jetson.deploy import board as boards
from tests.devices.jetson.deploy.board import Board
from tests.devices.jetson.deploy.made import SETTINGS, wheels

pytestmark = pytest.mark.skipif(bool(boards.MISSING), reason=boards.MISSING)
PYTHON = getattr(sys, "_base_executable", sys.executable)


def test_signed_and_unsigned(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cryptography")
    bundle, key = Path(shutil.copytree(tiny_bundle, tmp_path / "talker")), tmp_path / "release-key"
    assert cli.main(["keys", "make", str(key)]) == 0
    with Board(tmp_path / "board", PYTHON) as board:
        trusted = board.folder / "home/c/edge-streamer/keys.d"
        trusted.mkdir(parents=True)
        shutil.copy(f"{key}.pub", trusted)
        (tmp_path / "settings.toml").write_text(SETTINGS)
        words = ["deploy", str(bundle), *board.words, "--wheels", str(wheels(tmp_path / "wheels")), "--no-service",
                 "--profile-units", "0", "--settings", str(tmp_path / "settings.toml")]  # fmt: skip
        capsys.readouterr()
        assert cli.main(words) == 2
        assert "is not signed" in capsys.readouterr().err
        assert list(Root(board.root).releases.glob("*")) == []

        assert cli.main(["sign", str(bundle), "--key", str(key)]) == 0
        assert cli.main([*words, "--key", str(key)]) == 0, capsys.readouterr().err
        current = Root(board.root).led_to(Root(board.root).current)
        assert current is not None
        assert (board.root / "releases" / current / "bundle.sig").is_file()
