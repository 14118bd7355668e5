"""What talks on a flashed device, and whose signature it asks for, from the words of ``edge-streamer flash``.

Receives arguments; hands on what is wrong with them, and an App and keys for a preparation. What a device with a key
would refuse at its first start is refused here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edge_streamer.devices.jetson.deploy.payload import File, Payload, wheels_in
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.devices.jetson.flash.settings import Trusted
from edge_streamer.devices.jetson.releases.adding import WHEELS
from edge_streamer.devices.jetson.releases.first import distribution
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import SHIPPED
from edge_streamer.runtime.commands.release_parts import put_together, run_settings, sign_payload, takes_sound
from edge_streamer.runtime.commands.sign import keys_of
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_streamer.runtime.trust.keyring import Keyring

_Looked = TypeVar("_Looked")


def apart(args: argparse.Namespace) -> Iterator[str]:
    """What does not go together, or is not there."""
    if bool(args.bundle) != bool(args.wheels):
        yield "a bundle talks only with the packages that run it: name both --bundle and --wheels"
    for option, path in (("--bundle", args.bundle), ("--wheels", args.wheels)):
        if path is not None and not path.exists():
            yield f"{option} {path} does not exist"
    talks = {"--settings": args.settings, "--key": args.key, "--system-service": args.system_service,
             "--no-check": args.no_check}  # fmt: skip
    if not (args.bundle or args.wheels) and (named := [option for option, value in talks.items() if value]):
        yield f"{', '.join(named)}: of what talks, and nothing does; name --bundle and --wheels"
    if args.trust_key and args.bundle and not args.key:
        yield ("a device with a key makes no release that is not signed; sign it: --key FILE, the private key of one "
               "that it trusts")  # fmt: skip


def outline(args: argparse.Namespace, told: Callable[[str], None]) -> App | None:
    """What talks, looked at as far as that takes no time: its files are not read. Everything that is wrong with it is
    ``told``; it is then one of which the root is asked nothing."""
    if not (args.bundle and args.wheels):
        return None
    wrong: list[str] = []

    def of(look: Callable[[], _Looked], otherwise: _Looked) -> _Looked:
        try:
            return look()
        except InputError as error:
            wrong.append(str(error))
            return otherwise

    none: list[Path] = []
    nothing: tuple[bytes | None, Mapping[str, Any]] = (None, {})
    wheels = of(lambda: wheels_in(args.wheels), none)
    _, said = of(lambda: run_settings(args.settings), nothing)
    of(lambda: _check_golden(args), None)
    if wheels and args.trust_key and not any(distribution(path.name) == "cryptography" for path in wheels):
        wrong.append(f"{args.wheels} holds no wheel of cryptography, without which a device with a key runs "
                     "nothing; make them with the extra trust: edge-streamer deploy --make-wheels DIR")  # fmt: skip
    for fault in wrong:
        told(fault)
    return App(
        Payload(() if wrong else tuple(File(f"{WHEELS}/{path.name}", "", 0, path) for path in wheels)),
        b"",
        args.system_service,
        not args.no_check,
        not wrong and takes_sound(said),
    )


def _check_golden(args: argparse.Namespace) -> None:
    bundle = _bundle(args, verify=False)
    if not (args.no_check or bundle.manifest.golden):
        raise InputError(f"bundle {bundle.manifest.name!r} carries no golden units, by which the first start proves "
                         "it; give it some, or --no-check")  # fmt: skip


def whole(args: argparse.Namespace, before: bytes) -> App | None:
    """What talks, all of it, and signed where that is wanted. ``before``: the signature that the root has. InputError
    where something is damaged, or a device with the keys would refuse it."""
    if not (args.bundle and args.wheels):
        return None
    settings, said = run_settings(args.settings)
    bundle = _bundle(args, verify=True)
    made, signature = put_together(args.bundle, bundle, settings, args.wheels), b""
    if args.key:
        keys = keys_of(args)
        _check_trusted(args, keys)
        made, signature = sign_payload(made, bundle.manifest.name, keys, before)
    return App(made, signature, args.system_service, not args.no_check, takes_sound(said))


def trusted(args: argparse.Namespace) -> tuple[Trusted, ...]:
    """The public keys that the device is given. InputError."""
    if not args.trust_key:
        return ()
    from edge_streamer.runtime.trust.keyring import crypto
    from edge_streamer.runtime.trust.statement import is_name

    keys = _ring(args).trusted.values()
    if wrong := [key.name for key in keys if not is_name(key.name)]:
        raise InputError(f"a key cannot be called {wrong[0]!r}; wanted letters, digits, '.', '_', '+' and '-': rename "
                         "the file")  # fmt: skip
    if len({key.name for key in keys}) < len(keys):
        raise InputError("two keys have the same name; rename one of the files")
    return tuple(Trusted(key.name, crypto().public_line(key.public, key.name)) for key in keys)


def _bundle(args: argparse.Namespace, verify: bool) -> Bundle:
    """Signed by a key that the device trusts, where it trusts some."""
    from edge_streamer.runtime.trust.gate import Admission

    if not args.trust_key:
        return Bundle.open(args.bundle, verify)
    ring = _ring(args)
    gate = Admission("bundle", args.bundle, lambda: ring, elsewhere=True)

    def admit(content: str) -> None:
        if content not in SHIPPED:
            gate(content)

    return Bundle.open(args.bundle, verify, admit=admit)


def _check_trusted(args: argparse.Namespace, keys: list[Ed25519PrivateKey]) -> None:
    from edge_streamer.runtime.trust.keyring import crypto

    if args.trust_key and not {crypto().fingerprint(crypto().public_of(key)) for key in keys} & {*_ring(args).trusted}:
        raise InputError(f"--key {args.key[0]} is the private key of none that the device will trust; wanted the one "
                         "that was made with a --trust-key")  # fmt: skip


def _ring(args: argparse.Namespace) -> Keyring:
    from edge_streamer.runtime.trust.keyring import Keyring, read_public

    keys = [read_public(Path(path)) for path in args.trust_key]
    return Keyring(args.trust_key[0].parent, {key.fingerprint: key for key in keys})
