"""Units of real recordings, for calibration and for measuring.

Receives names of files or nothing; hands on :class:`Stream` s. A film is both microphone and camera, a sound file the
microphone alone. Without names: the evaluation's scenes where the bundle has the toy world's geometry, others for
calibration than for measuring (the recordings of words are the same few hundred); elsewhere the conversation that ships
with the demo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.video_file import StillCamera, VideoFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.bundle.shipped import MEDIA
from edge_streamer.runtime.errors import InputError, MediaError
from edge_streamer.runtime.evaluation.runner import Microphone, Voices, check_media
from edge_streamer.runtime.evaluation.suite import duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import load_assets
from edge_streamer.runtime.evaluation.world.script import typed_text
from edge_streamer.runtime.loop.media import filled
from edge_streamer.runtime.unit import Unit

CALIBRATION_SEED, SCENES_SEED = 991, 4242
"""Of the scenes that are calibrated and measured on: no seeds that `eval` takes by default. Each has a thousand of its
own from there on."""
QUIET = 10 ** (-60 / 20)
"""A recording that never gets louder, full scale 1, is taken for silence."""
CLIPPED = 0.2
"""Share of samples at full scale from which a recording is taken for broken."""


@dataclass(frozen=True)
class Stream:
    """Units, as often as they are asked for."""

    name: str
    """What it is, for the report."""
    units: Callable[[], Iterator[Unit]]


def recordings(files: Sequence[Path], media: MediaSpec) -> Stream:
    """These files, one after the other. InputError where one of them shows a model nothing true: silence or a wave
    that is clipped nearly everywhere; MediaError where one cannot be read."""
    for file in files:
        _listen(file, media)
    return Stream(", ".join(str(f) for f in files), lambda: (unit for f in files for unit in _units(f, f, media)))


def shipped(media: MediaSpec) -> Stream:
    """The demo's own conversation."""
    sound, film = MEDIA / "speech.flac", MEDIA / "camera.mp4"
    return Stream("the demo's conversation", lambda: _units(sound, film, media))


def usual(media: MediaSpec) -> Stream:
    """What is calibrated on where nobody names recordings."""
    return scenes(media, CALIBRATION_SEED) or shipped(media)


def scenes(media: MediaSpec, seed: int = SCENES_SEED) -> Stream | None:
    """The evaluation's scenes in a row, thousands of minutes; None where the bundle's media are others."""
    try:
        check_media(media)
    except InputError:
        return None
    return Stream(f"the evaluation's scenes, seed {seed}", lambda: _scenes(seed))


def _scenes(first: int) -> Iterator[Unit]:
    world, held_out = load_assets()
    for seed in range(first, first + 1000):
        for case in duplex(10.0, seed, world, held_out).cases:
            scene = scene_of(case, world)
            microphone, camera, typed = (
                Microphone(scene, Voices(case, held_out)),
                scene.camera(),
                typed_text(case.script),
            )
            for k in range(case.script.units):
                yield Unit(microphone.unit(k), camera[k * 4 : k * 4 + 4], typed.get(k, ""))


def _units(sound: Path, film: Path, media: MediaSpec) -> Iterator[Unit]:
    """As long as the sound lasts; what the bundle does not take stays out."""
    full = filled(media)
    with ExitStack() as stack:
        microphone: Any = stack.enter_context(closing(AudioFile(sound, full)))
        camera: Any = stack.enter_context(closing(_camera(film, full, film == sound)))
        while True:
            samples = np.empty(full.hears.unit_samples, np.float32)
            frames = np.empty((full.sees.unit_frames, *full.sees.size, 3), np.uint8)
            if not microphone.read(samples):
                return
            camera.read(frames)
            yield Unit(samples if media.sound_in else None, frames if media.pictures_in else None)


def _camera(film: Path, media: MediaSpec, may_be_sound: bool) -> Any:
    try:
        return VideoFile(film, media)
    except MediaError:
        if not may_be_sound:
            raise
        return StillCamera(media)


def _listen(file: Path, media: MediaSpec) -> None:
    """Does nothing for a bundle that hears nothing."""
    if media.sound_in is None:
        return
    loudest, clipped, count = 0.0, 0, 0
    for unit in _units(file, file, media):
        assert unit.samples is not None
        size = np.abs(unit.samples)
        loudest, clipped, count = (
            max(loudest, float(size.max())),
            clipped + int((size > 0.999).sum()),
            count + len(size),
        )
    if loudest < QUIET:
        raise InputError(f"{file} is silent (peak {loudest:.1e} of full scale); wanted somebody who speaks: with "
                         "nothing to hear a range means nothing")  # fmt: skip
    if clipped > CLIPPED * count:
        raise InputError(f"{file} is clipped in {clipped / count:.0%} of its samples; wanted a recording at a level "
                         "that fits; lower the gain and record again")  # fmt: skip
