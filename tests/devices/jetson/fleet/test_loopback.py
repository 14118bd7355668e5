"""The role on one board over a real sshd on loopback: twice, in check mode, and with what an inventory gets wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.commands import cli
from tests.devices.jetson.deploy import board as boards
from tests.devices.jetson.deploy.board import Board
from tests.devices.jetson.deploy.made import SETTINGS, wheels

pytest.importorskip("ansible", reason="the extra fleet is not installed")
pytestmark = pytest.mark.skipif(bool(boards.MISSING), reason=boards.MISSING)
PYTHON = getattr(sys, "_base_executable", sys.executable)


class Site:
    """A board, and an inventory that names it."""

    def __init__(self, board: Board, bundle: Path, folder: Path) -> None:
        self.board, self.bundle, self.folder = board, bundle, folder
        user, _, address = board.host.partition("@")
        (folder / "talk.toml").write_text(SETTINGS)
        wheels(folder / "wheels", large=1000)
        self.common = {
            "deploy_wheels": "{{ inventory_dir }}/wheels", "deploy_settings": "{{ inventory_dir }}/talk.toml",
            "deploy_service": False, "deploy_profile_units": 0,
        }  # fmt: skip
        self.one = {
            "ansible_host": address, "ansible_user": user, "ansible_port": board.proxy.port,
            "ansible_ssh_common_args": f"-F {board.folder}/ssh_config", "deploy_root": str(board.root),
        }  # fmt: skip

    def inventory(self, **hosts: dict[str, Any]) -> Path:
        path = self.folder / "boards.json"
        path.write_text(json.dumps({"all": {"hosts": hosts or {"one": self.one}, "vars": self.common}}))
        return path

    def deploy(self, *words: str) -> int:
        return cli.main(["deploy", str(self.bundle), "--inventory", str(self.folder / "boards.json"), *words])

    def told(self, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
        capfd.readouterr()
        status = self.deploy("--json", *words)
        found = capfd.readouterr()
        assert found.out, found.err
        return status, json.loads(found.out)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with Board(tmp_path_factory.mktemp("board"), PYTHON) as board:
        yield board


@pytest.fixture
def site(board: Board, tiny_bundle: Path, tmp_path: Path) -> Iterator[Site]:
    board.root = tmp_path / "device"
    site = Site(board, tiny_bundle, tmp_path)
    site.inventory()
    yield site
    board.restore()


def test_twice_and_the_second_run_changes_nothing(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    status, would = site.told(capfd, "--dry-run")
    assert (status, would["hosts"]["one"]["state"], would["hosts"]["one"]["changed"]) == (0, "would send", True)
    assert not site.board.root.exists()
    status, first = site.told(capfd)
    assert (status, first["hosts"]["one"]["state"], first["hosts"]["one"]["changed"]) == (0, "current", True)
    status, again = site.told(capfd, "--dry-run")
    assert (status, again["hosts"]["one"]["changed"]) == (0, False)
    assert site.deploy() == 0
    said = capfd.readouterr().out
    assert "changed=0" in said
    assert "failed=0" in said
    assert f"one: {first['hosts']['one']['release']} is current" in said
