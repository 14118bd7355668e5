"""Film and picture files as a camera, and the film that the agent makes.

Receives paths and the bundle's media contract; hands on :class:`VideoFile` (any film or still picture that
can be read: cut to the model's frame rate by presentation time, letterboxed), :class:`StillCamera` (grey) and
:class:`FilmDisplay` (the agent's picture and voice as an mp4). Memory stays flat.

Choices: at time t the camera shows the latest frame that was due by t, as a screen would; before the first frame it
shows the first, after the last frame the last. Only frames that are shown are converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge_streamer.devices.files.colour import Picture
from edge_streamer.devices.files.container import Stream
from edge_streamer.devices.files.film import Film
from edge_streamer.devices.files.picture import Letterbox
from edge_streamer.devices.files.still import read_still
from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.loop.media import Frames, Samples

GREY = 128
"""The still picture of a camera that is off."""

SMALLEST_SHOWN = 96
"""Pictures lower than this are shown larger by a whole factor: players show smaller ones as a speck."""

_DEFAULT_RATE = Fraction(25)
"""Frames per second of a film that tells neither times nor a rate."""


class VideoFile:
    """A film or still picture as a camera.

    Raises MediaError, from the constructor where possible, for a file that is missing, empty, truncated, damaged, not
    media, or holds no frames.
    """

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._rate = media.sees.frame_rate
        still = read_still(path)
        self._stream = stream = None if still else Stream(path, "video")
        aspect = stream.stream.sample_aspect_ratio if stream else None
        self._letterbox = Letterbox(media.sees.size, aspect, str(path))
        self._frames = _timed(stream) if stream else still or iter(())
        first = next(self._frames, None)
        if first is None:
            self.close()
            why = stream.nothing if stream else None
            raise MediaError(why or f"{path} holds no frames; wanted at least one picture")
        self._current: Any = first[1]
        self._next = next(self._frames, None)
        self._shown: Picture | None = self._letterbox(self._current)
        self._index = 0

    def read(self, out: Frames) -> None:
        """Fill ``out`` [unit_frames, height, width, 3] for the next unit."""
        for picture in out:
            picture[:] = self._at(Fraction(self._index, self._rate))
            self._index += 1

    def figures(self) -> dict[str, object]:
        """What was joined and lost up to here; see ``runtime.media.Told``."""
        stream = self._stream
        if stream is None:  # a still
            return {"joins": 0, "lost_packets": 0, "broken_off": None}
        return {"joins": stream.joins, "lost_packets": stream.lost, "broken_off": stream.broken_off}

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    def _at(self, time: Fraction) -> Picture:
        """The letterboxed picture at ``time`` seconds; times never go back."""
        while self._next is not None and self._next[0] <= time:
            self._current, self._shown = self._next[1], None
            self._next = next(self._frames, None)
        if self._shown is None:
            self._shown = self._letterbox(self._current)
        return self._shown


def _timed(stream: Stream) -> Iterator[tuple[Fraction, Any]]:
    """Frames with the second at which each is due; where the file has no times, by its frame rate."""
    return stream.timed(1 / Fraction(stream.stream.average_rate or _DEFAULT_RATE))


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
        height, width = media.shows.size
        self._factor = enlargement(height, width)
        size = (height * self._factor, width * self._factor)
        self._film = Film(path, size, media.shows.frame_rate, media.says.sample_rate, channels=1)

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
