"""A live conversation on disk, so that it can be replayed bit for bit.

Receives every unit as the session got it and what was decided; hands on a folder:

    session.json      format, bundle, engine, knobs, media contract, versions, machine, when it began
    start.npz         the session's whole state before the first unit
    microphone.f32    what the model heard: float32, little-endian, at the model's rate, unit after unit
    camera.mkv        what it saw: FFV1, exact
    units.jsonl       a line per event: a unit (solver steps, typed text, digest of its answer, or failed), a settling,
                      the end and its reason

Choices: everything is appended, in one thread beside the loop, and flushed every second, so that what was recorded
survives whatever ends the process. Where the disk fills or cannot follow, the recording ends, says why, and the
conversation goes on: a recording with holes could not be replayed.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json, write_file
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Knobs, Response, Unit

FORMAT = 1
HEADER, START, SOUND, PICTURES, EVENTS = "session.json", "start.npz", "microphone.f32", "camera.mkv", "units.jsonl"

MOST_WAITING = 64
"""Units that may wait to be written: 10 s. More: the disk or the processor cannot follow."""

FLUSH_SECONDS = 1.0


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a recording belongs to."""

    format: int
    bundle: dict[str, str]
    """name, hash, path."""
    engine: str
    knobs: dict[str, Any]
    media: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    began: str
    """ISO 8601, UTC."""


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One line of units.jsonl."""

    unit: int | None = None
    """The number of the unit in the recording, from 0."""
    seconds: float = 0.0
    """Since the recording began."""
    steps: int = 0
    text: str = ""
    """What was typed."""
    digest: str = ""
    """Of the answer; empty where the unit failed."""
    said: str = ""
    settled: bool = False
    """The session settled after the unit before this line."""
    ended: str | None = None
    """The recording ended; why."""


def digest(response: Response) -> str:
    """32 hexadecimal digits over every bit of an answer: samples, pictures, tokens."""
    found = hashlib.blake2b(digest_size=16)
    for array in (response.samples, response.frames, *response.arrays.values()):
        if array is not None:
            found.update(array.tobytes())
    found.update(repr(response.tokens).encode())
    return found.hexdigest()


class Pictures(Protocol):
    """A film that loses nothing, as a device writes it."""

    def write(self, frames: NDArray[np.uint8]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Kept:
    """A unit on its way to the disk."""

    samples: bytes
    frames: Any


class Journal:
    """Records into ``folder``, which must not exist or be empty. InputError where it cannot be made. ``pictures`` opens
    the film (path, (height, width), frames per second); ``tell``, like that of the other recorders, is told when it
    ends early, in whatever thread that shows."""

    def __init__(
        self, folder: Path, session: Session, knobs: Knobs, pictures: Callable[[Path, tuple[int, int], int], Pictures],
        tell: Callable[[str, str], None] = lambda what, why: None,
    ) -> None:  # fmt: skip
        self.folder, self.stopped, self._tell = folder, "", tell
        """Why it ended early; empty while it has not."""
        media = session.media
        self._media = media
        self._make(session, knobs)
        self._sound: BinaryIO = (folder / SOUND).open("wb")
        self._events: BinaryIO = (folder / EVENTS).open("wb")
        self._pictures = pictures(folder / PICTURES, media.sees.size, media.sees.frame_rate)
        self._count, self._began, self._flushed = 0, time.monotonic(), time.monotonic()
        self._queue: queue.Queue[tuple[Event, _Kept | None] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def unit(self, unit: Unit, steps: int, response: Response | None) -> None:
        """One unit as the session got it; no response where it failed."""
        if unit.samples is None or unit.frames is None:
            raise ValueError("a live unit has sound and pictures")
        event = Event(
            unit=self._count, seconds=round(time.monotonic() - self._began, 3), steps=steps, text=unit.text,
            digest=digest(response) if response else "", said=response.text if response else "",
        )  # fmt: skip
        self._count += 1
        self._put(event, _Kept(unit.samples.astype("<f4").tobytes(), unit.frames.copy()))

    def settled(self) -> None:
        """The session settled after the newest unit."""
        self._put(Event(settled=True), None)

    def close(self, why: str = "") -> None:
        """Write what waits, and the end. Harmless twice."""
        if not self._thread.is_alive():
            return
        if not self.stopped:
            self._put(Event(ended=why or "it was ended"), None)
        self._queue.put(None)
        self._thread.join()

    def _make(self, session: Session, knobs: Knobs) -> None:
        folder = self.folder
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"--record {folder} exists and is not an empty folder; name a new one")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--record {folder}: {error.strerror}; name another place") from error
        manifest = session.bundle.manifest
        header = Header(
            format=FORMAT,
            bundle={"name": manifest.name, "hash": session.bundle.hash, "path": str(session.bundle.path.absolute())},
            engine=session.engine.name,
            knobs=asdict(knobs),
            media=msgspec.to_builtins(session.media),
            versions=versions(),
            machine=machine(),
            began=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        session.snapshot().save(folder / START)
        write_file(folder / HEADER, to_json(header) + b"\n")

    def _put(self, event: Event, kept: _Kept | None) -> None:
        if self.stopped:
            return
        try:
            self._queue.put_nowait((event, kept))
        except queue.Full:
            self._stop(f"{MOST_WAITING} units waited to be written: the disk or the processor cannot follow")

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = why
            self._tell("record ended", why)

    # -- in the thread

    def _write_all(self) -> None:
        over = False
        try:
            while (item := self._queue.get()) is not None:
                self._write(*item)
            over = True
        except Exception as error:  # the disk is full, above all; the conversation goes on whatever it is
            self._stop(f"{self.folder}: {getattr(error, 'strerror', None) or error or type(error).__name__}")
        finally:
            self._finish()
        while not over:  # so that nobody waits for room in the queue
            over = self._queue.get() is None

    def _write(self, event: Event, kept: _Kept | None) -> None:
        if kept is not None:
            self._sound.write(kept.samples)
            self._pictures.write(kept.frames)
        self._events.write(msgspec.json.encode(event) + b"\n")
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flushed = time.monotonic()
            self._sound.flush()
            self._events.flush()

    def _finish(self) -> None:
        """Close every file, whichever of them fails."""
        if self.stopped:
            with suppress(OSError):
                self._events.write(msgspec.json.encode(Event(ended=self.stopped)) + b"\n")
        for close in (self._events.close, self._sound.close, self._pictures.close):
            with suppress(Exception):
                close()
