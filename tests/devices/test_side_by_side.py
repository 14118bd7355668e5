"""The side-by-side film: exact in frames and sound, drawn where it should be, cheap enough to be made while it runs."""

from __future__ import annotations

import time
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
from PIL import ImageFont

from edge_streamer.devices.drawing import BACKGROUND, Box, Scaled, Words, envelope, font_for, wrap
from edge_streamer.devices.side_by_side import (
    MOST_CHARACTERS,
    SUBTITLE_SECONDS,
    SideBySide,
    Subtitle,
    clock_text,
    shown_size,
)
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA, decoded_pictures, decoded_sound

LARGE = msgspec.structs.replace(MEDIA, user_size=(192, 336), agent_size=(192, 336))

MOST_DRAWING = 2.5
"""A unit's drawing against scaling its eight pictures, in processor time. Measured 1.4 (8 ms against 6 on two cores
with all pictures moving): scaling sets the price, text, waveforms and clock must stay small beside it."""


def pair(
    media: MediaSpec, index: int, saw: int = 60, showed: int = 180, typed: str = "", said: str = ""
) -> tuple[Unit, Response]:
    """Unit ``index`` with even pictures; the microphone and the agent hum at 0.5 and 0.25."""
    time = np.arange(index * media.unit_samples, (index + 1) * media.unit_samples) / media.sample_rate
    heard = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    saw_frames = np.full((media.unit_frames, *media.user_size, 3), saw, np.uint8)
    showed_frames = np.full((media.unit_frames, *media.agent_size, 3), showed, np.uint8)
    answer = (0.25 * np.sin(2 * np.pi * 330 * time)).astype(np.float32)
    return Unit(heard, saw_frames, typed), Response(index, answer, showed_frames, said, (), 0.048, 0.047)


@pytest.fixture
def film(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = SideBySide(tmp_path / "both.mp4", MEDIA)
    yield made
    made.discard()


def test_frames_and_sound_are_exact(tmp_path: Path) -> None:
    path, units = tmp_path / "both.mp4", 6
    film = SideBySide(path, MEDIA)
    for index in range(units):
        film.write(*pair(MEDIA, index))
    film.finish()
    assert not path.exists()
    film.close()
    pictures = decoded_pictures(path)
    assert len(pictures) == units * 4
    assert pictures[0].shape[1] == 1280
    assert 480 <= pictures[0].shape[0] <= 620
    sound, rate = decoded_sound(path)
    assert (len(sound), rate) == (2, MEDIA.sample_rate)
    loudness = np.sqrt(np.mean(np.square(sound[:, 4000:12000]), axis=1))
    np.testing.assert_allclose(loudness, [0.5 / np.sqrt(2), 0.25 / np.sqrt(2)], rtol=0.05)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
    assert list(tmp_path.iterdir()) == [path]


def test_both_pictures_stand_where_they_belong(film: SideBySide) -> None:
    canvas = list(film.draw(*pair(MEDIA, 0, saw=60, showed=180)))[-1]
    middle = canvas[56 + 180]
    assert (middle[200:450] == 60).all(), "what it saw, on the left"
    assert (middle[850:1100] == 180).all(), "what it showed, on the right"


def test_every_frame_is_drawn(film: SideBySide) -> None:
    unit, response = pair(MEDIA, 0)
    assert unit.frames is not None
    for frame in range(4):
        unit.frames[frame], response.frames[frame] = 10 * frame, 100 + 10 * frame
    seen = [(int(canvas[236, 300, 0]), int(canvas[236, 1000, 0])) for canvas in film.draw(unit, response)]
    assert seen == [(0, 100), (10, 110), (20, 120), (30, 130)]


def test_words_appear_on_their_side_and_go(film: SideBySide) -> None:
    def ink(index: int, typed: str = "", said: str = "") -> tuple[bool, bool]:
        canvas = list(film.draw(*pair(MEDIA, index, typed=typed, said=said)))[-1]
        below = canvas[-72:] != np.array(BACKGROUND, np.uint8)
        return bool(below[:, :640].any()), bool(below[:, 640:].any())

    assert ink(0) == (False, False)
    assert ink(1, typed="hello") == (True, False)
    assert ink(2, said=" hi there") == (True, True)
    stay = int(SUBTITLE_SECONDS / 0.16)
    assert [ink(3 + k) for k in range(stay - 1)] == [(True, True)] * (stay - 1)
    assert ink(2 + stay) == (False, True), "typed one unit earlier, gone one unit earlier"
    assert ink(3 + stay) == (False, False)


def test_the_waveform_moves_to_the_left(film: SideBySide) -> None:
    frames = [canvas[56 + 362 + 12 : 56 + 362 + 72, 24:600].copy() for canvas in film.draw(*pair(MEDIA, 0))]
    np.testing.assert_array_equal(frames[3][:, :-6], frames[2][:, 6:])
    assert (frames[3][:, -24:] != frames[3][:, :24]).any(), "sound is drawn at the right end"


def test_silence_is_a_line_and_sound_is_not() -> None:
    quiet, _ = envelope(np.zeros(640, np.float32), 6)
    loud, rms = envelope(np.ones(640, np.float32), 6)
    assert not quiet.any()
    assert (loud == 1).all()
    assert (rms == 1).all()


def test_missing_parts_are_silence_and_grey(film: SideBySide) -> None:
    _, response = pair(MEDIA, 0)
    canvas = list(film.draw(Unit(), response))[-1]
    assert (canvas[236, 200:450] == 128).all()


@pytest.mark.parametrize(
    "media", [MEDIA, LARGE, msgspec.structs.replace(MEDIA, user_size=(320, 96), agent_size=(16, 64))]
)
def test_any_shape_of_picture_fits(tmp_path: Path, media: MediaSpec) -> None:
    film = SideBySide(tmp_path / "both.mp4", media)
    film.write(*pair(media, 0))
    film.close()
    assert len(decoded_pictures(tmp_path / "both.mp4")) == 4
    for size in (media.user_size, media.agent_size):
        height, width = shown_size(size)
        assert height <= 360
        assert width <= 604
        assert height / width == pytest.approx(size[0] / size[1], rel=0.02)


def test_drawing_is_cheap(tmp_path: Path) -> None:
    film = SideBySide(tmp_path / "both.mp4", LARGE)
    canvas, scaled = np.zeros((400, 640, 3), np.uint8), Scaled(Box(0, 0, *shown_size(LARGE.user_size)[::-1]))
    drawing, scaling = [], []
    for index in range(40):
        unit, response = pair(LARGE, index, typed="hello" if index % 9 == 0 else "", said=f" word{index}")
        assert unit.frames is not None
        for frame in range(4):  # no two pictures alike
            unit.frames[frame], response.frames[frame] = 4 * index + frame, 255 - 4 * index - frame
        began = time.thread_time()
        for _ in film.draw(unit, response):
            pass
        drawn = time.thread_time()
        for picture in (*unit.frames, *response.frames):
            scaled.draw(canvas, picture)
        drawing.append(drawn - began)
        scaling.append(time.thread_time() - drawn)
    film.discard()
    assert min(drawing) < MOST_DRAWING * min(scaling)


def test_lines_are_broken_between_words_and_within_long_ones() -> None:
    font = font_for("a", 20)
    lines = wrap("the quick brown fox jumps over the lazy dog", font, 150)
    assert " ".join(lines) == "the quick brown fox jumps over the lazy dog"
    assert len(lines) > 2
    long = wrap("我" * 60 + "x" * 80, font, 200)
    assert "".join(long) == "我" * 60 + "x" * 80
    assert all(font.getlength(line) <= 200 for line in (*lines, *long))
    assert wrap("", font, 100) == [""]


def test_only_the_last_lines_are_shown_and_only_changes_are_drawn() -> None:
    canvas = np.zeros((80, 300, 3), np.uint8)
    words = Words(Box(0, 0, 300, 60), 20, (255, 255, 255), lines=2)
    words.draw(canvas, "one two three " * 20)
    assert canvas[:60].any()
    assert not canvas[60:].any()
    canvas[:] = 7
    words.draw(canvas, "one two three " * 20)
    assert (canvas == 7).all(), "the same words are not drawn again"


def test_other_scripts_take_a_font_of_the_system_where_there_is_one() -> None:
    latin, other = font_for("Grüße, “hello” …", 20), font_for("你好", 20)
    assert isinstance(latin, ImageFont.FreeTypeFont)
    assert latin.getname()[0] == "Aileron"
    assert other.getlength("你好") > 0


def test_subtitles_join_what_is_said_and_replace_what_is_typed() -> None:
    said, typed = Subtitle(0.16), Subtitle(0.16)
    assert [said.hear(text, True) for text in (" a", "", " b")] == [" a", " a", " a b"]
    assert [typed.hear(text, False) for text in ("a", "", "b")] == ["a", "a", "b"]
    shown = [said.hear(f" word{index}", True) for index in range(10_000)]
    assert max(map(len, shown)) <= MOST_CHARACTERS
    assert all(text.endswith(f" word{index}") for index, text in enumerate(shown))


def test_the_clock() -> None:
    _, response = pair(MEDIA, 0)
    assert clock_text(20, MEDIA, response) == "0:03.20   unit 20   48 ms"
    assert clock_text(22500, MEDIA, response) == "60:00.00   unit 22500   48 ms"
