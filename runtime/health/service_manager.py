"""Tells systemd how a run stands: ready, alive while units go on, and what a person would want to read.

Receives vitals and the environment; hands on :class:`ServiceManager`, a context around a whole run, which sends
datagrams to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)) from a thread of its own. Without that variable it
does nothing.

Choices: ready is a run whose first unit has passed, so that whoever waits for it waits for a conversation. The watchdog
is fed only where a unit has passed since it was fed last: a loop that stands still, or a process that was stopped, is
not alive, whatever its threads do. While a run ends it is fed all the same: films are completed then, and systemd has a
limit of its own for that.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress

from edge_streamer.runtime.ending import last_words
from edge_streamer.runtime.health.record import Health
from edge_streamer.runtime.health.vitals import Vitals

LOOK_SECONDS = 1.0
STATUS_LOOKS = 5
"""Looks between two words of status, which systemd keeps."""


class ServiceManager:
    """A context. ``env`` is the process's environment."""

    def __init__(self, vitals: Vitals, env: Mapping[str, str] = os.environ) -> None:
        self._vitals, self._address = vitals, _address(env.get("NOTIFY_SOCKET", ""))
        self._every = _interval(env)
        self._units, self._looks = 0, 0
        self._ready = self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="service manager", daemon=True)

    def __enter__(self) -> ServiceManager:
        if self._address:
            self._words = last_words(self._end)
            self._words.__enter__()
            self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._address:
            self._words.__exit__(None, None, None)
            self._ended.set()
            self._thread.join()
            self._end(self._vitals.look().why or "")

    def look(self) -> None:
        """Tell what is due now. Called by the thread, once a second or more often."""
        health = self._vitals.look()
        words = []
        if health.state == "running" and health.units > 0 and not self._ready:
            self._ready = True
            words.append("READY=1")
        if health.state in ("ending", "stopped"):
            if not self._stopping:
                self._stopping = True
                words.append("STOPPING=1")
            words.append("WATCHDOG=1")
        elif health.units != self._units:
            self._units = health.units
            words.append("WATCHDOG=1")
        if words[:1] in (["READY=1"], ["STOPPING=1"]) or self._looks % STATUS_LOOKS == 0:
            words.append(f"STATUS={status(health)}")
        self._looks += 1
        if words:
            self._send(words)

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self.look()

    def _end(self, why: str) -> None:
        """Also from the thread that ends the process."""
        self._send(["STOPPING=1", f"STATUS={why}"])

    def _send(self, words: list[str]) -> None:
        """Never waits, and never fails a run: a manager that does not listen starts it again."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(" ".join(word.split()) for word in words).encode(), self._address)


def status(health: Health) -> str:
    """One line for ``systemctl status``."""
    if health.state in ("opening", "warming up"):
        return f"{health.state} {health.at or ''}".strip()
    parts = [f"{health.state}, {health.answered} of {health.units} units answered"]
    if health.recent.p99_ms is not None:
        parts.append(f"p99 {health.recent.p99_ms:.0f} ms")
    parts.append(f"{health.deadline_misses} late")
    parts += [f"{kind} not open" for kind, device in health.devices.items() if not device.open]
    return ", ".join(parts)


def _address(name: str) -> str:
    """Of the socket; empty where there is none. A name that begins with @ lies in no folder."""
    return f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else ""


def _interval(env: Mapping[str, str]) -> float:
    """Seconds between looks: a quarter of the watchdog's, where it is short."""
    with suppress(ValueError):
        limit = int(env.get("WATCHDOG_USEC", "0")) / 1e6
        if limit > 0:
            return min(limit / 4, LOOK_SECONDS)
    return LOOK_SECONDS
