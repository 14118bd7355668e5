"""Resampling keeps what speech is made of, at the rates that devices have, without a click when the ratio moves."""

from __future__ import annotations

import numpy as np
import pytest

from edge_streamer.devices.live.sound.resample import MOST, Resampler

RATES = (8000, 16000, 22050, 24000, 44100, 48000, 96000)


def tone(rate: int, hertz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def through(resampler: Resampler, sound: np.ndarray) -> np.ndarray:
    block = resampler.source // 100
    return np.concatenate([resampler(sound[at : at + block]) for at in range(0, len(sound), block)])


def off_the_tone(sound: np.ndarray, rate: int, hertz: float) -> float:
    """Whatever is not the tone, in dB relative to it."""
    seconds = np.arange(len(sound)) / rate
    basis = np.stack([np.sin(2 * np.pi * hertz * seconds), np.cos(2 * np.pi * hertz * seconds)])
    weights = np.linalg.lstsq(basis.T, sound, rcond=None)[0]
    fitted = weights @ basis
    return float(10 * np.log10(np.sum((sound - fitted) ** 2) / np.sum(fitted**2)))


@pytest.mark.parametrize("target", [16000, 24000])
@pytest.mark.parametrize("source", RATES)
def test_a_tone_stays_a_tone_of_the_same_size(source: int, target: int) -> None:
    out = through(Resampler(source, target), tone(source, 1000.0, 1.0))[target // 4 : target * 3 // 4]
    assert off_the_tone(out, target, 1000.0) < -60
    assert np.abs(out).max() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("source", [44100, 48000, 96000])
def test_what_lies_above_half_the_rate_does_not_fold_down(source: int) -> None:
    out = through(Resampler(source, 16000), tone(source, 11000.0, 1.0))[4000:12000]
    assert 20 * np.log10(np.abs(out).max()) < -50


@pytest.mark.parametrize("source", RATES)
def test_the_delay_is_what_the_docs_say(source: int) -> None:
    resampler = Resampler(source, 16000)
    click = np.zeros(source, np.float32)
    click[source // 2 : source // 2 + source // 1000] = 0.5
    out = through(resampler, click)
    middle = np.sum(np.arange(len(out)) * out**2) / np.sum(out**2) / 16000
    assert abs(middle - 0.5005) < 0.002  # the samples keep their places
    assert 1 - len(out) / 16000 <= (0.02 if source >= 16000 else 0.035)  # and few are held back


def test_a_ratio_that_moves_makes_no_click() -> None:
    resampler = Resampler(48000, 16000)
    sound, parts = tone(48000, 440.0, 4.0), []
    for k, at in enumerate(range(0, len(sound), 480)):
        resampler.turn(1 + 3e-4 * np.sin(k / 20))
        parts.append(resampler(sound[at : at + 480]))
    out = np.concatenate(parts)[2000:-2000]
    # A sine bends by at most (2 pi f / rate)^2 between samples; a click would bend far more.
    bend = np.abs(np.diff(out, 2)).max()
    assert bend < 1.1 * (2 * np.pi * 440 / 16000) ** 2


def test_a_turned_ratio_gives_that_many_samples_fewer_or_more() -> None:
    for ratio in (1.0, 1.0003, 0.9997, MOST - 1e-6):
        resampler = Resampler(48000, 16000)
        resampler.turn(ratio)
        for _ in range(6000):
            resampler(np.zeros(480, np.float32))
        assert resampler.taken == 60 * 48000
        assert resampler.given == pytest.approx(60 * 16000 / ratio, abs=400)
