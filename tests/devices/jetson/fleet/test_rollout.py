"""What Ansible makes of an inventory, a failure and a soak: with a program in place of `edge-streamer`, so no board."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.jetson.deploy.device import Ended
from edge_streamer.devices.jetson.deploy.payload import Payload
from edge_streamer.devices.jetson.deploy.stages import Deployment, Wishes
from edge_streamer.devices.jetson.fleet import rollout
from edge_streamer.devices.jetson.fleet.rollout import roll_out
from edge_streamer.runtime.commands import cli, deploy_fleet, deploy_options
from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.errors import InputError

ansible = pytest.mark.skipif(
    not Path(sys.executable).with_name(rollout.PROGRAM).exists(), reason="the extra fleet is not installed"
)
STANDS_IN = """import json, os, pathlib, sys
words, folder = sys.argv[1:], pathlib.Path(__file__).parent
host = words[2]
config = pathlib.Path(words[words.index("--ssh-config") + 1]).read_text() if "--ssh-config" in words else ""
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([host, words, config]) + "\\n")
ill = "--verify" in words and (folder / "ill").exists()
state = "not healthy" if ill else "gone back from" if host in os.environ.get("ILL", "") else "confirmed"
print(json.dumps({"host": host, "release": "0123456789abcdef", "state": state, "changed": "--verify" not in words,
                  "reason": "" if state == "confirmed" else "it is stale", "files": 1, "sent": 2, "device": {}}))
sys.exit(state != "confirmed")
"""


class Play:
    """An inventory whose boards nobody connects to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "program.py").write_text(STANDS_IN)
        self.variables: dict[str, Any] = {
            "deploy_command": [sys.executable, str(folder / "program.py")], "deploy_bundle": "/bundle",
            "deploy_wheels": "/wheels",
        }  # fmt: skip

    def run(self, hosts: dict[str, Any], *words: str, **variables: Any) -> rollout.Rollout:
        inventory = self.folder / "boards.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
        return roll_out(str(inventory), {**self.variables, **variables}, words)

    @property
    def calls(self) -> list[Any]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


@ansible
def test_the_inventory_becomes_words_that_deploy_knows(play: Play) -> None:
    ssh = {
        "ansible_host": "10.0.0.7", "ansible_user": "agent", "ansible_port": 2222,
        "ansible_ssh_private_key_file": "/keys/board", "ansible_become": True,
        "ansible_ssh_common_args": "-J bastion -o 'UserKnownHostsFile /known' -F /config -oStrictHostKeyChecking=no",
    }  # fmt: skip
    options = {
        "settings": "/s", "engine": "cpu", "name": "spring", "key": ["/k1", "/k2"], "passphrase_file": "/p",
        "allow_downgrade": True, "budget": "/b", "profile_units": 0, "golden_units": False, "units": 5, "within": 30,
        "misses": 0.5, "system": True, "service": False, "wait": 9, "root": "/r", "board_python": "python3.10",
        "serial": "0142",
    }  # fmt: skip
    found = play.run({"one": {**ssh, **{f"deploy_{name}": value for name, value in options.items()}}}, "--check")
    assert (found.failed, found.hosts["one"]["state"]) == ([], "confirmed")
    [[host, words, config]] = play.calls
    parser = Parser()
    deploy_options.add_arguments(parser)
    args = parser.parse_args(words[1:])
    assert (host, args.words) == ("agent@10.0.0.7", ["/bundle", "agent@10.0.0.7"])
    assert (args.port, str(args.identity), args.dry_run, args.json) == (2222, "/keys/board", True, True)
    flags = {"golden_units": "no_check", "service": "no_service"}
    for name, value in {"wheels": "/wheels", **options}.items():
        came = getattr(args, flags.get(name, name))
        came = [str(one) for one in came] if name == "key" else came
        assert str(came) == str(not value if name in flags else value) or float(came) == value, name
    assert [line for line in config.splitlines() if "Control" not in line] == [
        "Compression=yes", "ProxyJump=bastion", "UserKnownHostsFile /known", 'Include "/config"'
    ]  # fmt: skip


@ansible
def test_what_is_not_healthy_after_the_soak_stops_it(play: Play) -> None:
    (play.folder / "ill").touch()
    found = play.run({"one": {}, "two": {}, "three": {}}, deploy_soak_seconds=1)
    assert found.failed == ["one"]
    assert (found.hosts["one"]["state"], found.hosts["one"]["reason"]) == ("not healthy", "it is stale")
    assert found.left == ["two", "three"]
    assert ["--verify" in words for _, words, _ in play.calls] == [False, True]
    (play.folder / "ill").unlink()
    found = play.run({"one": {}, "two": {}, "three": {}}, deploy_soak_seconds=1, deploy_batches=[1, "100%"])
    assert (found.failed, found.batches) == ([], [["one"], ["two", "three"]])
    assert all(told["changed"] for told in found.hosts.values())


@ansible
def test_a_share_that_may_fail(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILL", "two")
    hosts = {name: {} for name in ("one", "two", "three")}
    found = play.run(hosts, deploy_batches=[2, "100%"], deploy_max_fail_percentage=50)
    assert (found.failed, found.left, found.hosts["three"]["state"]) == (["two"], [], "confirmed")
    assert found.hosts["two"]["reason"] == "it is stale"
    found = play.run(hosts, deploy_batches=[2, "100%"])
    assert (found.failed, found.left, found.hosts["one"]["state"]) == (["two"], ["three"], "confirmed")


@ansible
def test_inventories_that_mean_no_board(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="there is no inventory /no/such; wanted a file"):
        roll_out("/no/such", {}, [])
    with pytest.raises(InputError, match="ansible-playbook ended with status 1; what it said stands above"):
        play.run({"one": {}}, "--limit", "two")
    with pytest.raises(InputError, match=r"no board of .* is meant"):
        play.run({})


def test_a_run_that_is_not_healthy_any_more_is_told() -> None:
    facts = {name: "" for name in ("architecture", "python", "glibc", "l4t", "serial", "current")} | {
        "free": 0, "releases": ["r"], "added": {}, "writable": True, "systemd": True, "run": "/run/user/1000",
        "state": {"good": ["r"]}, "python": "3.11", "current": "r",
    }  # fmt: skip
    payload, asked = Payload(()), list[Any]()
    facts["added"] = {payload.plan("3.11"): "r"}

    class Board:
        root = "/r"

        def ask(self, call: str, **request: object) -> dict[str, Any]:
            return facts

        def step(self, name: str, words: list[str], **more: object) -> Ended:
            asked.append(words)
            return Ended(1, "not healthy: stale for 9 s\n", "")

    device: Any = Board()
    result = Deployment(device, "board", payload, Wishes("x", verify=True), lambda _: None, lambda *_: None).run()
    assert (result.state, result.reason, result.good) == ("not healthy", "not healthy: stale for 9 s", False)
    assert asked == [["/r/releases/r/env/bin/python", "-B", "-m", "edge_streamer", "health",
                      "/run/user/1000/edge-streamer/health.json", "--devices"]]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--inventory", "x", "--port", "22"], "--port is for one board; with --inventory it is a variable"),
        (["--inventory", "x", "--ssh-config", "y"], "--ssh-config is for one board"),
        (["--inventory", "x", "bundle", "user@board"], "'user@board' is one board too many"),
        (["board", "--limit", "canary"], "--limit is for many boards; wanted --inventory FILE with it"),
        (["board", "--batches", "1,50%"], "--batches is for many boards"),
        (["--inventory", "x", "--batches", "0,5"], "'0,5'; wanted numbers of boards or shares, as 1,25%,100%"),
        (["--inventory", "x", "--max-fail", "101"], "'101'; wanted a whole number from 0 to 100"),
        (["board", "--wheels", "x", "--verify", "--dry-run"], "--verify looks at what is there"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = cli.main(["deploy", *words])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert why in capsys.readouterr().err


def test_without_ansible_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no ansible-playbook here.*pip install 'edge-streamer\[fleet\]'"):
        rollout.program()


def test_what_was_not_said_is_left_to_the_inventory(tmp_path: Path) -> None:
    parser = Parser()
    deploy_options.add_arguments(parser)
    own = ["deploy_bundle", "deploy_command"]
    assert sorted(deploy_fleet.variables(parser.parse_args(["--inventory", "x"]), tmp_path)) == own
    words = ["--wheels", "w", "--no-check", "--system", "--units", "5", "--key", "k", "--soak", "9"]
    words += ["--batches", "1,50%", "--max-fail", "10"]
    said = deploy_fleet.variables(parser.parse_args(["--inventory", "x", *words]), tmp_path)
    assert {name: said[name] for name in said if name not in own} == {
        "deploy_wheels": str(Path("w").absolute()), "deploy_golden_units": False, "deploy_system": True,
        "deploy_units": 5, "deploy_key": [str(Path("k").absolute())], "deploy_soak_seconds": 9,
        "deploy_batches": [1, "50%"], "deploy_max_fail_percentage": 10,
    }  # fmt: skip
