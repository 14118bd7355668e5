"""Words of `edge-streamer deploy` that are refused before any board is asked, and how to get to one by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.deploy.link import Link, Target
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.release_parts import run_settings
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.deploy.made import wheel


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("app",), "app came, a bundle and no board; wanted [BUNDLE] USER@HOST"),
        (("u@h", "--port", "99999"), "'99999'; wanted a whole number from 1 to 65535"),
        (("u@h", "--port", "0"), "'0'; wanted a whole number from 1 to 65535"),
        (("u@h", "--identity", "nofile"), "--identity nofile: there is no such file; wanted ssh's private key"),
        (("u@h", "--name", "sp ring/.."), "'sp ring/..'; wanted letters, digits"),
        (("app", "--root", "r", "u@h"), "app is not a bundle"),
        (("--inventory", "empty"), "the inventory empty is empty; wanted a file that lists the boards"),
        (("u@h", "--ssh-config", "app"), "--ssh-config app: there is no such file; wanted one in place of"),
    ],
)
def test_refused_before_a_board_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app").mkdir()
    Path("empty").write_text("\n")
    wheel(Path("w"), "edge_streamer", {})
    assert cli.main(["deploy", "--wheels", "w", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_refusal_is_json_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["deploy", "nothing", "u@h", "--wheels", "w", "--json"]) == 2
    found = capsys.readouterr()
    told = json.loads(found.out)
    assert told["state"] == "refused"
    assert found.err.splitlines() == [f"edge-streamer: {told['reason']}"]


@pytest.mark.parametrize(
    ("ssh_said", "hint"),
    [
        ("u@h: Permission denied (publickey).", "ssh-copy-id -F 'my config' -p 22 -i key u@h"),
        ("Host key verification failed.", "log in once: ssh -F 'my config' -p 22 -i key u@h"),
        ("WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!", "log in once: ssh -F 'my config' -p 22 -i key u@h"),
    ],
)
def test_what_to_run_by_hand_goes_the_same_way(monkeypatch: pytest.MonkeyPatch, ssh_said: str, hint: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    with Link(Target("u@h", 22, Path("key"), Path("my config"))) as link:
        link._said.write_text(ssh_said)
        assert str(link._failure()).endswith(hint)


def test_settings_that_name_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('mic = "none"\n')
    with pytest.raises(InputError, match=r's\.toml names no bundle; wanted bundle = "bundle"'):
        run_settings(tmp_path / "s.toml")
