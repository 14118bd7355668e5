"""Stills: every orientation, colour and form that phones and editors write, and one clear line for the rest."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from edge_streamer.devices.files.picture import Letterbox
from edge_streamer.devices.files.still import LARGEST, read_still
from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.devices.live.camera.back_ends import Need
from edge_streamer.devices.live.camera.back_ends.film import open_source
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.runtime.commands.prefix import picture_units
from edge_streamer.runtime.errors import MediaError
from tests.media_files import MEDIA, write_film

QUARTERS = np.zeros((64, 96, 3), np.uint8)
QUARTERS[:32, :48], QUARTERS[:32, 48:], QUARTERS[32:, :48] = (220, 0, 0), (0, 220, 0), (0, 0, 220)
QUARTERS[32:, 48:] = 220


def shown(path: Path) -> NDArray[Any]:
    """The still at its own size, as the letterbox shows it; as whole numbers with a sign."""
    pictures = read_still(path)
    assert pictures is not None
    frame = next(pictures)[1]
    return Letterbox((frame.height, frame.width))(frame).astype(int)


def seen(path: Path) -> NDArray[Any]:
    """What the model's camera sees of it."""
    camera = VideoFile(path, MEDIA)
    out = np.zeros((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8)
    camera.read(out)
    camera.close()
    return out[-1].astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_every_orientation_is_shown_as_image_viewers_do(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    options: dict[str, Any] = {"jpg": {"quality": 97, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(QUARTERS).save(path, exif=exif, **options)
    with Image.open(path) as image:
        want = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    assert np.abs(shown(path) - want).max() <= 6
    # Through all three readers: the camera of `run`, the image of `prefix`, and a live camera.
    camera = seen(path)
    units = picture_units(path, MEDIA)
    prefix = next(units).frames
    units.close()
    assert prefix is not None
    assert (prefix[0] == camera).all()
    live = open_source(str(path), Need(*MEDIA.sees.size, MEDIA.sees.frame_rate))
    letterbox = Letterbox(MEDIA.sees.size, live.pixel_aspect)
    pictures = live.frames()
    assert (letterbox(next(pictures)[1]) == camera).all()
    assert (letterbox(next(pictures)[1]) == camera).all(), "and again"
    assert live.facts["size"] == [want.shape[0], want.shape[1]]


def clear() -> Image.Image:
    """An opaque red square; around it green that cannot be seen."""
    levels = np.full((64, 96, 4), (0, 255, 0, 0), np.uint8)
    levels[16:48, 32:64] = (220, 0, 0, 255)
    return Image.fromarray(levels)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "gif", "tga"])
def test_what_is_clear_shows_the_bars(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"icon.{suffix}"
    clear().save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    picture = seen(path)
    assert np.abs(picture[18:30, 34:46] - (220, 0, 0)).max() <= 2
    assert not picture[:10].any()
    assert picture[..., 1].max() <= 2, "no green at the edge either"


def test_a_qoi_s_word_on_its_curve_is_not_heeded(tmp_path: Path) -> None:
    path = tmp_path / "one-colour.qoi"
    header = struct.pack(">4sIIBB", b"qoif", 9, 7, 3, 1)  # 1: linear, as most programs write of any picture
    path.write_bytes(header + b"\xfe\xdc\x64\x14\xfd" + bytes(7) + b"\1")  # a pixel, and 62 times the same
    assert np.abs(shown(path) - (220, 100, 20)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1", "LA", "I;16"])
def test_every_way_to_say_clear_in_a_png(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "icon.png"
    options: dict[str, Any] = {}
    if mode == "I;16":
        image, options = Image.fromarray(np.full((48, 80), 40_000, np.uint16)), {"transparency": 40_000}
    elif mode == "LA":
        image = Image.new("LA", (80, 48), (200, 0))
    else:
        image = Image.new(mode, (80, 48), {"P": 0, "L": 200, "RGB": (0, 200, 0), "1": 1}[mode])  # type: ignore[arg-type]
        options = {"transparency": {"P": 0, "L": 200, "RGB": (0, 200, 0), "1": 255}[mode]}
        if mode == "P":
            image.putpalette([0, 200, 0])
    image.save(path, **options)
    assert not seen(path).any()


def test_grey_depths_palettes_and_inks(tmp_path: Path) -> None:
    grey16 = np.full((48, 80), 32768, np.uint16)
    cases: list[tuple[str, Image.Image, Any]] = [
        ("grey16.png", Image.fromarray(grey16), 128),
        ("grey16.tiff", Image.fromarray(grey16), 128),
        ("grey8.png", Image.new("L", (80, 48), 128), 128),
        ("grey.jpg", Image.new("L", (80, 48), 128), 128),
        ("bit.png", Image.new("1", (80, 48), 1), 255),
        ("bit.tiff", Image.new("1", (80, 48), 1), 255),
        ("palette.png", Image.new("RGB", (80, 48), (200, 120, 40)).quantize(4), (200, 120, 40)),
        ("palette.bmp", Image.new("RGB", (80, 48), (200, 120, 40)).quantize(4), (200, 120, 40)),
        ("inks.jpg", Image.new("RGB", (80, 48), (200, 120, 40)).convert("CMYK"), (200, 120, 40)),
        ("inks.tiff", Image.new("RGB", (80, 48), (200, 120, 40)).convert("CMYK"), (200, 120, 40)),
        ("light.tiff", Image.fromarray(np.full((48, 80), 0.5, np.float32)), 128),
    ]
    for name, image, want in cases:
        image.save(tmp_path / name)
        assert np.abs(seen(tmp_path / name) - want).max() <= 3, name


def profile(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of a monitor."""
    table, data, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, at + len(data), len(content))
        data += content.ljust(-(-len(content) // 4) * 4, b"\0")
    head = struct.pack(">I4sI4s4s4s", at + len(data), b"none", 0x02100000, b"mntr", kind, b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + data


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


GAMMA = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
WHITE = xyz(0.9642, 1.0, 0.8249)
DISPLAY_P3 = {
    b"rXYZ": xyz(0.5151, 0.2412, -0.0011), b"gXYZ": xyz(0.2920, 0.6922, 0.0419), b"bXYZ": xyz(0.1571, 0.0666, 0.7841),
    b"wtpt": WHITE, b"rTRC": GAMMA, b"gTRC": GAMMA, b"bTRC": GAMMA,
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_a_profile_is_heeded(tmp_path: Path, suffix: str) -> None:
    # sRGB's (220, 0, 0) in Display P3 with gamma 2.2.
    path = tmp_path / f"photo.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 97} if suffix == "jpg" else {}
    Image.new("RGB", (80, 48), (202, 47, 31)).save(path, icc_profile=profile(b"RGB ", DISPLAY_P3), **options)
    assert np.abs(seen(path) - (220, 0, 0)).max() <= 8


def test_a_profile_beside_clear_parts_and_of_greys(tmp_path: Path) -> None:
    image = Image.new("RGBA", (80, 48), (202, 47, 31, 128))
    image.save(tmp_path / "half.png", icc_profile=profile(b"RGB ", DISPLAY_P3))
    assert np.abs(seen(tmp_path / "half.png") - (110, 0, 0)).max() <= 5
    linear = b"curv" + bytes(4) + struct.pack(">I", 0)
    Image.new("L", (80, 48), 55).save(
        tmp_path / "grey.png", icc_profile=profile(b"GRAY", {b"wtpt": WHITE, b"kTRC": linear})
    )
    assert np.abs(seen(tmp_path / "grey.png") - 128).max() <= 2


@pytest.mark.parametrize(
    "broken", [b"nonsense", profile(b"RGB ", DISPLAY_P3)[:200], profile(b"CMYK", {b"wtpt": WHITE})]
)
def test_a_profile_that_cannot_be_used_is_passed_over(tmp_path: Path, broken: bytes) -> None:
    Image.new("RGB", (80, 48), (200, 120, 40)).save(tmp_path / "photo.png", icc_profile=broken)
    assert np.abs(seen(tmp_path / "photo.png") - (200, 120, 40)).max() <= 1


def test_broken_exif_is_passed_over(tmp_path: Path) -> None:
    for name, exif in (("a.jpg", b"Exif\0\0nonsense"), ("b.png", b"Exif\0\0II*\0\xff\xff\xff\x7f")):
        Image.new("RGB", (80, 48), (200, 120, 40)).save(tmp_path / name, exif=exif)
        assert np.abs(seen(tmp_path / name) - (200, 120, 40)).max() <= 4


def test_a_shape_of_pixels_counts_and_dots_per_inch_do_not(tmp_path: Path) -> None:
    image = Image.new("RGB", (48, 48), (200, 200, 200))
    image.save(tmp_path / "paper.jpg", dpi=(100, 200))
    assert seen(tmp_path / "paper.jpg")[:, 16:64].min() > 190
    data = bytearray((tmp_path / "paper.jpg").read_bytes())
    at = data.index(b"JFIF") + 7
    data[at : at + 5] = struct.pack(">BHH", 0, 5, 3)
    (tmp_path / "wide.jpg").write_bytes(data)
    assert seen(tmp_path / "wide.jpg")[:, :].min() > 190


def test_a_png_that_names_its_curve(tmp_path: Path) -> None:
    """PQ at 58 % is a display's white at 203 cd/m2."""
    buffer = BytesIO()
    Image.new("RGB", (80, 48), (148, 148, 148)).save(buffer, "png")
    data = buffer.getvalue()
    chunk = bytes([9, 16, 0, 1])
    named = struct.pack(">I", 4) + b"cICP" + chunk + struct.pack(">I", zlib.crc32(b"cICP" + chunk))
    (tmp_path / "hdr.png").write_bytes(data[:33] + named + data[33:])
    assert seen(tmp_path / "hdr.png").min() >= 252


def test_large_photos_are_read_smaller(tmp_path: Path) -> None:
    picture = np.repeat(np.repeat(QUARTERS, 45, 0), 45, 1)
    for name in ("large.jpg", "large.png"):
        Image.fromarray(picture).save(tmp_path / name)
        still = read_still(tmp_path / name)
        assert still is not None
        assert max(next(still)[1].width, 0) < 2 * LARGEST
        assert (
            np.abs(
                seen(tmp_path / name)[[4, 4, 40, 40], [12, 70, 12, 70]] - QUARTERS[[0, 0, -1, -1], [0, -1, 0, -1]]
            ).max()
            <= 4
        )


def test_moving_pictures_move(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (80, 48), (level,) * 3) for level in (40, 120, 200)]
    for suffix in ("gif", "png", "webp"):
        path = tmp_path / f"moving.{suffix}"
        lossless = {"lossless": True} if suffix == "webp" else {}
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, **lossless)
        camera = VideoFile(path, MEDIA)
        out = np.zeros((2, 4, *MEDIA.sees.size, 3), np.uint8)
        for unit in out:
            camera.read(unit)
        camera.close()
        assert out[:, :, 24, 40, 0].ravel().tolist() == [40, 40, 120, 120, 200, 200, 200, 200], suffix


def test_a_photo_with_a_second_view_behind_it_is_one_photo_and_a_row_of_jpegs_a_film(tmp_path: Path) -> None:
    one, other = Image.new("RGB", (80, 48), (40,) * 3), Image.new("RGB", (80, 48), (200,) * 3)
    for name in ("both.jpg", "both.mpo"):
        one.save(tmp_path / name, format="MPO", save_all=True, append_images=[other])
        still = read_still(tmp_path / name)
        assert still is not None
        assert len(list(still)) == 1
        assert np.abs(seen(tmp_path / name) - 40).max() <= 2
    one.save(tmp_path / "one.jpg")
    other.save(tmp_path / "other.jpg")
    row = (tmp_path / "one.jpg").read_bytes() + (tmp_path / "other.jpg").read_bytes()
    (tmp_path / "row.mjpeg").write_bytes(row)
    assert read_still(tmp_path / "row.mjpeg") is None
    assert np.abs(seen(tmp_path / "row.mjpeg") - 200).max() <= 2


def test_a_film_is_no_still(tmp_path: Path) -> None:
    assert read_still(write_film(tmp_path / "film.mp4", [np.zeros((48, 80, 3), np.uint8)] * 2)) is None


@pytest.mark.parametrize("name", ["photo%20d.png", "shot%03d.png", "a[1]*.png", "50%.jpg", "x?.webp", "http:.png"])
def test_names_are_names(tmp_path: Path, name: str) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / name)
    assert np.abs(seen(tmp_path / name)[4, 12] - (220, 0, 0)).max() <= 4


def test_what_is_cut_short_or_damaged_is_one_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "tiff", "bmp"):
        path = tmp_path / f"photo.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        for use in (seen, lambda path: open_source(str(path), Need(48, 80, 25))):
            with pytest.raises((MediaError, Unopened)) as caught:
                use(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_the_seconds_of_a_still(tmp_path: Path) -> None:
    Image.fromarray(QUARTERS).save(tmp_path / "photo.png")
    still = read_still(tmp_path / "photo.png")
    assert still is not None
    assert [due for due, _ in still] == [Fraction(0)]
