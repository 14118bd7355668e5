"""One channel from many, and whether a voice was lost on the way.

Receives samples of any number of channels; hands on one channel, and figures that tell how much quieter it is than the
loudest of them. The mean of channels that hold the same with opposite signs (a cable with one pole swapped) is silence;
a voice on one of six channels is 16 dB quieter in the mean. Nobody hears that while a model runs on it.
"""

from __future__ import annotations

import math

import numpy as np

from edge_streamer.runtime.loop.media import Samples

TOLD_DB = 5.5
"""From which loss on it is told: a voice on one of two channels loses 6.0 dB, two independent ones 3.0 dB."""

CANCELLED = 0.03
"""A stretch whose mean has less than this share of its channels' power: they cancel. Independent ones keep 1/n."""

STRETCH = 1.0
"""Seconds over which that is judged."""

CANCELLED_SECONDS = 0.5
"""From how many seconds on it is told."""

QUIET = 1e-6
"""Power below which nothing is there to be lost (-60 dB of full scale)."""

WHOLE_LOSS_DB = 99.0
"""What is told where nothing is left."""


class Mixer:
    """The mean of all channels, or the one that was asked for (``channel``, from 1)."""

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._powers = np.zeros(1)
        """Seconds times power of each channel."""
        self._mixed = 0.0
        self._cancelled = 0.0
        self._stretch = [0.0, 0.0, 0.0]  # seconds, of the channels' power, of the mean's

    def mix(self, samples: Samples, rate: int) -> Samples:
        """[channels, n] to [n]."""
        if self._channel is not None:
            # Joined recordings may have fewer channels later on: the last one is taken.
            one: Samples = samples[min(self._channel, len(samples)) - 1]
            return one
        mono: Samples = samples.mean(axis=0, dtype=np.float32)
        self._count(samples, mono, rate)
        return mono

    def _count(self, samples: Samples, mono: Samples, rate: int) -> None:
        if len(samples) == 1 and len(self._powers) == 1:
            return
        powers = np.einsum("ij,ij->i", samples, samples, dtype=np.float64) / rate
        mixed = float(np.dot(mono, mono)) / rate
        if len(powers) > len(self._powers):
            self._powers = np.pad(self._powers, (0, len(powers) - len(self._powers)))
        self._powers[: len(powers)] += powers
        self._mixed += mixed
        for place, value in enumerate((len(mono) / rate, float(powers.mean()), mixed)):
            self._stretch[place] += value
        if self._stretch[0] >= STRETCH:
            self._judge()

    def _judge(self) -> None:
        seconds, power, mixed = self._stretch
        if power > QUIET * seconds and mixed < CANCELLED * power:
            self._cancelled += seconds
        self._stretch = [0.0, 0.0, 0.0]

    def figures(self) -> dict[str, object]:
        """``channels``, and where the mean loses what one of them holds: how much, and which is the loudest."""
        self._judge()
        if self._channel is not None:
            return {"channel": self._channel}
        loudest = int(np.argmax(self._powers))
        power = float(self._powers[loudest])
        loss = 10 * math.log10(power / self._mixed) if self._mixed > 0 else WHOLE_LOSS_DB
        heard = power > 0 and (loss >= TOLD_DB or self._cancelled >= CANCELLED_SECONDS)
        return {
            "channels": len(self._powers),
            "cancelled_seconds": round(self._cancelled, 3),
            "mean_below_loudest_db": round(min(loss, WHOLE_LOSS_DB), 1) if heard else 0.0,
            "loudest_channel": loudest + 1 if heard else None,
        }
