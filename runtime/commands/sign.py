"""``edge-streamer sign THING --key FILE``: state what a bundle, snapshot, release or key is, and sign it.

Receives a thing and private keys; hands on ``THING.sig`` beside it. The thing is compared with its own sums first:
nothing damaged is signed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.numbers import count
from edge_streamer.runtime.commands.parser import nearest
from edge_streamer.runtime.commands.passphrase import add_passphrase_file, asked, from_file
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from edge_streamer.runtime.trust.statement import Targets


ARCHITECTURES = {"aarch64": "aarch64", "x86_64": "x86_64", "arm64": "aarch64", "amd64": "x86_64"}
"""As ``uname -m`` says them, and what others call them."""
FAMILIES = ("raspberrypi", "tegra194", "tegra234", "tegra264")
"""Words of a device tree's ``compatible`` that stand for more than one board."""
THING = "a bundle's or release's folder or archive, a snapshot (.npz), a public key (.pub)"
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("thing", type=Path, metavar="THING", help=THING)
    parser.add_argument("--key", type=Path, action="append", required=True, metavar="FILE",
                        help="the private key; twice, the old and the new one, while keys change")  # fmt: skip
    add_passphrase_file(parser)
    parser.add_argument(
        "--release", metavar="NAME", help="first list the folder's files in a release.json, of this name"
    )
    parser.add_argument("--name", help="versions are counted by it (default: the bundle's or release's, or the file's)")
    parser.add_argument("--number", type=_number, metavar="N",
                        help="the version, which only rises (default: the time, as 20261128204200)")  # fmt: skip
    where = parser.add_argument_group("where it may be used", "everywhere, where nothing is said")
    where.add_argument("--architecture", action="append", default=[], metavar="NAME", help="aarch64, x86_64")
    where.add_argument("--board", action="append", default=[], metavar="NAME",
                       help="orin-nx-16gb and the like, a module's number (p3767-0000), a chip (tegra234), raspberrypi"
                       )  # fmt: skip
    where.add_argument("--l4t", metavar="FROM[..TO]", help="Jetson Linux: 36.4 or 36.4.3..36.5")
    where.add_argument("--jetpack", metavar="VERSION", help="the Jetson Linux of one JetPack: 6.2")
    where.add_argument("--not-before", default="", metavar="TIME", help="in UTC: 2026-12-01T00:00:00Z")


def _number(word: str) -> int:
    return count(word, 1, 2**53 - 1)


def main(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.trust.here import in_words
    from edge_streamer.runtime.trust.keyring import crypto
    from edge_streamer.runtime.trust.release import list_release
    from edge_streamer.runtime.trust.signing import state, write_signature
    from edge_streamer.runtime.trust.statement import is_name
    from edge_streamer.runtime.trust.thing import look

    crypto()
    targets = _targets(args)
    not_before = _moment(args.not_before)
    keys = keys_of(args)
    if args.release is not None:
        if not is_name(args.release):
            raise InputError(f"--release {args.release!r}: wanted letters, digits, '.', '_', '+' and '-'")
        list_release(args.thing, args.release)
    thing = look(args.thing)
    statement = state(thing, args.name or "", args.number, targets, not_before)
    out = write_signature(args.thing, statement, keys)
    since = f", from {not_before} on" if not_before else ""
    print(f"{out}: {statement.kind} {statement.name!r}, version {statement.version}, {in_words(targets)}{since}, "
          f"SHA-256 {statement.content}")  # fmt: skip
    return 0


def keys_of(args: argparse.Namespace) -> list[Ed25519PrivateKey]:
    """The private keys of ``--key``, a passphrase typed or read. InputError."""
    from edge_streamer.runtime.trust.keyring import crypto
    from edge_streamer.runtime.trust.signing import read_private

    ed25519, found = crypto(), []
    for path in args.key:
        text, passphrase = read_private(path), None
        if ed25519.encrypted(text):
            passphrase = from_file(args.passphrase_file) if args.passphrase_file else asked(str(path))
        found.append(ed25519.load(text, passphrase, str(path)))
    return found


def _targets(args: argparse.Namespace) -> Targets:
    from edge_streamer.runtime.trust.statement import Targets

    first, last = _l4t(args)
    boards = sorted({part for name in args.board for part in _parts(name)})
    for name in args.architecture:
        if ARCHITECTURES.get(name) != name:
            raise InputError(f"{name!r} is no name of an architecture{_meant(name, ARCHITECTURES)}; wanted aarch64 or "
                             "x86_64")  # fmt: skip
    return Targets(
        architectures=tuple(sorted(set(args.architecture))), boards=tuple(boards), l4t_from=first, l4t_to=last
    )


def _meant(word: str, names: Mapping[str, str]) -> str:
    """A question after the nearest of the names, which stand for others."""
    close = names.get(nearest(word, names) or "")
    return f" (did you mean {close}?)" if close else ""


def _parts(board: str) -> list[str]:
    """The numbers of the modules that a board's name stands for: what its device tree says. InputError for a word that
    no device tree would ever say."""
    from edge_streamer.devices.jetson.known import MODULES

    named = board.removesuffix("-super")  # another mode of the same module
    if parts := [part for part, module in MODULES.items() if module.board == named]:
        return parts
    if board in FAMILIES or re.fullmatch(r"p\d{4}-\d{4}", board):
        return [board]
    known = {name: name for name in (*(module.board for module in MODULES.values()), *FAMILIES)}
    raise InputError(f"{board!r} is no name of a board{_meant(board, known)}; wanted one of {', '.join(known)}, or a "
                     "module's number (p3767-0000)")  # fmt: skip


def _l4t(args: argparse.Namespace) -> tuple[str, str]:
    from edge_streamer.devices.jetson.known import RELEASES, jetpacks, numbers

    if args.jetpack is not None:
        if args.l4t is not None:
            raise InputError("--jetpack and --l4t say the same; leave one of them out")
        found = sorted((l4t for l4t, known in RELEASES.items() if known.jetpack == args.jetpack), key=numbers)
        if not found:
            names = ", ".join(jetpacks())
            raise InputError(f"--jetpack {args.jetpack} is not known; wanted one of {names}, or give --l4t")
        return found[0], found[-1]
    first, dots, last = (args.l4t or "").partition("..")
    last = last if dots else first
    if not all(re.fullmatch(r"(\d{1,4}(\.\d{1,4}){0,3})?", bound) for bound in (first, last)):
        raise InputError(f"--l4t {args.l4t!r}: wanted a release of Jetson Linux or two: 36.4, or 36.4.3..36.5")
    return first, last


def _moment(word: str) -> str:
    try:
        return word and datetime.strptime(word, MOMENT).strftime(MOMENT)
    except ValueError:
        raise InputError(f"--not-before {word!r}: wanted a time in UTC, as 2026-12-01T00:00:00Z") from None
