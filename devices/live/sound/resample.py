"""From one rate to another that may be turned a little while it runs.

Receives blocks at one rate; hands on blocks at another. soxr's variable-rate filters: their delay is 10 to 15 ms for
the rates that devices have, where its fixed-rate ones of the same quality hold back 20 to 40 ms (measured at 16, 24,
44.1 and 48 kHz), and a ratio that moves makes no click.
"""

from __future__ import annotations

import numpy as np
import soxr

from edge_streamer.runtime.loop.media import Samples

MOST = 1.01
"""How far the ratio may be turned, as a factor; soxr wants to know the bound beforehand."""

SLEW_SECONDS = 0.01
"""Over which a new ratio comes in."""


class Resampler:
    """One channel from ``source`` to ``target`` samples per second."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self.target = source, target
        self._slew = round(SLEW_SECONDS * target)
        self._stream = soxr.ResampleStream(source * MOST, target, 1, dtype="float32", quality="HQ", vr=True)
        self._stream.set_io_ratio(source, target, 0)
        self._ratio = 1.0
        self.taken = self.given = 0
        """Samples in and out so far."""

    def turn(self, ratio: float) -> None:
        """From now on read the source this much faster (1.0001: 100 ppm fewer samples come out)."""
        if ratio != self._ratio:
            self._ratio = ratio
            self._stream.set_io_ratio(self.source * ratio, self.target, self._slew)

    def __call__(self, block: Samples) -> Samples:
        out: Samples = self._stream.resample_chunk(np.ascontiguousarray(block, np.float32))
        self.taken += len(block)
        self.given += len(out)
        return out
