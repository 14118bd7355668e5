"""What a release holds: every file, folder and link with its mode and SHA-256, and the id that follows from them.

Receives folders; hands on a :class:`Contents`, its id, its text (``manifest.json``) and what differs from it. Two modes
are known, readable and executable, as archives and file systems differ in the rest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64_000_000
BYTECODE = "__pycache__"
"""Made on each machine anew, and never part of a release."""
BLOCK_BYTES = 1 << 20
MOST_FILES = 200_000

Path_ = Annotated[str, Meta(min_length=1, max_length=1024)]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file, a folder or a link, by its path within the release."""

    path: Path_
    kind: Literal["file", "folder", "link"] = "file"
    sha256: str = ""
    size: int = 0
    executable: bool = False
    target: str = ""
    """Of a link."""


class Contents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of ``manifest.json``."""

    format: Literal[1] = 1
    id: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    """Of what was added, from which the rest was made."""
    name: str = ""
    entries: Annotated[tuple[Entry, ...], Meta(max_length=MOST_FILES)]


def id_of(entries: tuple[Entry, ...], made_with: str) -> str:
    """16 digits of the SHA-256 of all entries and of what an environment is made with."""
    return hashlib.sha256(msgspec.json.encode([made_with, entries])).hexdigest()[:16]


def entries_of(folder: Path, but: tuple[str, ...] = (MANIFEST,)) -> tuple[Entry, ...]:
    """Everything in ``folder``, in one order, but for names at its top. InputError where something is no file, folder
    or link; OSError."""
    found = []
    for path, status in _walk(folder, but):
        relative = str(path.relative_to(folder))
        if not relative.isprintable():
            raise InputError(f"{folder} holds the name {relative!r}; wanted names that can be printed")
        if stat.S_ISLNK(status.st_mode):
            found.append(Entry(path=relative, kind="link", target=os.readlink(path)))
        elif stat.S_ISDIR(status.st_mode):
            found.append(Entry(path=relative, kind="folder"))
        elif stat.S_ISREG(status.st_mode):
            found.append(Entry(path=relative, sha256=sha256(path), size=status.st_size,
                               executable=bool(status.st_mode & 0o100)))  # fmt: skip
        else:
            raise InputError(f"{path} is no file, folder or link; a release holds nothing else")
    if len(found) > MOST_FILES:
        raise InputError(f"{folder} holds {len(found)} files; a release may hold {MOST_FILES}")
    return tuple(found)


def _walk(folder: Path, but: tuple[str, ...]) -> Iterator[tuple[Path, os.stat_result]]:
    def fail(error: OSError) -> None:
        raise error

    for at, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name != BYTECODE)
        top = at == str(folder)
        for name in sorted([*folders, *files]):
            if not (top and name in but):
                path = Path(at, name)
                yield path, path.lstat()
        if top:
            folders[:] = [name for name in folders if name not in but]


def sha256(path: Path) -> str:
    """Of a file's bytes. OSError."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def text_of(contents: Contents) -> bytes:
    return msgspec.json.format(msgspec.json.encode(contents), indent=1)


def read_contents(release: Path) -> Contents:
    """The manifest of a release. InputError where it is missing or damaged."""
    try:
        return msgspec.json.decode(read_small(release / MANIFEST, MANIFEST_BYTES), type=Contents)
    except OSError as error:
        raise InputError(f"{release} is no complete release: {MANIFEST}: {error.strerror}; add it again") from None
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{release} is no complete release: {MANIFEST} is damaged ({why}); add it again") from None


def verify(release: Path, tell: Callable[[int], None] = lambda size: None) -> Contents:
    """A release whose every file is what its manifest says, and that has no other. InputError that names the first
    difference; OSError."""
    contents = read_contents(release)
    wanted = {entry.path: entry for entry in contents.entries}
    for found in entries_of(release):
        entry = wanted.pop(found.path, None)
        if entry is None:
            raise InputError(f"{release / found.path} is not in the release's manifest; add the release again")
        if found != entry:
            raise InputError(f"{release / found.path} is not what the release's manifest says; add the release again")
    if wanted:
        raise InputError(f"{release / min(wanted)} is missing; add the release again")
    return contents
