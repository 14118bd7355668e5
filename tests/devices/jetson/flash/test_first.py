"""The first start of a flashed device, run for real: killed anywhere and repeated, it ends with a whole release."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.deploy.payload import Payload
from edge_streamer.devices.jetson.flash import prepare, units
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings
from edge_streamer.devices.jetson.releases import first, keeper
from edge_streamer.devices.jetson.releases.places import Root, read_state
from edge_streamer.devices.jetson.releases.unit import Service
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands.release_parts import put_together, run_settings
from edge_streamer.runtime.release.contents import verify
from tests.devices.jetson.deploy.made import SETTINGS, wheels
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.releases.supervisor import Supervisor

PYTHON = getattr(sys, "_base_executable", sys.executable)


class Device:
    """A prepared root, whose first start is run here as the unit has it: every absolute path below the root."""

    def __init__(self, folder: Path, app: App) -> None:
        rootfs, self.home = l4t.root(folder / "rootfs"), folder / "rootfs/home/ada"
        settings = Settings(user="ada", hashed="$6$x$" + "x" * 86, app=app)
        with Rootfs(rootfs, l4t.Recorded()) as opened:
            prepare.prepare(opened, settings)
        self.rootfs, self.root = rootfs, Root(self.home / ".local/share/edge-streamer")
        self.dropin = self.home / ".config/systemd/user/edge-streamer.service.d/first-start.conf"
        line = next(line for line in self.dropin.read_text().splitlines() if line.startswith("ExecStartPre=+"))
        words = line.removeprefix("ExecStartPre=+").split()
        assert words[:3] == ["/usr/bin/python3", "-I", "-B"]
        self.words = [PYTHON, *words[1:3], *(f"{rootfs}{word}" if word.startswith("/") else word for word in words[3:])]

    def begin(self) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "JOURNAL_STREAM")}
        env = {**kept, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache"),
               "XDG_CONFIG_HOME": str(self.home / ".config"), "XDG_STATE_HOME": str(self.home / "s")}  # fmt: skip
        return subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True, env=env,
                                stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip

    def start(self) -> tuple[int, str]:
        running = self.begin()
        said = running.communicate()[1]
        return running.returncode, said

    def killed(self, seconds: float) -> bool:
        """As power goes: all of it at once. Whether it was killed before its end."""
        running = self.begin()
        with suppress(subprocess.TimeoutExpired):
            running.wait(seconds)
        ended = running.poll()
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        return ended is None

    def current(self) -> str:
        """The release that is current, whole."""
        found = self.root.led_to(self.root.current)
        assert found is not None
        verify(self.root.release(found))
        return found


def files(bundle: Path, folder: Path, fault: str = "") -> Payload:
    settings, _ = run_settings(None, "cpu")
    return put_together(bundle, Bundle.open(bundle), settings, wheels(folder, fault, large=1000))


@pytest.fixture
def device(tmp_path: Path, made_counter: Path) -> Device:
    """Of a bundle that has no golden units."""
    return Device(tmp_path, App(files(made_counter, tmp_path / "wheels"), check=False))


def killed_often(device: Device, times: int, seed: int) -> None:
    """First once to its end, to know how long it takes, then again from nothing, killed at random instants."""
    begun = time.monotonic()
    status, said = device.start()
    takes = time.monotonic() - begun
    assert status == 0, said
    whole(device, said)
    device.dropin.parent.mkdir()
    device.dropin.touch()
    for path in device.root.path.iterdir():
        if path.name != "keeper":
            remove(path)
    chance, in_time = random.Random(seed), 0
    for number in range(times):
        in_time += device.killed(chance.uniform(0, takes))
        if device.root.led_to(device.root.current):
            device.current()
        if number % 3 == 2:  # what was done is no help in the next ones
            for path in (device.root.current, device.root.state, device.root.releases):
                remove(path)
    status, said = device.start()
    assert status == 0, said
    whole(device, said)
    assert device.start() == (0, ""), "it costs nothing where the file that calls it came back"
    assert in_time >= times // 4


def whole(device: Device, said: str) -> None:
    """A first start has ended."""
    current = device.current()
    trial = read_state(device.root).trial
    assert trial is not None
    assert (trial.id, trial.attempts) == (current, 0)
    assert not device.dropin.parent.exists(), "systemd does not call it again"
    assert not (device.root.path / first.WORK).exists()
    assert not said or f"edge-streamer first start: {current} is current" in said


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for folder in [path, *path.rglob("*")]:
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o755)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_killed_anywhere_it_ends_whole(device: Device) -> None:
    killed_often(device, 3, 5)


@pytest.mark.long
def test_killed_anywhere_it_ends_talking(tmp_path: Path, tiny_bundle: Path) -> None:
    settings = SETTINGS.encode()
    made = put_together(tiny_bundle, Bundle.open(tiny_bundle), settings, wheels(tmp_path / "wheels"))
    device = Device(tmp_path, App(made))
    killed_often(device, 20, 3)
    current = device.current()
    service = Service(device.root.path, python=PYTHON)
    supervisor = Supervisor(service.text(), tmp_path / "run")
    supervisor.run(lambda: current in read_state(device.root).good)
    assert f"{current} is confirmed" in supervisor.log


def test_a_start_that_fails_says_why_and_is_tried_again_later_each_time(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flashed = device.rootfs / units.FLASHED.lstrip("/")
    (wheel,) = (flashed / "wheels").glob("edge_streamer-*")
    whole = wheel.read_bytes()
    wheel.write_bytes(b"no wheel")
    status, said = device.start()
    assert status == 1
    assert said.splitlines()[-1].endswith(f"{wheel} is damaged (File is not a zip file); flash the board again, or "
                                          "deploy to it; tried again")  # fmt: skip
    wheel.write_bytes(whole)
    shutil.move(flashed / "bundle", tmp_path)
    shutil.move(flashed / "settings.toml", tmp_path)
    status, said = device.start()
    assert (status, device.dropin.exists(), device.root.led_to(device.root.current)) == (1, True, None)
    assert "has neither settings.toml (the words of edge-streamer run) nor bundle" in said
    assert said.endswith("there is no release yet: releases add ended with status 2; tried again\n")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    env = {"RUNTIME_DIRECTORY": str(tmp_path), "SERVICE_RESULT": "exit-code"}
    for _ in range(3):
        assert keeper.begin(device.root, env) == keeper.stopped(device.root, env) == 0
    assert "failed 2 times in a row; the next start in 2 s" in capsys.readouterr().err
