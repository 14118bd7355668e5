"""Checksums that are not computed twice, and the user's cache folder that remembers them.

Receives paths; hands on SHA-256, of large files remembered by path, size, times and inode.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

from edge_streamer.runtime.claims import sweep
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import digest, read_small, write_file

REMEMBERED_BYTES = 1_000_000
"""Smaller files are hashed every time: a megabyte takes about a millisecond."""
SETTLED_NANOSECONDS = 2_000_000_000
"""A file changed less than this ago is not remembered: its times may not yet tell a second change apart."""
REMEMBERED_FILES = 4096
"""The memory keeps the newest so many entries."""
MEMORY_BYTES = 16_000_000
"""A memory larger than this is not one: an entry takes some 200 bytes, or a few thousand with the longest of names."""
BUNDLES = "bundles"
"""Where in the cache folder unpacked bundles are."""


def cache_folder() -> Path:
    """This user's cache folder for Edge Streamer, which may not exist yet. InputError for a user without a home."""
    if (chosen := os.environ.get("XDG_CACHE_HOME", "")).startswith("/"):
        return Path(chosen) / "edge-streamer"
    home = "" if os.environ.get("HOME") == "" else os.path.expanduser("~")  # "~" itself where nobody knows one
    if not home.startswith("/"):
        raise InputError("this user has no home folder to keep a cache in; set XDG_CACHE_HOME to a folder with room")
    return Path(home) / ".cache" / "edge-streamer"


def sweep_cache() -> None:
    """Remove what killed processes left in the cache folder, if there is one."""
    with suppress(InputError):
        sweep(cache_folder(), cache_folder() / BUNDLES)


class _Remembered(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a checksum is remembered by, and the checksum."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Checksums:
    """SHA-256 of files; large ones are remembered in the user's cache folder.

    A damaged memory counts as empty, and one that cannot be written (or has no place, for a user without a home) is
    done without: it only saves time.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        with suppress(InputError):
            self._memory = memory or cache_folder() / "checksums.json"
        self._known = _read_memory(self._memory) if self._memory else {}
        self._changed = False

    def sha256(self, path: Path, anew: bool = False) -> str:
        """The SHA-256 of ``path``, in hexadecimal; ``anew``: whatever is remembered. Raises OSError where it cannot be
        read."""
        status = path.stat()
        if status.st_size < REMEMBERED_BYTES:
            return digest(path)
        key = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")  # JSON holds no other text
        known = None if anew else self._known.get(key)
        if known and known == _Remembered(*_identity(status), known.sha256):
            return known.sha256
        found = _Remembered(*_identity(status), digest(path))
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NANOSECONDS:
            self._known.pop(key, None)  # the newest entry stands last
            self._known[key] = found
            self._changed = True
        return found.sha256

    def save(self) -> None:
        """Keep what was learned; does nothing where nothing was, or where the disk does not allow it."""
        if not self._changed or not self._memory:
            return
        newest = dict(list(self._known.items())[-REMEMBERED_FILES:])
        with suppress(OSError, InputError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._memory, msgspec.json.encode(newest))
            self._changed = False


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _read_memory(path: Path) -> dict[str, _Remembered]:
    try:
        return msgspec.json.decode(read_small(path, MEMORY_BYTES), type=dict[str, _Remembered])
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors, as is that of bad UTF-8
        return {}
