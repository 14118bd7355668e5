"""A film or picture file as a live camera: in real time, again and again.

Receives a path; hands on frames at their own times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge_streamer.devices.container import Stream
from edge_streamer.devices.live.camera_back_ends import Need
from edge_streamer.devices.live.worker import Unopened
from edge_streamer.runtime.errors import MediaError

STILL_SECONDS = 0.2
"""A single picture is sent again after this."""


class _Film:
    def __init__(self, path: Path) -> None:
        self._path = path
        stream = Stream(path, "video")
        video = stream.stream
        self._step = float(1 / Fraction(video.average_rate)) if video.average_rate else STILL_SECONDS
        self.facts: dict[str, object] = {
            "format": video.format.name, "size": [video.height, video.width], "rate": round(1 / self._step, 2)
        }  # fmt: skip
        first = next(stream.frames(), None)
        stream.close()
        if first is None:
            raise MediaError(stream.nothing or f"{path} holds no frames; wanted at least one picture")

    def frames(self) -> Iterator[tuple[float, Any]]:
        begun = time.monotonic()
        while True:
            stream, last, count, lost = Stream(self._path, "video"), 0.0, 0, 0
            for due, frame in stream.timed(Fraction(self._step)):
                last, count = float(due), count + 1
                time.sleep(max(begun + last - time.monotonic(), 0.0))
                for _ in range(stream.lost - lost):
                    yield time.monotonic(), None  # counted as broken
                lost = stream.lost
                yield time.monotonic(), frame
            stream.close()
            begun += last + (self._step if count > 1 else STILL_SECONDS)

    def close(self) -> None: ...


def open_source(address: str, need: Need) -> _Film:
    """Raises Unopened for what is no film."""
    try:
        return _Film(Path(address))
    except MediaError as error:
        raise Unopened(str(error), hopeless=True) from None
