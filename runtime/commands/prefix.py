"""``edge-streamer prefix BUNDLE``: fill the pinned prefix once and keep it as a snapshot.

Receives text, a picture or a clip of the agent (how it looks and sounds); hands on a snapshot file that
``run --prefix FILE`` starts from.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.files.video_file import VideoFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.outputs import check_outputs
from edge_streamer.runtime.pages.terminal import opening
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.streams import as_text
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.unit import Unit


def main(args: argparse.Namespace) -> int:
    if not (args.text or args.image or args.clip):
        raise InputError("a prefix of nothing; give --text, --image or --clip")
    if args.text and as_text(args.text) != args.text:
        raise InputError(f"--text {args.text!r} is not UTF-8 text")
    inputs = {"BUNDLE": args.bundle, "--image": args.image, "--clip": args.clip}
    check_outputs({"--out": args.out}, {option: path for option, path in inputs.items() if path})
    if args.out.suffix.lower() != ".npz":
        raise InputError(f"--out {args.out}: wanted a name that ends in .npz")
    with opening() as tell:
        session = open_session(args.bundle, engine=args.engine, tell=tell)
    places = left = session.prefix_room().places
    if args.image:
        left = session.prefill(next(picture_units(args.image, session.media)))
    if args.clip:
        left = _fill_with_clip(session, args.clip, args.seconds)
    if args.text:
        left = session.prefill(args.text)
    session.snapshot().save(args.out)
    print(f"{args.out}: prefix of {places - left} tokens ({left} of {places} places left); use it with run --prefix")
    return 0


def _fill_with_clip(session: Session, path: Path, seconds: Fraction | None) -> int:
    """As many units of the clip as fit, said aloud; InputError where not one does."""
    _, left, per_unit = session.prefix_room()
    units = list(
        islice(clip_units(path, session.media, seconds), max(1, left // per_unit))
    )  # none fits: the first one is refused
    if not units:
        raise InputError(f"--clip {path} holds no sound to the length of a unit")
    left = session.prefill(*units)
    print(f"{path}: the first {len(units) * session.media.unit_seconds:.2f} s")
    return left


def agent_media(media: MediaSpec) -> MediaSpec:
    """The media contract with the agent's own sound and picture as what goes in."""
    return msgspec.structs.replace(media, sound_in=media.sound_out, pictures_in=media.pictures_out)


def picture_units(path: Path, media: MediaSpec) -> Generator[Unit, None, None]:
    """Units of a picture or film without sound, letterboxed to the agent's size, without end."""
    camera = VideoFile(path, agent_media(media))
    try:
        while True:
            frames = np.empty((media.shows.unit_frames, *media.shows.size, 3), np.uint8)
            camera.read(frames)
            yield Unit(frames=frames)
    finally:
        camera.close()


def clip_units(path: Path, media: MediaSpec, seconds: Fraction | None) -> Iterator[Unit]:
    """Units of a film with sound, up to its sound's end or ``seconds``."""
    microphone = AudioFile(path, agent_media(media))
    limit = np.inf if seconds is None else float(seconds) / media.unit_seconds
    try:
        for index, unit in enumerate(picture_units(path, media)):
            samples = np.empty(media.says.unit_samples, np.float32)
            if index >= limit or not microphone.read(samples):
                break
            yield Unit(samples=samples, frames=unit.frames)
    finally:
        microphone.close()


def start_from(session: Session, prefix: Path) -> None:
    """A snapshot is taken up; a picture is pinned, as ``--image`` does it."""
    if prefix.suffix.lower() == ".npz":
        session.restore(load_snapshot(prefix))
    else:
        with closing(picture_units(prefix, session.media)) as units:
            session.prefill(next(units))


def go_back(bundle: Path, prefix: Path | None) -> None:
    """On a device with keys: older versions of these than it has used count from now on. TrustError."""
    open_bundle(bundle, allow_downgrade=True)
    if prefix and prefix.suffix.lower() == ".npz":
        load_snapshot(prefix, allow_downgrade=True)
