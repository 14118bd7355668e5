"""One film that a person looks at: what it saw and heard | what it said and showed.

Receives units and their responses, and captions where there are any; hands on an mp4. Left the camera's picture as the
model got it, what it heard, and as subtitles the captions and what was typed; right the agent's picture, a light for
its state (listening, speaking), its voice and its words as a subtitle; above them the clock. Stereo: the microphone
left, the agent right. Response k lies at unit k, as in the other files.

Choices: the width is shared so that both pictures have the same height and fill their side, as far as their shapes
allow; the agent's subtitle begins anew with every answer (a line end closes one) and goes a while after its last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_streamer.devices.files.captions import Caption, Captions
from edge_streamer.devices.files.drawing import (
    AMBER,
    BACKGROUND,
    BRIGHT,
    DIM,
    PANEL,
    TEAL,
    Box,
    Canvas,
    Colour,
    Light,
    Scaled,
    Waveform,
    Words,
    font_for,
)
from edge_streamer.devices.files.film import Film
from edge_streamer.devices.files.video_file import GREY
from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Frames, Samples
from edge_streamer.runtime.loop.report import printable
from edge_streamer.runtime.unit import Response, Unit

WIDTH = 1280
EDGE, BETWEEN = 20, 24
"""Left and right of everything, and between the sides."""
ROOM = WIDTH - 2 * EDGE - BETWEEN
"""For both sides. 1216: a 96x64 picture enlarged 6 times and a 160x96 one enlarged 4 times fill it exactly."""
NARROWEST = 0.42
"""Share of a side, at least: words need some width whatever the shape of the picture."""
HIGHEST_PICTURE = 384
TITLE, STRIP, SUBTITLE, GAP = 60, 64, 96, 10
"""Heights of the rows above and below the pictures, and of what lies between them."""
FRAME_COLUMNS = 6
"""How far the waveform moves per frame: some four seconds are seen."""
QUALITY = 25
"""As in ``devices/files/film.py``. Enlarged pictures hide what is lost: no block is seen. The pictures of the demo's
first 9.6 s take 84 kB a second; at 20 they take 156."""
SUBTITLE_SECONDS = 3.0
"""Words stay so long after the last of them."""
MOST_CHARACTERS = 400
"""Of an agent that does not stop talking, so much is laid out; the last two lines are seen."""


class Shares(NamedTuple):
    """How the film's place is shared, in pixels."""

    row: int
    """Height of both pictures' row."""
    left: int
    """Width of the left side; the right one has the rest of ROOM."""


def shares(media: MediaSpec) -> Shares:
    """The shares in which both pictures are as large as possible, equally high where their shapes allow."""
    (user_height, user_width), (agent_height, agent_width) = media.sees.size, media.shows.size
    user, agent = user_width / user_height, agent_width / agent_height
    left = round(ROOM * min(max(user / (user + agent), NARROWEST), 1 - NARROWEST))
    return Shares(min(HIGHEST_PICTURE, round(max(left / user, (ROOM - left) / agent))), left)


def fitted(size: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that a picture of ``size`` is drawn at: as large as ``room`` allows."""
    scale = min(room[0] / size[0], room[1] / size[1])
    return round(size[0] * scale), round(size[1] * scale)


class Side:
    """One half of the film."""

    def __init__(self, left: int, width: int, row: int, size: tuple[int, int], colour: Colour) -> None:
        shown = fitted(size, (row, width))
        strip = TITLE + row + GAP
        self.frame = Box(left, TITLE, width, row)
        self.picture = Scaled(Box(left + (width - shown[1]) // 2, TITLE + (row - shown[0]) // 2, shown[1], shown[0]))
        self.sound = Waveform(Box(left, strip, width, STRIP), colour, FRAME_COLUMNS)
        self.words = Words(Box(left, strip + STRIP + GAP, width, SUBTITLE), 34, BRIGHT, lines=2)

    def draw(self, canvas: Canvas, picture: Canvas, samples: Samples, text: str) -> None:
        """One frame of this half."""
        self.picture.draw(canvas, picture)
        self.sound.draw(canvas, samples)
        self.words.draw(canvas, text)

    def draw_still_parts(self, canvas: Canvas, who: str, what: str, colour: Colour) -> None:
        """What no frame changes: the titles, and the places that pictures and sound come to."""
        left, width = self.frame.left, round(font_for(who, 26).getlength(who))
        self.frame.cut(canvas)[:] = PANEL
        self.sound.clear(canvas)
        Words(Box(left, 14, width + 2, 36), 26, colour).draw(canvas, who)
        Words(Box(left + width + 12, 21, 200, 26), 18, DIM).draw(canvas, what)


class Subtitle:
    """Words that stay a while."""

    def __init__(self, unit_seconds: float) -> None:
        self._stay = round(SUBTITLE_SECONDS / unit_seconds)
        self._text, self._quiet, self._ended = "", 0, False

    def hear(self, text: str, together: bool) -> str:
        """What to show in this unit. ``together``: new words join the ones that are still shown, until a line end."""
        self._quiet = 0 if text else self._quiet + 1
        if text and not together:
            self._text = printable(text)
        elif text:
            self._join(text)
        elif self._quiet > self._stay:
            self._text = ""
        return self._text

    def _join(self, text: str) -> None:
        *ended, begun = text.split("\n")
        for words in ended:
            self._add(words)
            self._ended = True
        self._add(begun)

    def _add(self, words: str) -> None:
        before, words = ("", words.lstrip()) if self._ended else (self._text, words)
        if words:
            self._text, self._ended = _newest(before + printable(words)), False


def _newest(text: str) -> str:
    """``text``, or its second half from a word on where it has grown too long: what stays keeps its lines for long."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = text[MOST_CHARACTERS // 2 :]
    return half[half.find(" ") + 1 :]


class SideBySide:
    """The film as a watcher of the loop. Raises InputError where the file cannot be made or the disk fills."""

    def __init__(self, path: Path, media: MediaSpec, captions: Iterable[Caption] = ()) -> None:
        self._media = media
        row, left = shares(media)
        height = TITLE + row + GAP + STRIP + GAP + SUBTITLE + GAP
        self._canvas: Canvas = np.full((height + height % 2, WIDTH, 3), BACKGROUND, np.uint8)
        self._saw = Side(EDGE, left, row, media.sees.size, TEAL)
        self._showed = Side(EDGE + left + BETWEEN, ROOM - left, row, media.shows.size, AMBER)
        self._captions = Captions(captions)
        self._typed, self._said = (Subtitle(media.unit_seconds) for _ in range(2))
        self._clock = Words(Box(EDGE + left - 236, 21, 236, 26), 18, DIM, align="right")
        self._light = Light(Box(WIDTH - EDGE - 150, 14, 150, 36), 22, on=("speaking", AMBER), off=("listening", DIM))
        self._silence: Samples = np.zeros(media.hears.unit_samples, np.float32)
        self._grey: Frames = np.full((media.sees.unit_frames, *media.sees.size, 3), GREY, np.uint8)
        self._units = 0
        self._saw.draw_still_parts(self._canvas, "user", "what it saw and heard", TEAL)
        self._showed.draw_still_parts(self._canvas, "agent", "what it said and showed", AMBER)
        size = self._canvas.shape[:2]
        # Large pictures, encoded while the model waits: 25 frames of noise took 0.37 s instead of 0.54 s.
        rates = media.shows.frame_rate, media.says.sample_rate
        self._film = Film(path, size, *rates, channels=2, effort="superfast", quality=QUALITY)

    def write(self, unit: Unit, response: Response) -> None:
        """Draw and encode one unit."""
        heard = self._silence if unit.samples is None else unit.samples
        for picture in self.draw(unit, response):
            self._film.picture(picture)
        self._film.sound(np.stack((heard, response.both()[0])))

    def draw(self, unit: Unit, response: Response) -> Iterator[Canvas]:
        """The unit's frames, one after the other in the same array [height, width, 3]."""
        count, canvas = self._media.shows.unit_frames, self._canvas
        heard = self._silence if unit.samples is None else unit.samples
        saw = self._grey if unit.frames is None else unit.frames
        typed, said = self._typed.hear(unit.text, False), self._said.hear(response.text, True)
        self._clock.draw(canvas, clock_text(self._units, self._media, response))
        self._light.draw(canvas, response.speaking)
        voice, showed = response.both()
        hearing, saying = np.array_split(heard, count), np.array_split(voice, count)
        for frame in range(count):
            self._saw.draw(canvas, saw[frame], hearing[frame], self._user_words(frame, typed))
            self._showed.draw(canvas, showed[frame], saying[frame], said)
            yield canvas
        self._units += 1

    def _user_words(self, frame: int, typed: str) -> str:
        """What is written under the user's picture in this unit's ``frame``."""
        index = self._units * self._media.shows.unit_frames + frame
        captions = self._captions.at(Fraction(index, self._media.shows.frame_rate)).split("\n")
        lines = [printable(line) for line in captions if line]
        return "\n".join([*lines, f"typed: {typed}"] if typed else lines)

    @property
    def whole(self) -> WholeFile:
        """The file under its temporary name."""
        return self._film.whole

    def finish(self) -> None:
        self._film.finish()

    def close(self) -> None:
        self._film.close()

    def discard(self) -> None:
        self._film.discard()


def clock_text(index: int, media: MediaSpec, response: Response) -> str:
    """``0:03.20   unit 20   48 ms``: when unit ``index`` starts, and how long the model took for it."""
    minutes, seconds = divmod(float(index * media.unit), 60)
    return f"{minutes:.0f}:{seconds:05.2f}   unit {index}   {1000 * response.seconds:.0f} ms"
