"""A key's passphrase: typed where nobody sees it, or from a file; never a word of the command line.

Receives the name of a file or None; hands on bytes. Words of the command line are in the list of processes and in the
shell's history.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_streamer.runtime.errors import InputError

PASSPHRASE_BYTES = 4096


def add_passphrase_file(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="the first line of it is the passphrase")


def from_file(path: Path) -> bytes:
    """The first line of the file."""
    from edge_streamer.runtime.files import read_small

    try:
        line = read_small(path, PASSPHRASE_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise InputError(f"--passphrase-file {path}: {error.strerror}") from None
    if not line:
        raise InputError(f"--passphrase-file {path}: its first line is empty; wanted the passphrase")
    return line


def asked(what: str, twice: bool = False) -> bytes:
    """What somebody types at the terminal. InputError where nobody can."""
    if not sys.stdin.isatty():
        raise InputError(f"{what} wants a passphrase and nobody is there to type it; name a --passphrase-file")
    from getpass import getpass

    try:
        typed = getpass(f"passphrase of {what}: ")
        if twice and typed != getpass("again: "):
            raise InputError("the two passphrases differ; nothing was made")
    except EOFError:
        raise InputError("no passphrase was typed") from None
    if twice and not typed:
        raise InputError("the passphrase is empty; leave --passphrase out for a key without one")
    return typed.encode()
