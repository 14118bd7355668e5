"""The supervisor: a worker that ends, hangs or falls silent is named, counted and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.live.camera.camera import Camera
from edge_streamer.devices.live.process import supervisor as under_test
from edge_streamer.devices.live.process.supervisor import Supervisor
from edge_streamer.devices.live.process.wire import OPENED, Message
from edge_streamer.devices.live.screen.screen import Screen
from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import Microphone
from edge_streamer.devices.live.sound.speaker import Speaker
from tests.devices.live.process.fake_worker import ECHO, TICK
from tests.media_files import MEDIA
from tests.waiting import PATIENCE, until

Start = Callable[..., Supervisor]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts supervisors, and ends them all."""
    monkeypatch.setattr(under_test, "BACK_OFF_SECONDS", (0.05, 0.1))
    started: list[Supervisor] = []

    def begin(behave: str, hear: Callable[[Message], None] = lambda message: None, **more: Any) -> Supervisor:
        silent = more.pop("silent_seconds", None)
        one = Supervisor(
            "fake", "tests.devices.live.process.fake_worker", {"behave": behave} | more, hear, silent_seconds=silent
        )
        started.append(one)
        one.start()
        one.wait(PATIENCE)
        return one

    yield begin
    for one in started:
        one.close()


def test_messages_go_both_ways_whole_and_in_order(start: Start) -> None:
    heard: list[Message] = []
    one = start("tick", heard.append)
    assert one.state == "open"
    assert one.facts["name"] == "fake"
    large = bytes(range(256)) * 1000  # more than one packet
    assert one.offer(20, 123, 4, 5, b"small")
    assert one.send(20, 6, 7, 8, large)
    until(lambda: sum(message.kind == ECHO for message in heard) == 2)
    small, big = [message for message in heard if message.kind == ECHO]
    assert small == Message(ECHO, 123, 4, 5, b"small")
    assert (big.time_ns, big.one, big.two, big.payload) == (6, 7, 8, large)
    until(lambda: sum(message.kind == TICK for message in heard) >= 5)
    ticks = [message.one for message in heard if message.kind == TICK]
    assert ticks == list(range(1, len(ticks) + 1))
    assert heard[0].kind == OPENED


@pytest.mark.parametrize(
    ("behave", "state", "why"),
    [
        ("refuse", "hopeless", "no such device; there are: A, B"),
        ("busy", "lost", "the device is busy"),
        ("break", "lost", "RuntimeError: what nobody foresaw"),
    ],
)
def test_a_device_that_cannot_be_opened_says_why_in_one_line(start: Start, behave: str, state: str, why: str) -> None:
    one = start(behave)
    assert one.error == why
    if state == "hopeless":
        assert one.state == "hopeless"
        assert one.counts.tries == 1
    else:
        until(lambda: one.counts.tries >= 3)  # it goes on trying
    assert one.counts.opened == one.counts.lost == 0
    assert not one.offer(20)


@pytest.mark.parametrize(
    ("behave", "why"), [("vanish", "it was unplugged"), ("crash", "its process ended: driver: bus error")]
)
def test_a_lost_device_is_opened_again(start: Start, tmp_path: Path, behave: str, why: str) -> None:
    heard: list[Message] = []
    one = start(behave, heard.append, once=str(tmp_path / "mark"))
    until(lambda: one.counts.opened == 2 and one.state == "open")
    assert one.counts.lost == 1
    assert one.counts.why == [why]
    assert one.error == ""
    assert sum(message.kind == OPENED for message in heard) == 2


def test_a_worker_that_is_killed_is_replaced(start: Start) -> None:
    one = start("tick")
    pid = one.facts["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: one.counts.opened == 2)
    assert one.facts["pid"] != pid
    assert one.counts.lost == 1


def test_silence_is_a_loss_where_it_must_not_be(start: Start, tmp_path: Path) -> None:
    one = start("quiet", once=str(tmp_path / "mark"), silent_seconds=0.3)
    until(lambda: one.counts.opened == 2 and one.state == "open")
    assert one.counts.silences == 1
    assert one.counts.why[0].startswith("delivered nothing for 0.")


def test_a_worker_that_never_opens_is_given_up(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "STARTUP_SECONDS", 1.0)
    monkeypatch.setattr(under_test, "END_SECONDS", 0.2)
    one = start("sleep", once=str(tmp_path / "mark"))
    until(lambda: one.state == "open")
    assert one.counts.tries == 2
    assert one.counts.lost == 0  # it was never open


def test_waiting_outlasts_the_start_of_a_worker_that_hangs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "STARTUP_SECONDS", 1.0)
    monkeypatch.setattr(under_test, "END_SECONDS", 0.2)
    one = Supervisor("fake", "tests.devices.live.process.fake_worker", {"behave": "sleep"}, lambda message: None)
    one.start()
    assert one.wait().startswith("could not be opened within 1 s")
    one.close()


DEVICES: dict[str, Callable[[], Microphone | Speaker | Camera | Screen]] = {
    "mic": lambda: Microphone("default", MEDIA, Untouched("off")),
    "speaker": lambda: Speaker("default", MEDIA, Untouched("off")),
    "camera": lambda: Camera("pattern", MEDIA),
    "display": lambda: Screen("window", MEDIA, lambda key: None, lambda text: None),
}


@pytest.mark.parametrize("what", DEVICES)
def test_a_device_of_which_nothing_is_heard_is_not_open(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "STARTUP_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "END_SECONDS", 0.0)
    monkeypatch.setattr(Supervisor, "start", lambda self: None)
    device = DEVICES[what]()
    assert device.wait() == f"{what} did not open within 1 s"
    device.close()


def test_a_device_that_is_lost_as_soon_as_it_opens_is_left_alone_longer_and_longer(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "BACK_OFF_SECONDS", (0.0, 60.0))
    one = start("vanish")
    until(lambda: one.counts.lost == 2)
    time.sleep(2.0)
    assert one.counts.tries == 2
    monkeypatch.setattr(under_test, "STEADY_SECONDS", 0.0)  # from here on it was open for long each time
    one.reopen()
    until(lambda: one.counts.lost >= 5)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("behave", ["tick", "stubborn", "crash"])
def test_what_a_worker_started_ends_with_it(start: Start, behave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "END_SECONDS", 1.0)
    heard: list[Message] = []
    one = start(behave, heard.append, child=True)
    one.offer(20)
    one.close()
    children = [message.facts()["child"] for message in heard if message.kind == OPENED]
    assert children
    until(lambda: not any(running(child) for child in children), "they ended", 5.0)


def test_reopening_closes_and_opens(start: Start) -> None:
    one = start("tick")
    first = one.facts["pid"]
    one.reopen()
    until(lambda: one.counts.opened == 2 and one.state == "open")
    assert one.facts["pid"] != first
    until(lambda: not Path(f"/proc/{first}").exists())
    assert one.counts.lost == 0  # it was asked for


def test_closing_ends_the_process_even_where_it_hangs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "END_SECONDS", 0.2)
    one = start("stubborn")
    one.offer(20)
    pid = one.facts["pid"]
    one.close()
    one.close()
    assert one.state == "closed"
    assert not Path(f"/proc/{pid}").exists()


def test_many_restarts_leave_no_descriptors_and_no_threads(start: Start) -> None:
    one = start("tick")
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for count in range(2, 12):
        one.reopen()
        until(lambda count=count: one.counts.opened == count)  # type: ignore[misc]
    until(lambda: threading.active_count() <= before[1])
    assert len(os.listdir("/proc/self/fd")) <= before[0] + 1


OWNED = """
import numpy as np
from edge_streamer.devices.live.sound.resample import Resampler
from edge_streamer.devices.live.process.supervisor import Supervisor

class Owner:
    def __init__(self):
        self.resampler = Resampler(48000, 16000)
        options = {"behave": "idle", "daemon": True}
        self.supervisor = Supervisor("mic", "tests.devices.live.process.fake_worker", options, self.hear)
        self.supervisor.start()
        assert self.supervisor.wait() == ""

    def hear(self, message): ...

owner = Owner()
owner.supervisor.close()
"""


def test_nothing_of_the_owner_outlives_it(tmp_path: Path) -> None:
    """What a worker's library starts may hold its standard error for good, and so the thread that reads it. Where that
    thread held the owner, the end of the interpreter found a resampler alive, of which its library tells."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}
    with (tmp_path / "err").open("wb") as err:
        ran = subprocess.run([sys.executable, "-c", OWNED], stderr=err, env=environment, check=False, timeout=60)
    assert (ran.returncode, (tmp_path / "err").read_text()) == (0, "")
