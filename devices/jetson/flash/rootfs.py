"""Writing into a root file system that is not this machine's: nothing leaves it, and nothing in it is half-written.

Receives the folder; hands on :class:`Rootfs`. A root for another machine is full of links that mean that machine
(``/etc/resolv.conf -> ../run/...``, ``/lib -> usr/lib``, absolute ones), and may hold links that are meant to harm. So
every name is walked part by part on open folders, never as a path: a link is read and followed as the device would
follow it, from this root on, and ``..`` ends at the root. The last name of what is written is never followed: a link
there is replaced by the file.

What is written goes first into a folder of its own at the root, complete with owner and mode, onto the disk, and is
then renamed. So whoever is killed leaves the old file or the new one, and that folder, which the next one empties.
Where a file is there already, as it is wanted, nothing is done.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from edge_streamer.runtime.errors import InputError

STAGING = ".edge-streamer-staging"
MOST_LINKS = 40
MOST_BYTES = 4 * 1024 * 1024
"""Of a file that is read: lists of users are a few kB."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Owners:
    """Gives files their owners. Only root may; a test takes one that writes them down instead."""

    def give(self, number: int, name: str, uid: int, gid: int) -> None:
        """The open file ``number``, which will be ``name``."""
        os.fchown(number, uid, gid)

    def of(self, name: str, found: os.stat_result) -> tuple[int, int]:
        """Whose ``name`` is."""
        return found.st_uid, found.st_gid


class Rootfs:
    """A root file system, open. A context: what was staged is swept at both ends. ``write``: else it is only read, and
    not even a folder is made."""

    def __init__(self, path: Path, owners: Owners | None = None, *, write: bool = True) -> None:
        self.path, self.owners, self._write = path, owners or Owners(), write
        self._root = self._staging = -1
        self._count = 0

    def __enter__(self) -> Rootfs:
        try:
            self._root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"cannot open the root file system {self.path}: {error.strerror}") from error
        if self._write:
            self._sweep()
            os.mkdir(STAGING, 0o700, dir_fd=self._root)
            self._staging = os.open(STAGING, _FOLDER, dir_fd=self._root)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._write:
            os.close(self._staging)
            self._sweep()
        os.close(self._root)

    def _sweep(self) -> None:
        with suppress(FileNotFoundError):
            _remove(self._root, STAGING)

    # Reading

    def read(self, name: str, most: int = MOST_BYTES) -> bytes | None:
        """All of a regular file, links followed as the device does; None where there is none. Raises InputError where
        it is something else, or has more than ``most`` bytes."""
        try:
            with self._parent(name, last=True) as (folder, leaf):
                number = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refused(name, error) from error
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise InputError(f"/{name.lstrip('/')} in {self.path} is no regular file")
        with os.fdopen(number, "rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InputError(f"/{name.lstrip('/')} in {self.path} is larger than such a file is")
        return data

    def text(self, name: str) -> str:
        """A file's text, with what is not UTF-8 kept; empty where there is none."""
        return (self.read(name) or b"").decode("utf-8", "surrogateescape")

    def look(self, name: str, *, follow: bool = False) -> os.stat_result | None:
        """What lies there; None where nothing does."""
        try:
            with self._parent(name, last=follow) as (folder, leaf):
                return os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._refused(name, error) from error

    def names(self, name: str) -> list[str]:
        """Names in a folder, sorted; none where there is no such folder."""
        try:
            with self._opened(name) as number:
                return sorted(os.listdir(number))
        except (FileNotFoundError, NotADirectoryError):
            return []

    # Writing

    def write(self, name: str, data: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0), *,
              keep: bool = False) -> None:  # fmt: skip
        """A file of ``data``. ``keep``: where one is there, its mode and owner stay."""
        there = self.look(name)
        if there is not None and stat.S_ISREG(there.st_mode):
            if keep:
                mode, owner = stat.S_IMODE(there.st_mode), self.owners.of(name, there)
            same = stat.S_IMODE(there.st_mode) == mode and self.owners.of(name, there) == owner
            if same and there.st_size == len(data) and self.read(name) == data:
                return
        staged = self._stage()
        number = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._staging)
        with os.fdopen(number, "wb") as file:
            file.write(data)
            self._finish(file.fileno(), name, mode, owner)
        self._place(staged, name)

    def copy(self, source: Path, name: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
        """A file of this machine's, however large."""
        with open(source, "rb") as data:
            staged = self._stage()
            number = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._staging)
            with os.fdopen(number, "wb") as file:
                while part := data.read(1024 * 1024):
                    file.write(part)
                self._finish(file.fileno(), name, mode, owner)
        self._place(staged, name)

    def link(self, name: str, target: str) -> None:
        """A link, in place of what is there, unless that is a folder."""
        with suppress(OSError), self._parent(name) as (folder, leaf):
            if os.readlink(leaf, dir_fd=folder) == target:
                return
        staged = self._stage()
        os.symlink(target, staged, dir_fd=self._staging)
        self._place(staged, name)

    def folder(self, name: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> None:
        """A folder and those above it; one that is there is left as it is."""
        parts = [part for part in name.split("/") if part]
        for end in range(1, len(parts) + 1):
            part = "/".join(parts[:end])
            there = self.look(part, follow=True)
            if there is not None:
                if not stat.S_ISDIR(there.st_mode):
                    raise InputError(f"/{part} in {self.path} is no folder")
                continue
            last = end == len(parts)
            staged = self._stage()
            os.mkdir(staged, 0o700, dir_fd=self._staging)
            number = os.open(staged, _FOLDER, dir_fd=self._staging)
            try:
                self._finish(number, part, mode if last else 0o755, owner if last else (0, 0))
            finally:
                os.close(number)
            self._place(staged, part)

    def remove(self, name: str) -> None:
        """Whatever lies there, a link and not what it leads to; nothing where nothing does."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(name) as (folder, leaf):
            _remove(folder, leaf)

    # Names

    def _stage(self) -> str:
        self._count += 1
        return str(self._count)

    def _finish(self, number: int, name: str, mode: int, owner: tuple[int, int]) -> None:
        self.owners.give(number, name, *owner)  # first: a change of owner takes set-uid bits away
        os.fchmod(number, mode)
        os.fsync(number)

    def _place(self, staged: str, name: str) -> None:
        above = name.rstrip("/").rpartition("/")[0]
        if above:
            self.folder(above)
        try:
            with self._parent(name) as (folder, leaf):
                os.rename(staged, leaf, src_dir_fd=self._staging, dst_dir_fd=folder)
                os.fsync(folder)
        except OSError as error:
            raise self._refused(name, error) from error

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """A folder, open, links followed."""
        with self._parent(f"{name}/.", last=True) as (folder, _):
            yield folder

    @contextmanager
    def _parent(self, name: str, *, last: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that holds ``name``, open, and its last part. ``last``: where that is a link, what it leads to.

        ``.`` as a last part is the folder before it."""
        todo, done, links = [part for part in name.split("/") if part], [os.dup(self._root)], 0
        try:
            while True:
                part = todo.pop(0)
                if part in (".", ".."):
                    if part == ".." and len(done) > 1:
                        os.close(done.pop())
                    if not todo:
                        yield done[-1], "."
                        return
                    continue
                target = self._target(done[-1], part) if todo or last else None
                if target is not None:
                    links += 1
                    if links > MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    if target.startswith("/"):
                        while len(done) > 1:
                            os.close(done.pop())
                    todo = [*(each for each in target.split("/") if each), *todo] or ["."]
                    continue
                if not todo:
                    yield done[-1], part
                    return
                done.append(os.open(part, _FOLDER, dir_fd=done[-1]))
        finally:
            for number in done:
                os.close(number)

    @staticmethod
    def _target(folder: int, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=folder)
        except OSError:
            return None

    def _refused(self, name: str, error: OSError) -> InputError:
        return InputError(f"cannot write /{name.lstrip('/')} in {self.path}: {error.strerror}; unpack the root file "
                          "system anew, or free the place")  # fmt: skip


def _remove(folder: int, name: str) -> None:
    """A file, or a folder and what is in it; links are removed, never followed."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    number = os.open(name, _FOLDER, dir_fd=folder)
    try:
        for each in os.listdir(number):
            _remove(number, each)
    finally:
        os.close(number)
    os.rmdir(name, dir_fd=folder)
