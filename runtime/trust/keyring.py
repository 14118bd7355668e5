"""The keys of this device: which public keys it trusts, and which were revoked.

Receives two folders, root's and the user's; hands on a :class:`Keyring`, or None where there is no key at all.

    /etc/edge-streamer/keys.d/         root's: where it holds a key, the user's own are not asked
    ~/.config/edge-streamer/keys.d/    the user's
        NAME.pub                       trusted: a line as OpenSSH writes it, or PEM
        NAME.revoked                   trusted no more, and never again

Choices: whatever is wrong in such a folder (a file of another name, one that cannot be read, one that others may write)
refuses everything, for a key that is passed over in silence could be the one that was revoked. A device whose keys were
all revoked runs nothing; it does not fall back to running everything. A user may revoke root's keys, but not add to
them.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from edge_streamer.runtime import extras
from edge_streamer.runtime.errors import InputError, TrustError
from edge_streamer.runtime.files import read_small, write_file
from edge_streamer.runtime.trust.ownership import check_ways
from edge_streamer.runtime.trust.statement import is_name

SYSTEM = Path("/etc/edge-streamer/keys.d")
PUBLIC, REVOKED = ".pub", ".revoked"
KEY_BYTES = 20_000
"""A larger file holds no key: ours have 100 bytes."""
MOST_KEYS = 100
PRIVATE = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY|^PuTTY-User-Key-File-")
"""How OpenSSH, PEM and PuTTY begin one."""


class Key(NamedTuple):
    """A public key of this device."""

    name: str
    public: bytes
    fingerprint: str
    path: Path


@dataclass
class Keyring:
    """By fingerprint. ``folder``: where the trusted ones are; ``ignored``: the user's, where root has keys."""

    folder: Path
    trusted: dict[str, Key] = field(default_factory=dict)
    revoked: dict[str, Key] = field(default_factory=dict)
    ignored: dict[str, Key] = field(default_factory=dict)


def crypto() -> ModuleType:
    """``ed25519.py``. InputError that says what to install where its library is missing."""
    try:
        from edge_streamer.runtime.trust import ed25519
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in extras.EXTRAS["trust"]:
            raise
        raise InputError(extras.needed("looking at signatures", "trust", ["cryptography"])) from None
    return ed25519


def user_folder() -> Path:
    """This user's folder of keys, which may not exist. InputError for a user without a home."""
    if (chosen := os.environ.get("XDG_CONFIG_HOME", "")).startswith("/"):
        return Path(chosen) / "edge-streamer" / "keys.d"
    home = "" if os.environ.get("HOME") == "" else os.path.expanduser("~")
    if not home.startswith("/"):
        raise InputError("this user has no home folder to keep keys in; set XDG_CONFIG_HOME, or keep them as root")
    return Path(home) / ".config" / "edge-streamer" / "keys.d"


def own_folder() -> Path:
    """Where who runs this keeps keys: root's folder for root."""
    return SYSTEM if os.geteuid() == 0 else user_folder()


def has_keys() -> bool:
    """Whether this device has any, trusted or revoked: then what is not signed by one that is trusted is refused."""
    return any(_names(folder) for folder in _folders())


def read_keyring() -> Keyring | None:
    """All keys; None where there is none. TrustError where a folder holds what is no key."""
    system = _read(SYSTEM)
    user = [key for folder in _folders()[1:] for key in _read(folder)]
    if not system and not user:
        return None
    revoked = {key.fingerprint: key for key in (*user, *system) if key.path.suffix == REVOKED}
    named = {key.fingerprint: key for key in system or user if key.path.suffix == PUBLIC}
    ignored = {key.fingerprint: key for key in user if system and key.path.suffix == PUBLIC}
    trusted = {print_: key for print_, key in named.items() if print_ not in revoked}
    return Keyring(system[0].path.parent if system else user[0].path.parent, trusted, revoked, ignored)


def read_public(path: Path) -> Key:
    """A public key's file, wherever it lies. InputError where it is none."""
    try:
        text = read_small(path, KEY_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted a public key, FILE.pub") from None
    refuse_private(text, path)
    ed25519 = crypto()
    public: bytes = ed25519.load_public(text, str(path))
    return Key(path.stem, public, ed25519.fingerprint(public), path)


def refuse_private(text: bytes, path: Path) -> None:
    """InputError where a private key came in place of a public one, whoever made it; nothing of it is shown."""
    if PRIVATE.search(text):
        half = "wanted its public half" if path.suffix == PUBLIC else f"name its public half: {path}.pub"
        raise InputError(f"{path} is a private key; {half}")


def content_of(public: bytes) -> str:
    """What a statement about a key says of it."""
    return hashlib.sha256(public).hexdigest()


def add(key: Key, name: str) -> Path:
    """Trust ``key`` from now on, as a file in ``own_folder``. InputError where that cannot be."""
    if not is_name(name):
        raise InputError(f"a key cannot be called {name!r}; wanted letters, digits, '.', '_', '+' and '-': give --name")
    path = own_folder() / f"{name}{PUBLIC}"
    if os.path.lexists(path):
        raise InputError(f"{path} exists; give the new key another --name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        write_file(path, crypto().public_line(key.public, name))
        path.chmod(0o644)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; root's keys are kept with sudo") from None
    return path


def revoke(key: Key) -> Path:
    """Never trust ``key`` again: it is noted in ``own_folder``, where its file changes its name if it lies there."""
    folder = own_folder()
    path = folder / f"{key.path.stem}{REVOKED}"
    for number in range(2, MOST_KEYS):
        if not os.path.lexists(path):
            break
        path = folder / f"{key.path.stem}-{number}{REVOKED}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if key.path.parent == folder and key.path.suffix == PUBLIC:
            os.rename(key.path, path)
        else:
            write_file(path, crypto().public_line(key.public, key.name))
            path.chmod(0o644)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; root's keys are revoked with sudo") from None
    return path


def _folders() -> tuple[Path, ...]:
    try:
        return SYSTEM, user_folder()
    except InputError:  # a user without a home has no keys of their own
        return (SYSTEM,)


def _names(folder: Path) -> list[str]:
    """What lies in a folder of keys, in order; hidden files are others' (a half-written key, an editor's)."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrustError(
            f"the keys of this device in {folder} cannot be read ({error.strerror}), so nothing can be trusted; "
            f"run: sudo chmod 755 {folder}"
        ) from None


def _read(folder: Path) -> list[Key]:
    names = _names(folder)
    if len(names) > MOST_KEYS:
        raise TrustError(f"{folder} holds {len(names)} files; wanted at most {MOST_KEYS} keys")
    if names:
        check_ways(folder)
    found = []
    for name in names:
        path = folder / name
        if path.suffix not in (PUBLIC, REVOKED):
            raise TrustError(f"{path} is no key (wanted NAME{PUBLIC} or NAME{REVOKED}); remove it from {folder}")
        check_ways(path)
        try:
            found.append(read_public(path))
        except InputError as error:
            raise TrustError(f"{error}; remove it: until then nothing is trusted") from None
    return found
