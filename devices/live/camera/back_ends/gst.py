"""Any GStreamer pipeline, in a process of its own.

Receives a pipeline that ends in raw video; hands on I420 frames, read from a pipe of their own: a Jetson's Argus
source talks on standard output. By ``gst-launch-1.0``, so that no Python bindings are needed and a pipeline that hangs
is a process that can be killed. A queue of one picture that drops the older one keeps only the newest.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.process.worker import Unopened, die_with_parent

FIRST_SECONDS = 10.0
"""A pipeline that gives no picture within this is given up: at its very first start GStreamer lists its plugins, which
takes some seconds. One that stalls later is the supervisor's to see."""

MOST_SAID = 1 << 14
"""Bytes: of what the pipeline says, the last are kept."""


class Pipeline:
    """``pipeline`` scaled to what is needed. Raises Unopened where GStreamer is not installed."""

    pixel_aspect = None

    def __init__(self, pipeline: str, need: Need) -> None:
        if shutil.which("gst-launch-1.0") is None:
            raise Unopened("GStreamer is not installed; install the Debian package gstreamer1.0-tools", hopeless=True)
        height, width = -(-need.height // 2) * 2, -(-need.width // 4) * 4  # what I420 has without padding
        self._size = (height, width)
        self.facts: dict[str, object] = {"format": "I420", "size": [height, width], "rate": need.frame_rate}
        self._data, theirs = os.pipe()
        tail = (
            f"queue max-size-buffers=1 leaky=downstream ! videoconvert ! videoscale add-borders=true ! videorate "
            f"drop-only=true ! video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1,"
            f"framerate=[1/1,{need.frame_rate}/1] ! fdsink sync=false fd={theirs}"
        )
        try:
            self._process = subprocess.Popen(
                ["gst-launch-1.0", "-q", *pipeline.split(), "!", *tail.split()], preexec_fn=die_with_parent,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(theirs,),
            )  # fmt: skip
        finally:
            os.close(theirs)
        assert self._process.stdout is not None
        self._words, self._said = self._process.stdout.fileno(), b""
        os.set_blocking(self._words, False)
        self._poll = select.poll()
        for number in (self._data, self._words):
            self._poll.register(number, select.POLLIN)

    def frames(self) -> Iterator[tuple[float, Any]]:
        height, width = self._size
        length = height * width * 3 // 2
        ends: float | None = time.monotonic() + FIRST_SECONDS
        while True:
            data = bytearray()
            while len(data) < length:
                data += self._read(length - len(data), ends)
            ends = None
            planes = np.frombuffer(bytes(data), np.uint8).reshape(height * 3 // 2, width)
            yield time.monotonic(), av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._data)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self, most: int, ends: float | None) -> bytes:
        """Some of a picture, at least a byte. Raises Unopened where it ended, or gave nothing until ``ends``."""
        while True:
            left = None if ends is None else 1000 * (ends - time.monotonic())
            if left is not None and left <= 0:
                raise Unopened(f"the GStreamer pipeline gave no picture for {FIRST_SECONDS:.0f} s{self._last_words()}")
            ready = dict(self._poll.poll(left))
            if self._words in ready and not self._listen():
                self._poll.unregister(self._words)
            if self._data in ready:
                part = os.read(self._data, most)
                if not part:
                    self._listen()
                    raise Unopened(f"the GStreamer pipeline ended{self._last_words() or ': it says nothing'}")
                return part

    def _listen(self) -> bool:
        """Keep what the pipeline says, so that it never waits for a reader. False at its end."""
        try:
            while part := os.read(self._words, MOST_SAID):
                self._said = (self._said + part)[-MOST_SAID:]
        except BlockingIOError:
            return True
        return False

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines()]
        return next((f": {line}" for line in lines if line.startswith(("ERROR", "WARNING"))), "")


def open_source(address: str, need: Need) -> Pipeline:
    """Raises Unopened."""
    if not address.strip():
        raise Unopened("gst: needs a pipeline, such as gst:v4l2src device=/dev/video0", hopeless=True)
    return Pipeline(address, need)
