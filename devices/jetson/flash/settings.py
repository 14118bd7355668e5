"""What a root file system is to become: every choice, checked before anything is written.

Receives words of the command line, already read; hands on :class:`Settings`, with a number that stands for all of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from edge_streamer.devices.jetson.flash.accounts import LOCKED
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.runtime.errors import InputError

HOSTNAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.IGNORECASE)
ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(?:/[A-Za-z0-9_+-]{1,40}){0,2}")
LOCALE = re.compile(r"(?:C|POSIX|[a-z]{2,3}(?:_[A-Z]{2})?)(?:\.UTF-8)?(?:@[a-z]{1,20})?")
KEY = re.compile(r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)"
                 r"@openssh\.com) [A-Za-z0-9+/]{32,20000}={0,3}(?: [^\n]{0,500})?")  # fmt: skip
_WANTED_KEY = "wanted a line like 'ssh-ed25519 AAAA... name'"
SIZES = {"M": 1 << 20, "G": 1 << 30}
MOST_SWAP = 64 << 30
_HASH = re.compile(r"\$6\$([^$\n]{1,16})\$[./A-Za-z0-9]{86}")


class Trusted(NamedTuple):
    """A public key."""

    name: str
    line: bytes
    """As OpenSSH writes it."""


class Wifi(NamedTuple):
    """A network to join."""

    ssid: str
    secret: str
    """A passphrase, 64 hexadecimal digits, or nothing where the network is open."""


@dataclass(frozen=True)
class Settings:
    """What is wanted. What is empty is left as it is."""

    user: str = ""
    hashed: str = LOCKED
    """The password as crypt has it, or a lock: then only the key lets one in."""
    sudo: bool = True
    keys: tuple[str, ...] = ()
    """Lines of authorized_keys."""
    hostname: str = ""
    timezone: str = ""
    locale: str = ""
    wifi: tuple[Wifi, ...] = ()
    power_mode: str = ""
    """By its name in the board's own file."""
    modules: tuple[str, ...] = ()
    """Part numbers whose files of power modes are meant."""
    headless: bool = True
    swap: int = 0
    """Bytes."""
    app: App | None = None
    trust: tuple[Trusted, ...] = ()
    """Keys whose signature the device asks for."""

    def fingerprint(self) -> str:
        """Equal where a preparation would write the same."""
        said = asdict(replace(self, app=None)) | ({"app": self.app.said()} if self.app else {})
        return hashlib.sha256(
            json.dumps(said, sort_keys=True, default=str).encode("utf-8", "surrogateescape")
        ).hexdigest()


def check(settings: Settings) -> None:
    """Raises InputError for the first value that cannot be meant."""
    for fault in faults(settings):
        raise InputError(fault)


def faults(settings: Settings) -> Iterator[str]:
    """Every value that cannot be meant, a line each."""
    if settings.hostname and not HOSTNAME.fullmatch(settings.hostname):
        yield f"{settings.hostname!r} is no host's name; wanted letters, digits and -, at most 63"
    if settings.timezone and not ZONE.fullmatch(settings.timezone):
        yield f"{settings.timezone!r} is no time zone; wanted one like Europe/Berlin"
    if settings.locale and not LOCALE.fullmatch(settings.locale):
        yield f"{settings.locale!r} is no locale; wanted one like en_US.UTF-8"
    names = [network.ssid for network in settings.wifi]
    yield from (f"the network {ssid!r} is named {names.count(ssid)} times; leave out all but one"
                for ssid in dict.fromkeys(names) if names.count(ssid) > 1)  # fmt: skip
    for ssid, secret in settings.wifi:
        if not 1 <= (size := len(ssid.encode("utf-8", "surrogateescape"))) <= 32:
            yield f"the network's name {ssid[:40]!r} has {size} bytes; wanted 1 to 32"
        if secret and not re.fullmatch(r"[0-9a-fA-F]{64}|[\x20-\x7e]{8,63}", secret):
            yield f"the passphrase of {ssid!r} is not one; wanted 8 to 63 printable ASCII characters"
    if not all(map(KEY.fullmatch, settings.keys)):  # none of it is shown: it may be a secret
        yield f"a line of the keys is no public SSH key; {_WANTED_KEY}"
    app = settings.app
    if not settings.user and (settings.keys or (app is not None and not app.system)):
        yield "an SSH key and a user's service belong to a user; name one: --user NAME"
    if settings.user and settings.hashed == LOCKED and not settings.keys:
        yield (f"nobody could log in as {settings.user}: give a password (--password-file, or type one) or an SSH key "
               "(--ssh-key FILE)")  # fmt: skip


def size_of(word: str) -> int:
    """``8G`` in bytes."""
    found = re.fullmatch(r"(\d{1,5})([MG])", word)
    size = int(found[1]) * SIZES[found[2]] if found else 0
    if not 0 < size <= MOST_SWAP:
        raise InputError(f"{word!r} is no size of a swap file; wanted one like 8G, at most 64G")
    return size


def keys_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The lines of key files, each once, without comments."""
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def check_keys(text: str, name: str) -> None:
    """Raises InputError where a key file ``name`` has a line that is none. The line is not shown: it may be a
    secret."""
    for number, line in enumerate(text.splitlines(), 1):
        if not all(map(KEY.fullmatch, keys_of([line]))):
            raise InputError(f"{name}, line {number} is no public SSH key; {_WANTED_KEY}")


def check_password(password: str) -> None:
    """Raises InputError where it is none."""
    if not password or "\n" in password or "\0" in password:
        raise InputError("an empty password, or one of several lines, cannot be set")


def hashed(password: str, before: str = "") -> str:
    """A password as crypt has it (SHA-512), by openssl, which hears it through a pipe. Where ``before`` is of the same
    password, it stays, so that the same wish is the same twice. Raises InputError where there is no openssl."""
    check_password(password)
    salt = _HASH.fullmatch(before)
    words = ["openssl", "passwd", "-6", "-stdin", *(("-salt", salt[1]) if salt else ())]
    try:
        done = subprocess.run(words, input=f"{password}\n".encode(), capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"openssl does not hash the password: {error}; sudo apt-get install openssl") from error
    made = done.stdout.decode("ascii", "replace").strip()
    if done.returncode or not _HASH.fullmatch(made):
        raise InputError("openssl does not hash the password; sudo apt-get install openssl")
    return made if not salt or made == before else hashed(password)
