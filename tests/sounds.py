"""Sounds that are found again in a recording, to the sample, for tests on real drivers."""

from __future__ import annotations

import numpy as np
import soxr

FINE = 8
"""Places a sample."""


def noise(seconds: float, rate: int, seed: int = 1) -> np.ndarray:
    """Speech-band noise: what correlates at one place only."""
    low = np.random.default_rng(seed).uniform(-0.4, 0.4, int(seconds * 6000)).astype(np.float32)
    return np.asarray(soxr.resample(low, 6000, rate), np.float32)


def place(recorded: np.ndarray, wanted: np.ndarray, fine: int = FINE) -> tuple[float, float]:
    """Where ``wanted`` lies in ``recorded``, to 1/``fine`` of a sample, and how well (1: the same shape)."""
    size = 1 << (len(recorded) + len(wanted)).bit_length()
    cross = np.fft.rfft(recorded, size) * np.conj(np.fft.rfft(wanted, size))
    product = np.fft.irfft(np.pad(cross, (0, (fine - 1) * size // 2)), fine * size) * fine
    at = int(product[: fine * len(recorded)].argmax())
    piece = recorded[at // fine : at // fine + len(wanted)]
    return at / fine, float(product[at] / np.sqrt((piece @ piece) * (wanted @ wanted) + 1e-9))


def offsets_of_tenths(recorded: np.ndarray, wanted: np.ndarray, rate: int, alike: float) -> tuple[np.ndarray, int]:
    """Where each tenth of a second of ``wanted`` lies in ``recorded``, less its place in ``wanted``, of those that are
    at least so much alike there; and how many are not. The one in which a slip lies is found nowhere whole."""
    length = rate // 10
    begins = range(0, len(wanted) - length + 1, length)
    found = [(begin, *place(recorded, wanted[begin : begin + length])) for begin in begins]
    offsets = [at - begin for begin, at, likeness in found if likeness > alike]
    return np.array(offsets), len(found) - len(offsets)
