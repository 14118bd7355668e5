"""The files of a bundle: every listed one is there, whole, and no other is.

Receives a bundle's folder and the list of its manifest; hands on the manifest's text, the paths that are found, or a
BundleError that names the file at fault. Nothing here waits for a pipe or reads more than was announced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_streamer.runtime.bundle.checksums import Checksums
from edge_streamer.runtime.bundle.manifest import FileSpec
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.files import DEEPEST, inside, read_small, size_text

MANIFEST = "manifest.json"
MANIFEST_BYTES = 16_000_000
"""A manifest larger than this is not one: the largest we make has some hundred kilobytes."""


def read_manifest(folder: Path, name: str = MANIFEST, what: str = "a bundle") -> bytes:
    """The manifest's text. Raises BundleError where ``folder`` has none that can be read."""
    try:
        return read_small(inside(folder, name), MANIFEST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise BundleError(
                f"{folder / name} is larger than {size_text(MANIFEST_BYTES)}; it is no manifest"
            ) from None
        raise BundleError(
            f"{folder} is not {what}: {name} cannot be read ({error.strerror}); name a folder that has it, and "
            "that you may read"
        ) from None


def found(folder: Path, manifest: str = MANIFEST) -> Iterator[str]:
    """Relative paths of everything below ``folder`` but folders and the manifest."""
    open_folders = [(folder, 0)]
    while open_folders:
        at, depth = open_folders.pop()
        if depth > DEEPEST:
            raise BundleError(f"{at} lies more than {DEEPEST} folders deep; remove it from the bundle")
        try:
            entries = list(os.scandir(at))
        except OSError as error:
            raise BundleError(f"{error.filename} cannot be read ({error.strerror}); change its permissions") from error
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                open_folders.append((Path(entry.path), depth + 1))
            elif (relative := Path(entry.path).relative_to(folder).as_posix()) != manifest:
                yield relative


def check_paths(folder: Path, files: Sequence[FileSpec], manifest: str = MANIFEST) -> None:
    """No listed path leaves the bundle, and none is the manifest."""
    for file in files:
        inside(folder, file.path)
        if file.path == manifest:
            raise BundleError(f"{manifest}: files lists {manifest} itself; wanted every file but it")


def check_files(folder: Path, files: Sequence[FileSpec], manifest: str = MANIFEST) -> None:
    """Every listed file is there, regular and of its size; nothing else is."""
    for file in files:
        path = inside(folder, file.path)
        try:
            status = path.stat()
        except OSError as error:
            raise BundleError(
                f"{path} is missing ({error.strerror}); {manifest} lists it; copy or export the bundle again"
            ) from None
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a regular file; {manifest} lists it as one")
        if status.st_size != file.size:
            raise BundleError(
                f"{path} has {status.st_size} bytes; {manifest} says {file.size}; copy or export the bundle again"
            )
    strangers = sorted(set(found(folder, manifest)) - {file.path for file in files})
    if strangers:
        more = len(strangers) - 1
        those = f" and {more} more are not listed in {manifest}; remove them" if more else (
            f" is not listed in {manifest}; remove it")  # fmt: skip
        raise BundleError(f"{folder / strangers[0]}{those} from the bundle")


def check_sums(folder: Path, files: Sequence[FileSpec], manifest: str = MANIFEST) -> None:
    """Every listed file has its SHA-256."""
    checksums = Checksums()
    for file in files:
        path = inside(folder, file.path)
        try:
            came = checksums.sha256(path)
            if came != file.sha256:
                came = checksums.sha256(path, anew=True)  # what is remembered may be damaged itself
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror}); change its permissions") from None
        if came != file.sha256:
            raise BundleError(
                f"{path} is damaged: its SHA-256 is {came[:16]}..., {manifest} says {file.sha256[:16]}...; "
                "copy or export the bundle again"
            )
    checksums.save()
