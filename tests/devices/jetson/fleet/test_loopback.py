"""The role on one board over a real sshd on loopback: twice, in check mode, and with what an inventory gets wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
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
            "deploy_board_python": f"{board.folder}/bin/python3",
        }  # fmt: skip

    def inventory(self, **hosts: dict[str, Any]) -> Path:
        path = self.folder / "boards.json"
        path.write_text(json.dumps({"all": {"hosts": hosts or {"one": self.one}, "vars": self.common}}))
        return path

    def words(self, *more: str) -> list[str]:
        """Of a deployment without Ansible, of the same."""
        return ["deploy", str(self.bundle), *self.board.words, "--wheels", str(self.folder / "wheels"), "--settings",
                str(self.folder / "talk.toml"), "--no-service", "--profile-units", "0", *more]  # fmt: skip

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

    assert cli.main(site.words("--verify")) == 0
    (site.board.root / "current").unlink()
    capfd.readouterr()
    assert cli.main(site.words("--verify")) == 1
    assert "is not live: no release is current" in capfd.readouterr().err


def test_every_board_says_in_one_line_why_it_cannot_be(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    stranger = site.folder / "stranger"
    stranger.write_text(f"UserKnownHostsFile {site.folder}/none\nGlobalKnownHostsFile none\n"
                        f"IdentityFile {site.board.folder}/user\n")  # fmt: skip
    site.inventory(
        off={**site.one, "ansible_port": boards.free_port()},
        stranger={**site.one, "ansible_ssh_common_args": f"-F {stranger} -o StrictHostKeyChecking=no"},
        relative={**site.one, "deploy_settings": "talk.toml"},
        here={**site.one, "ansible_connection": "local"},
        wrong={**site.one, "deploy_profile_units": "many"},
        tunnel={**site.one, "ansible_ssh_common_args": "-L 80:a:80"},
    )
    status, told = site.told(capfd, "--batches", "100%", "--max-fail", "100")
    why = {name: host["reason"] for name, host in told["hosts"].items()}
    assert (status, len(why), told["batches"]) == (1, 6, [list(why)])
    assert "cannot be reached: " in why["off"]
    assert why["stranger"].startswith("the host key of 127.0.0.1 is not known here")
    assert why["relative"] == "settings is 'talk.toml'; wanted a path from / on, as {{ inventory_dir }}/talk.toml"
    assert why["here"].startswith("the connection of here is 'local'; wanted ansible_connection: ssh")
    assert "deploy_profile_units" in why["wrong"]
    assert why["tunnel"].startswith("the inventory gives ssh '-L'; wanted -o NAME=VALUE")
    assert not site.board.root.exists()


def test_ctrl_c_ends_what_was_started(site: Site) -> None:
    asked = site.folder / "asked"
    site.board.script("python3", f"touch {asked}; exec sleep 60")
    words = ["deploy", str(site.bundle), "--inventory", str(site.folder / "boards.json")]
    run = subprocess.Popen([sys.executable, "-m", "edge_streamer", *words], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)  # fmt: skip
    ends = time.monotonic() + 60
    while not asked.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=40)
    assert run.returncode == 130
    assert "edge-streamer: stopped; what has arrived is kept" in said
    ends = time.monotonic() + 10
    while mine := [path for path in Path("/proc").glob("[0-9]*/cmdline") if "deploy" in (line := _read(path))
                   and str(site.folder) in line]:  # fmt: skip
        assert time.monotonic() < ends, [_read(path) for path in mine]
        time.sleep(0.1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
