"""The supervisor: a worker that ends, hangs or falls silent is named, counted and started again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.live import supervisor as under_test
from edge_streamer.devices.live.supervisor import Supervisor
from edge_streamer.devices.live.wire import OPENED, Message
from tests.devices.live.fake_worker import ECHO, TICK
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
            "fake", "tests.devices.live.fake_worker", {"behave": behave} | more, hear, silent_seconds=silent
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
