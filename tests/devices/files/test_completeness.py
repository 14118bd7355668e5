"""A file is called damaged only when it is: what is whole opens, what was cut is refused when it is opened."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.completeness import why_incomplete
from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.runtime.errors import MediaError
from tests.media_files import MEDIA, grey, write_film, write_sound, write_wav


def why(path: Path) -> str | None:
    with path.open("rb") as file:
        return why_incomplete(file)


@pytest.mark.parametrize(
    "length",
    [0, 2_000_000_000, 2_000_000_000 - 36, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x7FFFFFFF - 44, 0x7FFFF000, 0x7FF00000,
     0x80000000, 0x80000000 + 36, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0xFFFFFFFF - 44, 0xFFFFFFF0, 0xFFFF0000, 1 << 30,
     4_000_000_000, 1_234_567_891],
)  # fmt: skip
def test_a_length_that_no_cut_explains_is_unknown(tmp_path: Path, length: int) -> None:
    path = write_wav(tmp_path / "a.wav", np.full(16000, 0.5), 16000, data_size=length)
    assert why(path) is None
    microphone, out, units = AudioFile(path, MEDIA), np.empty(MEDIA.hears.unit_samples, np.float32), 0
    while microphone.read(out):
        units += 1
    assert units == 7


@pytest.mark.parametrize("length", [32002, 64000, 691_200_000, 1_382_400_000, 3_110_400_000])
def test_a_wav_that_was_cut_is_refused(tmp_path: Path, length: int) -> None:
    path = write_wav(tmp_path / "a.wav", np.full(16000, 0.5), 16000, data_size=length)
    with pytest.raises(MediaError, match=f"is truncated: it promises {length} bytes of sound, 32000 are there"):
        AudioFile(path, MEDIA)


@pytest.mark.parametrize(
    "tail", [b"SEFT trailer of a phone: \1\2\3\4 not a box", bytes(4096), b"abc", struct.pack(">I4s", 4000, b"free")]
)
def test_bytes_behind_a_film_are_passed_over(tmp_path: Path, tail: bytes) -> None:
    path = write_film(tmp_path / "film.mp4", [grey(100)] * 10)
    path.write_bytes(path.read_bytes() + tail)
    VideoFile(path, MEDIA).close()


@pytest.mark.parametrize("box", [b"mdat", b"moof"])
def test_a_film_whose_last_media_were_cut_is_refused(tmp_path: Path, box: bytes) -> None:
    path = write_film(tmp_path / "film.mp4", [grey(100)] * 10)
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 5000, box) + bytes(100))
    assert "altogether" in (why(path) or "")


@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125), bytes(1000)])
def test_a_whole_flac(tmp_path: Path, tail: bytes) -> None:
    for rate, channels in ((48000, 1), (44100, 2)):
        noise = np.random.default_rng(0).normal(0, 0.1, (channels, rate)).astype(np.float32)
        layout = "mono" if channels == 1 else "stereo"
        path = write_sound(tmp_path / f"{rate}.flac", noise, rate, "flac", layout)
        path.write_bytes(path.read_bytes() + tail)
        assert why(path) is None


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99999])
def test_a_flac_that_was_cut_is_refused_when_it_is_opened(tmp_path: Path, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 96000)).astype(np.float32)
    path = write_sound(tmp_path / "a.flac", noise, 48000, "flac")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(MediaError, match=r"is truncated: it promises 2\.00 s of sound"):
        AudioFile(path, MEDIA)


def test_flac_beside_a_longer_picture(tmp_path: Path) -> None:
    from tests.devices.files.test_timeline import film, heard

    def short(kind: str, second: float) -> float | None:
        return None if kind == "audio" and second >= 2.5 else 0.0

    samples, figures = heard(film(tmp_path / "film.mkv", short, sound="flac"))
    assert len(samples) == 17 * MEDIA.hears.unit_samples, "27 packets of 96 ms"
    assert not any(figures[name] for name in ("filled_seconds", "joins", "lost_packets", "broken_off"))


PICTURE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("progressive.jpg", {"progressive": True}), ("a.gif", {}), ("a.bmp", {}), ("a.tiff", {}),
     ("lzw.tiff", {"compression": "tiff_lzw"}), ("jpeg.tiff", {"compression": "jpeg"}), ("a.png", {}), ("a.webp", {}),
     ("a.ppm", {}), ("a.tga", {}), ("a.ico", {}), ("a.jp2", {}), ("a.pcx", {}), ("a.dds", {}), ("a.sgi", {})],
)  # fmt: skip
def test_half_a_picture_is_refused(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = tmp_path / name
    Image.fromarray(PICTURE).save(path, **options)
    VideoFile(path, MEDIA).close()
    data = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MediaError) as caught:
            VideoFile(path, MEDIA)
        assert str(path) in str(caught.value)


def test_a_thumbnail_s_end_is_not_the_picture_s(tmp_path: Path) -> None:
    Image.fromarray(PICTURE).resize((16, 12)).save(tmp_path / "small.jpg")
    Image.fromarray(PICTURE).save(tmp_path / "a.jpg")
    data, small = (tmp_path / "a.jpg").read_bytes(), (tmp_path / "small.jpg").read_bytes()
    path = tmp_path / "thumbnail.jpg"
    data = data[:2] + struct.pack(">HH", 0xFFE1, 2 + len(small)) + small + data[2:]
    path.write_bytes(data + b"what a phone adds")
    VideoFile(path, MEDIA).close()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match="is truncated"):
        VideoFile(path, MEDIA)


def test_bare_formats_whose_decoders_say_nothing(tmp_path: Path) -> None:
    pixels = bytes(300)
    whole = {
        "a.qoi": b"qoif" + struct.pack(">IIBB", 10, 10, 3, 0) + bytes(range(64, 128)) * 2 + bytes(7) + b"\1",
        "a.sun": struct.pack(">8I", 0x59A66A95, 10, 10, 24, 300, 1, 0, 0) + pixels,
        "a.wbmp": b"\0\0\x10\x10" + bytes(32),
        "a.au": b".snd" + struct.pack(">5I", 24, 300, 3, 8000, 1) + pixels,
        "a.aiff": b"FORM" + struct.pack(">I", 304) + b"AIFF" + pixels,
    }
    for name, data in whole.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert why(path) is None, name
        path.write_bytes(data[: len(data) * 2 // 3])
        assert why(path), name
