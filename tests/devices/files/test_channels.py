"""Channels that cancel each other or hide a voice are told, and one of them can be picked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.loop.report import faults_text
from tests.devices.files.test_timeline import heard
from tests.media_files import MEDIA, write_wav

VOICE = 0.5 * np.sin(np.arange(2 * MEDIA.hears.sample_rate) / 5)
NOISE = 0.5 * np.sin(np.arange(2 * MEDIA.hears.sample_rate) / 7)


def told(path: Path, channels: list[np.ndarray]) -> str:
    return faults_text(heard(write_wav(path, np.stack(channels, 1), MEDIA.hears.sample_rate, "f32"))[1])


def test_channels_that_cancel_each_other_are_told(tmp_path: Path) -> None:
    text = told(tmp_path / "a.wav", [VOICE, -VOICE])
    assert text == "its 2 channels cancel each other in 2.0 s of it; --channel 1 picks that one alone"
    half = np.concatenate([VOICE[: len(VOICE) // 2], -VOICE[len(VOICE) // 2 :]])
    assert "cancel each other in 1.0 s" in told(tmp_path / "b.wav", [VOICE, half])


def test_a_voice_on_one_of_many_is_told(tmp_path: Path) -> None:
    silent = 0 * VOICE
    text = told(tmp_path / "a.wav", [silent, silent, VOICE, silent, silent, silent])
    assert text == "the mean of its 6 channels is 16 dB below channel 3; --channel 3 picks that one alone"
    assert "6 dB below channel 2" in told(tmp_path / "b.wav", [silent, VOICE])


def test_usual_sound_is_not_told(tmp_path: Path) -> None:
    for channels in ([VOICE], [VOICE, VOICE], [VOICE, NOISE], [0 * VOICE, 0 * VOICE], [VOICE, 0.5 * VOICE]):
        assert told(tmp_path / "a.wav", channels) == ""


def test_one_channel_is_picked(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.stack([VOICE, -VOICE, NOISE], 1), MEDIA.hears.sample_rate, "f32")
    for channel, wanted in ((1, VOICE), (2, -VOICE), (3, NOISE)):
        samples, figures = heard(path, channel)
        np.testing.assert_array_equal(samples[: len(wanted)], wanted.astype(np.float32))
        assert figures["channel"] == channel
        assert faults_text(figures) == ""
    with pytest.raises(MediaError, match="has 3 channels; --channel 4 is not there"):
        heard(path, 4)
