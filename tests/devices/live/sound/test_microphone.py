"""The microphone's own books: samples that were lost do not move the time of those that were not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_streamer.devices.live.process.wire import OPENED, Message
from edge_streamer.devices.live.sound import microphone as under_test
from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import AT_ONCE_SECONDS, RING_SECONDS, Microphone
from edge_streamer.devices.live.sound.worker import BLOCK
from edge_streamer.runtime.loop.media import Samples
from tests.media_files import MEDIA

DEVICE_RATE = 48000
BLOCK_SAMPLES = DEVICE_RATE // 100


class NoSupervisor:
    """No process: the test tells what it would have told."""

    def __init__(self, *unused: Any, **unused_too: Any) -> None: ...
    def start(self) -> None: ...


class Told:
    """A microphone that hears what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(under_test, "Supervisor", NoSupervisor)
        self.microphone, self.blocks = Microphone("x", MEDIA, Untouched("off")), 0
        self._say(OPENED, payload=json.dumps({"rate": DEVICE_RATE, "channels": 1}).encode())

    def _say(self, kind: int, **parts: Any) -> None:
        whole = {"time_ns": 0, "one": 0, "two": 0, "payload": b""} | parts
        self.microphone._hear(Message(kind, **whole))

    def hear(self, seconds: float, refused: bool = False) -> None:
        """The next ``seconds`` of the device, which began at 100 s; ``refused`` by the socket."""
        for _ in range(round(seconds * 100)):
            time_ns, position = 100_000_000_000 + self.blocks * 10_000_000, self.blocks * BLOCK_SAMPLES
            self.blocks += 1
            if not refused:
                sound = np.full(BLOCK_SAMPLES, 0.1, "<f4").tobytes()
                self._say(BLOCK, time_ns=time_ns, one=position, payload=sound)

    @property
    def now(self) -> float:
        return 100 + self.blocks / 100


def follow(told: Told, seconds: float) -> None:
    """As the loop does: look ten times a second, and take what is there."""
    for _ in range(round(seconds * 10)):
        told.hear(0.1)
        told.microphone.skip(told.microphone.available())


def test_what_piled_up_is_cleaned_in_pieces_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A canceller needs memory for each sample that it gets at once."""
    told, lengths = Told(monkeypatch), []
    clean = told.microphone._echo.clean

    def noted(near: Samples, time: float) -> Samples:
        lengths.append((len(near), time))
        return clean(near, time)

    told.microphone._echo.clean = noted  # type: ignore[method-assign]
    told.hear(RING_SECONDS - 0.5)
    assert told.microphone.available() == pytest.approx((RING_SECONDS - 0.5) * MEDIA.hears.sample_rate, rel=0.01)
    assert max(length for length, _ in lengths) <= (AT_ONCE_SECONDS + 0.02) * MEDIA.hears.sample_rate
    begins = np.array([time for _, time in lengths])
    ends = begins + np.array([length for length, _ in lengths]) / MEDIA.hears.sample_rate
    np.testing.assert_allclose(begins[1:], ends[:-1], atol=1e-3)


@pytest.mark.parametrize("away", [RING_SECONDS - 1, RING_SECONDS + 4, 3 * RING_SECONDS])
def test_a_loop_that_was_away_for_long_knows_the_time_again(monkeypatch: pytest.MonkeyPatch, away: float) -> None:
    told = Told(monkeypatch)
    follow(told, 2.0)
    told.hear(away)
    follow(told, 1.0)
    captured = told.microphone.captured()
    assert captured == pytest.approx(told.now, abs=0.05)
    lost = told.microphone._counts()["samples_lost"]
    assert (lost > 0) == (away > RING_SECONDS)


def test_blocks_that_the_socket_refused_do_not_move_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    follow(told, 2.0)
    for _ in range(40):  # more places than are remembered
        told.hear(0.1, refused=True)
        follow(told, 0.2)
    assert told.microphone.captured() == pytest.approx(told.now, abs=0.05)
