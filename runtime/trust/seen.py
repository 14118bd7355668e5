"""The highest version of everything that was used here, so that an older one, rightly signed, does not come back.

Receives statements; hands on whether one is older than what was seen, and keeps the newest in a file:
``/var/lib/edge-streamer/versions.json`` for root, ``~/.local/state/edge-streamer/versions.json`` for others. Of both
the higher counts.

Choices: the file is replaced whole and is on the disk before the thing is used. One that is damaged refuses everything
rather than forgetting; where it cannot be written, a newer version than the last is refused, and what was seen before
goes on.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_streamer.runtime.errors import InputError, TrustError
from edge_streamer.runtime.files import read_small, write_file
from edge_streamer.runtime.trust.ownership import check_ways
from edge_streamer.runtime.trust.statement import Number, Sha256, Statement

SYSTEM = Path("/var/lib/edge-streamer/versions.json")
SEEN_BYTES = 4_000_000
"""A larger file is none of ours: an entry takes 150 bytes."""


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was seen of one name."""

    version: Number
    content: Sha256


def own_file() -> Path:
    """Where who runs this keeps versions, which may not exist yet. InputError for a user without a home."""
    if os.geteuid() == 0:
        return SYSTEM
    if (chosen := os.environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return Path(chosen) / "edge-streamer" / "versions.json"
    home = "" if os.environ.get("HOME") == "" else os.path.expanduser("~")
    if not home.startswith("/"):
        raise InputError(
            "this user has no home folder to remember versions in, which a device with keys does; set XDG_STATE_HOME"
        )
    return Path(home) / ".local" / "state" / "edge-streamer" / "versions.json"


def last(statement: Statement) -> Version | None:
    """The highest version seen of what ``statement`` names."""
    found = [known for path in {SYSTEM, own_file()} if (known := _read(path).get(_key(statement)))]
    return max(found, key=lambda known: known.version, default=None)


def check(statement: Statement, what: str) -> None:
    """TrustError where ``statement`` is older than what was seen, or as new and of something else. ``what`` names the
    thing in it."""
    known = last(statement)
    if known is None or statement.version > known.version:
        return
    name = f"{statement.kind} {statement.name!r}"
    if statement.version < known.version:
        raise TrustError(
            f"{what} is version {statement.version} of {name}; this device has used version {known.version} and takes "
            f"no older one: to go back on purpose, run: edge-streamer verify {what} --allow-downgrade"
        )
    if statement.content != known.content:
        raise TrustError(
            f"{what} is version {statement.version} of {name}, and so was something else that this device has used; "
            "sign it again: every signature has a higher version"
        )


def remember(statement: Statement, lower: bool = False) -> None:
    """Note the version of ``statement`` where it is higher than the last; ``lower``: in any case, for a way back that
    is meant. Raises TrustError where the file is damaged, InputError where it cannot be written."""
    version = Version(statement.version, statement.content)
    known = last(statement)
    if known == version or (known and known.version > version.version and not lower):
        return
    path = own_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            write_file(path, msgspec.json.encode({**_read(path), _key(statement): version}))
    except (OSError, InputError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"version {version.version} of {statement.kind} {statement.name!r} is new here and cannot be remembered in "
            f"{path} ({why}); let it be written, or set XDG_STATE_HOME to a folder that survives"
        ) from None


def _key(statement: Statement) -> str:
    return f"{statement.kind} {statement.name}"


def _read(path: Path) -> dict[str, Version]:
    try:
        text = read_small(path, SEEN_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise TrustError(f"{path}, where versions are remembered, cannot be read ({error.strerror}); mend it") from None
    check_ways(path)
    try:
        return msgspec.json.decode(text, type=dict[str, Version])
    except (ValueError, RecursionError):
        raise TrustError(
            f"{path} is damaged, so nobody knows which versions this device has seen; remove it if any may be used"
        ) from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time reads and writes ``path``."""
    with open(path.with_name(".versions.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
