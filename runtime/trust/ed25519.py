"""Ed25519 by ``cryptography``: the one file that imports it.

Receives keys in the formats that library reads (PEM and OpenSSH) and bytes; hands on keys, fingerprints, signatures,
and whether one is good. There is no cryptography of our own: this file only calls.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_streamer.runtime.errors import InputError, one_line

_RAW = serialization.Encoding.Raw
_FAULTS = (ValueError, TypeError, UnsupportedAlgorithm)
"""What the library raises for text that is no key, a passphrase that is wrong, missing or not wanted, and kinds of keys
that it does not know."""


def make(passphrase: bytes | None) -> tuple[bytes, bytes]:
    """A new key: the text of the private one (PEM, PKCS#8, encrypted where there is a passphrase), and the 32 bytes of
    the public one."""
    key = Ed25519PrivateKey.generate()
    hidden: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
    return text, _public(key.public_key())


def encrypted(text: bytes) -> bool:
    """Whether a private key wants a passphrase; False also for what is no key, of which ``load`` says so."""
    try:
        _load(text, None)
    except TypeError:
        return True
    except (ValueError, UnsupportedAlgorithm) as error:
        return "password" in str(error).lower()
    return False


def load(text: bytes, passphrase: bytes | None, where: str) -> Ed25519PrivateKey:
    """A private key. InputError, which says ``where`` it was, where it is none."""
    try:
        key = _load(text, passphrase)
    except _FAULTS as error:
        raise InputError(
            f"{where} is no private key that can be read ({one_line(error)[:160]}); wanted one by 'edge-streamer keys "
            "make', its passphrase where it has one"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{where} is a key of another kind ({type(key).__name__}); wanted an Ed25519 key")
    return key


def load_public(text: bytes, where: str) -> bytes:
    """The 32 bytes of a public key, of a line as OpenSSH writes it or PEM. InputError where it is none."""
    try:
        if text.lstrip().startswith(b"-----"):
            key: object = serialization.load_pem_public_key(text)
        else:
            key = serialization.load_ssh_public_key(text)
    except _FAULTS:  # what the library says may quote the file, of which nobody knows what it is
        raise InputError(f"{where} is no public key; wanted FILE.pub by 'edge-streamer keys make'") from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{where} is a key of another kind ({type(key).__name__}); wanted an Ed25519 key")
    return _public(key)


def public_of(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public half."""
    return _public(key.public_key())


def public_line(public: bytes, name: str) -> bytes:
    """A public key as a line of OpenSSH, with a name."""
    line = Ed25519PublicKey.from_public_bytes(public).public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return line + f" {name}\n".encode()


def fingerprint(public: bytes) -> str:
    """``SHA256:...``, as ``ssh-keygen -l`` shows it."""
    blob = base64.b64decode(public_line(public, "").split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def sign(key: Ed25519PrivateKey, data: bytes) -> bytes:
    """The signature of ``data``."""
    return key.sign(data)


def good(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` is this key's over ``data``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):  # ValueError: no 32 bytes
        return False
    return True


def _public(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(_RAW, serialization.PublicFormat.Raw)


def _load(text: bytes, passphrase: bytes | None) -> object:
    if b"OPENSSH PRIVATE KEY" in text[:200]:
        return serialization.load_ssh_private_key(text, passphrase)
    return serialization.load_pem_private_key(text, passphrase)
