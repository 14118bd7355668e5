"""Cameras that the kernel drives: USB webcams, HDMI grabbers, sensors with an image processor.

Receives a device file; hands on frames by FFmpeg's V4L2 reader, which PyAV brings along: YUYV, NV12, MJPEG and what
else it knows.

Choices. FFmpeg asks the driver for a size and a rate, and the driver answers with the nearest that it has: of a few
usual ones the first whose answer is large enough, else the largest. Compressed pictures (MJPEG) are asked for only
where raw ones are refused: they cost a decoder. The driver stamps pictures on the monotonic clock; where it does not,
the time of arrival stands in. The worker reads as fast as pictures come, so the driver's queue stays empty. Cheap
webcams break a picture now and then, and often their first: it is passed over, and only many in a row are a loss.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from typing import Any

import av
import av.error

from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.process.worker import Unopened

SIZES = ((320, 240), (640, 360), (640, 480), (1280, 720), (1920, 1080))
"""Widths and heights that cameras have, small first: what is larger than needed costs time to shrink."""

FORMATS = ("yuyv422", "nv12", "mjpeg")
"""Asked for in this order."""

MOST_BROKEN = 50
"""Broken pictures in a row: two seconds without one that can be shown."""

OLDEST_STAMP = 5.0
"""Seconds; a driver's stamp further off than this is on another clock."""


class _V4L2:
    pixel_aspect = None

    def __init__(self, container: Any, path: str, name: str) -> None:
        self._container, self._path = container, path
        video = container.streams.video[0]
        rate = float(video.average_rate) if video.average_rate else 0.0
        self.facts: dict[str, object] = {"format": name, "size": [video.height, video.width], "rate": round(rate, 2)}

    def frames(self) -> Iterator[tuple[float, Any]]:
        """Ends where the device has gone."""
        broken = 0
        try:
            for packet in self._container.demux(video=0):
                decoded = _decoded(packet)
                if decoded is not None:
                    broken = 0
                    yield from ((_stamp(frame), frame) for frame in decoded)
                    continue
                broken += 1
                if broken >= MOST_BROKEN:
                    raise Unopened(f"{self._path} was lost: it gave {broken} broken pictures in a row")
                yield time.monotonic(), None
        except av.error.FFmpegError as error:
            raise Unopened(f"{self._path} was lost: {_reason(error)}") from None

    def close(self) -> None:
        self._container.close()


def _decoded(packet: Any) -> list[Any] | None:
    """The pictures of ``packet``; None where it is broken. What the driver itself calls broken comes empty, which is no
    packet to the decoder."""
    try:
        return list(packet.decode()) if packet.size else None
    except av.error.FFmpegError:
        return None


def _stamp(frame: Any) -> float:
    now = time.monotonic()
    told = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base is not None else None
    return told if told is not None and 0.0 <= now - told < OLDEST_STAMP else now


def open_source(address: str, need: Need) -> _V4L2:
    """Raises Unopened."""
    _check(address)
    why = ""
    for name in FORMATS:
        for width, height in _sizes(need):
            try:
                container = _open(address, name, width, height, need.frame_rate)
            except (av.error.FFmpegError, OSError) as error:
                why = _reason(error)
                if getattr(error, "errno", None) in (errno.EBUSY, errno.EACCES, errno.ENODEV, errno.ENOENT):
                    raise Unopened(_said(address, error.errno or 0)) from None
                continue
            video = container.streams.video[0]
            if _enough((video.width, video.height), need) or not _enough((width, height), need):
                return _V4L2(container, address, name)
            why = f"it gives {video.width}x{video.height} instead of {width}x{height}"
            container.close()
    raise Unopened(f"{address} gives none of {', '.join(FORMATS)} at a usual size: {why}")


def _sizes(need: Need) -> list[tuple[int, int]]:
    """Those that are large enough first, then the largest of the others."""
    enough = [size for size in SIZES if _enough(size, need)]
    return [*enough, *[size for size in reversed(SIZES) if size not in enough]]


def _enough(size: tuple[int, int], need: Need) -> bool:
    """Whether pictures of ``size`` (width, height) hold all that the model sees."""
    return size[0] >= need.width and size[1] >= need.height


def _open(path: str, name: str, width: int, height: int, rate: int) -> Any:
    """A container of the size that the driver has nearest to this; FFmpegError where it has not the format."""
    options = {"input_format": name, "video_size": f"{width}x{height}", "framerate": str(rate)}
    # Not as `options`, which would tell the decoder too that the pictures have the size that was asked for.
    container = av.open(path, format="v4l2", container_options=options)
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    return container


def _check(path: str) -> None:
    """Faults that the system names better than FFmpeg does."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        raise Unopened(_said(path, error.errno or 0), hopeless=error.errno == errno.EACCES) from None


def _said(path: str, number: int) -> str:
    known = {
        errno.ENOENT: "does not exist; 'edge-streamer devices' lists the cameras",
        errno.ENODEV: "is no camera, or was unplugged",
        errno.EACCES: "may not be opened; add this user to the group video: sudo usermod -aG video $USER",
        errno.EBUSY: "is in use by another program; close that",
    }
    return f"{path} {known.get(number, os.strerror(number))}"


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
