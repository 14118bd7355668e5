"""What a release holds: every file, folder and link with its mode and SHA-256, and the id that follows from them.

Receives folders and text; hands on a :class:`ReleaseManifest`, its text (``release.json``), its id, and what differs
from it. The same list is signed where a release is made, and written where one is installed: there it lists the
environment too, which was made on the device. Two modes are known, readable and executable, as archives and file
systems differ in the rest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import check_path, digest, read_small

RELEASE = "release.json"
RELEASE_BYTES = 64_000_000
BYTECODE = "__pycache__"
"""Made on each machine anew, and never part of what is installed."""
MOST_ENTRIES = 200_000
DEEPEST = 64
"""An environment is deeper than a bundle, which what travels may be no deeper than."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file, a folder or a link, by its path within the release."""

    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    kind: Literal["file", "folder", "link"] = "file"
    sha256: Annotated[str, Meta(pattern="^(?:[0-9a-f]{64})?$")] = ""
    """Of a file."""
    size: Annotated[int, Meta(ge=0)] = 0
    executable: bool = False
    target: Annotated[str, Meta(max_length=4096)] = ""
    """Of a link."""


class ReleaseManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text of ``release.json``."""

    format: Literal[1] = 1
    id: Annotated[str, Meta(pattern="^(?:[0-9a-f]{16})?$")] = ""
    """Of what was added, from which the rest was made; empty on its way to a device."""
    name: str = ""
    entries: Annotated[tuple[Entry, ...], Meta(max_length=MOST_ENTRIES)]
    """Everything but this list, by its path within the folder."""


def parse_release(text: bytes) -> ReleaseManifest:
    """BundleError where the text is none, or has a path twice, one that leaves the folder, or one as file and folder
    both."""
    try:
        manifest = msgspec.json.decode(text, type=ReleaseManifest)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        why = " ".join(str(error).split())[:200]
        raise BundleError(f"{RELEASE} is none by edge-streamer, or damaged ({why}); make it again") from None
    kinds = {entry.path: entry.kind for entry in manifest.entries}
    if len(kinds) < len(manifest.entries):
        raise BundleError(f"{RELEASE} lists a path twice; make it again")
    if RELEASE in kinds:
        raise BundleError(f"{RELEASE} lists itself; wanted everything but it")
    for entry in manifest.entries:
        check_path(entry.path, DEEPEST)
        if bool(entry.sha256) is not (entry.kind == "file") or bool(entry.target) is not (entry.kind == "link"):
            raise BundleError(f"{RELEASE} has a {entry.kind} {entry.path[:200]!r} without what belongs to one")
        parts = entry.path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if above == RELEASE or kinds.get(above, "folder") != "folder":
                raise BundleError(f"{RELEASE} has {above[:200]!r} as a file and as a folder; make it again")
    return manifest


def text_of(manifest: ReleaseManifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def id_of(entries: tuple[Entry, ...], made_with: str) -> str:
    """16 digits of the SHA-256 of all entries and of what an environment is made with."""
    return hashlib.sha256(msgspec.json.encode([made_with, entries])).hexdigest()[:16]


def entries_of(folder: Path, but: Sequence[str] = (BYTECODE,)) -> tuple[Entry, ...]:
    """Everything in ``folder``, in one order, but its list and folders of the names ``but``. InputError where something
    is no file, folder or link, or cannot be listed; OSError."""
    found = []
    for path, status in _walk(folder, but):
        relative = path.relative_to(folder).as_posix()
        check_path(relative, DEEPEST)
        if stat.S_ISLNK(status.st_mode):
            found.append(Entry(path=relative, kind="link", target=os.readlink(path)))
        elif stat.S_ISDIR(status.st_mode):
            found.append(Entry(path=relative, kind="folder"))
        elif stat.S_ISREG(status.st_mode):
            found.append(Entry(path=relative, sha256=digest(path), size=status.st_size,
                               executable=bool(status.st_mode & 0o100)))  # fmt: skip
        else:
            raise InputError(f"{path} is no file, folder or link; a release holds nothing else")
    if len(found) > MOST_ENTRIES:
        raise InputError(f"{folder} holds {len(found)} files; a release may hold {MOST_ENTRIES}")
    return tuple(found)


def _walk(folder: Path, but: Sequence[str]) -> Iterator[tuple[Path, os.stat_result]]:
    def fail(error: OSError) -> None:
        raise error

    for at, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name not in but)
        for name in sorted([*folders, *files]):
            if not (at == str(folder) and name == RELEASE):
                path = Path(at, name)
                yield path, path.lstat()


def read_contents(release: Path) -> ReleaseManifest:
    """The list of a release that is installed. InputError where it is missing or damaged."""
    try:
        return parse_release(read_small(release / RELEASE, RELEASE_BYTES))
    except OSError as error:
        raise InputError(f"{release} is no complete release: {RELEASE}: {error.strerror}; add it again") from None
    except BundleError as error:
        raise InputError(f"{release} is no complete release: {error}; add it again") from None


def verify(release: Path) -> ReleaseManifest:
    """A release whose every file is what its list says, and that has no other. InputError that names the first
    difference; OSError."""
    manifest = read_contents(release)
    wanted = {entry.path: entry for entry in manifest.entries}
    for found in entries_of(release):
        entry = wanted.pop(found.path, None)
        if entry is None:
            raise InputError(f"{release / found.path} is not in the release's list; add the release again")
        if found != entry:
            raise InputError(f"{release / found.path} is not what the release's list says; add the release again")
    if wanted:
        raise InputError(f"{release / min(wanted)} is missing; add the release again")
    return manifest
