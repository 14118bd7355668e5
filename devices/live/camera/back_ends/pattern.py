"""A test pattern that moves: colour bars under a bright dot that goes round once in four seconds.

Receives what the model needs; hands on pictures on the clock. No camera, no library.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from edge_streamer.devices.live.camera.back_ends import Need

BARS = ((235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16), (235, 16, 235), (235, 16, 16), (16, 16, 235))
ROUND_SECONDS = 4.0


class _Pattern:
    pixel_aspect = None

    def __init__(self, need: Need) -> None:
        self._need = need
        self.facts: dict[str, object] = {"format": "rgb24", "size": [need.height, need.width], "rate": need.frame_rate}
        columns = np.arange(need.width) * len(BARS) // need.width
        self._bars = np.tile(np.array(BARS, np.uint8)[columns], (need.height, 1, 1))

    def frames(self) -> Iterator[tuple[float, Any]]:
        due = time.monotonic()
        while True:
            yield due, av.VideoFrame.from_ndarray(self.picture(due), format="rgb24")
            due += 1 / self._need.frame_rate
            time.sleep(max(due - time.monotonic(), 0.0))

    def picture(self, seconds: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """[height, width, 3] at ``seconds``."""
        height, width = self._need.height, self._need.width
        turn = 2 * math.pi * seconds / ROUND_SECONDS
        row, column = height * (0.5 + 0.35 * math.sin(turn)), width * (0.5 + 0.35 * math.cos(turn))
        rows, columns = np.ogrid[:height, :width]
        picture: np.ndarray[Any, np.dtype[np.uint8]] = self._bars.copy()
        picture[(rows - row) ** 2 + (columns - column) ** 2 < (height / 10) ** 2] = 255
        return picture

    def close(self) -> None: ...


def open_source(address: str, need: Need) -> _Pattern:
    """``address`` is not used."""
    return _Pattern(need)
