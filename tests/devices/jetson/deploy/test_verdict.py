"""What becomes of a deployment that is on trial: the tests' own systemd runs the service, and the keeper decides."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.releases import service
from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.devices.jetson.releases.unit import Service
from edge_streamer.runtime.commands import cli
from tests.devices.jetson.deploy import board as boards
from tests.devices.jetson.deploy.board import Board
from tests.devices.jetson.deploy.made import SETTINGS, wheels
from tests.devices.jetson.releases.supervisor import Supervisor

pytestmark = pytest.mark.skipif(bool(boards.MISSING), reason=boards.MISSING)
PYTHON = getattr(sys, "_base_executable", sys.executable)
TERMS = ("--units", "5", "--within", "30", "--misses", "1")
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with Board(tmp_path / "board", PYTHON) as board:
        yield board


def deploy(board: Board, bundle: Path, wheels: Path, *more: str) -> int:
    settings = board.folder / "settings.toml"
    settings.write_text(SETTINGS)
    return cli.main(["deploy", str(bundle), *board.words, "--wheels", str(wheels), "--settings", str(settings),
                     "--no-service", "--profile-units", "0", "--no-check", *TERMS, *more])  # fmt: skip


def test_confirmed_and_then_one_that_crashes_is_gone_back_from(
    board: Board, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Root(board.root)
    for name, text in service.keeper_files().items():
        path = root.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    over = threading.Event()
    systemd = Supervisor(Service(root.path, python=sys.executable).text(), tmp_path / "systemd")
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while root.led_to(root.current) is None and not over.wait(0.05):
                pass
            systemd.run(over.is_set, 240.0)
        except BaseException as error:
            failed.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    try:
        assert deploy(board, tiny_bundle, wheels(tmp_path / "good"), "--wait", "90", "--json") == 0, systemd.log
        good = json.loads(capsys.readouterr().out)
        assert good["state"] == "confirmed"

        assert deploy(board, tiny_bundle, wheels(tmp_path / "good"), "--json") == 0, "nothing to do"
        assert json.loads(capsys.readouterr().out)["state"] == "confirmed"

        bad = wheels(tmp_path / "bad", fault=CRASHES)
        restart(systemd, root, good["release"])
        assert deploy(board, tiny_bundle, bad, "--wait", "90", "--json") == 1
        found = json.loads(capsys.readouterr().out)
        assert found["state"] == "gone back from"
        assert "crashed 3 times" in found["reason"]
        assert root.led_to(root.current) == good["release"] != found["release"]
    finally:
        over.set()
        running.join(30)
    assert not failed, failed


def restart(systemd: Supervisor, root: Root, old: str) -> None:
    """As `releases activate` has systemd do: once another release is current."""

    def look() -> None:
        stop = threading.Event()
        while root.led_to(root.current) == old and not stop.wait(0.05):
            pass
        if systemd.main is not None:
            systemd.main.terminate()

    threading.Thread(target=look, daemon=True).start()
