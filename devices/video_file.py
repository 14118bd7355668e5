"""Film and picture files as a camera, and the film that the agent makes.

Receives paths and the bundle's media contract; hands on :class:`VideoFile` (any film or still picture that PyAV
reads: cut to the model's frame rate by presentation time, letterboxed), :class:`StillCamera` (grey) and
:class:`FilmDisplay` (the agent's picture and voice as an mp4). Memory stays flat.

Choices: at time t the camera shows the latest frame that was due by t, as a screen would; before the first frame it
shows the first, after the last frame the last. Black bars keep the picture's aspect, with the shape of its pixels and
the turn of the phone that filmed it taken into account. Only frames that are shown are converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from edge_streamer.devices.container import Stream
from edge_streamer.devices.film import Film
from edge_streamer.devices.whole_file import WholeFile
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.media import Frames, Samples

GREY = 128
"""The still picture of a camera that is off."""

HIGH_DEFINITION = 720
"""Films at least this high that do not name their colours use BT.709, as players assume; smaller ones BT.601."""

SMALLEST_SHOWN = 96
"""Pictures lower than this are shown larger by a whole factor: players show smaller ones as a speck."""

_UNSPECIFIED = 2
"""The colour space of a film that does not name one."""

_DEFAULT_RATE = Fraction(25)
"""Frames per second of a film that tells neither times nor a rate."""

Picture = NDArray[np.uint8]


class VideoFile:
    """A film or still picture as a camera.

    Raises MediaError, from the constructor where possible, for a file that is missing, empty, truncated, damaged, not
    media, or holds no frames.
    """

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._rate = media.frame_rate
        self._stream = Stream(path, "video")
        self._letterbox = Letterbox(media.user_size, self._stream.stream.sample_aspect_ratio)
        self._frames = self._timed()
        first = next(self._frames, None)
        if first is None:
            self._stream.close()
            raise MediaError(f"{path} holds no frames; wanted at least one picture")
        self._current: Any = first[1]
        self._next = next(self._frames, None)
        self._shown: Picture | None = None
        self._index = 0

    def read(self, out: Frames) -> None:
        """Fill ``out`` [unit_frames, height, width, 3] for the next unit."""
        for picture in out:
            picture[:] = self._at(Fraction(self._index, self._rate))
            self._index += 1

    def close(self) -> None:
        self._stream.close()

    def _at(self, time: Fraction) -> Picture:
        """The letterboxed picture at ``time`` seconds; times never go back."""
        while self._next is not None and self._next[0] <= time:
            self._current, self._shown = self._next[1], None
            self._next = next(self._frames, None)
        if self._shown is None:
            self._shown = self._letterbox(self._current)
        return self._shown

    def _timed(self) -> Iterator[tuple[Fraction, Any]]:
        """Frames with the second at which each is due; where the file has no times, by its frame rate."""
        step = 1 / Fraction(self._stream.stream.average_rate or _DEFAULT_RATE)
        due = Fraction(0)
        for frame in self._stream.frames():
            told = self._stream.time(frame)
            due = due if told is None or told < due - step else told  # times that go back are wrong
            yield due, frame
            due += step


class Letterbox:
    """Fits frames of any size into ``size`` (height, width), with black bars."""

    def __init__(self, size: tuple[int, int], pixel_aspect: Fraction | None = None) -> None:
        self._size = size
        self._pixel_aspect = Fraction(pixel_aspect) if pixel_aspect else Fraction(1)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Picture:
        """A PyAV frame as RGB [height, width, 3]."""
        turns = round(frame.rotation / 90) % 4  # quarter turns, counterclockwise
        shown = (frame.width * self._pixel_aspect, Fraction(frame.height))
        top, left, height, width = fit(shown if turns % 2 == 0 else shown[::-1], self._size)
        picture = np.rot90(self._rgb(frame, *((height, width) if turns % 2 == 0 else (width, height))), turns)
        out = np.zeros((*self._size, 3), np.uint8)
        out[top : top + height, left : left + width] = picture
        return out

    def _rgb(self, frame: Any, height: int, width: int) -> Picture:
        shrinks = height * width < frame.height * frame.width
        unnamed_hd = frame.colorspace == _UNSPECIFIED and frame.height >= HIGH_DEFINITION
        converted = self._reformatter.reformat(
            frame, width, height, "rgb24",
            src_colorspace=Colorspace.ITU709 if unnamed_hd else None,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BICUBIC,
            threads=1,
        )  # fmt: skip
        return np.asarray(converted.to_ndarray(), np.uint8)


def fit(shown: tuple[Fraction, Fraction], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a picture of ``shown`` (width, height) lies in ``size`` (height, width): top, left, height, width.

    >>> fit((Fraction(1920), Fraction(1080)), (96, 96))
    (21, 0, 54, 96)
    """
    scale = min(size[1] / shown[0], size[0] / shown[1])
    height, width = max(round(shown[1] * scale), 1), max(round(shown[0] * scale), 1)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


class StillCamera:
    """A camera that is off: a still grey picture."""

    def __init__(self, media: MediaSpec) -> None: ...

    def read(self, out: Frames) -> None:
        """Fill ``out`` with grey."""
        out[:] = GREY

    def close(self) -> None: ...


class FilmDisplay:
    """The agent as a film: H.264 in an mp4, its voice beside it as AAC, exactly ``unit_frames`` frames per unit.

    Raises InputError where the file cannot be made or the disk fills.
    """

    def __init__(self, path: Path, media: MediaSpec) -> None:
        height, width = media.agent_size
        self._factor = enlargement(height, width)
        size = (height * self._factor, width * self._factor)
        self._film = Film(path, size, media.frame_rate, media.sample_rate, channels=1)

    def write(self, frames: Frames, samples: Samples) -> None:
        """[unit_frames, height, width, 3] RGB and [unit_samples]."""
        for picture in frames:
            # Nearest neighbour: what the model drew, not what a filter made of it.
            self._film.picture(picture.repeat(self._factor, 0).repeat(self._factor, 1))
        self._film.sound(samples[None])

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


def enlargement(height: int, width: int) -> int:
    """The smallest whole factor that makes a picture high enough to look at, and its sides even, as H.264 wants."""
    factor = -(-SMALLEST_SHOWN // height)
    return factor if factor * height % 2 == 0 and factor * width % 2 == 0 else factor + factor % 2
