"""Nobody else can change it: who owns a path, and who may write to it.

Receives paths; hands on nothing, or a TrustError that names the file or folder and the command that mends it.

What was checked may be swapped before it is used by whoever may write to it, or to a folder above it. So on a device
with keys everything that is used must belong to root or to the user who runs it, and be writable by nobody else, as
OpenSSH demands of a user's keys. Root and that user can do everything else as well.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_streamer.runtime.errors import TrustError

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_ways(path: Path) -> None:
    """``path``, followed through its links, and every folder above it."""
    target = _real(path)
    for at in (target, *target.parents):
        _check(at, _status(at), above=at != target)


def check_tree(folder: Path) -> None:
    """``folder``, all that lies in it, and every folder above."""
    check_ways(folder)
    for path, is_link in _below(folder):
        if is_link:
            check_ways(path)  # of Hugging Face's cache, whose blobs lie elsewhere
        else:
            _check(path, _status(path), above=False)


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    left = [folder]
    while left:
        at = left.pop()
        try:
            entries = list(os.scandir(at))
        except OSError as error:
            raise TrustError(f"{at} cannot be read ({error.strerror}); change its permissions") from None
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(Path(entry.path))
            yield Path(entry.path), entry.is_symlink()


def _real(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise TrustError(f"{path} cannot be found ({getattr(error, 'strerror', None) or error})") from None


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise TrustError(f"{path} cannot be looked at ({error.strerror}); change its permissions") from None


def _check(path: Path, status: os.stat_result, above: bool) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise TrustError(
            f"{path} belongs to another user ({_user(status.st_uid)}), who could change what was checked; this device "
            f"has keys, so run: sudo chown -R {_user(os.geteuid())} {path}"
        )
    kept = (
        above and stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    )  # as /tmp: others' files stay theirs
    others = status.st_mode & _WRITABLE
    if others == stat.S_IWGRP and _private(status):
        return
    if others and not kept:
        raise TrustError(
            f"{path} can be written to by others, who could change what was checked; this device has keys, so run: "
            f"chmod -R go-w {path}"
        )


def _private(status: os.stat_result) -> bool:
    """Whether the group is the owner's alone, as Debian and Ubuntu give every user one."""
    try:
        group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and not set(group.gr_mem) - {user.pw_name}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
