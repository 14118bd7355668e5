"""A camera through its worker process: pictures, ages, losses. Kernel drivers are in tests/emulated."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from PIL import Image

from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.devices.live.camera import camera as under_test
from edge_streamer.devices.live.camera import worker as camera_worker
from edge_streamer.devices.live.camera.back_ends import Need, gst, pattern, picamera2, v4l2
from edge_streamer.devices.live.camera.camera import Camera
from edge_streamer.devices.live.camera.worker import PICTURE
from edge_streamer.devices.live.process.wire import OPENED, Message, Wire
from edge_streamer.devices.live.process.worker import Unopened
from tests.media_files import MEDIA, write_film
from tests.waiting import PATIENCE, until

SHAPE = (MEDIA.sees.unit_frames, *MEDIA.sees.size, 3)


@pytest.fixture
def opened() -> Iterator[Callable[[str], Camera]]:
    cameras: list[Camera] = []

    def begin(name: str) -> Camera:
        cameras.append(Camera(name, MEDIA))
        return cameras[-1]

    yield begin
    for camera in cameras:
        camera.close()


def newest(camera: Camera) -> np.ndarray:
    """A unit of the newest pictures, as soon as there are some."""
    out = np.zeros(SHAPE, np.uint8)
    until(lambda: camera.read(out, time.monotonic()) is not None)
    return out


def test_the_pattern_moves_and_is_now(opened: Callable[[str], Camera]) -> None:
    camera = opened("pattern")
    assert camera.wait() == ""
    newest(camera)
    time.sleep(0.5)
    out = np.zeros(SHAPE, np.uint8)
    age = camera.read(out, time.monotonic())
    assert age is not None
    assert age < 0.5
    assert (out[0] != out[-1]).any()
    assert camera.state().name == f"pattern, rgb24 {MEDIA.sees.size[1]}x{MEDIA.sees.size[0]} at {MEDIA.sees.frame_rate}"
    # The picture shows the time at which it was taken.
    want = pattern.open_source("", Need(*MEDIA.sees.size, MEDIA.sees.frame_rate)).picture(time.monotonic())
    assert want.shape == out[0].shape


def test_a_film_is_played_in_real_time_again_and_again(opened: Callable[[str], Camera], tmp_path: Path) -> None:
    from edge_streamer.devices.files.film import Film

    film = Film(tmp_path / "two.mp4", (64, 96), 25, 16000, 1)
    for count in range(20):
        film.picture(np.full((64, 96, 3), 200 if count < 10 else 40, np.uint8))
    film.close()
    camera = opened(f"film:{tmp_path / 'two.mp4'}")
    assert camera.wait() == ""
    begun, seen = time.monotonic(), list[bool]()
    while len(seen) < 6 and time.monotonic() < begun + PATIENCE:
        bright = int(newest(camera)[-1].max()) > 120
        if not seen or seen[-1] != bright:
            seen.append(bright)
    assert len(seen) == 6
    assert time.monotonic() - begun > 1.2  # five changes 0.4 s apart, less the first's rest


def test_a_film_and_a_still_are_shown_as_the_reader_of_recordings_shows_them(
    opened: Callable[[str], Camera], tmp_path: Path
) -> None:
    oblong = write_film(tmp_path / "oblong.mp4", [np.full((48, 64, 3), 200, np.uint8)] * 8, pixel_aspect=Fraction(2))
    clear = np.full((48, 80, 4), (0, 255, 0, 0), np.uint8)
    clear[:, 40:] = (200, 200, 200, 255)
    Image.fromarray(clear).save(tmp_path / "icon.png")
    for path in (oblong, tmp_path / "icon.png"):
        camera = opened(f"film:{path}")
        assert camera.wait() == ""
        recorded = VideoFile(path, MEDIA)
        want = np.zeros(SHAPE, np.uint8)
        recorded.read(want)
        recorded.close()
        assert (newest(camera)[-1] == want[0]).all()


def test_a_film_whose_colours_are_not_read_is_hopeless(opened: Callable[[str], Camera], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
        stream.codec_context.colorspace = 14
        container.mux(stream.encode(av.VideoFrame(80, 48, "yuv420p")))
        container.mux(stream.encode(None))
    assert "its colours are in a form (matrix 14) that is not read" in opened(f"film:{tmp_path / 'odd.mkv'}").wait()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("film:nowhere.mp4", "nowhere.mp4 does not exist"),
        ("/dev/video77", "/dev/video77 does not exist; 'edge-streamer devices' lists the cameras"),
        ("Umbrella", "no camera is named 'Umbrella'; there are: "),
        ("csi:x", "wanted a sensor's number, such as csi:0"),
        ("gst:", "gst: needs a pipeline"),
    ],
)
def test_what_cannot_be_opened_is_one_clear_line(opened: Callable[[str], Camera], name: str, why: str) -> None:
    camera = opened(name)
    assert why in camera.wait()
    out = np.zeros(SHAPE, np.uint8)
    assert camera.read(out, time.monotonic()) is None
    assert (out == under_test.GREY).all()


def test_a_lost_camera_is_opened_again_and_its_last_picture_ages(opened: Callable[[str], Camera]) -> None:
    camera = opened("pattern")
    camera.wait()
    newest(camera)
    pid = camera._supervisor.pid
    assert pid is not None
    os.kill(pid, 9)
    until(lambda: camera.state().lost == 1)
    out = np.zeros(SHAPE, np.uint8)
    assert camera.read(out, time.monotonic()) is not None  # still shown, and older
    until(lambda: camera.state().open)
    assert camera.state().reopened == 1
    until(lambda: (camera.read(out, time.monotonic()) or 9) < 0.3)


def test_a_pipeline_of_gstreamer_gives_pictures_and_its_end_is_a_loss(opened: Callable[[str], Camera]) -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("needs the Debian packages gstreamer1.0-tools and gstreamer1.0-plugins-base")
    camera = opened("gst:videotestsrc pattern=red is-live=true")
    assert camera.wait() == ""
    picture = newest(camera)[-1]
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2].astype(int)
    assert middle[0] > 180
    assert middle[1] < 80
    short = opened("gst:videotestsrc num-buffers=3")
    until(lambda: short.state().lost > 0)
    broken = opened("gst:nosuchelement")
    assert "nosuchelement" in broken.wait()


def fake_gstreamer(folder: Path, does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gst-launch-1.0 that talks as Argus does, then ``does`` something; $n is where pictures go."""
    script = folder / "gst-launch-1.0"
    find = 'n=1; for word; do case "$word" in fd=*) n=${word#fd=};; esac; done'
    script.write_text(f"#!/bin/bash\n{find}\necho GST_ARGUS: Creating output stream\n{does}\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


PICTURE_BYTES = 64 * 96 * 3 // 2


def test_what_a_pipeline_says_is_no_part_of_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = "head -c 200000 /dev/zero | tr '\\0' ' '"  # more than a pipe holds
    fake_gstreamer(tmp_path, f"{talk}; head -c {PICTURE_BYTES} /dev/zero | tr '\\0' 'x' >&$n", monkeypatch)
    pipeline = gst.Pipeline("anything", Need(64, 96, 25))
    _, frame = next(pipeline.frames())
    assert (frame.to_ndarray() == ord("x")).all()
    pipeline.close()


def test_a_pipeline_without_a_picture_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gstreamer(tmp_path, "echo WARNING: nobody there >&2", monkeypatch)
    monkeypatch.setattr(gst, "FIRST_SECONDS", 1.0)
    pipeline = gst.Pipeline("anything", Need(64, 96, 25))
    with pytest.raises(Unopened, match=r"^the GStreamer pipeline gave no picture for 1 s: WARNING: nobody there$"):
        next(pipeline.frames())
    pipeline.close()


def test_a_pipeline_that_stalls_ends_with_whoever_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gstreamer(tmp_path, f"head -c {PICTURE_BYTES} /dev/zero >&$n", monkeypatch)
    code = (
        "import time\nfrom edge_streamer.devices.live.camera.back_ends import Need, gst\n"
        "pipeline = gst.Pipeline('anything', Need(64, 96, 25))\nnext(pipeline.frames())\n"
        "print(pipeline._process.pid, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        pid = int(reader.stdout.readline())
        reader.kill()
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: not stat.exists() or ") Z" in stat.read_text(), "it ended", 5.0)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def webcam(path: Path, *pictures: bytes) -> v4l2._V4L2:
    """What a webcam of MJPEG gives, from a file."""
    with av.open(path, "w", format="nut") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for count, picture in enumerate(pictures):
            packet = av.Packet(picture or 0)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, count, count, Fraction(1, 25)
            file.mux(packet)
    return v4l2._V4L2(av.open(path), str(path), "mjpeg")


def test_a_webcams_broken_pictures_are_passed_over(tmp_path: Path) -> None:
    good = jpeg()
    source = webcam(tmp_path / "a.nut", b"", good[:200], b"", good, good[: len(good) // 2], b"junk", good)
    given = [frame for _, frame in source.frames()][:-1]  # less FFmpeg's own mark of a file's end
    assert [frame is not None for frame in given] == [False, False, False, True, True, False, True]
    assert (given[3].width, given[3].height) == (96, 64)
    source.close()


def test_a_webcam_that_gives_nothing_else_is_lost(tmp_path: Path) -> None:
    few, many = [b"junk"] * (v4l2.MOST_BROKEN - 1), [b"junk"] * v4l2.MOST_BROKEN
    source = webcam(tmp_path / "a.nut", *few, jpeg(), *few, jpeg())
    assert sum(frame is not None for _, frame in source.frames()) == 2
    source.close()
    source = webcam(tmp_path / "b.nut", jpeg(), *many, jpeg())
    with pytest.raises(Unopened, match=r"b\.nut was lost: it gave 50 broken pictures in a row"):
        list(source.frames())
    source.close()


def test_broken_pictures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = webcam(tmp_path / "a.nut", b"junk", jpeg(), b"junk", b"junk", jpeg())
    stamps = iter([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    frames = [(next(stamps), frame) for _, frame in source.frames()]
    monkeypatch.setattr(source, "frames", lambda: iter(frames), raising=False)
    monkeypatch.setattr(camera_worker, "open_source", lambda *_: source)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    camera = Still()
    with ours, theirs:
        camera_worker.work(
            Wire(theirs),
            {"name": "pattern", "height": MEDIA.sees.size[0], "width": MEDIA.sees.size[1], "frame_rate": 25},
        )
        wire = Wire(ours)
        while (message := wire.receive(0.2)) is not None:
            camera._hear(message)
    before = (camera.state().figures or {})["pictures"]
    assert (camera.state().counts or {})["broken_pictures"] == 3
    camera._hear(Message(OPENED, payload=b"{}"))
    camera._hear(Message(PICTURE, 10, 1, 1 | 4 << 32, bytes(3 * MEDIA.sees.size[0] * MEDIA.sees.size[1])))
    assert (camera.state().counts or {})["broken_pictures"] == 7
    assert (camera.state().figures or {})["pictures"] == before + 1


class Still(Camera):
    """A camera whose pictures come when the test says so."""

    def __init__(self) -> None:
        super().__init__("pattern", MEDIA)
        self.wait()
        self._supervisor.close()
        self._history.clear()

    def give(self, seconds: float, grey: int) -> None:
        payload = np.full((*MEDIA.sees.size, 3), grey, np.uint8).tobytes()
        self._hear(Message(PICTURE, round(1e9 * seconds), 1, 0, payload))


def test_each_frame_of_a_unit_gets_the_picture_that_was_newest_at_its_end() -> None:
    camera = Still()
    for count in range(40):
        camera.give(10.0 + count / 30, count)
    out = np.zeros(SHAPE, np.uint8)
    step = 1 / MEDIA.sees.frame_rate
    age = camera.read(out, 11.21)
    wanted = [int((1.21 - index * step) * 30) for index in range(MEDIA.sees.unit_frames - 1, -1, -1)]
    assert [int(picture[0, 0, 0]) for picture in out] == wanted
    assert age == pytest.approx(11.21 - (10 + wanted[-1] / 30))
    assert camera.read(out, 20.0) == pytest.approx(20.0 - (10 + 39 / 30))
    assert (out == 39).all()
    assert len(camera._history) == under_test.KEPT  # never a queue
    camera._hear(Message(OPENED, payload=b"{}"))


class FakeRequest:
    def __init__(self, size: tuple[int, int]) -> None:
        self._size, self.released = size, False

    def make_array(self, name: str) -> np.ndarray:
        picture = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        picture[..., 2] = 200  # blue, green, red: a red picture
        return picture

    def get_metadata(self) -> dict[str, int]:
        return {"SensorTimestamp": 5_000_000_000}

    def release(self) -> None:
        self.released = True


class FakePicamera2:
    camera_controls: ClassVar = {"FrameDurationLimits": (33333, 120000, None)}

    def __init__(self, number: int, allocator: Any = None) -> None:
        self.camera = object()
        self.started = self.closed = False

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [{"Model": "imx219"}]

    def create_video_configuration(self, **wanted: Any) -> dict[str, Any]:
        self.wanted = wanted
        return wanted

    def configure(self, configuration: dict[str, Any]) -> None: ...

    def start(self) -> None:
        self.started = True

    def stop(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def camera_configuration(self) -> dict[str, Any]:
        return self.wanted

    def capture_request(self) -> FakeRequest:
        return FakeRequest(self.wanted["main"]["size"])


def test_picamera2_gives_red_as_red_at_the_sensors_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    monkeypatch.setattr(picamera2, "DMA_HEAPS", Path("/"))
    source = picamera2.open_source("0", Need(64, 96, 25))
    seconds, frame = next(source.frames())
    assert seconds == 5.0
    assert frame.to_ndarray(format="rgb24")[10, 10].tolist() == [200, 0, 0]
    source.close()
    with pytest.raises(Unopened, match="libcamera has 1 cameras; picamera2:3 is not there"):
        picamera2.open_source("3", Need(64, 96, 25))


def test_without_picamera2_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(Unopened, match="install the package python3-picamera2"):
        picamera2.open_source("0", Need(64, 96, 25))
