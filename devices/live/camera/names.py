"""Cameras by name.

Receives what the kernel lists under /sys; hands on the back end and the address that a user's word means:

    default              the first V4L2 camera, of a Jetson's the first on USB; else the first CSI camera of a Jetson;
                         else libcamera's first
    /dev/video2          that V4L2 device
    HD Webcam            any part of a V4L2 camera's name, whatever its case
    csi, csi:1           a Jetson's CSI camera, by GStreamer and Argus
    gst:PIPELINE         any GStreamer pipeline that ends in raw video
    picamera2, picamera2:1   libcamera, where picamera2 is installed
    film:FILE            a film or picture file in real time, again and again
    pattern              a test pattern that moves

Never an index: a camera that is plugged in again may get another. One camera has several device files; those that give
no pictures (metadata) are left out, which only the device itself can tell.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SYSTEM = Path("/sys/class/video4linux")
BOARD = Path("/proc/device-tree/model")

_QUERYCAP = 0x80685600
"""VIDIOC_QUERYCAP of linux/videodev2.h: 104 bytes, read."""
_CAPTURE = 0x00000001 | 0x00001000
"""V4L2_CAP_VIDEO_CAPTURE and its multi-planar form."""
_DEVICE_CAPS = 0x80000000

_PREFIXED = re.compile(r"(csi|gst|picamera2|film|pattern)(?::(.*))?", re.S)


class NoSuchCamera(Exception):
    """The word means no camera; the text says which there are."""


@dataclass(frozen=True)
class Found:
    """A camera for people."""

    name: str
    detail: str
    default: bool


@dataclass(frozen=True)
class Choice:
    """What to open: a back end and its address."""

    back_end: str
    address: str
    name: str


@dataclass(frozen=True)
class V4L2Camera:
    path: str
    name: str


def captures(path: str) -> bool:
    """Whether a device file gives pictures. True too where it cannot be asked now: opening it will say why."""
    try:
        number = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        answer = bytearray(104)
        fcntl.ioctl(number, _QUERYCAP, answer)
        capabilities, device = struct.unpack_from("<II", answer, 84)
        return bool((device if capabilities & _DEVICE_CAPS else capabilities) & _CAPTURE)
    except OSError:
        return False
    finally:
        os.close(number)


def v4l2_cameras(system: Path = SYSTEM, asks: Callable[[str], bool] = captures) -> list[V4L2Camera]:
    """All cameras that the kernel drives, in the order of their numbers."""
    entries = sorted(system.glob("video*"), key=lambda path: int(path.name.removeprefix("video") or 0))
    named = [V4L2Camera(f"/dev/{entry.name}", _read(entry / "name")) for entry in entries]
    return [camera for camera in named if asks(camera.path)]


def choose(word: str, cameras: Sequence[V4L2Camera], *, jetson: bool, libcamera: bool) -> Choice:
    """What ``word`` means. Raises NoSuchCamera."""
    prefixed = _PREFIXED.fullmatch(word)
    if prefixed:
        return Choice(prefixed.group(1), prefixed.group(2) or "", word)
    if word == "default":
        return _default(cameras, jetson, libcamera)
    if word.startswith("/dev/"):
        path = os.path.realpath(word)  # /dev/v4l/by-id/... leads there
        name = next((camera.name for camera in cameras if camera.path == path), word)
        return Choice("v4l2", path, name)
    fitting = [camera for camera in cameras if word.lower() in camera.name.lower()]
    if not fitting:
        raise NoSuchCamera(
            f"no camera is named {word!r}; there are: {_names(cameras)}; or csi, picamera2, gst:PIPELINE, film:FILE, "
            "pattern"
        )
    if len({camera.name for camera in fitting}) > 1:
        raise NoSuchCamera(f"{word!r} is the name of several cameras: {_names(fitting)}; give more of it")
    return Choice("v4l2", fitting[0].path, fitting[0].name)


def _default(cameras: Sequence[V4L2Camera], jetson: bool, libcamera: bool) -> Choice:
    usable = [camera for camera in cameras if _usb(camera) or not jetson]  # its CSI sensors give raw pixels here
    if usable:
        return Choice("v4l2", usable[0].path, usable[0].name)
    if jetson:
        return Choice("csi", "0", "CSI camera 0")
    if libcamera:
        return Choice("picamera2", "0", "libcamera's first camera")
    raise NoSuchCamera("there is no camera; plug one in, or use --camera none")


def _usb(camera: V4L2Camera) -> bool:
    return not camera.name.startswith("vi-output")


def is_jetson(board: Path = BOARD) -> bool:
    """Whether this board is one."""
    return "NVIDIA" in _read(board)


def has_libcamera() -> bool:
    """Whether picamera2 can be imported, without importing it."""
    return find_spec("picamera2") is not None


def found() -> list[Found]:
    """All cameras that can be told without opening them."""
    cameras = v4l2_cameras()
    listed = [Found(camera.name, camera.path, False) for camera in cameras]
    if is_jetson():
        listed.append(Found("csi:0", "CSI camera by Argus, not asked", False))
    if has_libcamera():
        listed.append(Found("picamera2:0", "libcamera, not asked", False))
    try:
        default = choose("default", cameras, jetson=is_jetson(), libcamera=has_libcamera())
    except NoSuchCamera:
        return listed
    wanted = {default.name, default.address, f"{default.back_end}:{default.address}"}
    taken = next((one for one in listed if {one.name, one.detail} & wanted), None)
    return [Found(one.name, one.detail, one is taken) for one in listed]


def _names(cameras: Sequence[V4L2Camera]) -> str:
    return ", ".join(f"{camera.name!r} ({camera.path})" for camera in cameras) or "none by V4L2"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
