"""Where releases lie, what is known of them, and the one rename that switches, safe from power cuts.

Receives a root folder; hands on its places, its state (:class:`State`) and :func:`point`. This file and `keeper.py`
need nothing but Python's own library: they are copied beside the releases and run by the system's Python, so that
going back does not depend on the release that is gone back from.

    ROOT/
      releases/0123456789abcdef/     a release: env/, bundle, settings.toml, release.json; never changed
      current -> releases/...        what runs; switched by a rename
      previous -> releases/...       what is gone back to
      state.json                     which releases were good, the trial that is on, and the last rollback

Order of writing: whatever a name leads to is on the disk before the name is. The state of a trial is written before
``current`` leads to it, so that no release ever runs that nobody watches.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1
ID = re.compile(r"[0-9a-f]{16}")
PATIENCE_SECONDS = 10.0
"""For the state, which is written in milliseconds."""
MOST_GOOD = 16
"""Releases whose having been good is remembered."""
MOST_BYTES = 1_000_000
LONGEST_REASON = 300


@dataclass(frozen=True)
class Root:
    """The folder of all releases."""

    path: Path

    @property
    def releases(self) -> Path:
        return self.path / "releases"

    @property
    def current(self) -> Path:
        return self.path / "current"

    @property
    def previous(self) -> Path:
        return self.path / "previous"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    def release(self, name: str) -> Path:
        return self.releases / name

    def ids(self) -> list[str]:
        """Every release that is there, the newest last."""
        try:
            found = [entry for entry in os.scandir(self.releases) if ID.fullmatch(entry.name) and entry.is_dir()]
        except FileNotFoundError:
            return []
        return [entry.name for entry in sorted(found, key=lambda entry: (entry.stat().st_mtime_ns, entry.name))]

    def led_to(self, link: Path) -> str | None:
        """The id that ``current`` or ``previous`` leads to; None where it leads to no release that is there."""
        try:
            name = os.path.basename(os.readlink(link))
        except OSError:
            return None
        return name if ID.fullmatch(name) and self.release(name).is_dir() else None


@dataclass
class Trial:
    """A release that was switched to and has not proven itself yet."""

    id: str
    since: float
    """Seconds since 1970."""
    units: int
    """So many in a row are wanted."""
    seconds: float
    """Within so long from when it is ready."""
    misses: float
    """The share of those units that may be late, failed or skipped."""
    crashes: int
    """So many starts without a clean end are given up."""
    attempts: int = 0
    """Starts so far that did not end cleanly, the one that runs included."""
    last: str = ""
    """How the newest of them ended."""
    verdict: str = ""
    """Why it is given up, once that is decided."""


@dataclass
class Rollback:
    """The newest one."""

    source: str
    target: str
    """Empty where there was nothing to go back to, or where it was never switched to."""
    reason: str
    time: float


@dataclass
class State:
    good: list[str] = field(default_factory=list)
    """Releases that have proven themselves, the newest last."""
    trial: Trial | None = None
    rollback: Rollback | None = None

    def fallback(self, root: Root, but: str | None) -> str | None:
        """The newest good release that is there, other than ``but``."""
        return next((one for one in reversed(self.good) if one != but and root.release(one).is_dir()), None)

    def prove(self, name: str) -> None:
        """``name`` is good."""
        self.good = [*(one for one in self.good if one != name), name][-MOST_GOOD:]


def read_state(root: Root) -> State:
    """What is known; nothing where the file is not there. ValueError where it is damaged or newer; OSError."""
    try:
        with root.state.open("rb") as file:
            data = file.read(MOST_BYTES)
    except FileNotFoundError:
        return State()
    try:
        found = json.loads(data)
        if found["version"] != VERSION:
            raise ValueError(f"it is of version {found['version']}, and this edge-streamer reads {VERSION}")
        good = [str(name) for name in found["good"] if ID.fullmatch(str(name))]
        trial = Trial(**_of(found["trial"], Trial)) if found["trial"] else None
        rollback = Rollback(**_of(found["rollback"], Rollback)) if found["rollback"] else None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is damaged ({type(error).__name__}: {error})") from None
    return State(good, trial, rollback)


def _of(found: Any, wanted: type) -> Mapping[str, Any]:
    """The values of a record, each of its kind. TypeError."""
    kinds = {"str": (str,), "int": (int,), "float": (int, float)}
    values = {name: found[name] for name in wanted.__dataclass_fields__}  # type: ignore[attr-defined]
    for name, one in wanted.__dataclass_fields__.items():  # type: ignore[attr-defined]
        if not isinstance(values[name], kinds[one.type]) or isinstance(values[name], bool):
            raise TypeError(f"{name} is {values[name]!r}")
    if "id" in values and not ID.fullmatch(values["id"]):
        raise TypeError(f"id is {values['id']!r}")
    return values


def write_state(root: Root, state: State) -> None:
    """Replace the state, on the disk when this returns. Under :func:`state_lock`. OSError: nothing has changed."""
    text = json.dumps({"version": VERSION, **asdict(state)}, indent=2).encode()
    fresh = root.path / ".state.json.new"
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with open(handle, "wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, root.state)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise
    sync(root.path)


def point(root: Root, link: Path, name: str | None) -> None:
    """Have ``link`` lead to the release ``name``, at one instant; None removes it. On the disk when this returns."""
    if name is None:
        link.unlink(missing_ok=True)
    elif _read_link(link) != f"releases/{name}":
        fresh = link.with_name(f".{link.name}.new")
        fresh.unlink(missing_ok=True)
        os.symlink(f"releases/{name}", fresh)
        os.replace(fresh, link)
    sync(root.path)


def _read_link(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def sync(folder: Path) -> None:
    """Have the disk hold a folder's names."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def state_lock(root: Root, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Alone with the state. TimeoutError where another holds it for so long; a dead process holds nothing."""
    handle = os.open(root.path / ".state.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        ends = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise TimeoutError(f"another process has held {root.path}/.state.lock for {patience:g} s") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)


# -- decisions, each under the lock


def begin_trial(root: Root, state: State, trial: Trial) -> None:
    """Switch to a release that has yet to prove itself: its state first, then the name."""
    before = root.led_to(root.current)
    state.trial = trial
    write_state(root, state)
    if before is not None and before != trial.id:
        point(root, root.previous, state.fallback(root, trial.id) or before)
    point(root, root.current, trial.id)


def confirm(root: Root, state: State, name: str) -> None:
    """``name`` has proven itself: it stays, whatever becomes of it later."""
    state.prove(name)
    state.trial = None
    write_state(root, state)
    point(root, root.previous, state.fallback(root, name))


def go_back(root: Root, state: State, reason: str) -> str | None:
    """Give the trial up: back to the newest good release, whose id this returns; None where there is none.

    The verdict is written first: where power goes in the middle, the next start completes it.
    """
    trial = state.trial
    assert trial is not None
    reason = " ".join(reason.split())[:LONGEST_REASON]
    target = state.fallback(root, trial.id)
    trial.verdict = reason
    write_state(root, state)
    if target is not None:
        point(root, root.current, target)
    state.trial, state.rollback = None, Rollback(trial.id, target or "", reason, time.time())
    write_state(root, state)
    point(root, root.previous, state.fallback(root, target or trial.id))
    return target
