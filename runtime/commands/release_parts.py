"""What a release is made of, for a board that runs (`deploy`) and one that is blank (`flash`): looked at, put together.

Receives paths and words of the command line; hands on the words of run, the files of a bundle, and a payload with the
list of its files, signed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_streamer.runtime.commands.config import with_config
from edge_streamer.runtime.commands.ends import FILE, NONE, End
from edge_streamer.runtime.commands.options import add_arguments, plan_of
from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.engines.choose import NAMES
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_streamer.devices.jetson.deploy.payload import Payload
    from edge_streamer.runtime.bundle.reader import Bundle

SETTINGS_BYTES = 1_000_000
DEFAULT = "default"


def run_settings(path: Path | None, engine: str = "") -> tuple[bytes | None, Mapping[str, Any]]:
    """The text of settings.toml, and what it says. InputError."""
    if engine and engine not in NAMES:
        raise InputError(f"--engine {engine}; wanted one of {', '.join(NAMES)}")
    if path is None:
        text = f'bundle = "bundle"\nengine = "{engine}"\n' if engine else ""
        return (text.encode() if text else None), ({"engine": engine} if engine else {})
    data = read_file(path)
    said = checked_words(path, data)
    if said.get("bundle") != "bundle":
        names = f"the bundle {said['bundle']!r}" if "bundle" in said else "no bundle"
        raise InputError(f"{path} names {names}; wanted bundle = \"bundle\", which is where "
                         "it lies in a release")  # fmt: skip
    if engine and said.get("engine", engine) != engine:
        raise InputError(f"--engine {engine}, and {path} says {said['engine']!r}; leave one of them out")
    return data, said


def checked_words(path: Path, data: bytes, brought: Path | None = None) -> Mapping[str, Any]:
    """What settings say, in words that `run` takes: else a device would start them again and again. Files that they
    name must be the device's own, by their whole path, or lie in the folder ``brought``, which comes whole. InputError.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        said: dict[str, Any] = tomllib.loads(data.decode())
    except ValueError as error:
        raise InputError(f"{path} is no TOML: {error}") from None
    parser = Parser(prog="edge-streamer run")
    add_arguments(parser)
    with_config(parser, [f"--config={path}"])
    args = parser.parse_args([])
    try:
        plan_of(args)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for key, word in said.items():
        value = getattr(args, key.replace("-", "_"), None)
        named = isinstance(getattr(value, "file", value), Path)
        file = Path(str(word).removeprefix(FILE))
        comes = brought is not None and (brought / file).is_file()
        if named and key != "bundle" and not file.is_absolute() and not comes:
            raise InputError(f"{path}: {key} is {word!r}, a file beside the settings, which does not come with them; "
                             "name one of the device by its whole path")  # fmt: skip
    return said


def takes_sound(said: Mapping[str, Any]) -> bool:
    """Whether these words of run name a microphone or speaker, for which there must be PyAudio; without words, both."""
    mic = said.get("mic")
    hears = not isinstance(mic, str) or not mic or End(mic).device is not None
    speaker = said.get("speaker", DEFAULT if hears else NONE)
    return hears or (isinstance(speaker, str) and bool(speaker) and End(speaker).device is not None)


def put_together(path: Path, bundle: Bundle, settings: bytes | None, wheels: Path) -> Payload:
    """Every file of the release; the bundle's signature, where one stands beside it, goes along. InputError."""
    from edge_streamer.devices.jetson.deploy.payload import payload, wheels_in
    from edge_streamer.runtime.trust.gate import signature_of

    signature = signature_of(path)
    return payload(path, _listed(path, bundle), signature if signature.exists() else None, settings, wheels_in(wheels))


def _listed(path: Path, bundle: Bundle) -> list[tuple[str, str, int]]:
    """The files of a bundle's folder; none where it is an archive, which goes as it is."""
    import hashlib

    from edge_streamer.runtime.bundle.listed import MANIFEST

    if path.is_file():
        return []
    text = read_small(path / MANIFEST, SETTINGS_BYTES * 16)
    head = (MANIFEST, hashlib.sha256(text).hexdigest(), len(text))
    return [head, *((file.path, file.sha256, file.size) for file in bundle.manifest.files)]


def sign_payload(
    made: Payload, name: str, keys: Sequence[Ed25519PrivateKey], before: bytes = b""
) -> tuple[Payload, bytes]:
    """The payload with its list of files, and what stands beside the release. ``before``: a signature that stays where
    it is of the same list and keys, so that the same wish is the same twice."""
    from edge_streamer.devices.jetson.deploy.payload import Payload, text_file
    from edge_streamer.runtime.release.contents import RELEASE, Entry, ReleaseManifest, text_of
    from edge_streamer.runtime.trust.signing import same, signed, state
    from edge_streamer.runtime.trust.thing import Thing

    entries = tuple(Entry(path=file.path, sha256=file.sha256, size=file.size) for file in made.files)
    listed = text_file(RELEASE, text_of(ReleaseManifest(name=name, entries=entries)))
    thing = Thing("release", name, listed.sha256)
    signature = before if before and same(before, thing, keys) else signed(state(thing), keys)
    return Payload((*made.files, listed)), signature


def read_file(path: Path) -> bytes:
    """A small file. InputError."""
    try:
        return read_small(path, SETTINGS_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
