"""Sounds that are found again in a recording, to the sample, for tests on real drivers."""

from __future__ import annotations

import numpy as np
import soxr


def noise(seconds: float, rate: int, seed: int = 1) -> np.ndarray:
    """Speech-band noise: what correlates at one place only."""
    low = np.random.default_rng(seed).uniform(-0.4, 0.4, int(seconds * 6000)).astype(np.float32)
    return np.asarray(soxr.resample(low, 6000, rate), np.float32)


def place(recorded: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Where ``wanted`` lies in ``recorded``, to a part of a sample, and how well (1: the same shape)."""
    size = 1 << (len(recorded) + len(wanted)).bit_length()
    cross = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(wanted, size))
    fine = np.fft.irfft(np.pad(cross, (0, 7 * size // 2)), 8 * size) * 8  # eight places a sample
    at = int(fine[: 8 * len(recorded)].argmax())
    piece = recorded[at // 8 : at // 8 + len(wanted)]
    return at / 8, float(fine[at] / np.sqrt((piece @ piece) * (wanted @ wanted)))
