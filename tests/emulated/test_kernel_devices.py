"""Microphone, speaker and camera on the kernel's own drivers: an ALSA card (snd-aloop) and a V4L2 camera (vivid).

Run by ``.ci/real-devices`` in an emulated machine, as root; elsewhere it is skipped, because it takes drivers away from
whoever uses them. What is played on one side of the card is captured on its other side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.devices.files.picture import Letterbox
from edge_streamer.devices.live.camera.back_ends import Need, v4l2
from edge_streamer.devices.live.camera.camera import Camera
from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import Microphone
from edge_streamer.devices.live.sound.speaker import Speaker
from tests import waiting
from tests.media_files import MEDIA
from tests.sounds import noise, offsets_of_tenths

DRIVERS = {"sound": Path("/sys/bus/platform/drivers/snd_aloop"), "camera": Path("/sys/bus/platform/drivers/vivid")}
SPEAKER, MICROPHONE = "Loopback: PCM (hw:0,0)", "Loopback: PCM (hw:0,1)"
RATE = MEDIA.hears.sample_rate
PATIENCE = 120.0
"""Seconds. An emulated machine takes ten to start a worker."""
until = partial(waiting.until, patience=PATIENCE)

pytestmark = pytest.mark.skipif(
    os.environ.get("EDGE_STREAMER_EMULATED") != "1", reason="takes drivers away; .ci/real-devices emulates a machine"
)


@contextmanager
def unplugged(kind: str) -> Iterator[None]:
    """As if the cable were pulled, and put back at the end."""
    driver = DRIVERS[kind]
    device = next(path.name for path in driver.iterdir() if path.name.startswith(("snd_aloop.", "vivid.")))
    # Taking a driver away waits until its last user has gone, which is what is tested: it must not wait for us.
    pulling = subprocess.Popen(["sh", "-c", f"echo {device} > {driver}/unbind"])
    try:
        yield
    finally:
        assert pulling.wait(PATIENCE) == 0
        (driver / "bind").write_text(device)


@pytest.fixture
def microphone() -> Iterator[Microphone]:
    opened = Microphone(MICROPHONE, MEDIA, Untouched("off"))
    assert opened.wait() == ""
    yield opened
    opened.close()


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    opened = Speaker(SPEAKER, MEDIA, Untouched("off"))
    assert opened.wait() == ""
    yield opened
    opened.close()


def play_and_hear(speaker: Speaker, microphone: Microphone, sound: np.ndarray) -> np.ndarray:
    """Write ``sound`` in units, keeping more than half a second waiting, and read whatever the microphone has."""
    heard, written = list[np.ndarray](), 0
    speaker.write(np.zeros(RATE // 2, np.float32))
    ends = time.monotonic() + len(sound) / RATE + 3.0
    while time.monotonic() < ends:
        if written < len(sound) and speaker.waiting() < 0.6:
            speaker.write(sound[written : written + 2560])
            written += 2560
        out = np.empty(microphone.available(), np.float32)
        microphone.read(out)
        heard.append(out)
        time.sleep(0.01)
    return np.concatenate(heard)


def driver_faults(speaker: Speaker, microphone: Microphone) -> int:
    """What both drivers have counted so far, and how often either was lost."""
    out, into = speaker.state(), microphone.state()
    return (out.counts or {})["driver_flags"] + (into.counts or {})["overflows"] + out.lost + into.lost


def play_and_hear_undisturbed(speaker: Speaker, microphone: Microphone, sound: np.ndarray) -> np.ndarray:
    """As :func:`play_and_hear`, again where a driver counted a fault meanwhile: an emulated machine that has just
    started two workers overflows. What is lost without being counted stays lost, and is for the caller to see."""
    for _ in range(4):
        until(lambda: microphone.available() > 0, "a sample came")
        microphone.skip(microphone.available())
        before = driver_faults(speaker, microphone)
        heard = play_and_hear(speaker, microphone, sound)
        if driver_faults(speaker, microphone) == before:
            return heard
    raise AssertionError(f"no try without a driver's fault: {speaker.state()}, {microphone.state()}")


def assert_whole(heard: np.ndarray, wanted: np.ndarray) -> None:
    """Every tenth of a second of ``wanted`` is there, at one distance from the one before."""
    offsets, missing = offsets_of_tenths(heard, wanted, RATE, 0.98)
    assert missing <= 2  # an emulated machine may stumble once as it begins
    assert np.count_nonzero(np.abs(np.diff(offsets)) > 1) <= 1, offsets


def test_what_the_speaker_plays_the_microphone_hears_sample_by_sample(speaker: Speaker, microphone: Microphone) -> None:
    until(lambda: microphone.available() > 0, "a sample came")
    microphone.skip(microphone.available())
    lost = (microphone.state().counts or {})["samples_lost"]  # nobody read while the speaker was opened
    heard = play_and_hear_undisturbed(speaker, microphone, noise(3.0, RATE, 5))
    speaker_state, microphone_state = speaker.state(), microphone.state()  # from here on nobody reads
    print(speaker_state, microphone_state)
    assert_whole(heard, noise(3.0, RATE, 5))
    assert (speaker_state.counts or {})["dropped_samples"] == 0
    assert (microphone_state.counts or {})["samples_lost"] == lost


def test_a_rate_that_the_card_does_not_have_now_is_not_asked_for() -> None:
    """Its other side runs at 32 kHz, so ours must too."""
    holder = subprocess.Popen(
        ["aplay", "-q", "-D", "hw:Loopback,0", "-f", "S16_LE", "-r", "32000", "-c", "2", "/dev/zero"],
        stdin=subprocess.DEVNULL,
    )
    try:
        time.sleep(2.0)
        microphone = Microphone(MICROPHONE, MEDIA, Untouched("off"))
        try:
            assert microphone.wait() == ""
            assert "32000 Hz" in microphone.state().name
            until(lambda: microphone.available() > RATE // 2, "half a second came")
        finally:
            microphone.close()
    finally:
        holder.kill()
        holder.wait()


def test_a_card_in_use_is_one_clear_line(speaker: Speaker) -> None:
    second = Speaker(SPEAKER, MEDIA, Untouched("off"))
    try:
        assert "PortAudio does not list what another program has opened" in second.wait()
    finally:
        second.close()
    assert speaker.state().open


def test_an_unplugged_card_is_lost_and_found_again(speaker: Speaker, microphone: Microphone) -> None:
    until(lambda: microphone.available() > 0, "a sample came")
    with unplugged("sound"):
        until(lambda: not microphone.state().open and not speaker.state().open, "both were lost")
        speaker.write(np.zeros(2560, np.float32))  # goes nowhere, and waits for nothing
    until(lambda: microphone.state().open and speaker.state().open, "both came back")
    assert microphone.state().lost >= 1
    assert speaker.state().lost >= 1
    heard = play_and_hear_undisturbed(speaker, microphone, noise(2.0, RATE, 6))
    assert_whole(heard, noise(2.0, RATE, 6))


def test_a_camera_by_part_of_its_name_gives_pictures_of_now() -> None:
    camera = Camera("vivid", MEDIA)
    out = np.zeros((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8)
    try:
        assert camera.wait() == ""
        until(lambda: camera.read(out, time.monotonic()) is not None, "a picture came")
        time.sleep(2.0)
        age = camera.read(out, time.monotonic())
        assert age is not None
        assert age < 1.0
        print(camera.state(), age)
        assert (out[0] != out[-1]).any()  # vivid writes the time into its pictures
        with unplugged("camera"):
            until(lambda: not camera.state().open, "it was lost")
            assert camera.read(out, time.monotonic()) is not None  # the last picture stays
        until(lambda: camera.state().open, "it came back")
        until(lambda: (camera.read(out, time.monotonic()) or 9.0) < 1.0, "a fresh picture came")
    finally:
        camera.close()


@pytest.mark.parametrize("pixels", ["yuyv422", "nv12"])
def test_colours_are_right_in_every_pixel_format(pixels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """vivid shows bars: white, yellow, cyan, green, magenta, red, blue, black."""
    monkeypatch.setattr(v4l2, "FORMATS", (pixels,))
    path = next(Path("/sys/class/video4linux").glob("video*")).name
    source = v4l2.open_source(f"/dev/{path}", Need(48, 80, 25))
    try:
        assert source.facts["format"] == pixels
        frames = source.frames()
        for _ in range(3):
            seconds, frame = next(frames)
        assert 0.0 <= time.monotonic() - seconds < 2.0
        picture = Letterbox((48, 80))(frame).astype(int)
    finally:
        source.close()
    row = picture[-4]  # 16:9 in 48 x 80 fills all but a line or two, and the writing ends above
    bars = [row[5 + 10 * index] > 95 for index in range(8)]
    wanted = ["111", "110", "011", "010", "101", "100", "001", "000"]
    assert ["".join(str(int(value)) for value in bar) for bar in bars] == wanted


def test_the_list_names_them() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "edge_streamer", "devices", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(ran.stdout)["rows"]
    names = {(row["kind"], row["name"]) for row in rows}
    assert {("speaker", SPEAKER), ("mic", MICROPHONE)} <= names
    assert any(kind == "camera" and name.startswith("vivid") for kind, name in names)
    assert not any("upmix" in name or "surround" in name for _, name in names)  # ALSA's converters are no devices


def test_a_conversation_on_the_kernels_devices(tmp_path: Path, tiny_bundle: Path) -> None:
    """`run` from card and camera; far from real time here, so the ladder and the skipping are at work too. The
    tiny bundle: a step of the demo takes half a minute here, as long as the watchdog waits for one that hangs."""
    command = [
        sys.executable, "-m", "edge_streamer", "run", str(tiny_bundle), "--mic", MICROPHONE, "--speaker",
        SPEAKER, "--camera", "vivid", "--display", "none", "--aec", "off", "--seconds", "6", "--record",
        str(tmp_path / "record"), "--json", str(tmp_path / "report.json"),
    ]  # fmt: skip
    # The card may be taken with two channels, of which no packet holds the 100 ms that the other tests have.
    environment = {**os.environ, "EDGE_STREAMER_SOUND_BLOCK_MS": "80"}
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
    )
    print(ran.stdout[-3000:], ran.stderr[-3000:])
    assert ran.returncode == 0
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["answered"] >= 1
    assert report["failed"] == 0
    assert report["answered"] + report["skipped"] == report["units"]
    assert report["devices"]["camera"]["pictures"] > 10
    with suppress(KeyError):
        print(json.dumps(report["mouth_to_ear_ms"]))
