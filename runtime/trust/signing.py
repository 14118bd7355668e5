"""Writing signatures: a statement about a thing, signed by private keys, in a file beside it.

Receives a path, keys and what is to be stated; hands on the ``.sig`` file. Runs where releases are made, not on the
device.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.errors import InputError, TrustError
from edge_streamer.runtime.files import read_small, replacing_all, write_file
from edge_streamer.runtime.trust.gate import signature_of
from edge_streamer.runtime.trust.keyring import KEY_BYTES, PUBLIC, crypto
from edge_streamer.runtime.trust.statement import (
    Statement,
    Targets,
    is_name,
    parse,
    payload_of,
    read,
    render,
    signed_bytes,
)
from edge_streamer.runtime.trust.thing import Thing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_key(path: Path, passphrase: bytes | None) -> str:
    """Write a new private key to ``path`` (mode 600) and its public one to ``path.pub``; returns the fingerprint. Both
    or none. InputError where one of them is there already."""
    public_path = path.with_name(path.name + PUBLIC)
    for there in (path, public_path):
        if os.path.lexists(there):
            raise InputError(f"{there} exists, and a key is never written over; name another")
    if not is_name(path.name):
        raise InputError(f"a key cannot be called {path.name!r}; wanted letters, digits, '.', '_', '+' and '-'")
    ed25519 = crypto()
    text, public = ed25519.make(passphrase)
    with replacing_all(path, public_path) as (private_file, public_file):
        private_file.chmod(0o600)  # empty until now
        private_file.write_bytes(text)
        public_file.write_bytes(ed25519.public_line(public, path.name))
    found: str = ed25519.fingerprint(public)
    return found


def read_private(path: Path) -> bytes:
    """The text of a private key's file. InputError where it is none, or others may read it."""
    try:
        text = read_small(path, KEY_BYTES)
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted a private key by 'edge-streamer keys make'"
                         ) from None  # fmt: skip
    if b"PRIVATE KEY-----" not in text:  # first: of another file the mode does not matter
        raise InputError(_no_private(path, text))
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path} may be read by others (mode {stat.S_IMODE(mode):o}), as no private key may; run: "
                         f"chmod 600 {path}")  # fmt: skip
    return text


def _no_private(path: Path, text: bytes) -> str:
    if b"PUBLIC KEY-----" not in text and not text.lstrip().startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return f"{path} is no private key; wanted one by 'edge-streamer keys make'"
    private = path.with_suffix("")
    there = path.suffix == PUBLIC and private.is_file()
    return f"{path} is a public key, which signs nothing; name the private one" + (
        f": --key {private}" if there else " that was made with it, on the machine that has it"
    )


def state(
    thing: Thing, name: str = "", version: int | None = None, targets: Targets | None = None, not_before: str = ""
) -> Statement:
    """The statement about ``thing``. ``version``: the time in UTC as digits where none is given, which rises by itself.
    InputError for values that it cannot have."""
    now = datetime.now(timezone.utc)
    name = name or thing.name
    if not is_name(name):
        raise InputError(f"a signature cannot call it {name[:100]!r}; wanted letters, digits, '.', '_', '+' and '-': "
                         "give --name")  # fmt: skip
    statement = Statement(
        kind=thing.kind, name=name, content=thing.content,
        version=int(now.strftime("%Y%m%d%H%M%S")) if version is None else version,
        created=now.strftime("%Y-%m-%dT%H:%M:%SZ"), not_before=not_before, targets=targets or Targets(),
    )  # fmt: skip
    try:
        payload_of(statement)
    except ValueError as error:
        raise InputError(f"this cannot be stated: {error}") from None
    return statement


def write_signature(path: Path, statement: Statement, keys: Sequence[Ed25519PrivateKey]) -> Path:
    """Sign and write the file beside ``path``, in place of one that is there; returns its path."""
    out = signature_of(path)
    write_file(out, signed(statement, keys))
    return out


def signed(statement: Statement, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """The text of a signature's file."""
    ed25519 = crypto()
    payload = payload_of(statement)
    signatures = {ed25519.fingerprint(ed25519.public_of(key)): ed25519.sign(key, signed_bytes(payload)) for key in keys}
    return render(payload, signatures)


def same(text: bytes, thing: Thing, keys: Sequence[Ed25519PrivateKey]) -> bool:
    """Whether the text of a signature's file is by all of these keys, about this very thing."""
    ed25519, where = crypto(), Path("the signature")
    try:
        payload, found = parse(text, where)
        statement = read(payload, where)
    except TrustError:
        return False
    publics = {ed25519.fingerprint(public): public for public in map(ed25519.public_of, keys)}
    return (
        (statement.kind, statement.name, statement.content) == tuple(thing)
        and found.keys() == publics.keys()
        and all(ed25519.good(public, found[one], signed_bytes(payload)) for one, public in publics.items())
    )
