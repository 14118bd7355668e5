"""Any GStreamer pipeline, in a process of its own.

Receives a pipeline that ends in raw video; hands on I420 frames read from its standard output. By ``gst-launch-1.0``,
so that no Python bindings are needed and a pipeline that hangs is a process that can be killed. A queue of one picture
that drops the older one keeps only the newest.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from edge_streamer.devices.live.camera_back_ends import Need
from edge_streamer.devices.live.worker import Unopened

FIRST_SECONDS = 5.0


class Pipeline:
    """``pipeline`` scaled to what is needed. Raises Unopened where GStreamer is not installed."""

    def __init__(self, pipeline: str, need: Need) -> None:
        if shutil.which("gst-launch-1.0") is None:
            raise Unopened("GStreamer is not installed; install the Debian package gstreamer1.0-tools", hopeless=True)
        height, width = -(-need.height // 2) * 2, -(-need.width // 4) * 4  # what I420 has without padding
        self._size = (height, width)
        self.facts: dict[str, object] = {"format": "I420", "size": [height, width], "rate": need.frame_rate}
        tail = (
            f"queue max-size-buffers=1 leaky=downstream ! videoconvert ! videoscale add-borders=true ! videorate "
            f"drop-only=true ! video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1,"
            f"framerate=[1/1,{need.frame_rate}/1] ! fdsink sync=false"
        )
        self._process = subprocess.Popen(
            ["gst-launch-1.0", "-q", *pipeline.split(), "!", *tail.split()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip

    def frames(self) -> Iterator[tuple[float, Any]]:
        height, width = self._size
        length = height * width * 3 // 2
        out = self._process.stdout
        assert out is not None
        while True:
            data = bytearray()
            while len(data) < length:
                part = out.read(length - len(data))
                if not part:
                    raise Unopened(self._last_words())
                data += part
            planes = np.frombuffer(bytes(data), np.uint8).reshape(height * 3 // 2, width)
            yield time.monotonic(), av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace")
        lines = [line.strip() for line in said.splitlines() if line.startswith(("ERROR", "WARNING"))]
        return f"the GStreamer pipeline ended: {lines[0] if lines else 'it says nothing'}"


def open_source(address: str, need: Need) -> Pipeline:
    """Raises Unopened."""
    if not address.strip():
        raise Unopened("gst: needs a pipeline, such as gst:v4l2src device=/dev/video0", hopeless=True)
    return Pipeline(address, need)
