"""``edge-streamer replay DIR``: a recorded conversation again, compared bit for bit.

Receives a folder by `journal.py`; hands on how many units came out the same and which was the first that did not, and
the agent's voice and film where asked for. Exit status: 0 all the same, 1 some differ, 2 it cannot be replayed.

The same answers are promised on the same engine, its version and the same processor only; where the recording was made
on another one it says so, and goes on. A recording that was cut short (a killed process) is replayed as far as it goes.
"""

from __future__ import annotations

import argparse
import errno
import json
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from rich.console import Console
from rich.text import Text

from edge_streamer.devices.files.audio_file import WavSpeaker
from edge_streamer.devices.files.lossless import LosslessReader
from edge_streamer.devices.files.video_file import FilmDisplay
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import InputError, MediaError, StepError
from edge_streamer.runtime.files import new_folder, size_text
from edge_streamer.runtime.loop import journal
from edge_streamer.runtime.loop.journal import Event, Header
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.outputs import check_outside
from edge_streamer.runtime.pages.terminal import bars, opening
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import MOST_STEPS, Knobs, Response, Unit

HEADER_BYTES, LINE_BYTES = 1_000_000, 16_000_000
"""More is none of ours: a header has a kilobyte, a line what was typed or pasted within a unit."""
DIGEST = re.compile("[0-9a-f]{32}")


@dataclass
class Replayed:
    """How a replay went."""

    units: int = 0
    same: int = 0
    failed: int = 0
    """Units that had failed when they were recorded; they left no trace and are passed over."""
    first_different: int | None = None
    ended: str | None = None
    """Why the recording ended, by its own last line; None where it was cut."""
    cut: int = 0
    """Units without sound or picture, from the first of them on."""


def main(args: argparse.Namespace) -> int:
    """Replay; returns the exit status."""
    folder: Path = args.recording
    header = read_header(folder)
    knobs = _knobs(header, folder)
    session = _open(header, knobs, args.bundle, args.engine)
    session.restore(load_snapshot(folder / journal.START))
    notes = differences(header, session)
    for note in notes:
        Console(stderr=True).print(Text(note), soft_wrap=True)
    if args.out:
        check_outside("--out", args.out, "the recording", folder)
        with new_folder(args.out) as place, _writing(place, session.media) as outputs:
            result = replay(folder, session, knobs, outputs)
    else:
        result = replay(folder, session, knobs, [])
    if not result.units:
        raise InputError(f"{folder} holds no whole unit that was answered: there is nothing to compare")
    _tell(result, notes, args.json)
    return 0 if result.same == result.units else 1


def read_header(folder: Path) -> Header:
    """InputError for what is no recording of ours."""
    try:
        header = msgspec.json.decode(_read(folder / journal.HEADER, HEADER_BYTES), type=Header)
    except (OSError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InputError(f"{folder} is no recording by 'run --record' ({error}); name its folder") from error
    if header.format != journal.FORMAT:
        raise InputError(f"{folder}: recording format {header.format}; this edge-streamer reads {journal.FORMAT}")
    if header.bundle.keys() != {"name", "hash", "path"}:
        raise InputError(f"{folder / journal.HEADER}: bundle has {sorted(header.bundle)}; the recording is damaged")
    return header


def read_events(folder: Path) -> Iterator[Event]:
    """The lines of units.jsonl, up to the last whole one. InputError where one is none of ours."""
    path, units = folder / journal.EVENTS, 0
    try:
        with _regular(path).open("rb") as file:
            for number in count(1):
                line = file.readline(LINE_BYTES)
                if not line.endswith(b"\n"):
                    if len(line) == LINE_BYTES:
                        raise MediaError(f"{path}, line {number}: longer than {size_text(LINE_BYTES)}; it is damaged")
                    break  # what follows the last line's end was cut
                event = _event(line, f"{path}, line {number}", units)
                units += event.unit is not None
                yield event
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the recording is not whole") from error


def _event(line: bytes, where: str, units: int) -> Event:
    """One line, after ``units`` units."""
    try:
        event = msgspec.json.decode(line, type=Event)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MediaError(f"{where}: {error}; the recording is damaged") from error
    if event.unit is not None:
        why = ""
        if event.unit != units:
            why = f"unit {event.unit}; wanted {units}"
        elif event.digest and not 1 <= event.steps <= MOST_STEPS:
            why = f"{event.steps} solver steps; wanted 1 to {MOST_STEPS}"
        elif event.digest and not DIGEST.fullmatch(event.digest):
            why = f"digest {event.digest[:40]!r}; wanted 32 hexadecimal digits"
        if why:
            raise MediaError(f"{where}: {why}; the recording is damaged")
    return event


def _read(path: Path, most: int) -> bytes:
    """A small file. OSError, or ValueError where it is larger."""
    with _regular(path).open("rb") as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"{path.name} is larger than {size_text(most)}")
    return text


def _regular(path: Path) -> Path:
    """OSError where ``path`` is missing or no file: a pipe would be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


def replay(folder: Path, session: Session, knobs: Knobs, outputs: list[Any]) -> Replayed:
    """Step ``session``, which stands where the recording began, through it. ``outputs``: called with each answer.

    Every line is read before the first unit is stepped. MediaError or InputError where the recording is damaged.
    """
    media, result = session.media, Replayed()
    samples = np.zeros(media.hears.unit_samples, np.float32)
    frames = np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8)
    total = sum(event.unit is not None for event in read_events(folder))
    steps = None
    with ExitStack() as stack, bars("units") as bar:
        sound, pictures = _open_media(folder, media, stack)
        for event in read_events(folder):
            result.ended = event.ended
            if event.settled:
                _settle(session, result)
            if event.unit is None:
                continue
            raw = sound.read(samples.nbytes)
            if len(raw) < samples.nbytes or not pictures.read(frames):
                result.cut = total - event.unit
                break
            samples[:] = np.frombuffer(raw, "<f4")
            if not event.digest:
                result.failed += 1
                continue
            if event.steps != steps:
                steps = event.steps
                session.turn(replace(knobs, steps=steps))
            _one(session, Unit(samples=samples, frames=frames, text=event.text), event, result, outputs)
            bar("replay", event.unit + 1, total)
    return result


def _open_media(folder: Path, media: MediaSpec, stack: ExitStack) -> tuple[BinaryIO, Any]:
    """What the model heard, and saw."""
    try:
        sound = stack.enter_context(_regular(folder / journal.SOUND).open("rb"))
        path = _regular(folder / journal.PICTURES)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}; the recording is not whole") from error
    pictures = LosslessReader(path, media.sees.size)
    return sound, stack.enter_context(closing(pictures))


def _settle(session: Session, result: Replayed) -> None:
    try:
        session.settle()
    except StepError as error:
        raise MediaError(
            f"it settled after {result.units} units when it was recorded and fails now: {error}"
        ) from error


def _one(session: Session, unit: Unit, event: Event, result: Replayed, outputs: list[Any]) -> None:
    result.units += 1
    try:
        response: Response = session.step(unit)
    except (StepError, ValueError) as error:  # ValueError: sound or text that no microphone and no keyboard gave
        raise MediaError(f"unit {event.unit} was answered when it was recorded and fails now: {error}") from error
    if journal.digest(response) == event.digest:
        result.same += 1
    elif result.first_different is None:
        result.first_different = event.unit
    for write in outputs:
        write(response)


def differences(header: Header, session: Session) -> list[str]:
    """What is not as it was when the recording was made, as far as answers may depend on it."""
    then = {"engine": header.engine, **header.versions, "processor": str(header.machine.get("processor"))}
    here = {"engine": session.engine.name, **versions(), "processor": str(machine().get("processor"))}
    matters = ("engine", "numpy", "onnxruntime", "processor", "edge-streamer")
    return [
        f"recorded with {name} {then.get(name)}, replayed with {here.get(name)}: the same bits are not promised"
        for name in matters
        if then.get(name) != here.get(name)
    ]


def _knobs(header: Header, folder: Path) -> Knobs:
    try:
        return Knobs(**header.knobs)
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder / journal.HEADER}: knobs: {error}; the recording is damaged") from error


def _open(header: Header, knobs: Knobs, named: Path | None, engine: str) -> Session:
    path = named or Path(header.bundle["path"])
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise InputError(f"the bundle is no longer at {path}; name it with --bundle")
    with opening() as tell:
        session = open_session(path, knobs=knobs, engine=engine, tell=tell)
    if session.bundle.hash != header.bundle["hash"]:
        raise InputError(
            f"{path} is bundle {session.bundle.hash[:12]}, the recording was made with {header.bundle['name']} "
            f"{header.bundle['hash'][:12]}; name that one with --bundle"
        )
    return session


class _writing(ExitStack):
    """The agent's voice and film in ``folder``, as functions that take an answer."""

    def __init__(self, folder: Path, media: MediaSpec) -> None:
        super().__init__()
        self._voice = WavSpeaker(folder / "voice.wav", media)
        self.callback(self._voice.discard)
        self._film = FilmDisplay(folder / "face.mp4", media)
        self.callback(self._film.discard)

    def __enter__(self) -> Any:
        return [
            lambda response: self._voice.write(response.samples),
            lambda response: self._film.write(response.frames, response.samples),
        ]

    def __exit__(self, kind: Any, *more: Any) -> bool | None:
        if kind is None:
            self._voice.close()
            self._film.close()
        return super().__exit__(kind, *more)


def _tell(result: Replayed, notes: list[str], as_json: bool) -> None:
    if as_json:
        figures = {**result.__dict__, "notes": notes}
        print(json.dumps(figures))
        return
    console = Console()
    console.print(Text(f"{result.same} of {result.units} answers are the same, bit for bit"))
    if result.first_different is not None:
        console.print(Text(f"the first that differs is unit {result.first_different}"))
    if result.failed:
        console.print(Text(f"{result.failed} units had failed when they were recorded, and were passed over"))
    cut = f"; {result.cut} more units have no sound or picture" if result.cut else ""
    console.print(Text(f"the recording ended: {result.ended or 'it was cut short'}{cut}"))
