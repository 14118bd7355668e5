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

from edge_streamer.devices.jetson.deploy.payload import Payload, payload
from edge_streamer.devices.jetson.flash import prepare, units
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings
from edge_streamer.devices.jetson.releases import first
from edge_streamer.devices.jetson.releases.contents import verify
from edge_streamer.devices.jetson.releases.places import Root, read_state
from edge_streamer.runtime.bundle.manifest import parse
from tests.devices.jetson.deploy.made import SETTINGS, wheels
from tests.devices.jetson.flash import l4t

PYTHON = getattr(sys, "_base_executable", sys.executable)
USER = os.geteuid()


class Device:
    """A prepared root, whose first start is run here as the unit has it: every absolute path below the root."""

    def __init__(self, folder: Path, files: Payload) -> None:
        rootfs, self.home = l4t.root(folder / "rootfs"), folder / "rootfs/home/ada"
        settings = Settings(user="ada", hashed="$6$x$" + "x" * 86, app=App(files))
        with Rootfs(rootfs, l4t.Recorded()) as opened:
            prepare.prepare(opened, settings)
        self.rootfs, self.root = rootfs, Root(self.home / ".local/share/edge-streamer")
        self.dropin = self.home / ".config/systemd/user/edge-streamer.service.d/first-start.conf"
        line = next(line for line in self.dropin.read_text().splitlines() if line.startswith("ExecStartPre=+"))
        words = line.removeprefix("ExecStartPre=+").split()
        assert words[:3] == ["/usr/bin/python3", "-I", "-B"]
        self.words = [PYTHON, *words[1:3], *(f"{rootfs}{word}" for word in words[3:])]

    def begin(self) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "JOURNAL_STREAM")}
        env = {**kept, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache"),
               "XDG_CONFIG_HOME": str(self.home / ".config"), "XDG_STATE_HOME": str(self.home / ".local/state")}  # fmt: skip
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
    manifest = (bundle / "manifest.json").read_bytes()
    head = first_sum(bundle / "manifest.json"), len(manifest)
    listed = [("manifest.json", *head), *((one.path, one.sha256, one.size) for one in parse(manifest).files)]
    made = sorted(wheels(folder, fault, large=1000).glob("*.whl"))
    return payload(bundle, listed, None, SETTINGS.encode(), made)


def first_sum(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def device(tmp_path: Path, tiny_bundle: Path) -> Device:
    return Device(tmp_path, files(tiny_bundle, tmp_path / "wheels"))


def test_it_makes_the_first_release_and_then_costs_nothing(device: Device) -> None:
    begun = time.monotonic()
    status, said = device.start()
    print(time.monotonic() - begun)
    assert status == 0, said
    current = device.current()
    assert f"edge-streamer first start: {current} is current" in said
    trial = read_state(device.root).trial
    assert trial is not None
    assert (trial.id, trial.attempts) == (current, 0)
    assert not device.dropin.parent.exists(), "systemd does not call it again"
    assert not (device.root.path / first.WORK).exists()
    assert (device.root.release(current) / "settings.toml").read_text() == SETTINGS
    assert device.start() == (0, ""), "where the file that calls it came back"
