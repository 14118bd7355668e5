"""Microphone and speaker through PortAudio on a real sound server: every sample, in order, at its time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import Microphone
from edge_streamer.devices.live.sound.speaker import Speaker
from tests import waiting
from tests.media_files import MEDIA
from tests.pulse import RATE, Pulse, pulse_server_here
from tests.sounds import noise, offsets_of_tenths, place

pytest.importorskip("pyaudio", reason="needs the extra 'live'")

MODEL = MEDIA.hears.sample_rate
until = partial(waiting.until, patience=40.0)


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulse]:
    with pulse_server_here(tmp_path_factory.mktemp("pulse")) as server:
        yield server


def hear(microphone: Microphone, seconds: float) -> np.ndarray:
    """What it gives in that time, as the loop would read it."""
    parts, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        out = np.empty(microphone.available(), np.float32)
        microphone.read(out)
        parts.append(out)
        time.sleep(0.01)
    return np.concatenate(parts)


def test_what_is_played_in_the_room_is_heard_whole_and_in_time(pulse: Pulse) -> None:
    microphone = Microphone("default", MEDIA, Untouched("off"))
    try:
        assert microphone.wait() == ""
        assert microphone.state().open
        until(lambda: microphone.available() > 0)
        microphone.skip(microphone.available())
        begun = time.monotonic()
        player = pulse.play(noise(2.0, RATE))
        heard = hear(microphone, 4.0)
        player.wait()
        # As many samples as seconds passed, whatever the driver's blocks are.
        assert len(heard) / MODEL == pytest.approx(time.monotonic() - begun, abs=0.2)
        _, alike = place(heard, noise(2.0, MODEL))
        assert alike > 0.99
        captured = microphone.captured()
        assert captured is not None
        assert 0.0 < time.monotonic() - captured < 0.25
        assert sum(count for name, count in (microphone.state().counts or {}).items() if name != "overflows") == 0
    finally:
        microphone.close()


def speak(speaker: Speaker, samples: np.ndarray, unit: int = 2560) -> None:
    """Write in units, in real time, keeping 150 ms waiting."""
    for begin in range(0, len(samples), unit):
        until(lambda: speaker.waiting() < 0.15)
        speaker.write(samples[begin : begin + unit])


def test_what_is_said_is_at_the_speaker_sample_aligned(pulse: Pulse) -> None:
    speaker = Speaker("default", MEDIA, Untouched("off"))
    try:
        assert speaker.wait() == ""
        for _ in range(3):  # a server that rearranged its streams meanwhile may have slipped, which is its own affair
            with pulse.recording() as recording:
                speaker.write(np.zeros(MODEL // 10, np.float32))
                speak(speaker, noise(3.0, MODEL, 2))
                until(lambda: speaker.waiting() == 0.0)
                time.sleep(0.5)
                found = recording.samples
            _, alike = place(found, noise(3.0, RATE, 2)[: int(2.9 * RATE)])
            if alike > 0.99:
                break
        assert alike > 0.99  # one lost or doubled block anywhere would spoil it
        counts = speaker.state().counts or {}
        assert counts["underruns"] <= 3  # the ends
        assert counts["dropped_samples"] == 0
    finally:
        speaker.close()


def test_the_speaker_says_when_a_sample_is_heard(pulse: Pulse) -> None:
    """A click in the sound is found at the monitor when ``heard_at`` said."""
    speaker = Speaker("default", MEDIA, Untouched("off"))
    try:
        assert speaker.wait() == ""
        with pulse.recording() as recording:
            sound = np.zeros(MODEL, np.float32)
            sound[MODEL // 2 : MODEL // 2 + 160] = 0.8
            speak(speaker, np.concatenate((sound, np.zeros(MODEL, np.float32))))
            said = speaker.heard_at(MODEL // 2)
            until(lambda: speaker.waiting() == 0.0)
            recorded, now = recording.samples, time.monotonic()
        click = int(np.argmax(recorded > 0.4))
        assert recorded[click] > 0.4
        seen = now - (len(recorded) - click) / RATE
        # The recording program hands its sound out some 20 to 60 ms late, which makes a click seem later.
        assert -0.05 < seen - said < 0.12
    finally:
        speaker.close()


def test_a_server_that_crashes_is_found_again_and_the_counts_say_so(pulse: Pulse) -> None:
    microphone, speaker = Microphone("default", MEDIA, Untouched("off")), Speaker("default", MEDIA, Untouched("off"))
    try:
        assert microphone.wait() == speaker.wait() == ""
        pulse.stop()
        until(lambda: not microphone.state().open and not speaker.state().open)
        speaker.write(np.zeros(2560, np.float32))  # goes nowhere, and waits for nothing
        pulse.start()
        until(lambda: microphone.state().open and speaker.state().open)
        assert (microphone.state().reopened, microphone.state().lost) == (1, 1)
        assert (speaker.state().reopened, speaker.state().lost) == (1, 1)
        assert (speaker.state().counts or {})["dropped_samples"] >= 2560
        player = pulse.play(noise(1.0, RATE, 3))
        assert place(hear(microphone, 2.5), noise(1.0, MODEL, 3))[1] > 0.99
        player.wait()
    finally:
        microphone.close()
        speaker.close()


def test_one_direction_goes_on_when_the_other_is_lost(pulse: Pulse) -> None:
    microphone, speaker = Microphone("default", MEDIA, Untouched("off")), Speaker("default", MEDIA, Untouched("off"))
    try:
        assert microphone.wait() == speaker.wait() == ""
        until(lambda: microphone.available() > 0)
        pid = microphone._supervisor.pid
        assert pid is not None
        os.kill(pid, 9)
        with pulse.recording() as recording:
            speaker.write(np.zeros(MODEL // 10, np.float32))
            speak(speaker, noise(2.0, MODEL, 4))
            until(lambda: speaker.waiting() == 0.0)
            time.sleep(0.4)
            offsets, missing = offsets_of_tenths(recording.samples, noise(2.0, RATE, 4)[: int(1.9 * RATE)], RATE, 0.9)
        slips = np.diff(offsets)
        assert missing <= 1
        # Opening a stream makes the server rearrange the others, which may cost some tens of milliseconds once.
        assert np.count_nonzero(np.abs(slips) > 1) <= 1
        assert np.abs(slips).sum() < 0.1 * RATE
        until(lambda: microphone.state().open)
        assert microphone.state().lost == 1
        assert speaker.state().lost == 0
    finally:
        microphone.close()
        speaker.close()


@pytest.mark.parametrize("kind", [Microphone, Speaker])
def test_a_name_that_nobody_has_lists_those_that_exist(pulse: Pulse, kind: type[Microphone] | type[Speaker]) -> None:
    device = kind("Umbrella", MEDIA, Untouched("off"))
    try:
        why = device.wait()
        assert "is named 'Umbrella'; there are: " in why
        assert "'pulse'" in why
    finally:
        device.close()


def test_no_device_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "alsa.conf"
    empty.write_text("pcm.nothing { type null }\n")
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(empty))
    microphone = Microphone("default", MEDIA, Untouched("off"))
    try:
        why = microphone.wait()
        assert why == (
            "there is no microphone; plug one in, start the sound server, or use --mic none (a sound server is reached "
            "through the Debian package libasound2-plugins)"
        )
    finally:
        microphone.close()
