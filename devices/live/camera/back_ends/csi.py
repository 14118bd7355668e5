"""A Jetson's CSI camera, through Argus.

Receives the sensor's number; hands on frames by `gst.py`. Checked first, each with its own line: GStreamer's Argus
source, and the daemon's socket, which a container does not see unless it is mounted.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.camera.back_ends.gst import Pipeline
from edge_streamer.devices.live.process.worker import Unopened

SOCKET = Path("/tmp/argus_socket")
INSPECT_SECONDS = 10.0


def open_source(address: str, need: Need) -> Pipeline:
    """Raises Unopened."""
    if not (address or "0").isdigit():
        raise Unopened(f"csi:{address}: wanted a sensor's number, such as csi:0", hopeless=True)
    _check()
    rate = max(need.frame_rate, 30)
    return Pipeline(
        f"nvarguscamerasrc sensor-id={address or 0} ! video/x-raw(memory:NVMM),format=NV12,framerate={rate}/1 ! "
        "nvvidconv ! video/x-raw,format=I420",
        need,
    )


def _check() -> None:
    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        raise Unopened("GStreamer is not installed; install the package gstreamer1.0-tools", hopeless=True)
    there = subprocess.run(
        [inspect, "--exists", "nvarguscamerasrc"], capture_output=True, timeout=INSPECT_SECONDS, check=False
    )
    if there.returncode:
        raise Unopened(
            "GStreamer has no nvarguscamerasrc; CSI cameras need a Jetson with the package nvidia-l4t-gstreamer",
            hopeless=True,
        )
    if not SOCKET.exists():
        raise Unopened(
            f"{SOCKET} is missing: start Argus (sudo systemctl restart nvargus-daemon), or mount it into the container"
        )
