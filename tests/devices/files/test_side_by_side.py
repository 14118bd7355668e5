"""The side-by-side film: exact in frames and sound, drawn where it should be, cheap enough to be made while it runs."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ImageFont

from edge_streamer.devices.files.captions import Caption
from edge_streamer.devices.files.drawing import AMBER, BACKGROUND, Box, Light, Scaled, Words, envelope, font_for, wrap
from edge_streamer.devices.files.side_by_side import (
    BETWEEN,
    EDGE,
    GAP,
    MOST_CHARACTERS,
    ROOM,
    STRIP,
    SUBTITLE_SECONDS,
    TITLE,
    WIDTH,
    SideBySide,
    Subtitle,
    clock_text,
    fitted,
    shares,
)
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA, decoded_pictures, decoded_sound, media_of

DEMO = media_of((64, 96), (96, 160))
LARGE = media_of((192, 336), (192, 336))

MOST_DRAWING = 2.5
"""A unit's drawing against scaling its eight pictures, in processor time. Measured 1.4 (8 ms against 6 on two cores
with all pictures moving): scaling sets the price, text, waveforms and clock must stay small beside it."""


ROW, LEFT = shares(MEDIA)
MIDDLE = TITLE + ROW // 2
"""A line through both pictures."""


def pair(
    media: MediaSpec,
    index: int,
    saw: int = 60,
    showed: int = 180,
    typed: str = "",
    said: str = "",
    speaking: bool | None = None,
) -> tuple[Unit, Response]:
    """Unit ``index`` with even pictures; the microphone and the agent hum at 0.5 and 0.25."""
    time = np.arange(index * media.hears.unit_samples, (index + 1) * media.hears.unit_samples) / media.hears.sample_rate
    heard = (0.5 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    saw_frames = np.full((media.sees.unit_frames, *media.sees.size, 3), saw, np.uint8)
    showed_frames = np.full((media.sees.unit_frames, *media.shows.size, 3), showed, np.uint8)
    answer = (0.25 * np.sin(2 * np.pi * 330 * time)).astype(np.float32)
    response = Response(index, answer, showed_frames, said, (), 0.048, 0.047, speaking)
    return Unit(heard, saw_frames, typed), response


def words_of(canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words are drawn under the pictures, left and right: True where there is ink."""
    ink = (canvas[TITLE + ROW + 2 * GAP + STRIP :] != np.array(BACKGROUND, np.uint8)).any(-1)
    return ink[:, : EDGE + LEFT], ink[:, EDGE + LEFT :]


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
    assert pictures[0].shape[1] == WIDTH
    assert 480 <= pictures[0].shape[0] <= 640
    sound, rate = decoded_sound(path)
    assert (len(sound), rate) == (2, MEDIA.hears.sample_rate)
    loudness = np.sqrt(np.mean(np.square(sound[:, 4000:12000]), axis=1))
    np.testing.assert_allclose(loudness, [0.5 / np.sqrt(2), 0.25 / np.sqrt(2)], rtol=0.05)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 25
    assert list(tmp_path.iterdir()) == [path]


def test_both_pictures_stand_where_they_belong(film: SideBySide) -> None:
    canvas = list(film.draw(*pair(MEDIA, 0, saw=60, showed=180)))[-1]
    middle = canvas[MIDDLE]
    assert (middle[200:450] == 60).all(), "what it saw, on the left"
    assert (middle[850:1100] == 180).all(), "what it showed, on the right"


def test_every_frame_is_drawn(film: SideBySide) -> None:
    unit, response = pair(MEDIA, 0)
    assert unit.frames is not None
    for frame in range(4):
        unit.frames[frame], response.frames[frame] = 10 * frame, 100 + 10 * frame
    seen = [(int(canvas[MIDDLE, 300, 0]), int(canvas[MIDDLE, 1000, 0])) for canvas in film.draw(unit, response)]
    assert seen == [(0, 100), (10, 110), (20, 120), (30, 130)]


def test_words_appear_on_their_side_and_go(film: SideBySide) -> None:
    def ink(index: int, typed: str = "", said: str = "") -> tuple[bool, bool]:
        canvas = list(film.draw(*pair(MEDIA, index, typed=typed, said=said)))[-1]
        left, right = words_of(canvas)
        return bool(left.any()), bool(right.any())

    assert ink(0) == (False, False)
    assert ink(1, typed="hello") == (True, False)
    assert ink(2, said=" hi there") == (True, True)
    stay = round(SUBTITLE_SECONDS / 0.16)
    assert [ink(3 + k) for k in range(stay - 1)] == [(True, True)] * (stay - 1)
    assert ink(2 + stay) == (False, True), "typed one unit earlier, gone one unit earlier"
    assert ink(3 + stay) == (False, False)


def test_the_waveform_moves_to_the_left(film: SideBySide) -> None:
    top = TITLE + ROW + GAP
    frames = [canvas[top : top + STRIP, EDGE : EDGE + LEFT - 20].copy() for canvas in film.draw(*pair(MEDIA, 0))]
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
    assert (canvas[MIDDLE, 200:450] == 128).all()


@pytest.mark.parametrize("media", [MEDIA, LARGE, media_of((320, 96), (16, 64))])
def test_any_shape_of_picture_fits(tmp_path: Path, media: MediaSpec) -> None:
    film = SideBySide(tmp_path / "both.mp4", media)
    film.write(*pair(media, 0))
    film.close()
    assert len(decoded_pictures(tmp_path / "both.mp4")) == 4
    row, left = shares(media)
    assert 500 < left < ROOM - 500, "words have room on both sides"
    for size, side in ((media.sees.size, left), (media.shows.size, ROOM - left)):
        height, width = fitted(size, (row, side))
        assert height <= row
        assert width <= side
        assert height == row or width == side, "as large as its place allows"
        assert height / width == pytest.approx(size[0] / size[1], rel=0.03)


def test_the_demo_s_pictures_fill_the_film_by_whole_numbers() -> None:
    assert shares(DEMO) == (6 * 64, 6 * 96)
    assert EDGE + 6 * 96 + BETWEEN + 4 * 160 + EDGE == WIDTH
    assert fitted(DEMO.sees.size, (384, 6 * 96)) == (384, 6 * 96)
    assert fitted(DEMO.shows.size, (384, 4 * 160)) == (384, 4 * 160)


def test_a_small_picture_keeps_its_edges() -> None:
    small, canvas = np.zeros((10, 20, 3), np.uint8), np.zeros((60, 120, 3), np.uint8)
    small[:, 10:] = 200
    Scaled(Box(0, 0, 120, 60)).draw(canvas, small)
    slope = np.diff(canvas[30, :, 0].astype(int)).max()
    assert slope > 1.15 * 200 / 6, "a straight line from the one pixel to the other is a blur"


def test_captions_are_drawn_in_their_time_and_no_frame_longer(tmp_path: Path) -> None:
    captions = [Caption(Fraction("0.2"), Fraction("0.4"), "hello"), Caption(Fraction("0.36"), Fraction("0.44"), "you")]
    film = SideBySide(tmp_path / "both.mp4", MEDIA, captions)
    seen = []
    for index in range(4):
        for canvas in film.draw(*pair(MEDIA, index)):
            left, right = words_of(canvas)
            assert not right.any()
            seen.append(np.unique(np.flatnonzero(left.any(1)) > 45).tolist())  # False: first line, True: second
    film.discard()
    nothing, one, two = [], [False], [False, True]  # type: ignore[var-annotated]
    assert seen == [nothing] * 5 + [one] * 4 + [two] * 1 + [one] * 1 + [nothing] * 5


def test_typed_words_stand_below_the_caption(tmp_path: Path) -> None:
    film = SideBySide(tmp_path / "both.mp4", MEDIA, [Caption(Fraction(0), Fraction(9), "hello")])
    alone = words_of(list(film.draw(*pair(MEDIA, 0)))[-1])[0].copy()
    both = words_of(list(film.draw(*pair(MEDIA, 1, typed="weather")))[-1])[0].copy()
    film.discard()
    np.testing.assert_array_equal(alone[:44], both[:44])
    assert not alone[48:].any()
    assert both[48:].any()


def test_the_light_tells_the_state(film: SideBySide) -> None:
    def light(speaking: bool | None) -> np.ndarray:
        canvas = list(film.draw(*pair(MEDIA, 0, speaking=speaking)))[-1]
        return canvas[:TITLE, WIDTH - EDGE - 150 :].copy()

    off, listening, speaking, failed = light(None), light(False), light(True), light(None)
    background, amber = np.array(BACKGROUND, np.uint8), np.array(AMBER, np.uint8)
    assert (off == background).all(), "a program without states has no light"
    assert (listening != background).any()
    assert not (listening == amber).all(-1).any()
    assert (speaking == amber).all(-1).sum() > 150, "a disc"
    np.testing.assert_array_equal(failed, off)


def test_the_lamp_stays_where_it_is() -> None:
    canvas = np.zeros((36, 150, 3), np.uint8)
    light = Light(Box(0, 0, 150, 36), 22, on=("on", (255, 255, 255)), off=("switched off", (255, 255, 255)))
    first = []
    for state in (True, False):
        light.draw(canvas, state)
        first.append(int(np.flatnonzero((canvas != BACKGROUND).any((0, 2)))[0]))
    assert first[0] == first[1]
    canvas[:] = 7
    light.draw(canvas, False)
    assert (canvas == 7).all(), "the same state is not drawn again"


def test_drawing_is_cheap(tmp_path: Path) -> None:
    film = SideBySide(tmp_path / "both.mp4", LARGE)
    canvas, scaled = np.zeros((400, 640, 3), np.uint8), Scaled(Box(0, 0, *fitted(LARGE.sees.size, shares(LARGE))[::-1]))
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
    assert wrap("one\ntwo three", font, 150) == ["one", "two three"]


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


def test_an_answer_takes_the_place_of_the_one_before() -> None:
    said = Subtitle(0.16)
    heard = ["it ", "is.", "\n", "", "by", "e-\nla", " la.\n", " ", "so"]
    shown = [said.hear(text, True) for text in heard]
    assert shown == ["it ", "it is.", "it is.", "it is.", "by", "la", "la la.", "la la.", "so"]


def test_the_clock() -> None:
    _, response = pair(MEDIA, 0)
    assert clock_text(20, MEDIA, response) == "0:03.20   unit 20   48 ms"
    assert clock_text(22500, MEDIA, response) == "60:00.00   unit 22500   48 ms"
