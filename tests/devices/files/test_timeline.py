"""One clock for sound and picture: gaps, leaps and lost packets keep both where they belong."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.even_sound import EvenSound
from edge_streamer.devices.files.timeline import LONGEST_PAUSE, Timeline
from edge_streamer.devices.files.video_file import VideoFile
from tests.media_files import MEDIA, grey, write_sound

RATE = MEDIA.hears.sample_rate

SECONDS, CHANGE = 3, 2
"""Made-up films: silence and a dark picture, then a tone and a bright one from second ``CHANGE`` on."""

Edit = Callable[[str, float], float | None]
"""(kind, second) to how far a packet's time is moved; None: it is not there."""


def film(
    path: Path,
    edit: Edit = lambda kind, second: 0.0,
    *,
    sound: str = "aac",
    picture: str | None = "libx264",
    **make: Any,
) -> Path:
    """A film of ``SECONDS`` whose packets are moved as ``edit`` says, in the order of their true times."""
    with av.open(str(path), "w", **make) as container:
        packets = []
        if picture:
            video: Any = container.add_stream(picture, rate=25, options={"bf": "0"} if picture == "libx264" else {})
            video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p" if picture == "mjpeg" else "yuv420p"
            for index in range(25 * SECONDS):
                frame = av.VideoFrame.from_ndarray(grey(40 if index < 25 * CHANGE else 200, 48, 64), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                packets += video.encode(frame)
            packets += video.encode(None)
        if sound:
            audio: Any = container.add_stream(sound, rate=48000, layout="mono")
            audio.codec_context.open()
            size, form = audio.codec_context.frame_size or 960, audio.codec_context.format.name
            times = np.arange(48000 * SECONDS) / 48000
            tone = np.where(times >= CHANGE, 0.5 * np.sin(2 * np.pi * 440 * times), 0.0).astype(np.float32)
            for first in range(0, len(tone) - size + 1, size):
                part = tone[None, first : first + size]
                part = (part * 32767).astype(np.int16) if form.startswith("s16") else part
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format=form, layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
                packets += audio.encode(frame)
            packets += audio.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            moved = edit(packet.stream.type, float(packet.pts * packet.time_base))
            if moved is not None:
                packet.pts += round(moved / packet.time_base)
                packet.dts += round(moved / packet.time_base)
                container.mux(packet)
    return path


def heard(path: Path, channel: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Samples and figures of the sound of ``path``."""
    microphone = AudioFile(path, MEDIA, channel)
    units, out = [], np.empty(MEDIA.hears.unit_samples, np.float32)
    while microphone.read(out):
        units.append(out.copy())
    figures = microphone.figures()
    microphone.close()
    return np.concatenate(units), figures


def tone_begins(samples: np.ndarray, after: float = 0.0) -> float:
    """The second at which it gets loud."""
    begin = round(after * RATE)
    return (begin + int(np.argmax(np.abs(samples[begin:]) > 0.1))) / RATE


def bright_from(path: Path, seconds: float = SECONDS) -> tuple[float, dict[str, Any]]:
    """The second of the first bright picture, and figures."""
    camera = VideoFile(path, MEDIA)
    out = np.empty((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8)
    levels = []
    for _ in range(round(seconds / MEDIA.unit_seconds)):
        camera.read(out)
        levels += [int(picture[24, 40, 0]) for picture in out]
    figures = camera.figures()
    camera.close()
    return int(np.argmax(np.array(levels) > 120)) / MEDIA.sees.frame_rate, figures


@pytest.mark.parametrize(
    ("name", "sound", "picture", "make"),
    [("gap.mkv", "libopus", "libx264", {}), ("gap.webm", "libopus", None, {}), ("gap.mp4", "aac", "libx264", {}),
     ("gap.ts", "aac", "libx264", {"format": "mpegts"}), ("pcm.mkv", "pcm_s16le", "mjpeg", {})],
)  # fmt: skip
def test_sound_that_pauses_is_silent_for_so_long(
    tmp_path: Path, name: str, sound: str, picture: str | None, make: dict[str, str]
) -> None:
    def pause(kind: str, second: float) -> float | None:
        return None if kind == "audio" and 0.5 <= second < 1.5 else 0.0

    path = film(tmp_path / name, pause, sound=sound, picture=picture, **make)
    samples, figures = heard(path)
    assert tone_begins(samples) == pytest.approx(CHANGE, abs=0.03)
    assert figures["filled_seconds"] == pytest.approx(1.0, abs=0.03)
    assert figures["gaps"] == 1
    if picture:
        assert bright_from(path)[0] == pytest.approx(CHANGE, abs=0.05)


def test_one_lost_packet_is_silence_of_its_length(tmp_path: Path) -> None:
    path = film(tmp_path / "whole.ts", sound="aac", format="mpegts")
    whole, _ = heard(path)
    data, lost, seen = path.read_bytes(), b"", 0
    for place in range(0, len(data), 188):
        packet = data[place : place + 188]
        seen += (packet[1] & 31) << 8 | packet[2] == 257
        lost += b"" if seen == 20 and (packet[1] & 31) << 8 | packet[2] == 257 else packet
    path.write_bytes(lost)
    samples, figures = heard(path)
    assert len(samples) == len(whole)
    assert 0.02 < figures["filled_seconds"] + 0.01 * figures["lost_packets"] < 0.5
    assert tone_begins(samples) == pytest.approx(tone_begins(whole), abs=0.002)
    assert bright_from(path)[0] == pytest.approx(CHANGE, abs=0.05)


@pytest.mark.parametrize("leaps", ["audio video", "audio", "video"])
@pytest.mark.parametrize(("name", "make"), [("leap.mkv", {}), ("leap.ts", {"format": "mpegts"}), ("leap.mp4", {})])
def test_a_clock_that_leaps_an_hour_is_joined(tmp_path: Path, leaps: str, name: str, make: dict[str, str]) -> None:
    path = film(tmp_path / name, lambda kind, second: 3600.0 if second >= 1 and kind in leaps else 0.0, **make)
    samples, sound = heard(path)
    bright, pictures = bright_from(path)
    assert tone_begins(samples) == pytest.approx(CHANGE, abs=0.03)
    assert len(samples) / RATE == pytest.approx(SECONDS, abs=0.17)
    assert bright == pytest.approx(CHANGE, abs=0.05)
    assert (sound["joins"], pictures["joins"]) == ("audio" in leaps, "video" in leaps)
    assert sound["filled_seconds"] == 0


def test_recordings_that_were_put_one_behind_the_other(tmp_path: Path) -> None:
    path = film(tmp_path / "one.ts", format="mpegts")
    path.write_bytes(path.read_bytes() * 2)
    samples, sound = heard(path)
    assert sound["joins"] == 1
    second = tone_begins(samples, SECONDS + 0.2)
    assert second == pytest.approx(SECONDS + CHANGE, abs=0.1)
    # Bright from 2 to 3 s, then dark, then bright with the tone.
    camera = VideoFile(path, MEDIA)
    out = np.empty((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8)
    levels = []
    for _ in range(38):
        camera.read(out)
        levels += [int(picture[24, 40, 0]) for picture in out]
    again = SECONDS + 0.2 + int(np.argmax(np.array(levels[80:]) > 120)) / 25
    assert again == pytest.approx(second, abs=0.06)


def test_an_avi_s_empty_chunks_are_time(tmp_path: Path) -> None:
    path = film(
        tmp_path / "null.avi", lambda kind, second: None if 0.5 <= second < 1.5 else 0.0, sound="", picture="mjpeg"
    )
    assert bright_from(path)[0] == CHANGE


def test_sound_that_starts_far_below_zero(tmp_path: Path) -> None:
    path = film(
        tmp_path / "early.mkv", lambda kind, second: -1.5 if kind == "audio" else 0.0,
        container_options={"avoid_negative_ts": "disabled"},
    )  # fmt: skip
    late = bright_from(path, SECONDS + 2)[0] - tone_begins(heard(path)[0])
    assert late == pytest.approx(1.5, abs=0.08)


@pytest.mark.parametrize("jitter", [0.0005, 0.005, 0.03])
def test_unsteady_times_neither_insert_nor_drop(jitter: float) -> None:
    chance = random.Random(1)
    times = [0.02 * index + (chance.uniform(-jitter, jitter) if index else 0) for index in range(500)]
    even = EvenSound(_stream(times))
    assert sum(block.samples.shape[1] for block in even) == 500 * 320
    assert (even.filled, even.dropped, even.gaps) == (0, 0, 0)


def test_times_of_arrival_come_in_bursts() -> None:
    even = EvenSound(_stream([0.2 * (index // 10) for index in range(500)]))
    assert sum(block.samples.shape[1] for block in even) == 500 * 320


def test_every_lost_packet_is_filled_where_it_was() -> None:
    times = [0.02 * index for index in range(500) if index not in (100, 101, 300)]
    even = EvenSound(_stream(times))
    blocks = [block.samples[0] for block in even]
    silent = [index for index, value in enumerate(np.concatenate(blocks)) if value == 0]
    assert silent == [*range(32000, 32640), *range(96000, 96320)]
    assert (even.gaps, round(even.filled, 6)) == (2, 0.06)


def test_sound_that_lies_over_what_was_before_is_left_out() -> None:
    times = [0.02 * index - (0.1 if index >= 200 else 0) for index in range(500)]
    even = EvenSound(_stream(times))
    assert sum(block.samples.shape[1] for block in even) == 500 * 320 - 1600
    assert even.dropped == pytest.approx(0.1)


def test_times_that_stand_still_are_not_believed() -> None:
    even = EvenSound(_stream([0.0] * 500))
    assert sum(block.samples.shape[1] for block in even) == 500 * 320


def test_a_pause_of_hours_is_silence_where_the_film_goes_on() -> None:
    pictures = [_packet("video", 0.5 * index) for index in range(20000)]
    sound = [_packet("audio", 0.5 * index) for index in range(20000) if not 100 <= index < 15000]
    packets = sorted(pictures + sound, key=lambda packet: float(packet.pts * packet.time_base))
    before = [packet.pts for packet in packets]
    timeline = Timeline()
    assert [packet.pts for packet in timeline.packets(iter(packets))] == before
    assert (timeline.joins(0), timeline.joins(1)) == (0, 0)


@pytest.mark.parametrize(("pause", "joined"), [(LONGEST_PAUSE / 2, False), (LONGEST_PAUSE * 2, True)])
def test_a_pause_of_everything_is_believed_up_to_a_length(pause: float, joined: bool) -> None:
    packets = [_packet(kind, 0.02 * k + (pause if k >= 200 else 0)) for k in range(500) for kind in ("video", "audio")]
    timeline = Timeline()
    last = float(list(timeline.packets(iter(packets)))[-1].pts / 1000)
    assert last == pytest.approx(0.02 * 499 + (0 if joined else pause), abs=0.01)
    assert (timeline.joins(0), timeline.joins(1)) == (joined, joined)


def test_a_leap_of_one_stream_is_seen_by_the_other_that_goes_on() -> None:
    for leap in (30.0, -5.0):
        packets = [
            _packet(kind, 10 + 0.02 * k + (leap if k >= 200 and kind == "video" else 0))
            for k in range(500) for kind in ("video", "audio")
        ]  # fmt: skip
        timeline = Timeline()
        moved = list(timeline.packets(iter(packets)))
        assert moved[-2].pts == pytest.approx(moved[-1].pts, abs=25), "both end together"
        assert (timeline.joins(0), timeline.joins(1)) == (1, 0)


@pytest.mark.parametrize("leap", [-0.9, -3600.0, 3600.0])
def test_streams_that_leap_together_stay_together(leap: float) -> None:
    packets = [
        _packet(kind, 4000 + 0.02 * k + (leap if k >= 200 else 0)) for k in range(500) for kind in ("video", "audio")
    ]
    timeline = Timeline()
    times = [packet.pts for packet in timeline.packets(iter(packets))]
    assert times == [round(1000 * (4000 + 0.02 * (k // 2))) for k in range(1000)]
    assert (timeline.joins(0), timeline.joins(1)) == (1, 1)


def test_what_cannot_be_decoded_is_counted_and_the_rest_keeps_its_time(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mka", np.full((1, 96000), 0.5, np.float32), 48000, "flac")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    samples, _ = heard(path)
    assert len(samples) == 13 * MEDIA.hears.unit_samples, "no run is ended by it"


def _packet(kind: str, second: float) -> Any:
    return SimpleNamespace(
        stream=SimpleNamespace(index=0 if kind == "video" else 1, type=kind), pts=round(1000 * second),
        dts=round(1000 * second), duration=20, time_base=Fraction(1, 1000), size=100,
    )  # fmt: skip


def _stream(times: list[float]) -> Any:
    """A stream of packets of 20 ms of ones at 16 kHz, at these times."""
    frames = []
    for time in times:
        frame = av.AudioFrame.from_ndarray(np.ones((1, 320), np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, round(1e6 * time), Fraction(1, 1_000_000)
        frames.append(frame)
    return SimpleNamespace(
        frames=lambda: iter(frames), path=Path("made-up"), nothing=None, clocked=True, close=lambda: None,
        time=lambda frame: frame.pts * frame.time_base, seconds_at=lambda frame: frame.pts / 1e6,
    )  # fmt: skip
