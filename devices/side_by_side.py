"""One film that a person looks at: what it saw and heard | what it said and showed.

Receives units and their responses; hands on an mp4: left the camera's picture as the model got it with what it heard
and what was typed, right the agent's picture with its voice and its words as a subtitle, above both the clock. Stereo:
the microphone left, the agent right. Response k lies at unit k, as in the other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_streamer.devices.drawing import (
    AMBER,
    BACKGROUND,
    BRIGHT,
    DIM,
    PANEL,
    TEAL,
    Box,
    Canvas,
    Scaled,
    Waveform,
    Words,
)
from edge_streamer.devices.film import Film
from edge_streamer.devices.video_file import GREY
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.media import Frames, Samples
from edge_streamer.runtime.report import printable
from edge_streamer.runtime.unit import Response, Unit

WIDTH = 1280
MARGIN = 24
SIDE = (WIDTH - 3 * MARGIN) // 2
"""Width of each side."""
HIGHEST_PICTURE = 360
TITLE, STRIP, SUBTITLE = 56, 60, 68
"""Heights of the rows above and below the pictures."""
FRAME_COLUMNS = 6
"""How far the waveform moves per frame: some four seconds are seen."""
SUBTITLE_SECONDS = 4.0
"""Words stay so long after the last of them."""
MOST_CHARACTERS = 400
"""Of an agent that does not stop talking, so much is laid out; the last two lines are seen."""


class Side:
    """One half of the film."""

    def __init__(self, left: int, size: tuple[int, int], picture_row: int, colour: tuple[int, int, int]) -> None:
        height, width = shown_size(size)
        strip = MARGIN // 2 + TITLE + picture_row
        self.frame = Box(left, TITLE, SIDE, picture_row)
        self.picture = Scaled(Box(left + (SIDE - width) // 2, TITLE + (picture_row - height) // 2, width, height))
        self.sound = Waveform(Box(left, strip, SIDE, STRIP), colour, FRAME_COLUMNS)
        self.words = Words(Box(left, strip + STRIP + MARGIN // 2, SIDE, SUBTITLE), 23, BRIGHT, lines=2)

    def draw(self, canvas: Canvas, picture: Canvas, samples: Samples, text: str) -> None:
        """One frame of this half."""
        self.picture.draw(canvas, picture)
        self.sound.draw(canvas, samples)
        self.words.draw(canvas, text)


class Subtitle:
    """Words that stay a while."""

    def __init__(self, unit_seconds: float) -> None:
        self._stay = round(SUBTITLE_SECONDS / unit_seconds)
        self._text, self._quiet = "", 0

    def hear(self, text: str, together: bool) -> str:
        """What to show in this unit. ``together``: new words join the ones that are still shown."""
        self._quiet = 0 if text else self._quiet + 1
        if text:
            self._text = _newest(self._text + text) if together else text
        elif self._quiet > self._stay:
            self._text = ""
        return self._text


def _newest(text: str) -> str:
    """``text``, or its second half from a word on where it has grown too long: what stays keeps its lines for long."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = text[MOST_CHARACTERS // 2 :]
    return half[half.find(" ") + 1 :]


class SideBySide:
    """The film as a watcher of the loop. Raises InputError where the file cannot be made or the disk fills."""

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._media = media
        row = max(shown_size(media.user_size)[0], shown_size(media.agent_size)[0])
        height = TITLE + row + MARGIN // 2 + STRIP + MARGIN // 2 + SUBTITLE + MARGIN // 2
        self._canvas: Canvas = np.full((height + height % 2, WIDTH, 3), BACKGROUND, np.uint8)
        self._saw = Side(MARGIN, media.user_size, row, TEAL)
        self._showed = Side(WIDTH - MARGIN - SIDE, media.agent_size, row, AMBER)
        self._typed, self._said = (Subtitle(media.unit_samples / media.sample_rate) for _ in range(2))
        self._clock = Words(Box(WIDTH - MARGIN - 330, 20, 330, 26), 18, DIM, align="right")
        self._silence: Samples = np.zeros(media.unit_samples, np.float32)
        self._grey: Frames = np.full((media.unit_frames, *media.user_size, 3), GREY, np.uint8)
        self._units = 0
        self._draw_still_parts()
        size = self._canvas.shape[:2]
        # Large pictures, encoded while the model waits: 25 frames of noise took 0.37 s instead of 0.54 s.
        self._film = Film(path, size, media.frame_rate, media.sample_rate, channels=2, effort="superfast")

    def write(self, unit: Unit, response: Response) -> None:
        """Draw and encode one unit."""
        heard = self._silence if unit.samples is None else unit.samples
        for picture in self.draw(unit, response):
            self._film.picture(picture)
        self._film.sound(np.stack((heard, response.samples)))

    def draw(self, unit: Unit, response: Response) -> Iterator[Canvas]:
        """The unit's frames, one after the other in the same array [height, width, 3]."""
        count, canvas = self._media.unit_frames, self._canvas
        heard = self._silence if unit.samples is None else unit.samples
        saw = self._grey if unit.frames is None else unit.frames
        typed, said = self._typed.hear(printable(unit.text), False), self._said.hear(printable(response.text), True)
        self._clock.draw(canvas, clock_text(self._units, self._media, response))
        hearing, saying = np.array_split(heard, count), np.array_split(response.samples, count)
        for frame in range(count):
            self._saw.draw(canvas, saw[frame], hearing[frame], f"typed: {typed}" if typed else "")
            self._showed.draw(canvas, response.frames[frame], saying[frame], said)
            yield canvas
        self._units += 1

    def _draw_still_parts(self) -> None:
        for side, title, colour in ((self._saw, "it saw and heard", TEAL), (self._showed, "it said and showed", AMBER)):
            side.frame.cut(self._canvas)[:] = PANEL
            side.sound.clear(self._canvas)
            Words(Box(side.frame.left, 16, 260, 34), 24, colour).draw(self._canvas, title)

    def finish(self) -> None:
        self._film.finish()

    def close(self) -> None:
        self._film.close()

    def discard(self) -> None:
        self._film.discard()


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that a picture of ``size`` is drawn at: as large as its half allows."""
    scale = min(SIDE / size[1], HIGHEST_PICTURE / size[0])
    return round(size[0] * scale), round(size[1] * scale)


def clock_text(index: int, media: MediaSpec, response: Response) -> str:
    """``0:03.20   unit 20   48 ms``: when unit ``index`` starts, and how long the model took for it."""
    minutes, seconds = divmod(index * media.unit_samples / media.sample_rate, 60)
    return f"{minutes:.0f}:{seconds:05.2f}   unit {index}   {1000 * response.seconds:.0f} ms"
