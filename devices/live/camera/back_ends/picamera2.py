"""Cameras of boards with libcamera, through picamera2. Never needed on a Jetson.

Receives the camera's number; hands on frames. picamera2 brings pictures in the order B, G, R under the name RGB888. It
takes its buffers from the kernel's DMA heaps; where a kernel has none (all but the Raspberry Pi's own, often),
libcamera's allocator stands in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.process.worker import Unopened

NANO = 1e-9
DMA_HEAPS = Path("/dev/dma_heap")


class _PiCamera:
    pixel_aspect = None

    def __init__(self, camera: Any, need: Need) -> None:
        self._camera = camera
        size = (max(need.width, 64) // 2 * 2, max(need.height, 64) // 2 * 2)
        frame_us = round(1e6 / need.frame_rate)
        pace = "FrameDurationLimits"  # not every sensor's driver has it
        configuration = camera.create_video_configuration(
            main={"size": size, "format": "RGB888"}, buffer_count=3, queue=False,
            controls={pace: (frame_us, frame_us)} if pace in camera.camera_controls else {},
        )  # fmt: skip
        camera.configure(configuration)
        camera.start()
        main = camera.camera_configuration()["main"]
        width, height = main["size"]
        self.facts: dict[str, object] = {"format": main["format"], "size": [height, width], "rate": need.frame_rate}

    def frames(self) -> Iterator[tuple[float, Any]]:
        while True:
            request = self._camera.capture_request()
            try:
                picture = request.make_array("main")
                stamp = request.get_metadata().get("SensorTimestamp")
            finally:
                request.release()
            yield (NANO * stamp if stamp else time.monotonic()), av.VideoFrame.from_ndarray(picture, format="bgr24")

    def close(self) -> None:
        self._camera.stop()
        with suppress(RuntimeError):  # closing makes a new allocator of DMA heaps, even where there are none
            self._camera.close()


def open_source(address: str, need: Need) -> _PiCamera:
    """Raises Unopened."""
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise Unopened(
            f"picamera2 cannot be imported ({error}); install the package python3-picamera2 and make the virtual "
            "environment with --system-site-packages",
            hopeless=True,
        ) from None
    if not (address or "0").isdigit():
        raise Unopened(f"picamera2:{address}: wanted a camera's number, such as picamera2:0", hopeless=True)
    cameras = Picamera2.global_camera_info()
    if int(address or 0) >= len(cameras):
        raise Unopened(f"libcamera has {len(cameras)} cameras; picamera2:{address or 0} is not there")
    try:
        return _PiCamera(_camera(Picamera2, int(address or 0)), need)
    except RuntimeError as error:
        raise Unopened(f"libcamera cannot open camera {address or 0}: {error}; is another program using it?") from None


def _camera(kind: Any, number: int) -> Any:
    if DMA_HEAPS.exists():
        return kind(number)
    from picamera2.allocators.libcameraallocator import LibcameraAllocator

    allocator = LibcameraAllocator(None)
    camera = kind(number, allocator=allocator)
    allocator.camera = camera.camera  # only now is there one
    return camera
