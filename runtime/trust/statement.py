"""What is signed: a small statement, and the file that holds it with its signatures.

Receives a :class:`Statement`; hands on the bytes that are signed and the text of a ``.sig`` file, and both again from
it.

Choices: the file is a DSSE envelope (Dead Simple Signing Envelope, version 1): a published form that says what the
signature covers, so that there is nothing to get wrong of our own. Signed are the type of the payload and its very
bytes, each with its length before it. The type names this project and the form's version, the statement names the kind
of thing: a signature over a snapshot is never one over a release.

A statement has one spelling: its keys sorted, no spaces, no key twice, none missing, every text plain ASCII. What is
read is written again and compared, so that two readers cannot take one file for two things. The same holds for the
envelope. Nothing of a statement is read before its signature was found good.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge_streamer.runtime.errors import TrustError

Kind = Literal["bundle", "snapshot", "release", "key"]
PAYLOAD_TYPE = "application/vnd.edge-streamer.statement.v1+json"
SUFFIX = ".sig"
"""A signature stands beside the thing: ``demo`` (a folder) has ``demo.sig``, ``demo.tar`` has ``demo.tar.sig``. Never
inside: a bundle with a file more than its manifest lists is refused by every reader."""
SIGNATURE_BYTES = 64_000
"""A file larger than this is no signature: ours have a kilobyte."""
MOST_SIGNATURES = 8
"""While keys change, a thing is signed by the old and by the new one."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Moment = Annotated[str, Meta(pattern=r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?\Z")]
"""UTC, to the second; empty where there is none."""
L4T = Annotated[str, Meta(pattern=r"^(?:[0-9]{1,4}(?:\.[0-9]{1,4}){0,3})?\Z")]
"""A release of Jetson Linux, or the beginning of one; empty where there is no bound."""
Number = Annotated[int, Meta(ge=1, le=2**53 - 1)]
Fingerprint = Annotated[str, Meta(pattern=r"^SHA256:[A-Za-z0-9+/]{43}\Z")]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Targets(_Strict, frozen=True, kw_only=True):
    """Where a thing may be used; an empty field allows every machine."""

    architectures: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()
    """As ``uname -m`` says it: ``aarch64``, ``x86_64``."""
    boards: Annotated[tuple[Name, ...], Meta(max_length=32)] = ()
    """Words of the device tree's ``compatible``: a module's number (``p3767-0000``), ``raspberrypi``."""
    l4t_from: L4T = ""
    """The oldest release of Jetson Linux."""
    l4t_to: L4T = ""
    """The newest; ``36.4`` allows every 36.4.x."""


class Statement(_Strict, frozen=True, kw_only=True):
    """What a key's owner says of one thing."""

    kind: Kind
    name: Name
    """Versions are counted by kind and name."""
    content: Sha256
    """SHA-256 of a bundle's manifest.json or a release's release.json, each of which holds the sums of all its files,
    in a folder as in an archive; of a snapshot's file; of a key's 32 bytes."""
    version: Number
    """Only rises."""
    created: Moment
    not_before: Moment = ""
    targets: Targets = Targets()


class _Signature(_Strict, frozen=True, kw_only=True):
    keyid: Fingerprint
    sig: Annotated[str, Meta(max_length=200)]


class _Envelope(_Strict, frozen=True, kw_only=True):
    payload: str
    payloadType: str
    signatures: Annotated[tuple[_Signature, ...], Meta(min_length=1, max_length=MOST_SIGNATURES)]


def is_name(text: str) -> bool:
    """Whether a statement may have this name."""
    return _NAME.fullmatch(text) is not None


def name_like(text: str) -> str:
    """The nearest name that a statement may have; empty where nothing of it is left."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).lstrip("._+-")[:100]


def payload_of(statement: Statement) -> bytes:
    """The one spelling of a statement. ValueError where a field of it is not what it may be."""
    msgspec.convert(msgspec.to_builtins(statement), Statement)  # what is made in Python is not checked by itself
    return msgspec.json.encode(statement, order="sorted")


def signed_bytes(payload: bytes) -> bytes:
    """What a signature covers: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def render(payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    """The text of a ``.sig`` file. ``signatures``: by the key's fingerprint."""
    envelope = _Envelope(
        payload=base64.b64encode(payload).decode(),
        payloadType=PAYLOAD_TYPE,
        signatures=tuple(
            _Signature(keyid=key, sig=base64.b64encode(sig).decode()) for key, sig in sorted(signatures.items())
        ),
    )
    return msgspec.json.encode(envelope, order="sorted") + b"\n"


def parse(text: bytes, path: Path) -> tuple[bytes, dict[str, bytes]]:
    """(payload, signature by fingerprint) of the ``.sig`` file's text, none of which is known to be true. ``path`` is
    named in the TrustError."""
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        found = {one.keyid: base64.b64decode(one.sig, validate=True) for one in envelope.signatures}
    except (ValueError, RecursionError, binascii.Error) as error:  # msgspec's errors are ValueErrors
        raise TrustError(f"{path} is no signature by edge-streamer sign, or damaged ({_short(error)})") from None
    if envelope.payloadType != PAYLOAD_TYPE:
        raise TrustError(
            f"{path} is a signature of another kind ({envelope.payloadType[:80]!r}); wanted {PAYLOAD_TYPE}"
        )
    if render(payload, found) != text:
        raise TrustError(
            f"{path} is no signature by edge-streamer sign, or damaged (it is not spelled as it is written)"
        )
    return payload, found


def read(payload: bytes, path: Path) -> Statement:
    """The statement in a payload whose signature is good. TrustError where it has another form."""
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except (ValueError, RecursionError) as error:
        raise TrustError(
            f"{path} states what this edge-streamer does not know ({_short(error)}); sign it again with this version, "
            "or upgrade edge-streamer here"
        ) from None
    if payload_of(statement) != payload:
        raise TrustError(f"{path} holds a statement that is not spelled as edge-streamer writes it; sign it again")
    return statement


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
