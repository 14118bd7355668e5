"""Changes below a root: one at a time, refused in one line, and with nothing left half-done.

Receives a root; hands on :func:`updating`, a context around whatever changes releases, and :func:`telling`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import FULL, size_text

LOCK = ".lock"
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def updating(root: Root) -> Iterator[None]:
    """Alone with ``root``, which is made where it is missing. InputError where another process changes it, and for
    everything that the disk refuses. The lock is the kernel's, so a dead process holds none."""
    with telling(root):
        root.releases.mkdir(parents=True, exist_ok=True)
        handle = os.open(root.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                who = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise InputError(
                    f"another update of {root.path} is under way (process {who}); wait for its end"
                ) from None
            with suppress(OSError):  # a full disk: who holds it is only told to others
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)


@contextmanager
def telling(root: Root) -> Iterator[None]:
    """Turn what the disk refuses into an InputError."""
    try:
        yield
    except OSError as error:
        place = error.filename or root.path
        if error.errno in FULL:
            with suppress(OSError):
                free = size_text(shutil.disk_usage(_existing(root.path)).free)
                raise InputError(
                    f"cannot write below {root.path}: {FULL[error.errno]} ({free} free now that the half-written part "
                    "is removed); make room: edge-streamer releases prune"
                ) from error
        if error.errno in REFUSED:
            whose = "" if error.errno == errno.EROFS else "; run it as the owner (sudo for a system-wide root)"
            raise InputError(f"cannot change {place}: {error.strerror}{whose}, or name another --root") from error
        raise InputError(f"cannot change {place}: {error.strerror or error}") from error


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
