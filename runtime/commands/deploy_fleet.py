"""``edge-streamer deploy BUNDLE --inventory FILE``: to many boards, batch after batch, by Ansible.

Receives the words of the command line; hands on what became of each board, for people or as JSON. Exit status 0 all of
them have it, 1 one failed (those after it were left alone), 2 it cannot be done. See docs/fleet.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.fleet.rollout import Rollout

OF_ONE_BOARD = ("port", "identity", "ssh_config", "serial", "make_wheels", "verify")
"""Of the inventory's variables, where they differ from board to board, or of no board."""
FILES = ("wheels", "settings", "budget", "passphrase_file")
WORDS = (
    "engine", "name", "allow_downgrade", "profile_units", "units", "within", "misses", "system", "wait", "root",
    "board_python",
)  # fmt: skip
NOT = {"no_check": "golden_units", "no_service": "service"}


def deploy(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.fleet.rollout import roll_out
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.bundle.shipped import bundle_path

    for name in OF_ONE_BOARD:
        if getattr(args, name):
            raise InputError(f"--{name.replace('_', '-')} is for one board; with --inventory it is a variable of the "
                             "board there (docs/fleet.md), or a command of its own")  # fmt: skip
    if len(args.words) > 1:
        raise InputError(f"{args.words[-1]!r} is one board too many; with --inventory the boards are in the file")
    bundle = Path(args.words[0]) if args.words else bundle_path()
    Bundle.open(bundle)  # refused here rather than by each board
    words = ["--check"] if args.dry_run else []
    words += ["--limit", args.limit] if args.limit else []
    words += ["--forks", str(args.forks)] if args.forks else []
    found = roll_out(args.inventory, variables(args, bundle), words, sys.stderr if args.json else None)
    _show(args, found)
    return 1 if found.failed else 0


def variables(args: argparse.Namespace, bundle: Path) -> dict[str, Any]:
    """Of the role: what was said here. What was not may stand in the inventory, for some boards or for all."""
    from edge_streamer.runtime.commands.deploy_options import add_arguments
    from edge_streamer.runtime.commands.parser import Parser

    parser = Parser(add_help=False)
    add_arguments(parser)
    said: dict[str, Any] = {"bundle": str(bundle.absolute()), "command": [sys.executable, "-m", "edge_streamer"]}
    said |= {name: str(value.absolute()) for name in FILES if (value := getattr(args, name)) is not None}
    said |= {name: value for name in WORDS if (value := getattr(args, name)) != parser.get_default(name)}
    said |= {name: False for flag, name in NOT.items() if getattr(args, flag)}
    said |= {"key": [str(path.absolute()) for path in args.key]} if args.key else {}
    said |= {"soak_seconds": args.soak} if args.soak is not None else {}
    said |= {"batches": args.batches} if args.batches is not None else {}
    said |= {"max_fail_percentage": args.max_fail} if args.max_fail is not None else {}
    return {f"deploy_{name}": value for name, value in said.items()}


def _show(args: argparse.Namespace, found: Rollout) -> None:
    from edge_streamer.runtime.files import to_json

    if args.json:
        print(to_json(dataclasses.asdict(found)).decode())
    for name, told in () if args.json else found.hosts.items():
        why = f": {told['reason']}" if told.get("reason") else ""
        release = f"{told['release']} is " if told.get("release") else ""
        print(f"{name}: {release}{told['state']}{why}")
    if found.failed:
        left = f"; {len(found.left)} were left alone" if found.left else ""
        said = f"{len(found.failed)} of {len(found.hosts)} boards failed ({', '.join(found.failed)}){left}"
        print(f"edge-streamer: {said}", file=sys.stderr)
