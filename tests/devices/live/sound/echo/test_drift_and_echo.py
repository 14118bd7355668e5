"""The echo goes in rooms of every kind, whatever the devices' clocks do and their drivers say of them.

What is wanted everywhere: 20 dB of echo return loss, at the latest two seconds after the agent's first word; and words
that are said over the agent's voice stay: at most 6 dB of their energy goes, in the mean, where the echo is no louder
than they are. The agent is silent for the first three seconds, as it is. ``tests/bench/echo.py`` prints all figures.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from edge_streamer.devices.live.sound.echo.canceller import open_echo
from tests.rooms import Devices, EchoRoom, Heard, agent_speech, converse, user_words

pytest.importorskip("pywebrtc_audio", reason="pywebrtc-audio is not installed")

RATE = 16000
SECONDS, SILENT_SECONDS = 15.0, 3.0
WORDS = ("weather", "story", "number", "music")
STARTS = (8.2, 9.9, 11.6, 13.3)
WANTED_DB = 20.0
CONVERGENCE_SECONDS = 2.0

ROOMS = {
    "near": EchoRoom(delay_ms=5, reverb_ms=100),
    "far": EchoRoom(delay_ms=200, reverb_ms=300, echo_db=-12),
    "loud": EchoRoom(delay_ms=30, reverb_ms=200, echo_db=6),
    "clipping": EchoRoom(drive=3.0),
    "noisy": EchoRoom(echo_db=0, noise_db=-50),
}
DEVICES = {
    "drift": Devices(speaker_ppm=300, microphone_ppm=-300),
    "drift back": Devices(speaker_ppm=-300, microphone_ppm=300, speaker_rate=44100),
    "jitter": Devices(jitter=0.005),
    "all": Devices(speaker_ppm=300, microphone_ppm=-300, jitter=0.003, microphone_block=0.0213, speaker_block=0.02),
    "told too much": Devices(told_less=-0.1),
    "told too little": Devices(told_less=0.1, speaker_seconds=0.15),
    "slow": Devices(speaker_seconds=0.3, microphone_seconds=0.1),
    "units": Devices(microphone_block=0.16),
}


@cache
def heard_in(room: EchoRoom, devices: Devices) -> Heard:
    voice, _ = user_words(SECONDS, RATE, WORDS, STARTS)
    far = agent_speech(SECONDS, devices.speaker_rate, 0.15, after=SILENT_SECONDS)
    return converse(open_echo("full", RATE), far, voice, room, devices)


def check(heard: Heard, kept_db: float = -6.0) -> None:
    _, spans = user_words(SECONDS, RATE, WORDS, STARTS)
    assert heard.converged(WANTED_DB) < CONVERGENCE_SECONDS
    assert heard.loss_db(SILENT_SECONDS + CONVERGENCE_SECONDS, SECONDS) > WANTED_DB
    assert np.mean([heard.voice_db(*span) for span in spans]) > kept_db


@pytest.mark.parametrize("room", ROOMS)
def test_every_room(room: str) -> None:
    check(heard_in(ROOMS[room], Devices()), -14.0 if room == "loud" else -6.0)


@pytest.mark.parametrize("devices", DEVICES)
def test_every_kind_of_devices(devices: str) -> None:
    check(heard_in(EchoRoom(), DEVICES[devices]))


def test_the_worst_together() -> None:
    """Wrong latency, the longest way, drift and jitter: the echo comes 420 ms after its reference."""
    devices = Devices(told_less=0.1, speaker_seconds=0.3, speaker_ppm=300, microphone_ppm=-300, jitter=0.002)
    heard = heard_in(EchoRoom(delay_ms=200), devices)
    assert heard.loss_db(7, SECONDS) > WANTED_DB


def test_without_following_the_clocks_it_would_fail() -> None:
    """The same devices, with times that somebody made up from the number of samples: the proof can fail."""

    class Counted:
        """Tells the canceller the times that perfect clocks would give."""

        def __init__(self) -> None:
            self.echo = open_echo("full", RATE)
            self.latency, self._played, self._captured = self.echo.latency, 0, 0

        def played(self, time: float, samples: np.ndarray, rate: int) -> None:
            self.echo.played(50 + self._played / rate, samples, rate)
            self._played += len(samples)

        def clean(self, near: np.ndarray, time: float) -> np.ndarray:
            self._captured += len(near)
            return self.echo.clean(near, 50 + (self._captured - len(near)) / RATE)

    voice = np.zeros(round(40 * RATE), np.float32)
    far = agent_speech(40.0, 48000, 0.15)
    devices = Devices(speaker_ppm=300, microphone_ppm=-300)
    losses = [
        converse(echo, far, voice, EchoRoom(), devices).loss_db(5, 40) for echo in (Counted(), open_echo("full", RATE))
    ]
    assert losses[1] > losses[0] + 3.0
