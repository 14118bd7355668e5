"""Films and pictures as a camera, and the agent's film: the right frame at every time, in the right place."""

from __future__ import annotations

import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.picture import fit
from edge_streamer.devices.files.video_file import FilmDisplay, StillCamera, VideoFile, enlargement
from edge_streamer.runtime.errors import MediaError
from tests.media_files import MEDIA, click, decoded_pictures, decoded_sound, grey, media_of, write_film, write_sound

HEIGHT, WIDTH = MEDIA.sees.size

LEVEL_ERROR = 3
"""RGB to YUV and back changes a grey by at most one level, a colour by three (measured: 200 becomes 197)."""


def watch(path: Path, units: int) -> np.ndarray:
    """The first ``units`` units, [units * unit_frames, height, width, 3]."""
    camera = VideoFile(path, MEDIA)
    out = np.full((units, MEDIA.sees.unit_frames, HEIGHT, WIDTH, 3), 77, np.uint8)
    for unit in out:
        camera.read(unit)
    camera.close()
    return out.reshape(-1, HEIGHT, WIDTH, 3)


def numbered(count: int) -> list[np.ndarray]:
    """``count`` grey pictures whose level tells their number."""
    return [grey(20 + 3 * index) for index in range(count)]


def numbers(pictures: np.ndarray) -> list[int]:
    """Which of the numbered pictures these are."""
    return [round((int(picture[24, 40, 0]) - 20) / 3) for picture in pictures]


@pytest.mark.parametrize("rate", [10, 15, 24, Fraction(30000, 1001), 25, 30, 60])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
def test_every_frame_is_the_latest_that_was_due(tmp_path: Path, rate: Fraction, name: str) -> None:
    count = 40
    path = write_film(tmp_path / name, numbered(count), rate)
    # Matroska stores milliseconds, rounded: the frame at 1001/30 ms is due at 33 ms.
    tick = Fraction(1, 1000) if name.endswith("mkv") else None
    due = [Fraction(index) / Fraction(rate) for index in range(count)]
    due = [round(time / tick) * tick for time in due] if tick else due
    units = 6
    wanted = [max(i for i in range(count) if due[i] <= Fraction(k, 25)) for k in range(units * 4)]
    assert numbers(watch(path, units)) == wanted


def test_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 10, 15, 70, 71, 200, 400, 410]
    path = write_film(tmp_path / "film.mkv", numbered(8), 100, times, Fraction(1, 1000))
    wanted = [max(i for i in range(8) if times[i] <= 40 * k) for k in range(16)]
    assert numbers(watch(path, 4)) == wanted


def test_the_first_frame_shows_before_it_is_due(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        video = container.add_stream("libx264", rate=25, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        for index, picture in enumerate(numbered(3)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = 5 + index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    assert numbers(watch(path, 2)) == [0, 0, 0, 0, 0, 0, 1, 2]


def test_a_short_camera_holds_its_last_frame(tmp_path: Path) -> None:
    assert numbers(watch(write_film(tmp_path / "film.mp4", numbered(6)), 3)) == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5]


@pytest.mark.parametrize("name", ["still.png", "still.jpg", "still.bmp"])
def test_a_still_picture_is_a_camera(tmp_path: Path, name: str) -> None:
    picture = grey(90)
    picture[:, :40] = (200, 40, 60)
    Image.fromarray(picture).save(tmp_path / name, quality=98)
    seen = watch(tmp_path / name, 2)
    assert len(seen) == 8
    for frame in seen:
        assert np.abs(frame[:, 4:36].astype(int) - (200, 40, 60)).max() <= 4
        assert np.abs(frame[:, 44:].astype(int) - 90).max() <= 4


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [
        (96, 160, (0, 0, 48, 80)),  # the same shape
        (480, 640, (0, 8, 48, 64)),  # less wide: bars left and right
        (720, 1280, (2, 0, 45, 80)),  # wider: bars above and below (45 rows of 48)
        (640, 200, (0, 32, 48, 15)),  # a tall one
        (12, 200, (21, 0, 5, 80)),  # a strip
        (24, 40, (0, 0, 48, 80)),  # smaller: enlarged
    ],
)
def test_any_shape_is_letterboxed(tmp_path: Path, height: int, width: int, box: tuple[int, int, int, int]) -> None:
    seen = watch(write_film(tmp_path / "film.mkv", [grey(200, height, width)] * 2), 1)[0]
    top, left, rows, columns = box
    assert fit((Fraction(width), Fraction(height)), MEDIA.sees.size) == (top if top != 2 else 1, left, rows, columns)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    top = (HEIGHT - rows) // 2
    inside[top : top + rows, left : left + columns] = True
    assert np.abs(seen[inside].astype(int) - 200).max() <= LEVEL_ERROR
    assert not seen[~inside].any(), "the bars are black"


def test_oblong_pixels_keep_their_shape(tmp_path: Path) -> None:
    # 64 x 48 pixels, each twice as wide as high: shown as 128 x 48, so bars lie above and below.
    path = write_film(tmp_path / "film.mp4", [grey(200, 48, 64)] * 2, pixel_aspect=Fraction(2))
    seen = watch(path, 1)[0]
    rows = np.flatnonzero(seen[:, 40, 0])
    assert (rows[0], len(rows)) == (9, 30)
    assert seen[24].all()


@pytest.mark.parametrize(("turn", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_phone_held_upright_is_turned(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    picture = grey(60, 64, 64)
    picture[:32, :32] = 220  # bright at the top left, before the turn
    path = write_film(tmp_path / "film.mp4", [picture] * 2)
    _turn_film(path, turn)
    seen = watch(path, 1)[0][:, 16:64]  # the square between the bars
    quarters = {(0, 0): (0, 0), (0, -1): (0, 24), (-1, 0): (24, 0), (-1, -1): (24, 24)}
    for name, (top, left) in quarters.items():
        level = seen[top + 6 : top + 18, left + 6 : left + 18].mean()
        assert level == pytest.approx(220 if name == corner else 60, abs=LEVEL_ERROR)


def test_a_turned_film_of_another_shape_is_letterboxed_upright(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", [grey(200, 40, 80)] * 2)
    _turn_film(path, 90)
    seen = watch(path, 1)[0]
    columns = np.flatnonzero(seen[24, :, 0])
    assert (columns[0], len(columns)) == (28, 24)
    assert seen[:, 40].all()


def _turn_film(path: Path, clockwise: int) -> None:
    """Write the turn into the film's track header, as phones do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise]
    one = 65536
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(("height", "width"), [(96, 160), (720, 1280)])
@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_colours_survive_our_own_film(tmp_path: Path, height: int, width: int, colour: tuple[int, int, int]) -> None:
    media = media_of(agent_size=(height, width))
    display = FilmDisplay(tmp_path / "film.mp4", media)
    display.write(np.full((4, height, width, 3), colour, np.uint8), np.zeros(MEDIA.hears.unit_samples, np.float32))
    display.close()
    seen = watch(tmp_path / "film.mp4", 1)
    assert np.abs(seen[0, 10:38, 10:70].astype(int) - colour).max() <= LEVEL_ERROR


def test_only_a_few_frames_are_held(tmp_path: Path) -> None:
    path = write_film(tmp_path / "long.mkv", (grey(20 + index % 200) for index in range(1500)))
    camera = VideoFile(path, MEDIA)
    out = np.empty((4, HEIGHT, WIDTH, 3), np.uint8)
    camera.read(out)
    tracemalloc.start()
    try:
        for _ in range(300):
            camera.read(out)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    camera.close()
    # Measured: 13 kB, a converted picture; 1200 of them passed.
    assert held < 100_000


def test_the_camera_that_is_off_is_grey() -> None:
    out = np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)
    StillCamera(MEDIA).read(out)
    assert (out == 128).all()


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    films = [write_film(tmp_path / f"good.{suffix}", numbered(50)) for suffix in ("mp4", "mkv", "avi", "mov")]
    cases: list[tuple[Path, str]] = [(_cut(path), "is truncated") for path in films]
    cases += [
        (tmp_path / "nowhere.mp4", "does not exist"),
        (write_sound(tmp_path / "sound.wav", np.zeros((1, 999), np.float32), 16000, "pcm_s16le"), "holds no picture"),
        (_without_frames(tmp_path / "none.mkv"), "holds no frames"),
        (_without_frames(tmp_path / "none.avi"), "holds no frames"),
    ]
    for name, content, words in (
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"this is no film\n" * 50, "not a film or picture file"),
        ("notes.txt", b"1.0\thello\n" * 50, "not a film or picture file"),
    ):
        (tmp_path / name).write_bytes(content)
        cases.append((tmp_path / name, words))
    for path, words in cases:
        with pytest.raises(MediaError) as caught:
            watch(path, 20)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def _cut(path: Path) -> Path:
    cut = path.with_name(f"cut-{path.name}")
    data = path.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    return cut


def _without_frames(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.start_encoding()
    return path


def test_the_film_has_every_frame_and_its_voice(tmp_path: Path) -> None:
    path, units = tmp_path / "film.mp4", 7
    media = media_of(agent_size=(96, 160))
    pictures = np.array([grey(20 + 6 * index, 96, 160) for index in range(units * 4)]).reshape(units, 4, 96, 160, 3)
    voice = click(units * MEDIA.hears.unit_samples, 5000)[:, 0].astype(np.float32).reshape(units, -1)
    display = FilmDisplay(path, media)
    for frames, samples in zip(pictures, voice, strict=True):
        display.write(frames, samples)
    display.finish()
    assert not path.exists(), "the film appears only when it is closed"
    display.close()
    seen = decoded_pictures(path)
    assert len(seen) == units * 4
    assert [round(float(frame.mean())) for frame in seen] == pytest.approx([20 + 6 * i for i in range(28)], abs=2)
    heard, rate = decoded_sound(path)
    assert rate == MEDIA.hears.sample_rate
    assert abs(int(np.abs(heard[0]).argmax()) - 5000) <= 4, "AAC smears a click, but does not move it"
    with av.open(str(path)) as film:
        assert film.streams.video[0].average_rate == 25
        assert film.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert film.streams.audio[0].duration * film.streams.audio[0].time_base == Fraction(units * 4, 25)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index stands in front, so that it plays while it loads"
    assert list(tmp_path.iterdir()) == [path]
    assert AudioFile(path, MEDIA).units == units


def test_pictures_too_small_to_see_are_enlarged_by_whole_factors(tmp_path: Path) -> None:
    assert enlargement(192, 336) == 1
    assert enlargement(96, 160) == 1
    assert enlargement(48, 80) == 2
    assert enlargement(16, 32) == 6
    assert enlargement(99, 160) == 2, "H.264 wants even sides"
    picture = np.random.default_rng(0).integers(0, 2, (48, 80, 1), np.uint8).repeat(3, 2) * 255
    display = FilmDisplay(tmp_path / "film.mp4", MEDIA)
    display.write(np.array([picture] * 4), np.zeros(MEDIA.hears.unit_samples, np.float32))
    display.close()
    seen = decoded_pictures(tmp_path / "film.mp4")[0]
    assert seen.shape == (96, 160, 3)
    assert ((seen[::2, ::2] > 127) == (picture > 127)).mean() > 0.99, "pixels stay pixels"


def test_a_film_that_gives_up_leaves_nothing(tmp_path: Path) -> None:
    for units in (0, 3):
        display = FilmDisplay(tmp_path / "film.mp4", MEDIA)
        for _ in range(units):
            display.write(np.zeros((4, HEIGHT, WIDTH, 3), np.uint8), np.zeros(MEDIA.hears.unit_samples, np.float32))
        display.discard()
        assert list(tmp_path.iterdir()) == []
