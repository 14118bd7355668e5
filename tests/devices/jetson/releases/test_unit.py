"""The unit: what systemd itself says of it, and what installing it does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.releases import service
from edge_streamer.devices.jetson.releases.service import install, installed, keeper_files, uninstall
from edge_streamer.devices.jetson.releases.unit import NAME, Service
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError

EXPOSURE = 30
"""Tenths: at most 3.0 of 10."""
NEWER_THAN_249 = {"RestartSteps", "RestartMaxDelaySec", "MemoryZSwapMax", "OpenFile", "FileDescriptorStorePreserve"}
"""Directives that Ubuntu 22.04 would warn about and ignore."""

analyzed = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def written(folder: Path, system: bool) -> Path:
    root = folder / "root of it"
    for name, text in keeper_files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    unit = folder / NAME
    unit.write_text(Service(root, system, groups=("audio", "video")).text())
    return unit


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_RUNTIME_DIR": str(folder),
        "SYSTEMD_PAGER": "",
        "HOME": str(folder),
    }
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False, env=env)


@analyzed
@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, system: bool) -> None:
    done = analyze(tmp_path, *([] if system else ["--user"]), "verify", "--man=no", str(written(tmp_path, system)))
    assert (done.returncode, done.stderr) == (0, "")


@analyzed
def test_the_system_unit_exposes_little(tmp_path: Path) -> None:
    words = ["security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(written(tmp_path, True))]
    done = analyze(tmp_path, *words)
    assert done.returncode == 0, done.stdout
    (exposure,) = re.findall(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE / 10


def test_every_directive_is_known_to_the_oldest_systemd(tmp_path: Path) -> None:
    for system in (True, False):
        keys = {line.partition("=")[0] for line in Service(tmp_path, system).text().splitlines() if "=" in line}
        assert not keys & NEWER_THAN_249
    user = Service(tmp_path, False).text()
    assert not re.search("ProtectSystem|DevicePolicy|PrivateTmp|CapabilityBoundingSet|DynamicUser", user)


def test_a_path_is_quoted_as_systemd_reads_it() -> None:
    text = Service(Path('/opt/50% "off" $HOME')).text()
    assert 'begin "/opt/50%% \\"off\\" $$HOME"' in text


def test_installing_writes_the_keeper_and_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    asked: list[str] = []

    def refuse(words: list[str]) -> str:
        asked.append(" ".join(words))
        return "no bus" if "enable" in words else ""

    monkeypatch.setattr(service, "_asked", refuse)
    root = tmp_path / "root"
    told = list(install(Service(root)))
    unit = tmp_path / "config/systemd/user" / NAME
    assert unit.read_text() == Service(root).text()
    assert (root / "keeper/keeper.py").read_bytes() == keeper_files()["keeper/keeper.py"]
    assert asked[1:] == ["systemctl --user daemon-reload", f"systemctl --user enable {NAME}"]
    assert asked[0].startswith("loginctl enable-linger ")
    assert f"left to do: systemctl --user enable {NAME} (no bus)" in told
    assert told[-1].startswith("no release is current yet: ")
    assert installed(root) is False
    assert list(uninstall(False))[-1] == "systemd has forgotten it"
    assert not unit.exists()
    assert installed(root) is None
    with pytest.raises(InputError, match="no user service is installed"):
        list(uninstall(False))


def test_the_unit_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["service", "show", "--system", "--root", str(tmp_path)]) == 0
    assert f"keeper/keeper.py start {tmp_path}\n" in capsys.readouterr().out
    assert cli.main(["service", "show", "--user", "somebody"]) == 2
    assert "add --system" in capsys.readouterr().err
