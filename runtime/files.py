"""Files that are whole or absent.

Receives paths; hands on ``replacing`` and ``new_folder`` (write under a temporary name beside the target, rename when
complete: on any failure nothing is left and what was there before still is), and ``inside`` (a path from a manifest
that cannot leave its folder).

Choices: the temporary name keeps the target's suffix, because media libraries choose their format by it. A disk that
fills is the user's to solve, so it becomes an InputError; every other fault of the disk stays an OSError.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_streamer.runtime.claims import Claim, give_names, sweep, sync
from edge_streamer.runtime.ending import last_words
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.streams import as_text

DEEPEST = 16
"""Folders within folders that a path of a bundle may have."""
LONGEST_NAME = 255
"""Bytes of a name within a folder, as most file systems have it."""

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this system allows",
}
"""What the user can solve; every other fault of the disk stays an OSError."""
_NEARLY_NOTHING = 64 * 1024
"""Free bytes below which a write that failed without a reason (numpy names none) failed for want of space."""


def size_text(size: float) -> str:
    """Bytes for people: ``1.5 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


@contextmanager
def telling_full_disk(path: Path) -> Iterator[None]:
    """Turn an OSError for want of space into an InputError that names ``path`` and the free space."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = size_text(shutil.disk_usage(path.parent).free)
        raise InputError(
            f"cannot write {path}: {FULL[error.errno]} ({free} free in {path.parent} now that the half-written part "
            "is removed); make room or name another place"
        ) from error


@contextmanager
def _naming_full_disk(folder: Path) -> Iterator[None]:
    """Give an OSError that came without a number the one for a full disk, where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno is None and shutil.disk_usage(folder).free < _NEARLY_NOTHING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


class Whole:
    """A file (or a ``folder``) under a temporary name, ``partial``, beside ``path``, until ``publish`` or ``discard``.

    ``partial`` exists, empty; links are followed, so that a link stays and its file is replaced. Where the process is
    killed, the next one that writes into the folder removes it (``claims.py``). Raises InputError where ``path`` cannot
    be a file; or, for a folder, where it exists and is not an empty folder, or its parent is missing.
    """

    def __init__(self, path: Path, folder: bool = False) -> None:
        self.path, self.is_folder = path, folder
        self.target = _folder_target(path) if folder else _file_target(path)
        with telling_full_disk(self.target), _telling_place(path):
            self.claim = Claim(self.target.parent, "" if folder else self.target.name)
            self.partial = self.claim.partial
            try:
                if folder:
                    self.partial.mkdir()
                else:
                    self.partial.touch(exist_ok=False)
            except BaseException:
                self.claim.release()
                raise

    def sync(self) -> None:
        """Have the disk hold what was written."""
        for file in (*(sorted(self.partial.rglob("*")) if self.is_folder else ()), self.partial):
            sync(file)

    def discard(self) -> None:
        """Remove what was written; harmless after ``publish``."""
        self.claim.release()


def publish(wholes: Sequence[Whole]) -> None:
    """Give all of ``wholes`` their names, together or not at all, also where the process is killed in the middle.

    Who reads meanwhile may see new ones beside old ones for a moment. Those that have their names, or were discarded,
    are passed over. Raises InputError where a disk fills.
    """
    wholes = [whole for whole in wholes if whole.claim.held]
    for whole in wholes:
        with telling_full_disk(whole.target), _naming_full_disk(whole.target.parent):
            whole.sync()
    if wholes:
        # A folder's name may have been taken meanwhile, so it is given before those of files, which always can be.
        ordered = sorted(wholes, key=lambda whole: not whole.is_folder)
        with telling_full_disk(ordered[0].target), _telling_place(ordered[0].path):
            give_names({whole.claim: whole.target for whole in ordered})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; it becomes ``path`` at the end, and vanishes on any exception.

    The file exists, empty, when the name is yielded. Raises InputError where ``path`` cannot be a file, or where the
    disk fills inside the block.
    """
    with replacing_all(path) as (partial,):
        yield partial


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes ``path`` at the end, and vanishes on any exception.

    ``path`` must not exist, or be an empty folder; its parent must exist. Raises InputError otherwise, or where the
    disk fills inside the block.
    """
    with replacing_all(folder=path) as (partial,):
        yield partial


@contextmanager
def replacing_all(*files: Path, folder: Path | None = None) -> Iterator[tuple[Path, ...]]:
    """``replacing`` and ``new_folder`` for several at once, the folder last: all get their names, or none."""
    wholes: list[Whole] = []

    def discard() -> None:
        for whole in wholes:
            whole.discard()

    try:
        for path in files:
            wholes.append(Whole(path))
        if folder:
            wholes.append(Whole(folder, folder=True))
        with telling_full_disk(wholes[-1].target):
            try:
                with _naming_full_disk(wholes[-1].target.parent), last_words(discard=discard):
                    yield tuple(whole.partial for whole in wholes)
                publish(wholes)
            finally:
                discard()
    finally:
        discard()  # one of them could not be begun


def check_new_folder(path: Path) -> None:
    """Raise InputError now where ``new_folder(path)`` would: before a long job, not after it."""
    target = _folder_target(path)
    if not os.path.isdir(target.parent):
        raise InputError(f"cannot make the folder {path}: the folder {target.parent} does not exist; make it first")
    sweep(target.parent)
    Whole(path, folder=True).discard()


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def to_json(value: object, indent: int = 2) -> bytes:
    """``value`` as JSON for people; names in it that are not UTF-8 as ``as_text`` shows them."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(_texts(msgspec.to_builtins(value)))
    return msgspec.json.format(encoded, indent=indent)


def _texts(value: object) -> object:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {_texts(key): _texts(entry) for key, entry in value.items()}
    return [_texts(entry) for entry in value] if isinstance(value, list | tuple) else value


def check_path(relative: str, deepest: int = DEEPEST) -> None:
    """Raise BundleError where ``relative`` is no path with forward slashes that stays below where it begins."""
    parts = relative.split("/")
    if not relative.isprintable() or "\\" in relative or any(part in ("", ".", "..") for part in parts):
        raise BundleError(
            f"path {relative[:300]!r} is not allowed in a bundle or release; wanted a relative path with forward "
            "slashes, letters that can be printed and no '..'"
        )
    if len(parts) > deepest or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise BundleError(
            f"path {relative[:300]!r} is not allowed in a bundle or release; wanted at most {deepest} names of at most "
            f"{LONGEST_NAME} bytes"
        )


def inside(root: Path, relative: str) -> Path:
    """The path of ``relative`` (forward slashes) below ``root``. Raises BundleError where it could leave ``root``.

    Links may lead to places below ``root`` and, where ``root`` is a snapshot in Hugging Face's cache, to that model's
    blobs, which is how the cache keeps every file.
    """
    check_path(relative)
    path = root.joinpath(*relative.split("/"))
    try:
        target, home = path.resolve(), root.resolve()
        stays = target.is_relative_to(home) or target.parent in _blobs(home)
    except (RuntimeError, OSError):  # a link that points at itself
        stays = False
    if not stays:
        raise BundleError(f"path {relative!r} follows a link out of {root}; put the file itself into the bundle")
    return path


def _blobs(folder: Path) -> list[Path]:
    """Where the links of ``folder`` may lead if it lies in a snapshot of Hugging Face's cache::

    models--someone--something/ ── blobs/35e0f1f0a9...
                                └─ snapshots/0123456789.../graphs/core.onnx -> ../../../blobs/35e0f1f0a9...
    """
    return [
        above.parent / "blobs"
        for above in folder.parents
        if above.name == "snapshots" and above.parent.name.startswith("models--")
    ]


def open_regular(path: Path) -> BinaryIO:
    """``path``, open for reading. Raises OSError, also for what is no regular file: a pipe would have us wait, a device
    may have no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    # Between the two looks it may have become a pipe: opened like this, even that does not wait.
    file = open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")  # noqa: SIM115
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_small(path: Path, most: int) -> bytes:
    """All of a regular file. Raises OSError, also where it has more than ``most`` bytes."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {size_text(most)}", str(path))
    return data


def digest(path: Path) -> str:
    """The SHA-256 of the bytes of a regular file, in hexadecimal. Raises OSError."""
    whole = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def _file_target(path: Path) -> Path:
    """Where a file named ``path`` really goes: links are followed, so that the link stays and its file is replaced."""
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise InputError(f"cannot write {path}: it is a folder; name a file")
    if os.path.exists(target) and not stat.S_ISREG(target.stat().st_mode):
        raise InputError(f"cannot write {path}: it is not a regular file; name a file")
    return target


def _folder_target(path: Path) -> Path:
    target = Path(os.path.realpath(path))
    if os.path.exists(target) and not os.path.isdir(target):
        raise InputError(f"cannot make the folder {path}: a file of that name exists; name another")
    if os.path.exists(target) and any(target.iterdir()):
        raise InputError(f"the folder {path} exists and is not empty; name a new or an empty one")
    if os.path.exists(target) and os.path.samefile(target, "."):
        raise InputError(f"the folder {path} is the current one, which cannot be replaced; name a new one")
    return target


@contextmanager
def _telling_place(path: Path) -> Iterator[None]:
    """Turn the refusal of a place (no such folder, no permission, read-only) into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        missing = error.errno == errno.ENOENT and not os.path.isdir(path.parent)
        why = (
            f"the folder {path.parent} does not exist; make it first" if missing else
            f"nothing can be made in {path.parent} ({error.strerror}); name another place"
        )  # fmt: skip
        raise InputError(f"cannot write {path}: {why}") from error
