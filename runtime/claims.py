"""What is half-written belongs to a living process, or it goes at the next start.

Receives folders; hands on :class:`Claim` (a temporary name and a lock that says that its process lives),
:func:`give_names` (several temporary names become names together or not at all), :func:`alone`, :func:`sweep` and
:func:`scratch`.

A claim is the file ``.edge-streamer.TOKEN.claim``, its token 16 random digits; what its process writes stands beside it
under ``.edge-streamer.TOKEN.partial...``. The process holds the claim locked (``flock``) and removes it at its end.
So a claim whose lock can be taken was left by a process that was killed, however long ago, and one that cannot is
somebody's work: no clock is asked, and no number of a process, which another may have got. Only files of this user, of
these names and with the same token are touched.

Several renames cannot be one on POSIX. Therefore every claim of a set first gets a note, on the disk: what its
temporary name becomes, and all claims of the set. The note of the last claim is written last and decides: where it is
there, whoever comes next (``sweep``) does the renames that are missing; where it is not, all that was written goes. A
note speaks only of names in its own folder, so that a claim in a folder from strangers can reach nothing outside it.

Choices: renames are done by one process at a time in a folder (``.edge-streamer.lock``, removed after them), so that
two runs into the same names do not mix. A file system without locks is written to all the same; what is left there
stays.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

CLAIM = re.compile(r"\.edge-streamer\.([0-9a-f]{16})\.claim")
MUTEX = ".edge-streamer.lock"
SUFFIX_BYTES = 16
"""A longer suffix than this is not one that a media library chooses a format by."""
NOTE_BYTES = 1_000_000
"""A note larger than this is not one."""
PATIENCE_SECONDS = 10.0
"""Renames take milliseconds: who holds a folder longer is stopped, and is not waited for."""
_POLL_SECONDS = 0.002
_FOLDER_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)
"""Why a name can never be given: something else has got it meanwhile."""


class Claim:
    """A temporary name in ``folder``, which this process holds until ``release``. Raises OSError where the folder
    cannot be written to. The name is short and plain ASCII, with the suffix of ``name`` where that is too."""

    def __init__(self, folder: Path, name: str = "") -> None:
        sweep(folder)
        while True:
            token = secrets.token_hex(8)
            self.path = folder / f".edge-streamer.{token}.claim"
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with suppress(OSError):
                _lock(self._handle)
            if os.fstat(self._handle).st_nlink:  # else another process has swept it just before the lock
                break
            os.close(self._handle)
        suffix = os.path.splitext(name)[1]
        plain = suffix.isascii() and len(suffix) <= SUFFIX_BYTES
        self.partial = folder / f".edge-streamer.{token}.partial{suffix if plain else ''}"

    @property
    def held(self) -> bool:
        """Whether this process is still at work on it."""
        return self._handle >= 0

    def note(self, text: str) -> None:
        """Have the disk hold ``text`` in the claim, in place of what it held."""
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text.encode("ascii"), 0)
        os.fsync(self._handle)

    def release(self) -> None:
        """Remove what stands under the temporary name, and the claim; harmless twice."""
        if self.held:
            with suppress(OSError):  # a read-only disk: the first error is the one to tell
                if remove(self.partial):
                    self.path.unlink(missing_ok=True)
            self.leave()

    def leave(self) -> None:
        """Let go, and leave all where it is to the next start."""
        if self.held:
            os.close(self._handle)
            self._handle = -1


def give_names(wanted: Mapping[Claim, Path]) -> None:
    """Give the temporary name of every claim its path (in the same folder, links followed), in turn: all or none.

    What stood there before is replaced; an empty folder gives way to a folder. What was written must be on the disk
    already. Raises OSError where nothing was given a name; where the disk fails in the middle, the rest is left to
    the next start.
    """
    claims = list(wanted)
    folder, *others = {claim.path.parent for claim in claims}
    # Names alone where one folder holds all, so that it may be moved, or mounted elsewhere, before the next start.
    every = [str(claim.path.absolute()) if others else claim.path.name for claim in claims]
    try:
        if len(claims) > 1:
            for claim in claims:  # the last one's note decides
                claim.note(json.dumps({"from": claim.partial.name, "to": wanted[claim].name, "set": every}))
        with alone(claim.path.parent for claim in claims):
            _give(claims, wanted)
    except BaseException:
        if len(claims) > 1 and _decided(folder, every):  # also Ctrl-C between two renames
            for claim in claims:
                claim.leave()
            _finish(folder, every)
        raise


def _give(claims: Sequence[Claim], wanted: Mapping[Claim, Path]) -> None:
    given = 0
    try:
        for claim in claims:
            os.replace(claim.partial, wanted[claim])
            given += 1
    except OSError:
        if not given and len(claims) > 1:  # nothing has happened yet, so nothing will
            claims[-1].note("")
        raise
    for folder in _distinct(claim.path.parent for claim in claims):
        sync(folder)
    for claim in claims:
        claim.release()


def sweep(*folders: Path) -> None:
    """Remove what killed processes of this user left half-written in ``folders``; complete what they had decided.

    What cannot be read or removed is left where it is, and folders that do not exist hold nothing.
    """
    for folder in folders:
        try:
            names = [entry.name for entry in os.scandir(folder)]
        except OSError:
            continue
        for name in names:
            if CLAIM.fullmatch(name):
                _sweep(folder / name)
        if MUTEX in names:
            with _mutex(folder / MUTEX, patience=0):
                pass


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder for temporary files, gone after the block; after a kill, at the next call."""
    claim = Claim(Path(tempfile.gettempdir()).absolute())
    try:
        claim.partial.mkdir(0o700)
        yield claim.partial
    finally:
        claim.release()


def remove(path: Path) -> bool:
    """Remove the file, link or folder ``path``, if there is one; whether all of it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return not os.path.lexists(path)


def sync(path: Path) -> None:
    """Have the disk hold ``path``, a file or a folder's list of names, before it counts as written."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Note(NamedTuple):
    source: str
    target: str
    every: list[str]


def _sweep(path: Path) -> None:
    handle = _taken(path)
    if handle is None:
        return
    try:
        note = _read(handle)
        listed = note is not None and path.name in map(os.path.basename, note.every)
        decided = note is not None and listed and _decided(path.parent, note.every)
        if not decided:
            _remove_all(path)
    finally:
        os.close(handle)
    if note and decided:
        _finish(path.parent, note.every)


def _remove_all(path: Path) -> None:
    """What stands under the token of the claim ``path``, and the claim, which goes last."""
    begins = path.name.removesuffix("claim") + "partial"
    with suppress(OSError):
        ours = [entry for entry in os.scandir(path.parent) if entry.name.startswith(begins)]
        if all([remove(Path(entry.path)) for entry in ours]):
            path.unlink(missing_ok=True)


def _finish(folder: Path, every: Sequence[str]) -> None:
    """Do the renames of a set, known from a note in ``folder``, that are missing; the deciding one last."""
    paths = [folder / path for path in every]
    with alone(path.parent for path in paths), suppress(OSError):
        for path in paths:
            handle = _taken(path)
            if handle is None:
                if os.path.lexists(path):  # another process has it in hand
                    return
                continue
            try:
                note = _read(handle)
                if note and note.every == list(every):
                    _rename(path.parent, note)
                    _remove_all(path)
            finally:
                os.close(handle)


def _rename(folder: Path, note: _Note) -> None:
    try:
        os.replace(folder / note.source, folder / note.target)
    except FileNotFoundError:  # done already
        return
    except OSError as error:
        if error.errno not in _FOLDER_IN_THE_WAY:
            raise
    sync(folder)


def _decided(folder: Path, every: Sequence[str]) -> bool:
    """Whether the deciding note of a set, known from a note in ``folder``, is on the disk."""
    try:
        handle = _opened(folder / every[-1])
    except OSError:
        return False
    try:
        note = _read(handle)
        return note is not None and note.every == list(every)
    finally:
        os.close(handle)


def _read(handle: int) -> _Note | None:
    """The note in a claim; None where there is none, or only a part of one."""
    try:
        found = json.loads(os.pread(handle, NOTE_BYTES, 0))
        note = _Note(found["from"], found["to"], found["set"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    plain = all(isinstance(name, str) and _plain(name) for name in (note.source, note.target))
    known = isinstance(note.every, list) and all(isinstance(path, str) and _is_claim(path) for path in note.every)
    return note if plain and known and note.every else None


def _plain(name: str) -> bool:
    return name not in ("", ".", "..") and not {"/", "\0"} & set(name)


def _is_claim(path: str) -> bool:
    folder, name = os.path.split(path)
    return (not folder or folder.startswith("/")) and CLAIM.fullmatch(name) is not None


def _opened(path: Path) -> int:
    """A handle of the claim ``path``. Raises OSError where there is none that is this user's own."""
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return handle
    os.close(handle)
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))


def _taken(path: Path) -> int | None:
    """A locked handle of a claim whose process is no more; None where it lives, or the claim is gone or not ours."""
    try:
        handle = _opened(path)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle
    except OSError:
        pass
    os.close(handle)
    return None


def _lock(handle: int, patience: float = PATIENCE_SECONDS) -> bool:
    """Lock ``handle``; False where another holds it for ``patience`` seconds. OSError: the file system has no locks."""
    ends = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            time.sleep(_POLL_SECONDS)


@contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Only one process of those that ask is in the block for any of ``folders``."""
    with ExitStack() as stack:
        for folder in _distinct(folders):  # in one order everywhere, so that no two wait for each other
            stack.enter_context(_mutex(folder / MUTEX))
        yield


@contextmanager
def _mutex(path: Path, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    handle = _enter(path, patience)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _enter(path: Path, patience: float) -> int | None:
    """A locked handle of the very file that stands at ``path``; None where that cannot be had."""
    while True:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        except OSError:
            return None
        try:
            locked = _lock(handle, patience)
            if locked and os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False)):
                return handle
            os.close(handle)
            if not locked:
                return None
        except FileNotFoundError:  # removed while we waited: there may be another by now
            os.close(handle)
        except OSError:
            with suppress(OSError):
                path.unlink()
            os.close(handle)
            return None


def _distinct(folders: Iterable[Path]) -> list[Path]:
    """Each folder once, whatever ways lead to it, in an order that is the same in every process."""
    found = {}
    for folder in folders:
        with suppress(OSError):
            status = os.stat(folder)
            found[status.st_dev, status.st_ino] = folder
    return [found[key] for key in sorted(found)]
