"""Application releases: a folder, or one archive of it, with a manifest of all its files.

Receives a folder and a name; hands on ``release.json`` in it, a :class:`Release` of a folder that is known to be whole,
and a folder from an archive. What a release holds (bundles, wheels, a service file) is its maker's; a bundle in it may
have its own signature beside it, as anywhere.

Its list is that of a release that is installed (runtime/release/contents.py), without links, which could lead anywhere;
sums, paths and archive are a bundle's. Modes are told and not compared: a card or an archive may not keep them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_streamer.runtime.bundle.archive import Admit, Contents, check_archive, unpack, write_archive
from edge_streamer.runtime.bundle.listed import check_files, check_paths, check_sums, read_manifest
from edge_streamer.runtime.bundle.manifest import FileSpec
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import inside, write_file
from edge_streamer.runtime.release.contents import RELEASE, ReleaseManifest, entries_of, parse_release, text_of
from edge_streamer.runtime.trust.statement import is_name

NO_LINKS = (
    "what is signed holds files and folders alone: put the file itself there, and wheels in place of an environment"
)


@dataclass(frozen=True)
class Release:
    """A release's folder that has been checked."""

    path: Path
    manifest: ReleaseManifest
    hash: str
    """SHA-256 of ``release.json``."""
    files: tuple[FileSpec, ...]


def _files(folder: Path, text: bytes) -> Sequence[FileSpec]:
    """The files of a release that travels. BundleError where it could not."""
    manifest = parse_release(text)
    if not is_name(manifest.name):
        raise BundleError(f"{RELEASE} is none by edge-streamer sign: it calls the release {manifest.name[:100]!r}; "
                          "wanted letters, digits, '.', '_', '+' and '-'")  # fmt: skip
    if links := [entry.path for entry in manifest.entries if entry.kind == "link"]:
        raise BundleError(f"{RELEASE} lists the link {links[0][:200]!r}; {NO_LINKS}")
    files = [FileSpec(path=entry.path, sha256=entry.sha256, size=entry.size)
             for entry in manifest.entries if entry.kind == "file"]  # fmt: skip
    check_paths(folder, files, RELEASE)
    return files


RELEASE_CONTENTS = Contents(RELEASE, _files)


def list_release(folder: Path, name: str) -> Release:
    """Write ``release.json`` into ``folder``: every file that is in it, with its sum. BundleError where it holds what a
    release may not (a link, a device); InputError where it cannot be written."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is no folder; wanted one that holds a release's files")
    entries = entries_of(folder, but=())
    if links := [entry.path for entry in entries if entry.kind == "link"]:
        raise BundleError(f"{folder / links[0]} is a link; {NO_LINKS}")
    text = text_of(ReleaseManifest(name=name, entries=tuple(sorted(entries, key=lambda entry: entry.path))))
    _files(folder, text)
    write_file(folder / RELEASE, text)
    return open_folder(folder)


def open_folder(folder: Path, admit: Admit | None = None) -> Release:
    """The release in ``folder``, which holds the files that it lists, whole, and no other. BundleError."""
    text = read_manifest(folder, RELEASE, "a release")
    if admit is not None:
        admit(_sum(text))
    try:
        files = _files(folder, text)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None
    check_files(folder, files, RELEASE)
    for file in files:
        if inside(folder, file.path).is_symlink():
            raise BundleError(f"{folder / file.path} is a link; a release holds files alone")
    check_sums(folder, files, RELEASE)
    return Release(folder, parse_release(text), _sum(text), tuple(files))


def unpack_into(archive: Path, folder: Path, admit: Admit | None = None) -> Release:
    """Unpack a release's archive into ``folder``, which is there and empty, and compare all of it. BundleError."""
    unpack(archive, folder, RELEASE_CONTENTS, admit)
    try:
        made = open_folder(folder, admit)
    except BundleError as error:
        raise BundleError(f"{archive}: {str(error).replace(f'{folder}/', '')}") from None
    for entry in made.manifest.entries:
        if entry.kind == "folder":
            (folder / entry.path).mkdir(parents=True, exist_ok=True)
        elif entry.executable:  # archives of ours keep no modes
            (folder / entry.path).chmod(0o755)
    return made


def check_release_archive(archive: Path, admit: Admit | None = None) -> bytes:
    """Compare every file of an archive; nothing is written. Returns the manifest's text. BundleError."""
    return check_archive(archive, RELEASE_CONTENTS, admit)


def pack_release(release: Release, out: Path) -> None:
    """Write a release to the archive ``out``, whole or not at all."""
    write_archive(out, release.path, RELEASE, release.files)


def _sum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
