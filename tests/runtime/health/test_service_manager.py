"""What systemd is told: ready with the first unit, fed while units go on, and stopping."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_streamer.runtime.health.service_manager import ServiceManager
from edge_streamer.runtime.health.vitals import Counts, Vitals


class Heard:
    """A socket that stands for systemd's."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def words(self) -> list[str]:
        found: list[str] = []
        while True:
            try:
                found += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return [word for word in found if not word.startswith("STATUS=")]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def heard(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Heard, dict[str, str]]]:
    named = str(tmp_path / "notify")
    address, name = (named, named) if request.param == "file" else (f"\0{named}", f"@{named}")
    listener = Heard(address)
    yield listener, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000000"}
    listener.close()


def units(vitals: Vitals, number: int) -> None:
    vitals.counted(lambda: Counts(units=number, answered=number))


def test_it_is_fed_only_where_units_go_on(heard: tuple[Heard, dict[str, str]]) -> None:
    listener, env = heard
    vitals = Vitals("live")
    manager = ServiceManager(vitals, env)
    manager.look()
    vitals.enter("running")
    manager.look()
    assert listener.words() == [], "opened, but no unit has passed"
    units(vitals, 1)
    manager.look()
    assert listener.words() == ["READY=1", "WATCHDOG=1"]
    manager.look()
    assert listener.words() == [], "the loop stands still"
    units(vitals, 2)
    manager.look()
    assert listener.words() == ["WATCHDOG=1"]
    vitals.enter("ending")
    manager.look()
    manager.look()
    assert listener.words() == ["STOPPING=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_run_tells_its_end(heard: tuple[Heard, dict[str, str]]) -> None:
    listener, env = heard
    with ServiceManager(Vitals("live"), env):
        pass
    assert listener.words() == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "relative", "@nobody-listens-there"])
def test_nobody_who_listens_is_no_fault(address: str) -> None:
    manager = ServiceManager(Vitals("live"), {"NOTIFY_SOCKET": address})
    with manager:
        manager.look()


def test_it_looks_four_times_within_a_short_watchdog() -> None:
    assert ServiceManager(Vitals("live"), {"WATCHDOG_USEC": "2000000"})._every == 0.5
    assert ServiceManager(Vitals("live"), {"WATCHDOG_USEC": "nonsense"})._every == 1.0
