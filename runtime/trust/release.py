"""Application releases: a folder, or one archive of it, with a manifest of all its files.

Receives a folder and a name; hands on ``release.json`` in it, a :class:`Release` of a folder that is known to be whole,
and a folder from an archive. What a release holds (bundles, wheels, a service file) is its maker's; a bundle in it may
have its own signature beside it, as anywhere.

It is a bundle's list of files without the model: the same rules for paths, the same sums, the same archive.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_streamer.runtime.bundle.archive import Admit, Contents, check_archive, unpack, write_archive
from edge_streamer.runtime.bundle.checksums import Checksums
from edge_streamer.runtime.bundle.listed import check_files, check_paths, check_sums, found, read_manifest
from edge_streamer.runtime.bundle.manifest import FileSpec
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import inside, write_file
from edge_streamer.runtime.trust.statement import Name

RELEASE = "release.json"
MOST_FILES = 4096


class ReleaseManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The text of ``release.json``."""

    format: Literal[1]
    name: Name
    files: Annotated[tuple[FileSpec, ...], Meta(max_length=MOST_FILES)]
    """Every file but this one, by its path within the folder."""


@dataclass(frozen=True)
class Release:
    """A release's folder that has been checked."""

    path: Path
    manifest: ReleaseManifest
    hash: str
    """SHA-256 of ``release.json``."""


def parse_release(text: bytes) -> ReleaseManifest:
    """BundleError where the text is none."""
    try:
        return msgspec.json.decode(text, type=ReleaseManifest)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        why = " ".join(str(error).split())[:200]
        raise BundleError(f"{RELEASE} is none by edge-streamer sign ({why}); make it again") from None


def _files(folder: Path, text: bytes) -> Sequence[FileSpec]:
    manifest = parse_release(text)
    names = [file.path for file in manifest.files]
    if len(set(names)) < len(names):
        raise BundleError(f"{RELEASE} lists a file twice; make it again")
    if into := {name for name in (RELEASE, *names) if any(other.startswith(f"{name}/") for other in names)}:
        raise BundleError(f"{RELEASE} has {min(into)!r} as a file and as a folder; make it again")
    check_paths(folder, manifest.files, RELEASE)
    return manifest.files


RELEASE_CONTENTS = Contents(RELEASE, _files)


def list_release(folder: Path, name: str) -> Release:
    """Write ``release.json`` into ``folder``: every file that is in it, with its sum. BundleError where it holds what a
    release may not (a link, a device); InputError where it cannot be written."""
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is no folder; wanted one that holds a release's files")
    checksums = Checksums()
    paths = sorted(found(folder, RELEASE))
    for path in paths:
        if (folder / path).is_symlink() or not (folder / path).is_file():
            raise BundleError(f"{folder / path} is a link or no regular file; put the file itself into the release")
    files = tuple(
        FileSpec(path=path, sha256=checksums.sha256(folder / path), size=(folder / path).stat().st_size)
        for path in paths
    )
    checksums.save()
    manifest = ReleaseManifest(format=1, name=name, files=files)
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
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
    return Release(folder, parse_release(text), _sum(text))


def unpack_into(archive: Path, folder: Path, admit: Admit | None = None) -> Release:
    """Unpack a release's archive into ``folder``, which is there and empty, and compare all of it. BundleError."""
    unpack(archive, folder, RELEASE_CONTENTS, admit)
    try:
        return open_folder(folder, admit)
    except BundleError as error:
        raise BundleError(f"{archive}: {str(error).replace(f'{folder}/', '')}") from None


def check_release_archive(archive: Path, admit: Admit | None = None) -> bytes:
    """Compare every file of an archive; nothing is written. Returns the manifest's text. BundleError."""
    return check_archive(archive, RELEASE_CONTENTS, admit)


def pack_release(release: Release, out: Path) -> None:
    """Write a release to the archive ``out``, whole or not at all."""
    write_archive(out, release.path, RELEASE, release.manifest.files)


def _sum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
