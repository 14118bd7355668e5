"""Keeps built engines: an engine belongs to one card, one TensorRT, one driver, one graph and the options it was built
with, and to nothing else.

Receives bytes and what they belong to; hands on a :class:`Kept`, or why there is none. A file:

    edge-streamer engine 1\\n          what it is
    {"key": {...}, "sha256": ...}\\n   what it belongs to, the checksum of what follows, and what is told of it
    ...                               the engine, as TensorRT wrote it

Names hold a part of the key's checksum, so that engines of several boards or options lie side by side in a folder that
is shared or moved; it is the header that counts. What is cut short, altered, or belongs to something else is never
handed to TensorRT, which would run it or end the process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge_streamer.runtime.bundle.checksums import cache_folder
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import open_regular, replacing, write_file

FOLDER = "EDGE_STREAMER_ENGINES"
"""The variable that names another folder than the user's cache."""
MAGIC = b"edge-streamer engine 1\n"
MOST_HEADER = 4 << 20
"""Bytes; a header lists a graph's quantized layers."""
ENDING = ".engine"
LOCK_SECONDS = 0.1


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an engine belongs to."""

    graph: str
    graph_sha256: str
    lengths: tuple[int, ...]
    library: str
    """With its version: ``TensorRT 10.3.0``."""
    compute_capability: tuple[int, int]
    device: str
    driver: int
    options: dict[str, int | bool | str]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told of an engine beside its bytes."""

    seconds: float
    """That the build took."""
    workspace: int
    """Bytes that a layer could take to compute in when it was built."""
    precision: dict[str, int]
    """What was built -> how many quantized layers, of those that could be read back."""
    wider: tuple[str, ...] = ()
    """Layers that were built wider than the graph asks, and allowed by name."""
    untold: int = 0
    """Quantized layers of which the library does not tell what they became."""


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: Key
    sha256: str
    told: Told


class Kept(NamedTuple):
    """An engine out of the cache."""

    path: Path
    blob: bytes
    told: Told


class Entry(NamedTuple):
    """A file of the cache, for lists."""

    path: Path
    size: int
    key: Key | None
    """None where the file is damaged."""


class Cache:
    """A folder of engines. Nothing is made before something is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder``: the one that the variable names, or that of the user's cache, where none is given."""
        named = os.environ.get(FOLDER, "")
        self.folder = folder or (Path(named) if named else cache_folder() / "engines")

    def path(self, key: Key) -> Path:
        """Where the engine of ``key`` lies, or would."""
        return self.folder / f"{key.graph}-{key.sha256[:16]}{ENDING}"

    def load(self, key: Key) -> Kept | None:
        """The engine of ``key``; None where there is none, or none that can be trusted."""
        path = self.path(key)
        try:
            with open_regular(path) as file:
                header = _header(file)
                blob = file.read()
        except (OSError, ValueError):
            return None
        if header.key != key or hashlib.sha256(blob).hexdigest() != header.sha256:
            return None
        return Kept(path, blob, header.told)

    def has(self, key: Key) -> bool:
        """Whether there is one, by its header alone: it may be damaged all the same."""
        return _key(self.path(key)) == key

    def keep(self, key: Key, blob: bytes, told: Told) -> Kept:
        """Write an engine, whole or not at all. InputError where the folder or its disk does not take it."""
        self.ready()
        header = _Header(key=key, sha256=hashlib.sha256(blob).hexdigest(), told=told)
        path = self.path(key)
        with replacing(path) as partial, partial.open("wb") as file:
            file.write(MAGIC + msgspec.json.encode(header) + b"\n")
            file.write(blob)
        return Kept(path, blob, told)

    def drop(self, key: Key) -> None:
        """Remove the engine of ``key``: the library refused it."""
        with suppress(OSError):
            self.path(key).unlink()

    def ready(self) -> None:
        """Make the folder. InputError where nothing can be written there: before a build of minutes, not after it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make {self.folder} for engines ({error.strerror}); name another in {FOLDER}"
            ) from None
        if not os.access(self.folder, os.W_OK):
            raise InputError(f"cannot write engines to {self.folder}; name another folder in {FOLDER}")

    @contextmanager
    def one_builds(self) -> Iterator[None]:
        """Within, no other process builds into this folder: two at once would want twice the memory, and the second
        finds what the first has made. Ends with the process, however that ends."""
        self.ready()
        with (self.folder / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(LOCK_SECONDS)  # not waited for in C, where Ctrl-C is not heard
                except OSError:
                    break  # a file system without locks: what is written is whole all the same
            yield

    def timing(self, key: Key) -> bytes:
        """What was measured of kernels on the same card with the same library, for the next build; empty where nothing
        was, or where it is damaged."""
        try:
            with open_regular(self._timing(key)) as file:
                said, blob = file.readline(65).rstrip().decode("ascii"), file.read()
        except (OSError, ValueError):
            return b""
        return blob if hashlib.sha256(blob).hexdigest() == said else b""

    def keep_timing(self, key: Key, blob: bytes) -> None:
        """Keep it; only time is lost where that fails."""
        with suppress(OSError, InputError):
            write_file(self._timing(key), hashlib.sha256(blob).hexdigest().encode() + b"\n" + blob)

    def _timing(self, key: Key) -> Path:
        same = hashlib.sha256(msgspec.json.encode([key.library, key.compute_capability, key.device, key.driver]))
        return self.folder / f"timing-{same.hexdigest()[:16]}.cache"

    def entries(self) -> list[Entry]:
        """Every engine of ours in the folder, by name: others keep engines under that ending too."""
        found = []
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            with suppress(OSError):
                if _is_ours(path):
                    found.append(Entry(path, path.stat().st_size, _key(path)))
        return found

    def prune(self, keys: list[Key]) -> list[Entry]:
        """Remove engines of the graphs of ``keys`` that are none of ``keys``, and damaged ones; returns them."""
        names, paths = {key.graph for key in keys}, {self.path(key) for key in keys}
        gone = [e for e in self.entries() if e.path not in paths and (e.key is None or e.key.graph in names)]
        for entry in gone:
            with suppress(OSError):
                entry.path.unlink()
        return gone


def _is_ours(path: Path) -> bool:
    with open_regular(path) as file:
        return bool(file.readline(len(MAGIC)) == MAGIC)


def _key(path: Path) -> Key | None:
    try:
        with open_regular(path) as file:
            return _header(file).key
    except (OSError, ValueError):
        return None


def _header(file: Any) -> _Header:
    """The header of a file, which is left at the engine's first byte. ValueError where there is none."""
    if file.readline(len(MAGIC)) != MAGIC:
        raise ValueError("no engine of ours")
    try:
        return msgspec.json.decode(file.readline(MOST_HEADER), type=_Header)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
