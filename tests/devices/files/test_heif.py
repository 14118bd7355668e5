"""HEIC and AVIF: tiles are put together, turned, cut and laid on the bars; damage is one clear line."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.runtime.errors import MediaError
from tests.heif_files import write_heif
from tests.media_files import MEDIA

HEIGHT, WIDTH = MEDIA.sees.size
LEVELS = ((40, 90), (150, 210))
TILES = [[np.full((96, 160, 3), level, np.uint8) for level in row] for row in LEVELS]
"""A picture of 192 x 320 in four tiles, in the shape of the model's."""

MIRRORED, TURNED = (b"imir", b"\1"), (b"irot", b"\2")


def seen(path: Path) -> NDArray[np.uint8]:
    camera = VideoFile(path, MEDIA)
    out = np.zeros((MEDIA.sees.unit_frames, HEIGHT, WIDTH, 3), np.uint8)
    camera.read(out)
    camera.close()
    return out[0]


def quarters(picture: NDArray[np.uint8]) -> list[list[float]]:
    return [[float(picture[r : r + 8, c : c + 16].mean()) for c in (12, 52)] for r in (8, 32)]


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_tiles_are_put_together(tmp_path: Path, suffix: str) -> None:
    picture = seen(write_heif(tmp_path / f"photo.{suffix}", TILES))
    assert np.abs(np.array(quarters(picture)) - LEVELS).max() <= 3
    assert picture.min() > 30, "no bars, no gaps"


@pytest.mark.parametrize(
    ("properties", "want"),
    [
        ([MIRRORED], [[90, 40], [210, 150]]),
        ([(b"imir", b"\0")], [[150, 210], [40, 90]]),
        ([TURNED], [[210, 150], [90, 40]]),
        ([TURNED, MIRRORED], [[150, 210], [40, 90]]),
    ],
)
@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_it_is_turned_and_mirrored(
    tmp_path: Path, suffix: str, properties: list[tuple[bytes, bytes]], want: list[list[int]]
) -> None:
    picture = seen(write_heif(tmp_path / f"photo.{suffix}", TILES, properties=properties))
    assert np.abs(np.array(quarters(picture)) - want).max() <= 3


def test_a_quarter_turn_is_counterclockwise_and_before_the_mirror(tmp_path: Path) -> None:
    tiles = [[np.full((128, 128, 3), level, np.uint8) for level in row] for row in LEVELS]
    picture = seen(write_heif(tmp_path / "a.heic", tiles, properties=[(b"irot", b"\1"), MIRRORED]))[:, 16:64]
    # 40 90 / 150 210 -> 90 210 / 40 150 -> 210 90 / 150 40
    assert [[round(float(picture[r, c, 0]), -1) for c in (8, 40)] for r in (8, 40)] == [[210, 90], [150, 40]]


def test_the_last_tiles_are_cut_to_the_picture(tmp_path: Path) -> None:
    picture = seen(write_heif(tmp_path / "photo.heic", TILES, size=(120, 200)))
    assert picture[:, -10:].min() > 80
    column = picture[:, 4, 0].astype(int)
    assert abs(int(np.argmax(column > 100)) - 48 * 96 / 120) <= 1


def test_a_crop(tmp_path: Path) -> None:
    clap = struct.pack(">IIIIiIiI", 160, 1, 96, 1, 160, 2, 96, 2)  # the lower right quarter
    picture = seen(write_heif(tmp_path / "photo.heic", TILES, properties=[(b"clap", clap)]))
    assert np.abs(picture.astype(int) - 210).max() <= 3


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_one_picture_without_tiles_and_its_clear_part(tmp_path: Path, suffix: str) -> None:
    alpha = np.zeros((96, 160), np.uint8)
    alpha[:, 80:] = 255
    picture = seen(write_heif(tmp_path / f"icon.{suffix}", [[TILES[1][1]]], alpha=alpha))
    assert picture[:, :38].max() <= 4
    assert np.abs(picture[:, 43:].astype(int) - 210).max() <= 4


def test_hdr(tmp_path: Path) -> None:
    # Grey 149 of 255 is PQ's 58 %: white at 203 cd/m2.
    tile = np.full((96, 160, 3), 149, np.uint8)
    path = write_heif(tmp_path / "hdr.heic", [[tile, tile]], (96, 320), colours=(9, 16, 9), form="yuv420p10le")
    assert seen(path)[24].min() >= 250


def test_tiles_whose_colours_are_not_read_are_one_line(tmp_path: Path) -> None:
    path = write_heif(tmp_path / "odd.heic", [[TILES[0][0]]], colours=(1, 13, 14))
    with pytest.raises(MediaError, match=r"odd\.heic cannot be read: its colours are in a form \(matrix 14\)"):
        seen(path)


def test_a_form_that_is_not_read_is_one_line(tmp_path: Path) -> None:
    path = write_heif(tmp_path / "photo.heic", TILES)
    path.write_bytes(path.read_bytes().replace(b"grid", b"iovl"))
    with pytest.raises(MediaError, match=r"photo\.heic holds its picture in a form \(iovl\) that is not read"):
        seen(path)


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_cut_short_it_is_truncated(tmp_path: Path, suffix: str) -> None:
    path = write_heif(tmp_path / f"photo.{suffix}", TILES)
    data = path.read_bytes()
    for part in (0.999, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(MediaError, match="is truncated"):
            seen(path)
    for part in (0.5, 0.2, 0.05):
        path.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(MediaError) as caught:
            seen(path)
        assert "\n" not in str(caught.value)
        assert "recording" not in str(caught.value)


def test_damage_is_one_line(tmp_path: Path) -> None:
    data = write_heif(tmp_path / "photo.heic", TILES[:1]).read_bytes()
    end = data.index(b"mdat")
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        broken = bytearray(data)
        for at in random.integers(0, end, 3):
            broken[at] = random.integers(0, 256)
        (tmp_path / "broken.heic").write_bytes(broken)
        with suppress(MediaError):
            seen(tmp_path / "broken.heic")
            refused -= 1
        refused += 1
    assert refused > 10
