"""A live camera: the newest pictures and their age, never a queue.

Receives pictures of the camera's worker; hands on, for a unit, the picture that was newest at the end of each of its
frames. A history of a few pictures is kept because a unit wants several; what is older than that is forgotten unseen.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from edge_streamer.devices.live.camera.worker import PICTURE
from edge_streamer.devices.live.process.supervisor import Supervisor
from edge_streamer.devices.live.process.wire import Message
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Frames
from edge_streamer.runtime.loop.ports import DeviceState

WORKER = "edge_streamer.devices.live.camera.worker"
SILENT_SECONDS = 4.0
"""A camera without a picture for so long stalls, and is opened anew."""

GREY = 128
"""Where there was never a picture."""

KEPT = 16
"""Pictures: more than a unit's time at 60 a second."""


class Camera:
    """A camera by name; see `names.py`."""

    def __init__(self, name: str, media: MediaSpec) -> None:
        self._name, self._media = name, media
        height, width = media.sees.size
        self._shape = (height, width, 3)
        self._lock = threading.Lock()
        self._history: deque[tuple[float, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]] = deque(maxlen=KEPT)
        self._given = self._unsent = self._past_given = self._past_unsent = 0
        self._broken = self._past_broken = 0
        options = {"name": name, "height": height, "width": width, "frame_rate": media.sees.frame_rate}
        self._supervisor = Supervisor("camera", WORKER, options, self._hear, silent_seconds=SILENT_SECONDS)
        self._supervisor.start()

    def wait(self) -> str:
        """Until it was opened, or could not be; returns why not, or nothing."""
        return self._supervisor.wait()

    def read(self, out: Frames, until: float) -> float | None:
        """See `ports.LiveCamera`."""
        with self._lock:
            history = list(self._history)
        if not history:
            out[:] = GREY
            return None
        step = 1 / self._media.sees.frame_rate
        shown = history[0]
        for index, picture in enumerate(out):
            end = until - (len(out) - 1 - index) * step
            shown = next((kept for kept in reversed(history) if kept[0] <= end), history[0])
            picture[:] = shown[1]
        return max(until - shown[0], 0.0)

    def state(self) -> DeviceState:
        supervisor, facts = self._supervisor, self._supervisor.facts
        is_open = supervisor.state == "open"
        return DeviceState(
            _shown(facts) if facts else self._name, is_open, "" if is_open else supervisor.error,
            max(supervisor.counts.opened - 1, 0), supervisor.counts.lost,
            counts={"stalls": supervisor.counts.silences, "broken_pictures": self._past_broken + self._broken},
            figures={"pictures": self._past_given + self._given, "thinned_out": self._past_unsent + self._unsent},
        )  # fmt: skip

    def reopen(self) -> None:
        self._supervisor.reopen()

    def close(self) -> None:
        self._supervisor.close()

    def _hear(self, message: Message) -> None:
        """In the supervisor's thread."""
        if message.kind != PICTURE:  # opened anew: the worker counts from 0
            self._past_given, self._past_unsent = self._past_given + self._given, self._past_unsent + self._unsent
            self._past_broken += self._broken
            self._given = self._unsent = self._broken = 0
            return
        self._given, self._unsent, self._broken = message.one, message.two & 0xFFFFFFFF, message.two >> 32
        picture = np.frombuffer(message.payload, np.uint8).reshape(self._shape)
        with self._lock:
            self._history.append((1e-9 * message.time_ns, picture))


def _shown(facts: dict[str, Any]) -> str:
    height, width = facts["size"]
    return f"{facts['name']}, {facts['format']} {width}x{height} at {facts['rate']}"
