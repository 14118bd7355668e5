"""A film or picture file as a live camera: in real time, again and again.

Receives a path; hands on frames at their own times.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from edge_streamer.devices.files.container import Stream
from edge_streamer.devices.files.still import read_still
from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.runtime.errors import MediaError

STILL_SECONDS = 0.2
"""A single picture is sent again after this."""


class _Film:
    def __init__(self, path: Path) -> None:
        self._path, self._still, self._step = path, read_still(path), STILL_SECONDS
        self.pixel_aspect: Fraction | None = None
        if self._still is None:
            stream = Stream(path, "video")
            seen = stream.stream
            if seen.average_rate:
                self._step = float(1 / Fraction(seen.average_rate))
            self.pixel_aspect = seen.sample_aspect_ratio
            first_frame = next(stream.frames(), None)
            stream.close()
            if first_frame is None:
                raise MediaError(stream.nothing or f"{path} holds no frames; wanted at least one picture")
        else:
            first = next(self._still)
            self._still, seen = chain([first], self._still), first[1]
        self.facts: dict[str, object] = {
            "format": seen.format.name, "size": [seen.height, seen.width], "rate": round(1 / self._step, 2)
        }  # fmt: skip

    def frames(self) -> Iterator[tuple[float, Any]]:
        begun = time.monotonic()
        while True:
            last, count, frame = 0.0, 0, None
            for last, frame in self._once():
                count += frame is not None
                time.sleep(max(begun + last - time.monotonic(), 0.0))
                yield time.monotonic(), frame
            begun += last + (self._step if count > 1 else STILL_SECONDS)
            while count == 1:  # a still is read once
                time.sleep(STILL_SECONDS)
                yield time.monotonic(), frame

    def _once(self) -> Iterator[tuple[float, Any]]:
        """Every frame with its second, from the first to the last; none where one could not be decoded, which counts as
        broken."""
        still = self._still or read_still(self._path)
        self._still = None
        if still is not None:
            yield from ((float(due), frame) for due, frame in still)
            return
        stream, lost = Stream(self._path, "video"), 0
        for due, frame in stream.timed(Fraction(self._step)):
            yield from ((float(due), None) for _ in range(stream.lost - lost))
            lost = stream.lost
            yield float(due), frame
        stream.close()

    def close(self) -> None: ...


def open_source(address: str, need: Need) -> _Film:
    """Raises Unopened for what is no film."""
    try:
        return _Film(Path(address))
    except MediaError as error:
        raise Unopened(str(error), hopeless=True) from None
