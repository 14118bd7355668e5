"""Three boards in network namespaces: a canary that fails stops the roll-out, a later batch does, then all have it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.bundle.manifest import parse, render
from edge_streamer.runtime.bundle.reader import Bundle
from tests.devices.jetson.deploy import board as boards
from tests.devices.jetson.deploy.made import SETTINGS, wheels
from tests.devices.jetson.deploy.test_deploy import PYTHON, relist, spoil
from tests.devices.jetson.fleet.namespaces import Network, missing

pytest.importorskip("ansible", reason="the extra fleet is not installed")
WHY = boards.MISSING or missing()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)
NAMES = ["canary", "second", "third"]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path, NAMES, PYTHON) as network:
        yield network


class Fleet:
    """What goes to the boards of a network."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        (folder / "talk.toml").write_text(SETTINGS)
        wheels(folder / "wheels", large=1000)
        self.variables = {
            "deploy_wheels": "{{ inventory_dir }}/wheels", "deploy_settings": "{{ inventory_dir }}/talk.toml",
            "deploy_service": False, "deploy_profile_units": 0,
        }  # fmt: skip

    def deploy(self, bundle: Path, *words: str, **more: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Status, what became of it, and what was said."""
        inventory = self.network.inventory(self.variables, **more)
        ran = self.network.run(sys.executable, "-m", "edge_streamer", "deploy", str(bundle), "--inventory",
                               str(inventory), "--json", *words)  # fmt: skip
        assert ran.stdout, ran.stderr
        return ran.returncode, json.loads(ran.stdout), ran.stderr


def test_a_canary_stops_it_a_later_batch_stops_it_and_then_all_have_it(
    network: Network, tiny_bundle: Path, tmp_path: Path
) -> None:
    fleet = Fleet(network, tmp_path)
    canary, second, third = network.boards
    spoilt = Path(shutil.copytree(tiny_bundle, tmp_path / "spoilt"))
    golden = Bundle.open(spoilt).manifest.golden
    assert golden is not None
    spoil(spoilt / golden)
    relist(spoilt, parse, render)

    status, told, said = fleet.deploy(spoilt)
    assert status == 1, said
    hosts = told["hosts"]
    assert (told["batches"], hosts["canary"]["state"]) == ([["canary"]], "not switched to")
    assert hosts["canary"]["reason"].startswith("golden units: ")
    assert [hosts[name]["state"] for name in NAMES[1:]] == ["not reached", "not reached"]
    assert said.splitlines()[-1] == "edge-streamer: 1 of 3 boards failed (canary); 2 were left alone"
    assert not canary.current.exists()
    for board in (second, third):
        assert (board.contacts, board.root.exists()) == (0, False)

    status, told, said = fleet.deploy(tiny_bundle, second={"deploy_serial": "another"})
    assert status == 1, said
    hosts = told["hosts"]
    assert told["batches"] == [["canary"], ["second"]]
    assert [(hosts[name]["state"], hosts[name]["changed"]) for name in NAMES] == [
        ("current", True), ("failed", False), ("not reached", False)
    ]  # fmt: skip
    assert "wanted the one with another; nothing was sent" in hosts["second"]["reason"]
    assert canary.current.lstat().st_mtime <= second.log.stat().st_mtime, "the canary was done before"
    assert (third.contacts, third.root.exists()) == (0, False)

    status, told, said = fleet.deploy(tiny_bundle, "--batches", "1,100%")
    assert status == 0, said
    hosts = told["hosts"]
    assert told["batches"] == [["canary"], ["second", "third"]]
    assert [(hosts[name]["state"], hosts[name]["changed"]) for name in NAMES] == [
        ("current", False), ("current", True), ("current", True)
    ]  # fmt: skip
    assert len({hosts[name]["release"] for name in NAMES}) == 1
    assert [board.current.resolve().name for board in network.boards] == [hosts[name]["release"] for name in NAMES]
