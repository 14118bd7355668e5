"""The gate: what a device with keys asks of a thing before it looks into it.

Receives a kind, a path and, as soon as it is known, the SHA-256 of the thing's content; hands on nothing, or a
TrustError in one line. What follows in this order, each only where the one before was passed:

1. a file ``.sig`` beside the thing, small, of one spelling;
2. a signature in it that is good, by a key that is trusted and was not revoked;
3. a statement of this kind, of this very content, for this machine, not before its time;
4. a version that is not below what was seen here.

The content of a bundle or release is the SHA-256 of its manifest, which holds the sums of all its files: one signature
serves the folder and every archive of it. The manifest is the first member of an archive and is read, at most 16 MB of
it, into memory: it passes the gate before it is parsed, before anything of the archive is written, and before any later
byte of it is looked at. What comes after it is taken only as it lists.

What the package itself ships is known to it by its sum and needs no signature.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from edge_streamer.runtime.bundle.shipped import SHIPPED
from edge_streamer.runtime.errors import TrustError
from edge_streamer.runtime.files import read_small
from edge_streamer.runtime.trust import seen
from edge_streamer.runtime.trust.here import not_for, read_here
from edge_streamer.runtime.trust.keyring import Keyring, crypto, has_keys, read_keyring
from edge_streamer.runtime.trust.ownership import check_tree, check_ways
from edge_streamer.runtime.trust.statement import SIGNATURE_BYTES, SUFFIX, Kind, Statement, parse, read, signed_bytes

Admit = Callable[[str], None]
"""Is given the SHA-256 of what was read; raises TrustError where it may not be used."""


class Admission:
    """One thing at the gate: call it with the SHA-256 of the content, then ``finish``.

    ``statement`` is what was signed, ``signed_by`` the key's fingerprint and ``signature`` the text of the file,
    once it was admitted; nothing for what the package ships. ``elsewhere``: the thing is for another device: its
    signature and content are compared, and no more.
    """

    def __init__(
        self, kind: Kind, path: Path, keyring: Callable[[], Keyring], allow_downgrade: bool = False,
        elsewhere: bool = False,
    ) -> None:  # fmt: skip
        self.kind, self.path = kind, path
        self.statement: Statement | None = None
        self.signed_by, self.signature = "", b""
        self._keyring, self._allow_downgrade, self._elsewhere = keyring, allow_downgrade, elsewhere
        self._admitted = ""

    def __call__(self, content: str) -> None:
        """Admit what has this content. TrustError."""
        if self._admitted:
            if content != self._admitted:
                raise TrustError(f"{self.path} changed while it was read; open it again when it is complete")
            return
        if self._elsewhere or not (self.kind == "bundle" and content in SHIPPED):
            self._check(content)
        self._admitted = content

    def finish(self, used: Path, remember: bool = True) -> None:
        """What was admitted is whole, and ``used`` is the file or folder of it that will be read from now on: nobody
        else may write to it, and its version is ``remember`` ed. TrustError."""
        if not self._admitted:
            raise ValueError("nothing was admitted yet")
        if self.statement is None:
            return
        (check_tree if used.is_dir() else check_ways)(used)
        if remember:
            seen.remember(self.statement, lower=self._allow_downgrade)

    def _check(self, content: str) -> None:
        path = signature_of(self.path)
        payload, self.signed_by = self._signed(path)
        statement = read(payload, path)
        if statement.kind != self.kind:
            raise TrustError(f"{path} signs a {statement.kind}; {self.path} is a {self.kind}: sign it itself")
        if statement.content != content:
            raise TrustError(
                f"{self.path} is not what was signed: its SHA-256 is {content[:16]}..., {path} says "
                f"{statement.content[:16]}...; copy both again, or sign it anew"
            )
        if not self._elsewhere:
            self._check_here(statement)
        self.statement = statement

    def _check_here(self, statement: Statement) -> None:
        if why := not_for(statement.targets, read_here()):
            raise TrustError(f"{self.path} is {why}")
        _check_time(statement, self.path)
        if not self._allow_downgrade:
            seen.check(statement, str(self.path))

    def _signed(self, path: Path) -> tuple[bytes, str]:
        """(payload, fingerprint) of the file, by a trusted key."""
        try:
            self.signature = text = read_small(path, SIGNATURE_BYTES)
        except OSError as error:
            thing = shlex.quote(path.name.removesuffix(SUFFIX))
            rule = ", and this device uses only what was signed by one of its keys (edge-streamer keys list)"
            raise TrustError(
                f"{self.path} is not signed ({path}: {error.strerror}){'' if self._elsewhere else rule}; on the "
                f"machine that has the private key: edge-streamer sign {thing} --key FILE; then copy "
                f"{shlex.quote(path.name)} beside it"
            ) from None
        payload, signatures = parse(text, path)
        ring = self._keyring()
        known = [key for key in ring.trusted.values() if key.fingerprint in signatures]
        if not known:
            why = "was revoked here" if signatures.keys() & ring.revoked.keys() else "this device does not trust"
            raise TrustError(
                f"{self.path} is signed by a key that {why} ({', '.join(sorted(signatures))}); wanted one of "
                f"{', '.join(sorted(ring.trusted)) or 'none: all its keys were revoked'}"
            )
        ed25519 = crypto()
        for key in known:
            if ed25519.good(key.public, signatures[key.fingerprint], signed_bytes(payload)):
                return payload, key.fingerprint
        raise TrustError(
            f"{path} is damaged or forged: its signature is not by the key {known[0].name!r} that it names"
        )


def admission(kind: Kind, path: str | os.PathLike[str], allow_downgrade: bool = False) -> Admission | None:
    """What ``path`` has to pass to be used here; None on a device without keys. TrustError where its keys cannot be
    used."""
    if not has_keys():
        return None
    return Admission(kind, Path(path), device_keys, allow_downgrade)


def device_keys() -> Keyring:
    """The keys of this device, which has some. Read when they are first needed: what ships needs none, nor the library
    that reads them."""
    ring = read_keyring()
    if ring is None:
        raise TrustError("the keys of this device went away while they were read; try again")
    return ring


def signature_of(path: Path) -> Path:
    """Where the signature of ``path`` stands: beside it."""
    named = path if path.name not in ("", "..") else path.resolve()
    return named.with_name(named.name + SUFFIX)


def _check_time(statement: Statement, path: Path) -> None:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if now < statement.not_before:
        raise TrustError(
            f"{path} may be used from {statement.not_before} on, it is {now} here; set the clock if that is wrong"
        )
