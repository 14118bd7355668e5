"""Pictures as people see them: upright, unmirrored, opaque, in a plain screen's colours."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_streamer.devices.files.colour import HLG, LINEAR, PQ, to_srgb
from edge_streamer.devices.files.container import Stream
from edge_streamer.devices.files.picture import Letterbox, fit
from edge_streamer.runtime.errors import MediaError
from tests.media_files import write_film

QUARTERS = np.zeros((48, 48, 3), np.uint8)
QUARTERS[:24, :24], QUARTERS[:24, 24:], QUARTERS[24:, :24], QUARTERS[24:, 24:] = 40, 100, 160, 220
"""Each quarter has a level of its own."""

MATRICES = {
    (1, 0, 0, 1): QUARTERS,
    (-1, 0, 0, 1): QUARTERS[:, ::-1],
    (-1, 0, 0, -1): QUARTERS[::-1, ::-1],
    (1, 0, 0, -1): QUARTERS[::-1],
    (0, 1, 1, 0): QUARTERS.transpose(1, 0, 2),
    (0, 1, -1, 0): np.rot90(QUARTERS, -1),
    (0, -1, -1, 0): QUARTERS[::-1, ::-1].transpose(1, 0, 2),
    (0, -1, 1, 0): np.rot90(QUARTERS, 1),
}
"""Display matrices (a, b, c, d) and what they show: (x, y) at (a x + c y, b x + d y)."""


def first_frame(path: Path) -> av.VideoFrame:
    stream = Stream(path, "video")
    frame = next(stream.frames())
    stream.close()
    assert isinstance(frame, av.VideoFrame)
    return frame


def levels(picture: NDArray[np.uint8]) -> list[float]:
    """Of the middle of each quarter of a square."""
    return [float(picture[row : row + 12, column : column + 12].mean()) for row in (6, 30) for column in (6, 30)]


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_film_is_turned_and_mirrored_as_its_matrix_says(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = write_film(tmp_path / "film.mp4", [QUARTERS] * 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = (65536 * part for part in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    assert levels(Letterbox((48, 48))(first_frame(path))) == pytest.approx(levels(MATRICES[matrix]), abs=3)


def test_turned_oblong_pixels_keep_their_shape(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", [np.full((48, 48, 3), 200, np.uint8)] * 2)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    seen = Letterbox((48, 48), Fraction(2))(first_frame(path))  # stored twice as wide as high, so shown as high
    assert np.flatnonzero(seen[24, :, 0]).tolist() == list(range(12, 36))
    assert seen[:, 24].all()


@pytest.mark.parametrize("form", ["rgba", "argb", "yuva420p", "yuva444p", "yuva444p10le", "rgba64le", "ya8"])
def test_what_is_clear_shows_the_bars_and_not_its_hidden_colour(form: str) -> None:
    clear = np.zeros((64, 96, 4), np.uint8)
    clear[..., :3] = 255
    clear[16:48, 32:64] = (180, 180, 180, 255)
    frame = av.VideoFrame.from_ndarray(clear, format="rgba").reformat(format=form)
    seen = Letterbox((32, 48))(frame)
    assert np.abs(seen[10:22, 18:30].astype(int) - 180).max() <= 2
    assert seen[:6].max() <= 1
    assert seen[:, :14].max() <= 1
    assert seen.max() <= 182, "nothing hidden runs over the edge"


def test_what_is_half_clear_is_half_as_bright() -> None:
    half = np.full((32, 32, 4), (200, 100, 40, 128), np.uint8)
    seen = Letterbox((32, 32))(av.VideoFrame.from_ndarray(half, format="rgba"))
    assert np.abs(seen.astype(int) - (100, 50, 20)).max() <= 1


@pytest.mark.parametrize(("codec", "suffix"), [("libvpx-vp9", "webm"), ("libvpx", "webm"), ("qtrle", "mov")])
def test_clear_parts_of_films(tmp_path: Path, codec: str, suffix: str) -> None:
    form = "argb" if codec == "qtrle" else "yuva420p"
    path = tmp_path / f"film.{suffix}"
    clear = np.full((64, 96, 4), (0, 255, 0, 0), np.uint8)
    clear[16:48, 32:64] = (220, 0, 0, 255)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"auto-alt-ref": "0"} if codec == "libvpx" else {})
        stream.width, stream.height, stream.pix_fmt = 96, 64, form
        if codec != "qtrle":
            stream.metadata["alpha_mode"] = "1"
            stream.bit_rate = 2_000_000
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba").reformat(format=form)))
        container.mux(stream.encode(None))
    opened = Stream(path, "video")
    times = [opened.time(frame) for frame in opened.frames()]
    opened.close()
    assert times == [0, Fraction(1, 25), Fraction(2, 25)]
    seen = Letterbox((64, 96))(first_frame(path)).astype(int)
    assert np.abs(seen[24:40, 40:56] - (220, 0, 0)).max() <= 6
    assert seen[:10].max() <= 4


def light(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """Linear light of an sRGB colour in the primaries of BT.2020."""
    level = np.array(colour) / 255
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([[0.6274, 0.0691, 0.0164], [0.3293, 0.9195, 0.0880], [0.0433, 0.0114, 0.8956]])


def in_hlg(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    scene = np.clip(light(colour) * 203 / 1000, 0, 1) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def in_pq(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    part = np.clip(light(colour) * 203 / 10_000, 0, 1) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * part) / (1 + 18.6875 * part)) ** 78.84375


@pytest.mark.parametrize("form", ["rgb48le", "yuv420p10le", "yuv422p10le", "yuva444p10le"])
@pytest.mark.parametrize(("transfer", "encode"), [(HLG, in_hlg), (PQ, in_pq)])
@pytest.mark.parametrize(
    "colour", [(200, 120, 40), (255, 255, 255), (128, 128, 128), (192, 0, 0), (0, 0, 0), (30, 60, 200), (250, 220, 190)]
)
def test_hdr_looks_like_sdr(form: str, transfer: int, encode: object, colour: tuple[int, int, int]) -> None:
    assert callable(encode)
    picture = np.broadcast_to(np.rint(65535 * encode(colour)).astype(np.uint16), (48, 64, 3))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb48le")
    if form != "rgb48le":
        red, green, blue = encode(colour)
        bright = 0.2627 * red + 0.6780 * green + 0.0593 * blue
        parts = (16 + 219 * bright, 128 + 224 * (blue - bright) / 1.8814, 128 + 224 * (red - bright) / 1.4746)
        planes = np.stack([np.full((48, 64), round(256 * part), np.uint16) for part in parts], axis=2)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p16le", channel_last=True).reformat(format=form)
    frame.color_trc, frame.color_primaries = transfer, 9
    seen = Letterbox((48, 48))(frame).astype(int)
    assert np.abs(seen[8:40] - colour).max() <= 3
    assert not seen[:5].any()


def test_hdr_that_names_its_curve_alone_is_in_the_usual_primaries() -> None:
    picture = np.rint(65535 * in_pq((200, 120, 40))).astype(np.uint16)[None, None]
    assert np.abs(to_srgb(picture, PQ, 2)[0, 0].astype(int) - (200, 120, 40)).max() <= 2


def test_what_is_brighter_than_white_is_white_and_black_stays_black() -> None:
    for transfer in (PQ, HLG):
        assert to_srgb(np.full((1, 1, 3), 65535, np.uint16), transfer, 9).tolist() == [[[255] * 3]]
        assert to_srgb(np.zeros((1, 1, 3), np.uint16), transfer, 9).tolist() == [[[0] * 3]]


@pytest.mark.parametrize(
    ("primaries", "stored"), [(12, (0.9175, 0.2003, 0.1387)), (9, (0.7920, 0.2310, 0.0738)), (1, (1.0, 0.0, 0.0))]
)
def test_pure_red_of_the_screen_in_wider_primaries(primaries: int, stored: tuple[float, float, float]) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), np.rint(np.array(stored) * 255), np.uint8), format="rgb24")
    frame.color_primaries = primaries
    assert np.abs(Letterbox((48, 48))(frame)[24, 24].astype(int) - (255, 0, 0)).max() <= 9  # near black, sRGB is steep


def test_linear_light() -> None:
    frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 14146, np.uint16), format="rgb48le")
    frame.color_trc = LINEAR
    assert (Letterbox((48, 48))(frame) == 128).all()


@pytest.mark.parametrize("full", [False, True])
def test_both_ranges(full: bool) -> None:
    frame = av.VideoFrame(48, 48, "yuv420p")
    for plane, level in zip(frame.planes, (200, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.color_range = 2 if full else 1
    want = 200 if full else round((200 - 16) * 255 / 219)
    assert np.abs(Letterbox((48, 48))(frame).astype(int) - want).max() <= 1


@pytest.mark.parametrize(
    ("name", "number", "words"), [("color_trc", 9, "logarithmic"), ("colorspace", 14, "matrix 14")]
)
def test_colours_that_are_not_read_are_told_in_one_line(name: str, number: int, words: str) -> None:
    frame = av.VideoFrame(48, 48, "yuv420p")
    setattr(frame, name, number)
    with pytest.raises(MediaError, match=words) as caught:
        Letterbox((48, 48), name="a.mov")(frame)
    assert str(caught.value).startswith("a.mov: ")
    assert "\n" not in str(caught.value)


def test_a_picture_of_any_shape_has_at_least_a_line() -> None:
    assert fit((Fraction(10_000), Fraction(1)), (48, 80)) == (23, 0, 1, 80)
    assert fit((Fraction(1), Fraction(10_000)), (48, 80)) == (0, 39, 48, 1)
