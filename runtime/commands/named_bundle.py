"""The argument BUNDLE of commands that only look at one: the demo's where none is named.

Receives the words of the command line; hands on a path. The first thing to run on a new board needs no file of one's
own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.bundle.shipped import bundle_path


def _path(word: str) -> Path:
    """A bundle's path, as it was written. An empty word is a variable of the shell that is not set."""
    if not word:
        raise argparse.ArgumentTypeError("the name is empty; wanted a folder or an archive, or none for the demo's")
    return Path(word)


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """The argument BUNDLE, which may be left out."""
    parser.add_argument("bundle", nargs="?", type=_path, metavar="BUNDLE",
                        help="a bundle's folder or archive (default: the demo bundle)")  # fmt: skip


def add_downgrade(parser: argparse._ActionsContainer) -> None:
    """The option ``--allow-downgrade`` of commands that run what is signed."""
    parser.add_argument("--allow-downgrade", action="store_true",
                        help="on a device with keys: take an older version than it has used, which counts from now on"
                        )  # fmt: skip


def chosen(args: argparse.Namespace) -> Path:
    """The bundle that was named, else the demo's."""
    named: Path | None = args.bundle
    return named or bundle_path()
