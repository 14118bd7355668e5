"""Makes the demo's media: ``python tests/bench/make_demo_media.py [DIR]`` (default: runtime/embedded/media).

Receives nothing but the program ``espeak-ng`` (Debian package espeak-ng; its speech is ours to give away); hands on
``speech.wav`` (8 s, 16 kHz, three sentences with pauses), ``camera.mp4`` (8 s, 320x240 at 15 frames per second, so
that the demo resamples) and ``text.txt``. All drawn and spoken here, seeded: the same tools make the same files.
"""

from __future__ import annotations

import argparse
import io
import math
import subprocess
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SECONDS = 8
SAMPLE_RATE = 16000
FRAME_RATE = 15
SIZE = (320, 240)
FINER = 3
"""Pictures are drawn so much larger and then shrunk, for smooth edges."""

SPOKEN = ((0.40, "Hello there!"), (2.30, "Can you see me?"), (4.40, "I am moving to the other side now."))
"""Second at which each sentence starts."""
VOICE = ("-v", "en-us+f3", "-s", "145", "-p", "46")
ROOM_NOISE = 10 ** (-62 / 20)
"""A quiet room, RMS: silence in a recording is never digital zero."""
TYPED = "1.60\thello\n6.90\twhat did you see?\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "runtime" / "embedded" / "media"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / "speech.wav", speech())
    write_film(folder / "camera.mp4")
    (folder / "text.txt").write_text(TYPED, encoding="utf-8")


def speech() -> NDArray[np.float32]:
    """[SECONDS * SAMPLE_RATE], sentences over a quiet room."""
    noise = np.random.default_rng(1).standard_normal(SECONDS * SAMPLE_RATE).astype(np.float32)
    mixed = ROOM_NOISE * noise
    for start, sentence in SPOKEN:
        voice = speak(sentence)
        first = round(start * SAMPLE_RATE)
        mixed[first : first + len(voice)] += voice
    return mixed


def speak(sentence: str) -> NDArray[np.float32]:
    """``sentence`` at SAMPLE_RATE, peak at half of full scale."""
    out = subprocess.run(["espeak-ng", *VOICE, "--stdout", sentence], check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(out)) as file:
        rate = file.getframerate()
    data = out[44:]  # a pipe's header does not say how long it is
    samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768
    voice = soxr.resample(samples, rate, SAMPLE_RATE)
    return np.asarray(0.5 * voice / np.abs(voice).max(), np.float32)


def write_wav(path: Path, samples: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def write_film(path: Path) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as film:
        stream: Any = film.add_stream("libx264", rate=FRAME_RATE, options={"crf": "20", "preset": "veryslow"})
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on any machine
        room = background()
        for index in range(SECONDS * FRAME_RATE):
            frame = av.VideoFrame.from_image(picture(room, index / FRAME_RATE))
            frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


def background() -> Image.Image:
    """A room: a wall with light from a window, shelves with books, a plant."""
    width, height = (FINER * side for side in SIZE)
    down, across = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    wall = np.stack([188 - 60 * across - 30 * down, 176 - 52 * across - 34 * down, 160 - 36 * across - 40 * down], -1)
    room = Image.fromarray(wall.astype(np.uint8))
    pen = ImageDraw.Draw(room)
    random = np.random.default_rng(7)
    _window(pen)
    for shelf in (62, 118):
        left = 222
        while left < 304:
            thick, tall = int(random.integers(5, 11)), int(random.integers(24, 40))
            colour = tuple(int(c) for c in random.integers(50, 200, 3))
            pen.rectangle(_finer(left, shelf - tall, left + thick, shelf), fill=colour)
            left += thick + 1
        pen.rectangle(_finer(214, shelf, 312, shelf + 4), fill=(92, 66, 46))
    pen.rectangle(_finer(0, 196, 320, 240), fill=(116, 84, 60))
    pen.rectangle(_finer(20, 168, 48, 200), fill=(150, 84, 56))
    for turn in np.linspace(-1.1, 1.1, 9):
        tip = (34 + 34 * math.sin(turn), 168 - 46 * math.cos(turn))
        pen.line([(34 * FINER, 170 * FINER), (tip[0] * FINER, tip[1] * FINER)], fill=(58, 110, 62), width=5 * FINER)
    return room.filter(ImageFilter.GaussianBlur(1.2 * FINER))


def _window(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle(_finer(18, 22, 98, 112), fill=(240, 240, 232))
    for left, top in ((24, 28), (61, 28), (24, 70), (61, 70)):
        pen.rectangle(_finer(left, top, left + 31, top + 36), fill=(150, 192, 224))
    pen.ellipse(_finer(66, 34, 84, 52), fill=(255, 244, 196))


def picture(room: Image.Image, time: float) -> Image.Image:
    """The room with a head that sways, crosses to the other side while it says so, blinks and talks."""
    scene = room.copy()
    pen = ImageDraw.Draw(scene)
    cross = 1 / (1 + math.exp(-3.2 * (time - 5.4)))  # from left to right around second 5.4
    x = 122 + 82 * cross + 5 * math.sin(1.9 * time)
    y = 122 + 3 * math.sin(2.7 * time + 1)
    look = 2.5 * math.sin(0.9 * time) + 3 * (cross * (1 - cross) * 4)
    pen.ellipse(_finer(x - 74, y + 54, x + 74, y + 200), fill=(64, 92, 136))  # shoulders
    pen.rectangle(_finer(x - 15, y + 30, x + 15, y + 66), fill=(206, 156, 126))
    pen.ellipse(_finer(x - 47, y - 66, x + 47, y + 46), fill=(70, 48, 38))  # hair
    pen.ellipse(_finer(x - 39, y - 48, x + 39, y + 52), fill=(228, 178, 146))
    _eyes(pen, x, y, look, time)
    nose = ((x + look, y - 2), (x - 6 + look, y + 16), (x + 5 + look, y + 16))
    pen.polygon([(across * FINER, down * FINER) for across, down in nose], fill=(206, 152, 122))
    opened = mouth(time)
    pen.ellipse(_finer(x - 14 + look, y + 27 - opened, x + 14 + look, y + 31 + opened), fill=(150, 62, 60))
    return scene.resize(SIZE, Image.Resampling.LANCZOS)


def _eyes(pen: ImageDraw.ImageDraw, x: float, y: float, look: float, time: float) -> None:
    blinks = (time % 2.6) < 0.13
    for side in (-16, 16):
        pen.arc(_finer(x + side - 10, y - 27, x + side + 10, y - 12), 200, 340, fill=(80, 54, 42), width=2 * FINER)
        if blinks:
            pen.line(_finer(x + side - 7, y - 10, x + side + 7, y - 10), fill=(120, 82, 66), width=2 * FINER)
            continue
        pen.ellipse(_finer(x + side - 8, y - 15, x + side + 8, y - 4), fill=(250, 250, 248))
        pen.ellipse(_finer(x + side - 4 + look, y - 14, x + side + 4 + look, y - 5), fill=(60, 84, 110))


def mouth(time: float) -> float:
    """How far the mouth is open, in pixels: it moves while a sentence is spoken."""
    for start, sentence in SPOKEN:
        if start <= time < start + 0.07 * len(sentence):
            return 2.5 + 4.5 * abs(math.sin(11 * (time - start)))
    return 0.5


def _finer(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    return left * FINER, top * FINER, right * FINER, bottom * FINER


if __name__ == "__main__":
    main()
