"""A release is added: filled under a temporary name, compared, on the disk, and only then given its own.

Receives a folder with what a release holds (``bundle``, ``settings.toml``, ``env`` or ``wheels``); hands on the
release's id. Files that an earlier release has too are linked, so that only what changed takes room and is written.
Files are made read-only, because they are shared.

Where the process is killed, or power goes, what was written lies under a temporary name, which the next change removes
(``claims.py``): what has an id for its name is complete.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson.releases.contents import (
    BLOCK_BYTES,
    MANIFEST,
    Contents,
    Entry,
    entries_of,
    id_of,
    read_contents,
    sha256,
    text_of,
    verify,
)
from edge_streamer.devices.jetson.releases.disk import updating
from edge_streamer.devices.jetson.releases.environment import make_environment
from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.runtime.claims import Claim, give_names, remove, sweep, sync
from edge_streamer.runtime.errors import InputError

ENVIRONMENT, WHEELS, SETTINGS, BUNDLE = "env", "wheels", "settings.toml", "bundle"
READABLE, RUNNABLE = 0o444, 0o555

Known = Mapping[tuple[str, bool], Path]
"""(SHA-256, whether it is executable) of a file that an earlier release has -> where."""


class Added(NamedTuple):
    id: str
    new: bool
    """False: it was there already."""
    linked: int = 0
    """Bytes that earlier releases had."""
    written: int = 0


def add(
    root: Root, source: Path, *, name: str = "", python: str = "", tell: Callable[[str], object] = lambda what: None
) -> Added:
    """Add what ``source`` holds. InputError: nothing has changed. ``python`` makes the environment."""
    python = python or getattr(sys, "_base_executable", sys.executable)
    source = source.absolute()
    check_source(source)
    with updating(root):
        sweep(root.releases)
        tell(f"reading {source}")
        entries = entries_of(source)
        made_with = "{}.{}".format(*sys.version_info) if (source / WHEELS).is_dir() else ""
        found = id_of(entries, made_with)
        target = root.release(found)
        if os.path.lexists(target):
            try:
                verify(target)
                return Added(found, False)
            except InputError:
                if found in (root.led_to(root.current), root.led_to(root.previous)):
                    raise InputError(f"the release {found} is there, damaged, and is what runs, or is gone back to; "
                                     "activate another one first, then add it again") from None  # fmt: skip
                take_away(root, target)
        known = _known(root)
        claim = Claim(root.releases)
        try:
            added = _fill(claim.partial, source, entries, known, name, found, python, tell)
            give_names({claim: target})
        finally:
            claim.release()
        return added


def check_source(source: Path) -> None:
    """InputError where a folder lacks what every release has."""
    if not source.is_dir():
        raise InputError(
            f"{source} is no folder; wanted one with {BUNDLE} or {SETTINGS}, and {ENVIRONMENT} or {WHEELS}"
        )
    if not any(os.path.lexists(source / name) for name in (SETTINGS, BUNDLE)):
        raise InputError(f"{source} has neither {SETTINGS} (the words of edge-streamer run) nor {BUNDLE}")
    if not os.path.lexists(source / ENVIRONMENT / "bin/python") and not (source / WHEELS).is_dir():
        raise InputError(f"{source} has neither {WHEELS} nor {ENVIRONMENT}/bin/python, a virtual environment")


def _fill(
    partial: Path, source: Path, entries: tuple[Entry, ...], known: Known, name: str, found: str, python: str,
    tell: Callable[[str], object],
) -> Added:  # fmt: skip
    partial.mkdir(0o755)
    carried = [entry for entry in entries if entry.path.split("/")[0] != WHEELS]
    tell(f"copying {sum(entry.kind == 'file' for entry in carried)} files")
    linked = written = 0
    for entry in carried:
        if entry.kind == "folder":
            (partial / entry.path).mkdir(0o755)
        elif entry.kind == "link":
            os.symlink(entry.target, partial / entry.path)
        elif _link(known, entry, partial / entry.path):
            linked += entry.size
        else:
            _copy(source / entry.path, partial / entry.path, entry)
            written += entry.size
    if (source / WHEELS).is_dir():
        tell("making the environment")
        make_environment(partial / ENVIRONMENT, source / WHEELS, python)
    tell("comparing")
    every = entries_of(partial)
    for entry in every:
        if entry.kind == "file" and entry.path.split("/")[0] == ENVIRONMENT and (source / WHEELS).is_dir():
            if _link(known, entry, partial / entry.path):
                linked += entry.size
            else:
                _keep(partial / entry.path, entry)
                written += entry.size
    if missing := set(carried) - set(every):
        different = min(entry.path for entry in missing)
        raise InputError(f"{source / different} changed while it was added, or the disk does not keep what is written; "
                         "add it again")  # fmt: skip
    _write_synced(partial / MANIFEST, text_of(Contents(id=found, name=name, entries=every)))
    for at, _, _ in os.walk(partial, topdown=False):
        sync(Path(at))
    return Added(found, True, linked, written)


def _known(root: Root) -> Known:
    """What earlier releases have, the newest preferred."""
    known: dict[tuple[str, bool], Path] = {}
    for one in root.ids():
        with suppress(InputError):
            release = root.release(one)
            for entry in read_contents(release).entries:
                if entry.kind == "file":
                    known[entry.sha256, entry.executable] = release / entry.path
    return known


def _link(known: Known, entry: Entry, target: Path) -> bool:
    """Have ``target``, which may be there, share the file of an earlier release; False where there is none that is
    still what it was, or it cannot be shared."""
    earlier = known.get((entry.sha256, entry.executable))
    if earlier is None or not entry.size:
        return False
    fresh = target.with_name(f".{entry.sha256[:16]}.link")
    try:
        if earlier.is_symlink() or sha256(earlier) != entry.sha256:
            return False
        os.link(earlier, fresh)
        os.replace(fresh, target)
        return True
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        return False


def _copy(source: Path, target: Path, entry: Entry) -> None:
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reading, open(handle, "wb") as writing:
        while block := reading.read(BLOCK_BYTES):
            writing.write(block)
        _seal(writing.fileno(), entry.executable)
        writing.flush()
        os.fsync(writing.fileno())


def _keep(path: Path, entry: Entry) -> None:
    """A file that is there already: on the disk, and read-only."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _seal(handle, entry.executable)
        os.fsync(handle)
    finally:
        os.close(handle)


def _seal(handle: int, executable: bool) -> None:
    os.fchmod(handle, RUNNABLE if executable else READABLE)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        _seal(file.fileno(), False)
        file.flush()
        os.fsync(file.fileno())


def take_away(root: Root, release: Path) -> None:
    """Remove a release: its name first, at one instant."""
    claim = Claim(root.releases)
    try:
        os.replace(release, claim.partial)
        sync(root.releases)
        remove(claim.partial)
    finally:
        claim.release()
