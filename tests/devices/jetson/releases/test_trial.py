"""A release on trial stays or goes: real conversations, started and restarted as the unit says."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.devices.jetson.releases import service
from edge_streamer.devices.jetson.releases.adding import add
from edge_streamer.devices.jetson.releases.places import Root, read_state
from edge_streamer.devices.jetson.releases.switching import Terms, activate
from edge_streamer.devices.jetson.releases.unit import Service
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.bundle.reader import write_bundle
from edge_streamer.runtime.commands import cli
from tests.devices.jetson.releases.made import SOUND, source
from tests.devices.jetson.releases.supervisor import Supervisor

TERMS = Terms(units=10, seconds=12.0, misses=0.3, crashes=2)
CRASHES = "import os, signal\ndef spoil(): os.kill(os.getpid(), signal.SIGSEGV)"
SLOW = """
def spoil():
    import time
    from edge_streamer.runtime.session.session import Session
    step = Session.step
    Session.step = lambda self, unit: (time.sleep(0.5), step(self, unit))[1]
"""
LOSES_MICROPHONE = """
def spoil():
    from edge_streamer.runtime.loop.ports import DeviceState
    from edge_streamer.runtime.loop.stand_ins import NoMicrophone
    looks = iter(range(1_000_000))
    state = NoMicrophone.state
    lost = DeviceState("USB Audio", False, "unplugged")
    NoMicrophone.state = lambda self: state(self) if next(looks) < 5 else lost
"""
CRASHES_LATER = """
def spoil():
    import json, os, pathlib, threading, time

    def look():
        state = pathlib.Path(__file__).resolve().parents[3] / "state.json"
        while json.loads(state.read_bytes())["trial"]:
            time.sleep(0.1)
        time.sleep(0.5)
        os.kill(os.getpid(), 9)

    threading.Thread(target=look, daemon=True).start()
"""


class Device:
    """A root with one good release that runs, and what comes after it."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle = folder, bundle
        self.root = Root(folder / "device")
        self.good = self.add("good")
        for name, text in service.keeper_files().items():
            path = self.root.path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text)
        activate(self.root, self.good, None, check=False)
        self.text = Service(self.root.path, python=sys.executable).text()

    def add(self, note: str, fault: str = SOUND, bundle: Path | None = None) -> str:
        return add(self.root, source(self.folder / note, bundle or self.bundle, fault, note), name=note).id

    def update(self, note: str, fault: str = SOUND, terms: Terms = TERMS) -> str:
        name = self.add(note, fault)
        assert activate(self.root, name, terms, check=False) == (name, "")
        assert self.current == name
        return name

    def supervise(self, until: Callable[[Supervisor], bool], **limits: float) -> Supervisor:
        systemd = Supervisor(self.text, self.folder / "systemd", **limits)
        systemd.run(lambda: until(systemd))
        return systemd

    @property
    def current(self) -> str | None:
        return self.root.led_to(self.root.current)

    def talks(self, systemd: Supervisor) -> bool:
        """The first release is back, and answers."""
        return self.current == self.good and bool(systemd.told) and systemd.told[-1].startswith("WATCHDOG")


@pytest.fixture
def device(tmp_path: Path, tiny_bundle: Path) -> Device:
    return Device(tmp_path, tiny_bundle)


def test_a_release_that_answers_is_confirmed(device: Device) -> None:
    name = device.update("better")
    systemd = device.supervise(lambda systemd: f"{name} is confirmed: " in systemd.log)
    assert (systemd.starts, systemd.results) == (1, ["success"])
    assert read_state(device.root).good == [device.good, name]
    assert device.root.led_to(device.root.previous) == device.good
    assert "READY=1" in systemd.told


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (CRASHES, "crashed 2 times after the update: signal killed 11"),
        (SLOW, "not healthy within 12 s: too slow: "),
        (LOSES_MICROPHONE, "not healthy within 12 s: mic is not open: unplugged"),
    ],
    ids=["crashes", "too slow", "loses its microphone"],
)
def test_a_release_that_fails_is_gone_back_from(device: Device, fault: str, why: str) -> None:
    name = device.update("worse", fault)
    systemd = device.supervise(device.talks)
    state = read_state(device.root)
    assert state.rollback is not None
    assert (state.rollback.source, state.rollback.target) == (name, device.good)
    assert state.rollback.reason.startswith(why)
    assert state.trial is None
    assert state.good == [device.good]
    assert f"{name} is given up, back to {device.good}: {why}" in systemd.log


def test_the_reason_is_listed(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    name = device.update("worse", CRASHES)
    device.supervise(lambda _: device.current == device.good)
    assert cli.main(["releases", "list", "--root", str(device.root.path)]) == 0
    assert f"last rollback: {name} -> {device.good}, " in (told := capsys.readouterr().out)
    assert "crashed 2 times after the update" in told


def test_golden_units_that_differ_are_not_switched_to(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = Path(shutil.copytree(device.bundle, tmp_path / "spoiled"))
    weights = max((spoiled / "graphs").iterdir(), key=lambda path: path.stat().st_size)
    values = np.fromfile(weights, "<f4") if weights.stat().st_size % 4 == 0 else None
    assert values is not None
    values[:2000] *= np.float32(1.5)
    values.tofile(weights)
    manifest = parse((spoiled / MANIFEST).read_bytes())
    (spoiled / MANIFEST).unlink()
    write_bundle(spoiled, msgspec.structs.replace(manifest, files=()))
    name = device.add("worse", bundle=spoiled)
    assert cli.main(["releases", "activate", name, "--root", str(device.root.path)]) == 1
    assert f"not switched to {name}: its golden units: " in capsys.readouterr().err
    assert device.current == device.good
    found = read_state(device.root).rollback
    assert found is not None
    assert (found.source, found.target) == (name, device.good)


def test_a_loop_that_stands_still_is_restarted(device: Device) -> None:
    """By the watchdog; it was proven long ago, so it is not gone back from."""
    stopped: list[int] = []

    def again(systemd: Supervisor) -> bool:
        if not stopped and systemd.told.count("WATCHDOG=1") > 1 and systemd.main is not None:
            stopped.append(systemd.main.pid)
            os.kill(systemd.main.pid, signal.SIGSTOP)
        return systemd.starts == 2 and bool(systemd.told) and systemd.told[-1] == "WATCHDOG=1"

    systemd = device.supervise(again, watchdog_seconds=3.0)
    assert systemd.results[0] == "watchdog"
    assert device.current == device.good
    assert read_state(device.root).rollback is None


def test_a_confirmed_release_that_crashes_later_stays(device: Device) -> None:
    name = device.update("better", CRASHES_LATER)
    systemd = device.supervise(lambda systemd: len(systemd.results) >= 3)
    assert set(systemd.results) == {"signal"}
    assert device.current == name
    assert read_state(device.root).good == [device.good, name]
