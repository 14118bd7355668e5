"""``edge-streamer verify THING``: is it signed by a key of this device, whole, for this machine, and not too old?

Receives a thing, with its signature beside it; hands on one line. Nothing is unpacked and nothing is run. Exit status 0
where it is good, 2 where it is not.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.sign import THING
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.runtime.trust.gate import Admission
    from edge_streamer.runtime.trust.thing import Thing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("thing", type=Path, metavar="THING", help=THING)
    parser.add_argument(
        "--key", type=Path, metavar="FILE.pub", help="ask only whether this key signed it, for this device or another"
    )
    parser.add_argument("--allow-downgrade", action="store_true",
                        help="take an older version than this device has used, which counts from now on")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the statement as JSON")


def main(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.gate import Admission, device_keys
    from edge_streamer.runtime.trust.keyring import Keyring, has_keys, read_public
    from edge_streamer.runtime.trust.thing import kind_of, look

    if args.key:
        if args.allow_downgrade:
            raise InputError("--allow-downgrade is for this device's own keys, --key asks for another's; leave one out")
        key = read_public(args.key)
        ring = Keyring(args.key.parent, {key.fingerprint: key})
        gate = Admission(kind_of(args.thing), args.thing, lambda: ring, elsewhere=True)
    elif has_keys():
        gate = Admission(kind_of(args.thing), args.thing, device_keys, args.allow_downgrade)
    else:
        raise InputError("this device has no keys to verify with; name one with --key FILE.pub, or run: edge-streamer "
                         "keys trust FILE.pub")  # fmt: skip
    thing = look(args.thing, gate)
    if gate.statement is None:
        return _ships(args, thing)
    if args.allow_downgrade:
        gate.finish(args.thing)
    if args.json:
        print(json.dumps(_stated(gate), indent=2))
    else:
        print(f"{args.thing}: good, {_said(gate)}")
    return 0


def _ships(args: argparse.Namespace, thing: Thing) -> int:
    """What the package ships passes by its sum; a signature that it has all the same is told."""
    from edge_streamer.runtime.trust.gate import Admission, device_keys, signature_of

    signature, gate = signature_of(args.thing), Admission(thing.kind, args.thing, device_keys, elsewhere=True)
    said, stated = f"{thing.kind} {thing.name!r}, without a signature, and it needs none", thing._asdict()
    if os.path.lexists(signature):
        try:
            gate(thing.content)
            said, stated = f"and it is signed: {_said(gate)}", _stated(gate)
        except InputError as error:
            said = f"{thing.kind} {thing.name!r}; the signature beside it, which it does not need, is not good: {error}"
    if args.json:
        print(json.dumps({**stated, "ships": True}, indent=2))
    else:
        print(f"{args.thing}: good, it ships with this package, {said}")
    return 0


def _stated(gate: Admission) -> dict[str, object]:
    import msgspec

    return {**msgspec.to_builtins(gate.statement), "signed_by": gate.signed_by}


def _said(gate: Admission) -> str:
    from edge_streamer.runtime.trust.here import in_words

    stated = gate.statement
    assert stated is not None
    return (f"{stated.kind} {stated.name!r}, version {stated.version}, of {stated.created}, "
            f"{in_words(stated.targets)}, signed by {gate.signed_by}")  # fmt: skip
