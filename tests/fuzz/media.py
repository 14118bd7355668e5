"""Small media files of many kinds, and reading them to their end as the loop does

Receives a folder; hands on whole files by name, made with PyAV and Pillow, and ``read``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from PIL import Image

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.captions import read_captions
from edge_streamer.devices.files.text_file import read_text
from edge_streamer.devices.files.video_file import VideoFile
from tests.media_files import MEDIA, write_sound, write_wav

SOUNDS = {
    "a.flac": ("flac", 16000), "a.ogg": ("libvorbis", 44100), "a.opus": ("libopus", 48000),
    "a.mp3": ("libmp3lame", 44100), "a.m4a": ("aac", 48000), "a.mka": ("flac", 48000), "a.aiff": ("pcm_s16be", 16000),
    "a.au": ("pcm_s16be", 16000),
}  # fmt: skip
FILMS = {"f.mp4": ("libx264", "aac"), "f.mkv": ("libx264", "libopus"), "f.webm": ("libvpx", "libopus"),
         "f.avi": ("mjpeg", "pcm_s16le"), "f.ts": ("mpeg2video", "mp2"), "f.mov": ("mpeg4", "pcm_s16le"),
         "f.flv": ("flv", "libmp3lame")}  # fmt: skip
MOST_UNITS = 60
"""A damaged length may promise hours: ten seconds of units show as much."""


def write_all(folder: Path) -> dict[str, bytes]:
    """Every kind that this PyAV and this Pillow can write, by name."""
    made: dict[str, bytes] = {}

    def keep(name: str, write: Callable[[Path], object]) -> None:
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError, KeyError):
            write(folder / name)
            made[name] = (folder / name).read_bytes()

    tone = (np.sin(np.arange(24000) * 0.2) * 0.3).astype(np.float32)
    keep("a.wav", lambda path: write_wav(path, tone, 16000))
    keep("b.wav", lambda path: write_wav(path, np.stack([tone, -tone], 1), 48000, "f32"))
    for name, (codec, rate) in SOUNDS.items():
        keep(name, lambda path, codec=codec, rate=rate: write_sound(path, tone[None], rate, codec))  # type: ignore[misc]
    for name, codecs in FILMS.items():
        keep(name, lambda path, codecs=codecs: _film(path, *codecs, tone))  # type: ignore[misc]
    y, x = np.mgrid[0:40, 0:56]
    picture = np.stack([x * 4, y * 6, x + y], -1).astype(np.uint8)
    for name in ("p.png", "p.jpg", "p.gif", "p.webp", "p.bmp", "p.tiff", "p.ppm"):
        keep(name, lambda path: Image.fromarray(picture).save(path))
    clear = Image.fromarray(np.dstack([picture, np.full((40, 56), 90, np.uint8)]))
    keep("clear.png", clear.save)
    turned = Image.Exif()
    turned[0x0112] = 5
    keep("turned.jpg", lambda path: Image.fromarray(picture).save(path, exif=turned))
    keep(
        "c.srt",
        lambda path: path.write_text(
            "1\n00:00:00,100 --> 00:00:01,000\nhello there\n\n2\n00:00:01,000 --> 00:00:02,000\nred\n"
        ),
    )
    keep("t.txt", lambda path: path.write_text("0.5 hello\n1.2 what is this\n"))
    return made


def _film(path: Path, video: str, audio: str, tone: Any) -> None:
    with av.open(str(path), "w") as container:
        pictures: Any = container.add_stream(video, rate=25)
        pictures.width, pictures.height = 64, 48
        pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        sound: Any = container.add_stream(audio, rate=48000 if audio in ("libopus", "aac") else 44100)
        sound.layout = "mono"
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 8, np.uint8), format="rgb24")
            frame.pts = index
            container.mux(pictures.encode(frame))
        for start in range(0, len(tone), 1024):
            piece = np.pad(tone[start : start + 1024], (0, max(0, 1024 - len(tone[start : start + 1024]))))
            frame_of_sound = av.AudioFrame.from_ndarray(piece[None], format="flt", layout="mono")
            frame_of_sound.sample_rate = sound.rate
            container.mux(sound.encode(frame_of_sound))
        container.mux(pictures.encode(None))
        container.mux(sound.encode(None))


def read(path: Path) -> str:
    """What the loop does with a file of this name, to its end."""
    if path.suffix == ".srt":
        return f"{len(read_captions(path))} captions"
    if path.suffix == ".txt":
        return f"{len(read_text(path, MEDIA))} texts"
    if path.name[0] in "abf":
        with contextlib.closing(AudioFile(path, MEDIA)) as sound:
            samples = np.zeros(MEDIA.hears.unit_samples, np.float32)
            units = 0
            while units < MOST_UNITS and sound.read(samples):
                units += 1
            if not np.isfinite(samples).all():
                raise AssertionError("a sample is not finite")
    if path.name[0] not in "ab":
        with contextlib.closing(VideoFile(path, MEDIA)) as film:
            frames = np.zeros((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8)
            for _ in range(12):
                film.read(frames)
    return "read"
