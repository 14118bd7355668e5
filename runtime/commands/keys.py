"""``edge-streamer keys make|list|trust|revoke``: the keys that sign, and those that a device trusts.

Receives the words of the command line; hands on key files. Root's keys lie in /etc/edge-streamer/keys.d, a user's in
~/.config/edge-streamer/keys.d; see docs/trust.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.commands.passphrase import asked, from_file
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.runtime.trust.keyring import Key, Keyring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="make|list|trust|revoke", required=True, parser_class=Parser)
    make = actions.add_parser("make", help="make a key that signs", description="Make a private and a public key.")
    make.add_argument("file", type=Path, metavar="FILE", help="the private key to write; the public one is FILE.pub")
    hidden = make.add_mutually_exclusive_group()
    hidden.add_argument(
        "--passphrase", action="store_true", help="ask for a passphrase, without which the key is no use"
    )
    hidden.add_argument("--passphrase-file", type=Path, metavar="FILE", help="the first line of it is the passphrase")
    listed = actions.add_parser("list", help="list the keys of this device", description="List this device's keys.")
    listed.add_argument("--json", action="store_true", help="print them as JSON")
    trust = actions.add_parser(
        "trust", help="trust a key from now on",
        description="Trust a key from now on: this device then runs only what its keys signed. Where it has keys, a "
                    "new one is taken only with a signature by one of them beside it (FILE.pub.sig).",
    )  # fmt: skip
    trust.add_argument("file", type=Path, metavar="FILE.pub", help="the public key")
    trust.add_argument("--name", help="what to call it here (default: the file's name)")
    revoke = actions.add_parser("revoke", help="never trust a key again", description="Never trust a key again.")
    revoke.add_argument("key", metavar="NAME|FINGERPRINT|FILE.pub", help="which one: see 'keys list'")


def main(args: argparse.Namespace) -> int:
    return {"make": _make, "list": _list, "trust": _trust, "revoke": _revoke}[args.action](args)


def _make(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.keyring import crypto
    from edge_streamer.runtime.trust.signing import make_key

    crypto()  # before anybody types a passphrase
    passphrase = None
    if args.passphrase_file:
        passphrase = from_file(args.passphrase_file)
    elif args.passphrase:
        passphrase = asked(str(args.file), twice=True)
    fingerprint = make_key(args.file, passphrase)
    print(f"{args.file}: the private key{', encrypted' if passphrase else ''}; keep it off every device")
    print(
        f"{args.file}.pub: the public key {fingerprint}; on each device: edge-streamer keys trust {args.file.name}.pub"
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.keyring import SYSTEM, has_keys, read_keyring, user_folder

    ring = read_keyring() if has_keys() else None
    rows = _rows(ring) if ring else []
    if args.json:
        print(json.dumps([{"name": key.name, "fingerprint": key.fingerprint, "file": str(key.path), "state": state}
                          for key, state in rows], indent=2))  # fmt: skip
    elif not rows:
        print(f"this device has no keys: it runs what is not signed too ({SYSTEM} and {user_folder()} are empty)")
    else:
        for key, state in rows:
            print(f"{state:8} {key.fingerprint} {key.name} ({key.path})")
    return 0


def _rows(ring: Keyring) -> list[tuple[Key, str]]:
    rows = [(key, "trusted") for key in ring.trusted.values()]
    rows += [(key, "revoked") for key in ring.revoked.values()]
    return rows + [(key, "ignored") for key in ring.ignored.values()]  # root has keys, so a user's are not asked


def _trust(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.gate import admission
    from edge_streamer.runtime.trust.keyring import SYSTEM, add, content_of, own_folder, read_keyring, read_public

    key = read_public(args.file)
    ring = read_keyring()
    if ring is not None:
        if key.fingerprint in ring.revoked:
            raise InputError(f"{args.file} was revoked here ({ring.revoked[key.fingerprint].path}); make a new key")
        if key.fingerprint in ring.trusted:
            print(f"{key.fingerprint} is trusted already ({ring.trusted[key.fingerprint].path})")
            return 0
        if ring.folder == SYSTEM != own_folder():
            raise InputError(
                f"root has set the keys of this device ({SYSTEM}), to which a user adds none; run it with sudo"
            )
    gate = admission("key", args.file)
    if gate is not None:
        gate(content_of(key.public))
        gate.finish(args.file)
    path = add(key, args.name or key.name)
    print(f"{path}: {key.fingerprint} is trusted; what this device's keys did not sign is refused from now on")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.keyring import read_keyring, revoke

    key = _named(args.key)
    path = revoke(key)
    ring = read_keyring()
    print(f"{path}: {key.fingerprint} is revoked, and cannot be trusted here again")
    if ring is not None and not ring.trusted:
        print("it was the last key: from now on this device runs nothing but what the package ships")
    return 0


def _named(word: str) -> Key:
    from edge_streamer.runtime.trust.keyring import PUBLIC, read_keyring, read_public

    ring = read_keyring()
    known = [*ring.trusted.values(), *ring.ignored.values()] if ring else []
    found = [key for key in known if word in (key.name, key.fingerprint)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{len(found)} keys are called {word!r}; name one by its fingerprint: edge-streamer keys list")
    if word.endswith(PUBLIC):
        return read_public(Path(word))
    raise InputError(f"no key of this device is called {word!r}; see: edge-streamer keys list, or name a FILE.pub")
