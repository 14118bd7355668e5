"""One file from a bundle, and a bundle from one file.

Receives a bundle's folder and the name of an archive, or an archive; hands on the archive, or the folder in the user's
cache that it was unpacked to, named by the archive's SHA-256 so that it is unpacked once.

The archive is a tar, gzipped where its name ends in ``.gz`` or ``.tgz``: ``manifest.json`` first, then the listed files
in the order of the list, all owners, times and modes fixed, so that one bundle always gives one archive, bit for bit.
Because the manifest comes first, unpacking knows every name and size before it writes anything: whatever differs is
refused, and no archive can fill a disk with more than it announced.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol, cast

from edge_streamer.runtime.bundle.checksums import BUNDLES, Checksums, cache_folder
from edge_streamer.runtime.bundle.consistency import check_consistency
from edge_streamer.runtime.bundle.listed import MANIFEST, MANIFEST_BYTES, check_paths
from edge_streamer.runtime.bundle.manifest import Manifest, parse
from edge_streamer.runtime.bundle.tar import DamagedError, Member, members
from edge_streamer.runtime.claims import Claim, sweep
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.files import FULL, inside, new_folder, open_regular, replacing, size_text
from edge_streamer.runtime.outputs import BUNDLE, check_outside

GZIPPED = (".gz", ".tgz")
MOST_UNPACKED = 4
"""So many unpacked bundles stay in the cache, and those in use."""

_held: dict[Path, int] = {}
"""The handles, locked for sharing, of the unpacked bundles that this process uses."""


class Packable(Protocol):
    """A bundle, as far as packing needs one: its reader knows archives, so they do not know it."""

    @property
    def path(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...


def pack(bundle: Packable, out: Path) -> None:
    """Write ``bundle`` to the archive ``out``, whole or not at all. Raises InputError for another kind of name."""
    if out.suffix not in (".tar", *GZIPPED):
        raise InputError(f"cannot write {out}: an archive's name ends in .tar, .tar.gz or .tgz")
    check_outside("--out", out, BUNDLE, bundle.path)
    with (
        replacing(out) as partial,
        partial.open("wb") as file,
        _maybe_gzipped(file, out) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in (MANIFEST, *(listed.path for listed in bundle.manifest.files)):
            path = inside(bundle.path, name)
            with path.open("rb") as content:
                archive.addfile(_plain(name, path.stat().st_size), content)


def unpacked(archive: Path, check: Callable[[Path], object]) -> Path:
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
        _unpack_to(archive, folder, check)
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


def _unpack_to(archive: Path, folder: Path, check: Callable[[Path], object]) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot unpack {archive}: {error.filename}: {error.strerror}; set XDG_CACHE_HOME to a folder with room"
        ) from None
    try:
        with new_folder(folder) as partial:
            _unpack(archive, partial)
            try:
                check(partial)
            except BundleError as error:
                raise BundleError(f"{archive}: {str(error).replace(f'{partial}/', '')}") from None
            if Checksums().sha256(archive) != folder.name:
                raise BundleError(f"{archive} changed while it was read; open it again when it is complete")
    except InputError:
        if not folder.is_dir():  # else another process has unpacked the same archive meanwhile: its folder is as good
            raise


def _unpack(archive: Path, folder: Path) -> None:
    with _telling_damage(archive), open_regular(archive) as file:
        rest = members(file)
        manifest = _unpack_manifest(archive, next(rest, None), folder)
        sizes = {file.path: file.size for file in manifest.files}
        _check_room(archive, folder, sum(sizes.values()))
        for member in rest:
            wanted = sizes.pop(member.name, None)
            if wanted is None or not member.regular or member.size != wanted:
                raise BundleError(
                    f"{archive}: {member.name[:300]!r} is listed twice, not listed in its {MANIFEST}, of another size, "
                    "or no regular file; make the archive with edge-streamer pack"
                )
            _write_member(member, inside(folder, member.name))
    if sizes:
        raise BundleError(f"{archive} lacks {next(iter(sizes))}, which its {MANIFEST} lists; copy or pack it again")


def _unpack_manifest(archive: Path, first: Member | None, folder: Path) -> Manifest:
    if first is None or first.name != MANIFEST:
        raise BundleError(
            f"{archive} does not begin with a {MANIFEST}, but with {first.name[:300] if first else 'nothing'!r}; "
            "make the archive with edge-streamer pack"
        )
    if not first.regular or first.size > MANIFEST_BYTES:
        raise BundleError(
            f"{archive} does not begin with a {MANIFEST} that is a regular file of at most "
            f"{size_text(MANIFEST_BYTES)}; make the archive with edge-streamer pack"
        )
    _write_member(first, folder / MANIFEST)
    try:
        manifest = parse((folder / MANIFEST).read_bytes())
        check_paths(folder, manifest.files)
        check_consistency(manifest)
    except BundleError as error:
        raise BundleError(f"{archive}: {error}") from None
    return manifest


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
