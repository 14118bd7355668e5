"""What the side-by-side film is drawn with: text, scaled pictures, a light, a waveform that moves.

Receives numbers, words and pictures; draws them into one RGB array [height, width, 3] that lives as long as the film.

Choices: only what changed is drawn again, text is rendered once per wording, and the waveform moves by copying, so that
a unit of four frames costs a few milliseconds (its test measures it). Letters come from
the font inside Pillow; other scripts from a font of the system where there is one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edge_streamer.runtime.loop.media import Samples

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND: Colour = (22, 24, 29)
PANEL: Colour = (12, 13, 16)
BRIGHT: Colour = (236, 238, 242)
DIM: Colour = (138, 144, 156)
TEAL: Colour = (84, 200, 196)
AMBER: Colour = (244, 178, 92)

FIRST_OTHER_SCRIPT = 0x250
"""Pillow's own font draws Latin letters, which end here."""

OTHER_FONTS = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
    "/usr/share/fonts/truetype/noto/NotoSans-Regular.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
)
"""Where Debian, Ubuntu and JetPack keep fonts with more scripts, widest first."""

QUIETEST_DB = -54.0
"""The level meter's lower end: a quiet room."""
METER_FALL = 0.02
"""How far the meter's mark falls per frame, of its height."""

MUCH_ENLARGED = 2.0
"""From here on a picture is scaled by Lanczos' window: bilinear would show a small one as a blur. Below, the two look
the same, and Lanczos costs 2.5 times as much (2.0 ms against 0.8 for 160x96 to 640x384)."""


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, canvas: Canvas) -> Canvas:
        """The part of ``canvas`` inside this box, to draw into."""
        return canvas[self.top : self.top + self.height, self.left : self.left + self.width]


class Words:
    """Text in a box, the last ``lines`` lines of it; drawn only where it changed."""

    def __init__(self, box: Box, size: int, colour: Colour, lines: int = 1, align: str = "left") -> None:
        self._box, self._size, self._colour, self._lines, self._align = box, size, colour, lines, align
        self._drawn: str | None = None

    def draw(self, canvas: Canvas, text: str) -> None:
        """Draw ``text`` into its box, over what was there."""
        if text == self._drawn:
            return
        self._drawn = text
        font, box = font_for(text, self._size), self._box
        image = Image.new("RGB", (box.width, box.height), BACKGROUND)
        pen = ImageDraw.Draw(image)
        for row, line in enumerate(wrap(text, font, box.width)[-self._lines :]):
            left = box.width - font.getlength(line) if self._align == "right" else 0
            pen.text((left, row * line_height(self._size)), line, fill=self._colour, font=font)
        box.cut(canvas)[:] = np.asarray(image)


def line_height(size: int) -> int:
    """Pixels from line to line for a font of ``size``."""
    return round(size * 1.3)


def wrap(text: str, font: Font, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` pixels, broken at its line ends, and between words where there are any."""
    return [line for part in text.split("\n") for line in _wrap(part, font, width)]


def _wrap(text: str, font: Font, width: int) -> list[str]:
    lines, room = [""], float(width)
    for word in re.findall(r"\s*\S+", text):
        for piece in [word] if _length(font, word) <= width else list(word):
            if _length(font, piece) > room and lines[-1]:
                lines.append("")
                room = width
            fresh = piece if lines[-1] else piece.lstrip()
            lines[-1] += fresh
            room -= _length(font, fresh)
    return lines


@lru_cache(maxsize=4096)
def _length(font: Font, piece: str) -> float:
    """Pixels of ``piece``, measured once: a subtitle grows word by word."""
    return font.getlength(piece)


def font_for(text: str, size: int) -> Font:
    """A font that has the letters of ``text``, as far as this system has one."""
    other = any(ord(letter) >= FIRST_OTHER_SCRIPT and not 0x2010 <= ord(letter) <= 0x2026 for letter in text)
    return _font(size, other)


@lru_cache(maxsize=16)
def _font(size: int, other: bool) -> Font:
    found = next((path for path in OTHER_FONTS if Path(path).is_file()), None) if other else None
    return ImageFont.truetype(found, size) if found else ImageFont.load_default(size)


class Scaled:
    """Pictures of one size, drawn into a box; a picture like the last one costs nothing."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._last: Canvas | None = None
        self._reformatter = VideoReformatter()

    def draw(self, canvas: Canvas, picture: Canvas) -> None:
        """Draw ``picture`` [height, width, 3], scaled to the box."""
        if self._last is not None and np.array_equal(self._last, picture):
            return
        self._last = picture.copy()
        frame = VideoFrame.from_numpy_buffer(self._last, format="rgb24")
        # FAST_BILINEAR would cost half of BILINEAR, and darken by three levels.
        box, much = self._box, self._box.height >= MUCH_ENLARGED * len(picture)
        method = Interpolation.LANCZOS if much else Interpolation.BILINEAR
        scaled = self._reformatter.reformat(frame, box.width, box.height, "rgb24", interpolation=method, threads=1)
        box.cut(canvas)[:] = scaled.to_ndarray()


class Light:
    """A lamp and a word for its state, at the right end of a box; drawn only where it changed."""

    LAMP = 18
    """Its diameter, in pixels; a gap of half of it lies before the word."""
    RING = 3
    """Width of its edge, in pixels."""
    FINER = 4
    """It is drawn so much larger, then shrunk, so that its edge is smooth."""

    def __init__(self, box: Box, size: int, on: tuple[str, Colour], off: tuple[str, Colour]) -> None:
        """``on`` (a disc) and ``off`` (a ring): the word and the colour of each."""
        self._box, self._size, self._states = box, size, {True: on, False: off}
        font = font_for(on[0] + off[0], size)
        self._left = box.width - round(max(font.getlength(on[0]), font.getlength(off[0])))
        """Of the words: one place for both, so that the lamp stays where it is."""
        self._drawn: bool | None = None

    def draw(self, canvas: Canvas, on: bool | None) -> None:
        """Draw the state ``on``; None draws nothing there."""
        if on == self._drawn:
            return
        self._drawn = on
        box = self._box
        image = Image.new("RGB", (box.width, box.height), BACKGROUND)
        if on is not None:
            word, colour = self._states[on]
            top = (box.height - line_height(self._size)) // 2
            ImageDraw.Draw(image).text((self._left, top), word, fill=colour, font=font_for(word, self._size))
            image.paste(self._lamp(on, colour), (self._left - self.LAMP * 3 // 2, (box.height - self.LAMP) // 2))
        box.cut(canvas)[:] = np.asarray(image)

    def _lamp(self, on: bool, colour: Colour) -> Image.Image:
        side, inside = self.LAMP * self.FINER, colour if on else BACKGROUND
        large = Image.new("RGB", (side, side), BACKGROUND)
        edge = self.RING * self.FINER
        ImageDraw.Draw(large).ellipse((0, 0, side - 1, side - 1), fill=inside, outline=colour, width=edge)
        return large.resize((self.LAMP, self.LAMP), Image.Resampling.BOX)


class Waveform:
    """Sound as it passes: the newest at the right, loud parts bright, with a level meter beside it."""

    METER = 10
    """Width of the meter, in pixels; a gap of the same width lies before it."""

    def __init__(self, box: Box, colour: Colour, frame_columns: int) -> None:
        self._box = Box(box.left, box.top, box.width - 2 * self.METER, box.height)
        self._meter = Box(box.left + box.width - self.METER, box.top, self.METER, box.height)
        self._columns = frame_columns
        self._shades = np.array([PANEL, _between(PANEL, colour, 0.45), colour], np.uint8)
        self._middle = np.abs(np.arange(box.height) - (box.height - 1) / 2) / (box.height / 2)  # 0 at the centre line
        self._mark = 0.0

    def clear(self, canvas: Canvas) -> None:
        """Draw silence everywhere."""
        for box in (self._box, self._meter):
            box.cut(canvas)[:] = PANEL
        centre = self._box.cut(canvas)[self._middle < 1.5 / self._box.height]
        centre[:] = self._shades[1]
        self._box.cut(canvas)[self._middle < 1.5 / self._box.height] = centre

    def draw(self, canvas: Canvas, samples: Samples) -> None:
        """Move on by one frame whose sound is ``samples`` [n]."""
        view, columns = self._box.cut(canvas), self._columns
        view[:, :-columns] = view[:, columns:].copy()
        peaks, loudness = envelope(samples, columns)
        shade = (self._middle[:, None] <= peaks).astype(np.intp) + (self._middle[:, None] <= loudness)
        shade[self._middle < 1.5 / self._box.height] |= shade.dtype.type(1)
        view[:, -columns:] = self._shades[np.minimum(shade, 2)]
        self._draw_meter(self._meter.cut(canvas), float(np.sqrt(np.mean(np.square(samples)))))

    def _draw_meter(self, view: Canvas, rms: float) -> None:
        level = min(max(1 - 20 * np.log10(max(rms, 1e-9)) / QUIETEST_DB, 0.0), 1.0)
        self._mark = max(level, self._mark - METER_FALL)
        height = len(view)
        filled = round(level * height)
        view[:] = self._shades[0]
        view[height - filled :] = self._shades[2]
        mark = min(round((1 - self._mark) * height), height - 1)
        view[max(mark - 1, 0) : mark + 1] = self._shades[1] if mark >= height - 2 else self._shades[2]


def envelope(samples: Samples, columns: int) -> tuple[Samples, Samples]:
    """Peak and loudness (RMS) of ``columns`` equal parts, 0 to 1, with quiet sound raised so that it shows."""
    parts = np.abs(samples[: len(samples) // columns * columns]).reshape(columns, -1)
    peaks = np.minimum(parts.max(axis=1), 1.0)
    loudness = np.minimum(np.sqrt(np.mean(np.square(parts), axis=1)), 1.0)
    return peaks**0.6, loudness**0.6


def _between(one: Colour, other: Colour, share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
