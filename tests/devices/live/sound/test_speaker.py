"""The speaker's own books: when what is written will be heard, while the device plays and while it stands still."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_streamer.devices.live.process.wire import OPENED, Message
from edge_streamer.devices.live.sound import speaker as under_test
from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.speaker import STANDSTILL_SECONDS, Speaker
from edge_streamer.devices.live.sound.worker import PLAYED, PlayedHead
from edge_streamer.runtime.timing import FakeClock
from tests.media_files import MEDIA

DEVICE_RATE = 48000
BLOCK = DEVICE_RATE // 100
LATENCY = 0.02
UNIT = MEDIA.hears.unit_samples
UNIT_SECONDS = UNIT / MEDIA.hears.sample_rate


class TakesAll:
    """No process: takes everything, and stands as the test says."""

    def __init__(self, *unused: Any, **unused_too: Any) -> None:
        self.state, self.error, self.facts = "open", "", {"name": "x", "rate": DEVICE_RATE, "channels": 1}
        self.counts = SimpleNamespace(opened=1, lost=0)

    def start(self) -> None: ...

    def offer(self, kind: int, payload: bytes) -> bool:
        return True


class Told:
    """A speaker that plays when the test says so, in blocks of 10 ms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(under_test, "Supervisor", TakesAll)
        self.clock = FakeClock(100.0)
        self.speaker = Speaker("x", MEDIA, Untouched("off"), self.clock)
        self.blocks = self.real = 0
        facts = json.dumps({"rate": DEVICE_RATE, "channels": 1, "latency": LATENCY}).encode()
        self._say(OPENED, payload=facts)

    def _say(self, kind: int, **parts: Any) -> None:
        whole = {"time_ns": 0, "one": 0, "two": 0, "payload": b""} | parts
        self.speaker._hear(Message(kind, **whole))

    def play(self, seconds: float, takes: bool = True) -> None:
        """Callbacks for so long; they find our samples, or nothing."""
        for _ in range(round(seconds * 100)):
            self.real += BLOCK if takes else 0
            now = self.clock.now()
            head = PlayedHead(self.real, 0, 0, int(1e9 * now), 0)
            block = np.zeros(BLOCK, "<f4").tobytes()
            self._say(PLAYED, time_ns=int(1e9 * (now + LATENCY)), one=self.blocks * BLOCK, payload=head.pack() + block)
            self.blocks += 1
            self.clock.advance(0.01)

    def write(self) -> float:
        """One unit; how long after now its first sample is heard."""
        position = self.speaker._position
        self.speaker.write(np.zeros(UNIT, np.float32))
        return self.speaker.heard_at(position) - self.clock.now()


def test_what_is_written_is_heard_after_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.play(0.1, takes=False)
    assert told.write() == pytest.approx(LATENCY, abs=0.002)
    assert told.write() == pytest.approx(UNIT_SECONDS + LATENCY, abs=0.002)
    told.play(0.1)
    assert told.write() == pytest.approx(2 * UNIT_SECONDS - 0.1 + LATENCY, abs=0.002)


def test_a_speaker_that_was_not_called_yet_is_heard_after_what_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    assert told.write() == pytest.approx(LATENCY)
    assert told.write() == pytest.approx(UNIT_SECONDS + LATENCY)


def test_nothing_is_heard_in_the_past_where_the_device_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a sound server's start: it takes a block, and then none for a second."""
    told = Told(monkeypatch)
    told.play(0.02, takes=False)
    told.clock.advance(1.0)
    assert told.write() == pytest.approx(LATENCY)
    told.clock.advance(0.5)
    assert told.write() == pytest.approx(UNIT_SECONDS + LATENCY), "what waited still waits"
    assert told.speaker.waiting() == pytest.approx(2 * UNIT_SECONDS, abs=0.02), "but for what the resampler holds"


def test_what_waits_in_a_device_that_stands_still_goes_on_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.play(0.02, takes=False)
    for _ in range(4):
        told.write()
    told.play(0.1)
    told.clock.advance(STANDSTILL_SECONDS)
    waiting = told.speaker.waiting()
    told.clock.advance(1.0)
    assert told.speaker.waiting() == pytest.approx(waiting)
    assert waiting > 0.2


def test_where_nothing_is_open_it_is_heard_now(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    told.play(0.1, takes=False)
    told.write()
    told.speaker._supervisor.state = "lost"
    told.clock.advance(2.0)
    assert told.write() == 0.0
