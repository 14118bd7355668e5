"""Recordings that were put one after the other in one file are read to the end, each at its own rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.devices.files.pieces import pieces
from tests.devices.files.test_timeline import heard
from tests.media_files import MEDIA, write_sound, write_wav

RATE = MEDIA.hears.sample_rate


def tone(seconds: float, rate: int, channels: int, hertz: float) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def pitch(samples: np.ndarray) -> float:
    """The loudest frequency."""
    return float(np.abs(np.fft.rfft(samples)).argmax()) * RATE / len(samples)


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("ogg", "libopus"), ("oga", "flac"), ("mp3", "libmp3lame"), ("flac", "flac")],
)
def test_pieces_of_other_channels_and_pitch_follow_each_other(tmp_path: Path, suffix: str, codec: str) -> None:
    one = write_sound(tmp_path / f"one.{suffix}", tone(1, 48000, 1, 440), 48000, codec)
    two = write_sound(tmp_path / f"two.{suffix}", tone(1, 48000, 2, 880), 48000, codec, "stereo")
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(one.read_bytes() + two.read_bytes() + one.read_bytes())
    samples, figures = heard(path)
    assert len(samples) == 19 * MEDIA.hears.unit_samples, "3 s"
    for second, hertz in enumerate((440, 880, 440)):
        middle = samples[round((second + 0.1) * RATE) : round((second + 0.9) * RATE)]
        assert pitch(middle) == pytest.approx(hertz, abs=4)
    assert not any(figures[name] for name in ("filled_seconds", "dropped_seconds", "lost_packets", "broken_off"))


def test_pieces_of_other_rates(tmp_path: Path) -> None:
    for suffix, codec, rates in (("oga", "flac", (44100, 48000)), ("mp3", "libmp3lame", (24000, 44100))):
        path = tmp_path / f"joined.{suffix}"
        parts = [write_sound(tmp_path / f"{r}.{suffix}", tone(1, r, 1, 440), r, codec).read_bytes() for r in rates]
        path.write_bytes(b"".join(parts))
        samples, _ = heard(path)
        assert len(samples) == 13 * MEDIA.hears.unit_samples
        for begin in (0.1, 1.1):
            assert pitch(samples[round(begin * RATE) : round((begin + 0.8) * RATE)]) == pytest.approx(440, abs=4)


def test_wav_pieces_are_exact(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000)
    parts = [write_wav(tmp_path / f"{k}.wav", noise[k * 1000 : k * 1000 + 1000], RATE, "f32") for k in range(8)]
    path = tmp_path / "all.wav"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples, _ = heard(path)
    np.testing.assert_array_equal(samples[:8000], noise.astype(np.float32))
    assert not samples[8000:].any()


def test_tags_inside_an_mp3_are_no_sound(tmp_path: Path) -> None:
    one = write_sound(tmp_path / "one.mp3", tone(1, 44100, 1, 440), 44100, "libmp3lame").read_bytes()
    assert one[:3] == b"ID3"
    path = tmp_path / "joined.mp3"
    path.write_bytes(one + b"TAG" + bytes(125) + one)
    samples, figures = heard(path)
    assert len(samples) == 13 * MEDIA.hears.unit_samples
    assert not any(figures[name] for name in ("filled_seconds", "lost_packets", "broken_off"))


def test_tags_at_the_ends_of_an_mp3_are_no_pieces(tmp_path: Path) -> None:
    one = write_sound(tmp_path / "one.mp3", tone(1, 44100, 1, 440), 44100, "libmp3lame").read_bytes()
    tag = b"ID3\4\0\0\0\0\0\x20" + bytes(32)
    for name, data in (("twice", tag + one), ("behind", one + tag), ("padded", tag + bytes(500) + one[45:])):
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(data)
        samples, figures = heard(path)
        assert len(samples) == 7 * MEDIA.hears.unit_samples, name
        assert not any(figures[key] for key in ("filled_seconds", "lost_packets", "broken_off")), name


def test_a_usual_file_is_one_piece(tmp_path: Path) -> None:
    for name, codec in (("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.flac", "flac"), ("a.wav", "pcm_s16le")):
        path = write_sound(tmp_path / name, tone(2, 48000, 1, 440), 48000, codec)
        with path.open("rb") as file:
            assert pieces(file) == [(0, path.stat().st_size)]
