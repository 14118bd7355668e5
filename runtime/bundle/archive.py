"""One file from a bundle, and a bundle from one file.

Receives a bundle's folder and the name of an archive, or an archive; hands on the archive, or the folder in the user's
cache that it was unpacked to, named by the archive's SHA-256 so that it is unpacked once.

The archive is a tar, gzipped where its name ends in ``.gz`` or ``.tgz``: ``manifest.json`` first, then the listed files
in the order of the list, all owners, times and modes fixed, so that one bundle always gives one archive, bit for bit.
Because the manifest comes first, unpacking knows every name and size before it writes anything: whatever differs is
refused, and no archive can fill a disk with more than it announced. Who asks may also be told the manifest's SHA-256
before it is parsed, and refuse it (``admit``). Other folders with a manifest of files (:class:`Contents`) are packed
and unpacked the same way.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol, cast

from edge_streamer.runtime.bundle.checksums import BUNDLES, Checksums, cache_folder
from edge_streamer.runtime.bundle.consistency import check_consistency
from edge_streamer.runtime.bundle.listed import MANIFEST, MANIFEST_BYTES, check_paths
from edge_streamer.runtime.bundle.manifest import FileSpec, Manifest, parse
from edge_streamer.runtime.bundle.tar import DamagedError, Member, members
from edge_streamer.runtime.claims import Claim, scratch, sweep
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import FULL, inside, new_folder, open_regular, replacing, size_text
from edge_streamer.runtime.outputs import BUNDLE, check_outside

GZIPPED = (".gz", ".tgz")
MOST_UNPACKED = 4
"""So many unpacked bundles stay in the cache, and those in use."""

_held: dict[Path, int] = {}
"""The handles, locked for sharing, of the unpacked bundles that this process uses."""


Admit = Callable[[str], None]
"""Is given the SHA-256 of a manifest before it is parsed; raises where it is not wanted."""


class Contents(NamedTuple):
    """What an archive is of: a folder whose manifest lists its files."""

    manifest: str
    """The manifest's name."""
    listed: Callable[[Path, bytes], Sequence[FileSpec]]
    """The files, from the folder and the manifest's text. Raises BundleError."""


class Packable(Protocol):
    """A bundle, as far as packing needs one: its reader knows archives, so they do not know it."""

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...


def pack(bundle: Packable, out: Path) -> None:
    """Write ``bundle`` to the archive ``out``, whole or not at all. Raises InputError for another kind of name."""
    write_archive(out, bundle.path, MANIFEST, bundle.manifest.files)


def write_archive(out: Path, folder: Path, manifest: str, files: Iterable[FileSpec]) -> None:
    """Write a folder that has these files to the archive ``out``, as ``pack`` does."""
    if out.suffix not in (".tar", *GZIPPED):
        raise InputError(f"cannot write {out}: an archive's name ends in .tar, .tar.gz or .tgz")
    check_outside("--out", out, BUNDLE, folder)
    with (
        replacing(out) as partial,
        partial.open("wb") as file,
        _maybe_gzipped(file, out) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in (manifest, *(listed.path for listed in files)):
            path = inside(folder, name)
            with path.open("rb") as content:
                archive.addfile(_plain(name, path.stat().st_size), content)


def unpacked(archive: Path, check: Callable[[Path], object], admit: Admit | None = None) -> Path:
    """The folder in the cache that ``archive`` is unpacked to, now or earlier.

    What is not a whole, sound bundle by ``check``, which raises BundleError, never gets there. It stays at least as
    long as this process; later it may give way to others (``retire``). Raises BundleError, and InputError where there
    is no cache or no room in it.
    """
    checksums = Checksums()
    try:
        folder = _cache(archive) / checksums.sha256(archive)
    except OSError as error:
        raise BundleError(f"{archive} cannot be read ({error.strerror}); name a bundle that you may read") from None
    checksums.save()
    sweep(folder.parent)
    while not hold(folder):
        _unpack_to(archive, folder, check, admit)
    retire(folder.parent, keep=folder)  # also where it was there: what others used meanwhile may be in use no more
    return folder


def hold(folder: Path) -> bool:
    """Keep ``folder`` from being retired while this process lives, and note that it was used; False where there is no
    such folder."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    with suppress(OSError):  # a file system without locks, or read-only
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.utime(handle, ns=(time.time_ns(), os.fstat(handle).st_mtime_ns))
    if not os.path.isdir(folder) or not os.path.samestat(os.fstat(handle), os.stat(folder)):  # retired just now
        os.close(handle)
        return False
    if before := _held.pop(folder, None):
        os.close(before)
    _held[folder] = handle
    return True


def retire(cache: Path, keep: Path) -> None:
    """Remove unpacked bundles from ``cache`` but for ``keep``, the MOST_UNPACKED - 1 used last, and those in use."""
    found = [cache / name for name in os.listdir(cache) if re.fullmatch("[0-9a-f]{64}", name)]
    used = sorted((path.lstat().st_atime_ns, path) for path in found if path != keep)
    for _, folder in used[: max(0, len(used) - MOST_UNPACKED + 1)]:
        with suppress(OSError):
            _retire(folder)


def _retire(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where it is in use
        claim = Claim(folder.parent)
        try:
            os.rename(folder, claim.partial)  # first, so that nobody finds half of it
        finally:
            claim.release()
    finally:
        os.close(handle)


def _cache(archive: Path) -> Path:
    try:
        return cache_folder() / BUNDLES
    except InputError as error:
        raise InputError(f"cannot unpack {archive}: {error}") from None


def _unpack_to(archive: Path, folder: Path, check: Callable[[Path], object], admit: Admit | None) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot unpack {archive}: {error.filename}: {error.strerror}; set XDG_CACHE_HOME to a folder with room"
        ) from None
    try:
        with new_folder(folder) as partial:
            unpack(archive, partial, BUNDLE_CONTENTS, admit)
            try:
                check(partial)
            except BundleError as error:
                raise BundleError(f"{archive}: {str(error).replace(f'{partial}/', '')}") from None
            if Checksums().sha256(archive) != folder.name:
                raise BundleError(f"{archive} changed while it was read; open it again when it is complete")
    except InputError:
        if not folder.is_dir():  # else another process has unpacked the same archive meanwhile: its folder is as good
            raise


def unpack(archive: Path, folder: Path, contents: Contents, admit: Admit | None = None) -> None:
    """Write what ``archive`` holds into ``folder``, which is there and empty. The sums of the files are not compared
    yet. Raises BundleError, InputError where there is no room, and what ``admit`` raises: before anything is written.
    """
    with _telling_damage(archive), open_regular(archive) as file:
        rest = members(file)
        text = _manifest(archive, next(rest, None), contents, admit)
        files = _listed(archive, folder, text, contents)
        _check_room(archive, folder, sum(file.size for file in files))
        (folder / contents.manifest).write_bytes(text)
        for member in _expected(archive, rest, files, contents):
            _write_member(member, inside(folder, member.name))


def check_archive(archive: Path, contents: Contents, admit: Admit | None = None) -> bytes:
    """Read all of ``archive`` and compare every file with its SHA-256; nothing of it is written. Returns the manifest's
    text. Raises BundleError."""
    with _telling_damage(archive), open_regular(archive) as file, scratch() as nowhere:
        rest = members(file)
        text = _manifest(archive, next(rest, None), contents, admit)
        files = _listed(archive, nowhere, text, contents)
        sums = {listed.path: listed.sha256 for listed in files}
        for member in _expected(archive, rest, files, contents):
            found = hashlib.sha256()
            for piece in member.pieces():
                found.update(piece)
            if found.hexdigest() != sums[member.name]:
                raise BundleError(f"{archive}: {member.name} is damaged: its SHA-256 is {found.hexdigest()[:16]}..., "
                                  f"{contents.manifest} says {sums[member.name][:16]}...; copy it again")  # fmt: skip
    return text


def first_member(archive: Path, known: Sequence[str]) -> tuple[str, bytes]:
    """Name and text of the manifest that ``archive`` begins with. BundleError where it is none of ``known``."""
    with _telling_damage(archive), open_regular(archive) as file:
        first = next(members(file), None)
        name = first.name if first and first.name in known else known[0]
        return name, _manifest(archive, first, Contents(name, _no_files), None)


def _no_files(folder: Path, text: bytes) -> Sequence[FileSpec]:
    return ()


def _expected(archive: Path, rest: Iterator[Member], files: Sequence[FileSpec], contents: Contents) -> Iterator[Member]:
    """The members after the manifest, each of which it lists; all that it lists are there."""
    sizes = {file.path: file.size for file in files}
    for member in rest:
        wanted = sizes.pop(member.name, None)
        if wanted is None or not member.regular or member.size != wanted:
            raise BundleError(
                f"{archive}: {member.name[:300]!r} is listed twice, not listed in its {contents.manifest}, of another "
                "size, or no regular file; make the archive with edge-streamer pack"
            )
        yield member
    if sizes:
        raise BundleError(
            f"{archive} lacks {next(iter(sizes))}, which its {contents.manifest} lists; copy or pack it again"
        )


def _manifest(archive: Path, first: Member | None, contents: Contents, admit: Admit | None) -> bytes:
    """The manifest's text, in memory, admitted."""
    if first is None or first.name != contents.manifest:
        raise BundleError(
            f"{archive} does not begin with a {contents.manifest}, but with "
            f"{first.name[:300] if first else 'nothing'!r}; make the archive with edge-streamer pack"
        )
    if not first.regular or first.size > MANIFEST_BYTES:
        raise BundleError(
            f"{archive} does not begin with a {contents.manifest} that is a regular file of at most "
            f"{size_text(MANIFEST_BYTES)}; make the archive with edge-streamer pack"
        )
    text = b"".join(first.pieces())
    if admit is not None:
        admit(hashlib.sha256(text).hexdigest())
    return text


def _listed(archive: Path, folder: Path, text: bytes, contents: Contents) -> Sequence[FileSpec]:
    try:
        return contents.listed(folder, text)
    except BundleError as error:
        raise BundleError(f"{archive}: {error}") from None


def _files_of_bundle(folder: Path, text: bytes) -> Sequence[FileSpec]:
    manifest = parse(text)
    check_paths(folder, manifest.files)
    check_consistency(manifest)
    return manifest.files


BUNDLE_CONTENTS = Contents(MANIFEST, _files_of_bundle)


def _check_room(archive: Path, folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise InputError(
            f"cannot unpack {archive}: it holds {size_text(wanted)}, {folder.parent} has {size_text(free)} free; make "
            "room or set XDG_CACHE_HOME to a folder with room"
        )


def _write_member(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for piece in member.pieces():
            file.write(piece)


@contextmanager
def _telling_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except DamagedError as error:
        raise BundleError(
            f"{archive} is no whole .tar ({error}); wanted a bundle's folder, or an archive by edge-streamer pack"
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise
        raise BundleError(f"cannot unpack {archive}: {error.filename or archive}: {error.strerror}") from None


def _plain(name: str, size: int) -> tarfile.TarInfo:
    """A member with nothing of this machine in it: TarInfo's own defaults are root, no time and mode 644."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


@contextmanager
def _maybe_gzipped(file: IO[bytes], out: Path) -> Iterator[IO[bytes]]:
    """``file``, or a gzip stream onto it without a name or a time."""
    if out.suffix not in GZIPPED:
        yield file
        return
    with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as stream:
        yield cast(IO[bytes], stream)
