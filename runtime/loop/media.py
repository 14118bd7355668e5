"""What the loop wants of a microphone, a camera, a speaker and a screen.

Receives nothing; hands on small contracts that `devices/` fulfils and `runtime/loop/recorded.py` drives, so that the
loop never imports a device. Everything is already in the bundle's media contract here: the device side resamples,
mixes to one channel, letterboxes and orders colours.

Whatever records ends in two phases, so that several files appear together or not at all: ``finish`` makes each one
complete under its temporary name (where a full disk shows); then ``close`` gives it its name, or a run gives all of its
files theirs at once (``files.publish``), for which they show what they write to as ``whole``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import MediaSpec, PicturesSpec, SoundSpec
from edge_streamer.runtime.unit import Response, Unit

Samples = NDArray[np.float32]
Frames = NDArray[np.uint8]

TypedText = Mapping[int, str]
"""What the user types, by the unit in which it begins."""


SOUND_RATE, FRAME_RATE, SIZE = 16_000, 25, (16, 16)
"""Of stand-ins: samples and frames per second, height and width. Nobody hears or sees them."""


def filled(media: MediaSpec) -> MediaSpec:
    """``media`` with a stand-in for sound and pictures that a bundle lacks, so that loops and devices always have a
    rate and a size: what is heard for nothing is not handed on, what is not given is silence and a black picture."""
    seconds = media.unit_seconds
    sound = SoundSpec(graph="", tensor="", sample_rate=SOUND_RATE, unit_samples=max(1, round(SOUND_RATE * seconds)))
    pictures = PicturesSpec(
        graph="", tensor="", frame_rate=FRAME_RATE, unit_frames=max(1, round(FRAME_RATE * seconds)), size=SIZE
    )
    return msgspec.structs.replace(
        media, sound_in=media.sound_in or sound, sound_out=media.sound_out or sound,
        pictures_in=media.pictures_in or pictures, pictures_out=media.pictures_out or pictures,
    )  # fmt: skip


class Microphone(Protocol):
    """A source of sound in units."""

    @property
    def units(self) -> int | None:
        """How many units it will give, as far as known (a file's header may lie: ``read`` has the last word);
        None where there is no end."""

    def read(self, out: Samples) -> bool:
        """Fill ``out`` [unit_samples] with the next unit, the last one padded with silence; False at the end."""

    def close(self) -> None: ...


class Camera(Protocol):
    """A source of pictures in units."""

    def read(self, out: Frames) -> None:
        """Fill ``out`` [unit_frames, height, width, 3] for the next unit; past its end it holds the last frame."""

    def close(self) -> None: ...


@runtime_checkable
class Told(Protocol):
    """A recorded microphone or camera that tells what was wrong with its file."""

    def figures(self) -> dict[str, object]:
        """Counts up to here, for `report.py`: ``filled_seconds`` (silence where packets are missing, in so many
        ``gaps``), ``dropped_seconds``, ``joins`` (leaps of its clock), ``lost_packets``, ``not_numbers``,
        ``broken_off`` (why it ended before its file did), and what became of its channels."""


class Output(Protocol):
    """Something that takes units and may leave a file."""

    def finish(self) -> None:
        """Make what was written complete and playable, still under its temporary name. Raises InputError where the
        disk is full. Called once or more; nothing is written after it."""

    def close(self) -> None:
        """Finish, and give the file its name."""

    def discard(self) -> None:
        """Give up: nothing half-written stays. Harmless after ``close``."""


class Speaker(Output, Protocol):
    """Takes the agent's sound, a unit at a time."""

    def write(self, samples: Samples) -> None:
        """[unit_samples], full scale -1..1; the array is the caller's own after the call."""


class Display(Output, Protocol):
    """Takes the agent's pictures (and, where it is a film file, the voice that belongs to them)."""

    def write(self, frames: Frames, samples: Samples) -> None:
        """[unit_frames, height, width, 3] and [unit_samples]; the arrays are the caller's own after the call."""


class Watcher(Output, Protocol):
    """Sees both sides of every unit: a transcript, a side-by-side film."""

    def write(self, unit: Unit, response: Response) -> None:
        """Unit k as the model got it and its answer; the arrays are the caller's own after the call."""
