"""Cameras by name, in a made-up /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.devices.live.camera import names as camera_names
from edge_streamer.devices.live.camera.names import Choice, NoSuchCamera, choose, found, is_jetson, v4l2_cameras

NAMES = {"video0": "HD Webcam C920", "video1": "HD Webcam C920", "video2": "Grabber", "video10": "vi-output, imx219"}


@pytest.fixture
def system(tmp_path: Path) -> Path:
    for entry, name in NAMES.items():
        (tmp_path / entry).mkdir()
        (tmp_path / entry / "name").write_text(f"{name}\n")
    return tmp_path


def pick(word: str, system: Path, jetson: bool = False, libcamera: bool = False) -> Choice:
    cameras = v4l2_cameras(system, lambda path: path != "/dev/video1")  # which gives metadata
    return choose(word, cameras, jetson=jetson, libcamera=libcamera)


def test_cameras_are_listed_in_order_without_those_that_give_no_pictures(system: Path) -> None:
    cameras = v4l2_cameras(system, lambda path: path != "/dev/video1")
    assert [camera.path for camera in cameras] == ["/dev/video0", "/dev/video2", "/dev/video10"]


@pytest.mark.parametrize(
    ("word", "back_end", "address"),
    [("default", "v4l2", "/dev/video0"), ("c920", "v4l2", "/dev/video0"), ("grab", "v4l2", "/dev/video2"),
     ("/dev/video7", "v4l2", "/dev/video7"), ("csi", "csi", ""), ("csi:1", "csi", "1"),
     ("gst:videotestsrc ! x", "gst", "videotestsrc ! x"), ("picamera2:1", "picamera2", "1"),
     ("film:a:b.mp4", "film", "a:b.mp4"), ("pattern", "pattern", "")],
)  # fmt: skip
def test_a_word_means_a_back_end_and_an_address(word: str, back_end: str, address: str, system: Path) -> None:
    choice = pick(word, system)
    assert (choice.back_end, choice.address) == (back_end, address)


def test_the_default_of_a_jetson_is_its_sensor_unless_a_webcam_is_there(system: Path, tmp_path: Path) -> None:
    assert pick("default", system, jetson=True).back_end == "v4l2"
    for entry in ("video0", "video2"):
        (system / entry / "name").write_text("vi-output, imx477\n")
    assert pick("default", system, jetson=True) == Choice("csi", "0", "CSI camera 0")
    assert pick("default", tmp_path / "none", libcamera=True).back_end == "picamera2"


@pytest.mark.parametrize("jetson", [True, False])
def test_the_default_of_a_jetson_is_its_webcam_also_behind_a_sensor(
    jetson: bool, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (system / "video0" / "name").write_text("vi-output, imx219 9-0010\n")  # raw pixels
    (system / "video2" / "name").write_text("HD Webcam C920\n")
    wanted = "/dev/video2" if jetson else "/dev/video0"
    assert pick("default", system, jetson=jetson).address == wanted
    cameras = v4l2_cameras(system, lambda path: path != "/dev/video1")
    monkeypatch.setattr(camera_names, "v4l2_cameras", lambda: cameras)
    monkeypatch.setattr(camera_names, "is_jetson", lambda: jetson)
    monkeypatch.setattr(camera_names, "has_libcamera", lambda: False)
    assert [one.detail for one in found() if one.default] == [wanted]


def test_what_means_no_camera_is_refused_with_the_names(system: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchCamera, match=r"no camera is named 'zoom'; there are: 'HD Webcam C920' \(/dev/video0\), "):
        pick("zoom", system)
    (system / "video2" / "name").write_text("HD Grabber")
    with pytest.raises(NoSuchCamera, match="'hd' is the name of several cameras"):
        pick("hd", system)
    with pytest.raises(NoSuchCamera, match="there is no camera; plug one in, or use --camera none"):
        pick("default", tmp_path / "none")


def test_the_board_is_told_by_its_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert not is_jetson(model)
    model.write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert is_jetson(model)
    model.write_bytes(b"Raspberry Pi 5\0")
    assert not is_jetson(model)
