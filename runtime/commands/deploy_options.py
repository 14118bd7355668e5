"""What ``edge-streamer deploy`` may be told.

Receives a parser; hands on the arguments to deploy.py. Nothing here needs a library.
"""

from __future__ import annotations

import argparse
import platform
import re
from pathlib import Path

from edge_streamer.runtime.commands.numbers import count
from edge_streamer.runtime.commands.passphrase import add_passphrase_file
from edge_streamer.runtime.commands.releases import release_name

UNITS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer deploy``."""
    parser.add_argument("words", nargs="*", metavar="[BUNDLE] USER@HOST",
                        help="a bundle's folder or archive (default: the demo bundle), and the board as ssh knows it"
                        )  # fmt: skip
    what = parser.add_argument_group("what")
    what.add_argument("--wheels", type=Path, metavar="DIR", help="the board's environment, by --make-wheels")
    what.add_argument("--settings", type=Path, metavar="FILE.toml",
                      help="the words of run there, with bundle = \"bundle\" (default: that bundle, on its devices)"
                      )  # fmt: skip
    what.add_argument("--engine", default="", metavar="NAME", help="that computes there (default: the settings')")
    what.add_argument("--name", type=release_name, help="what to call the release (default: the bundle's name)")
    what.add_argument("--key", type=Path, action="append", default=[], metavar="FILE",
                      help="sign the release with this private key, for a board with keys")  # fmt: skip
    add_passphrase_file(what)
    what.add_argument("--allow-downgrade", action="store_true",
                      help="on a board with keys: an older version than it has used, on purpose")  # fmt: skip
    _add_proof(parser)
    _add_fleet(parser)
    _add_wheels(parser)
    parser.add_argument("--verify", action="store_true",
                        help="only look: is it live there, and does its run tell that it is healthy?")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and change nothing there")
    parser.add_argument("--json", action="store_true", help="print what became of it as JSON; steps on standard error")


def _add_proof(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("before the switch, and after it")
    how.add_argument("--budget", type=Path, metavar="FILE.toml",
                     help="not switched to where a profile on the board breaks a bound of it")  # fmt: skip
    how.add_argument("--profile-units", type=_number, default=UNITS, metavar="N",
                     help=f"units of that profile; 0: none (default: {UNITS})")  # fmt: skip
    how.add_argument("--no-check", action="store_true", help="do not replay the golden units there")
    how.add_argument("--units", type=_number, metavar="N", help="good units in a row that prove it (see: releases)")
    how.add_argument("--within", metavar="SECONDS", help="of its first unit")
    how.add_argument("--misses", metavar="SHARE", help="of those units that may be late, failed or skipped")
    how.add_argument("--system", action="store_true", help="a service of the system (needs root there)")
    how.add_argument("--no-service", action="store_true", help="switch, and leave service and restart to somebody else")
    how.add_argument("--wait", type=_number, metavar="SECONDS", help="for the verdict, with --no-service (default: 0)")
    where = parser.add_argument_group("where")
    where.add_argument("--root", default="", metavar="DIR",
                       help="where releases lie there (default: as edge-streamer releases has it)")  # fmt: skip
    where.add_argument("--board-python", default="python3", metavar="NAME", help="the board's own (default: python3)")
    where.add_argument("--serial", default="", metavar="NUMBER",
                       help="of the board that is meant (/proc/device-tree/serial-number there): another is refused"
                       )  # fmt: skip
    where.add_argument("--port", type=lambda word: count(word, 1, 65_535), metavar="N")
    where.add_argument("--identity", type=Path, metavar="FILE", help="ssh's private key")
    where.add_argument("--ssh-config", type=Path, metavar="FILE", help="in place of ~/.ssh/config")


def _add_fleet(parser: argparse.ArgumentParser) -> None:
    fleet = parser.add_argument_group("many boards, by Ansible; in place of USER@HOST")
    fleet.add_argument("--inventory", metavar="FILE", help="Ansible's list of boards; what is not said here is there")
    fleet.add_argument("--limit", metavar="PATTERN", help="of those boards alone, as Ansible has it")
    fleet.add_argument("--batches", type=_batches, metavar="N[%],...",
                       help="boards of one batch after the other (default: 1,25%%,100%%)")  # fmt: skip
    fleet.add_argument("--soak", type=_number, metavar="SECONDS",
                       help="after each batch, then look whether all of it is healthy still (default: 0)")  # fmt: skip
    fleet.add_argument("--max-fail", type=_percent, metavar="PERCENT",
                       help="of a batch that may fail before the roll-out stops (default: 0)")  # fmt: skip
    fleet.add_argument("--forks", type=_number, metavar="N", help="boards of a batch at a time (default: Ansible's)")


def _add_wheels(parser: argparse.ArgumentParser) -> None:
    wheels = parser.add_argument_group("wheels for a board, without a board")
    wheels.add_argument("--make-wheels", type=Path, metavar="DIR", help="fill DIR by pip, and end")
    wheels.add_argument("--python", type=_python, metavar="3.N", help="the board's: 3.10 of JetPack 6, 3.12 of 7")
    wheels.add_argument("--architecture", default="aarch64", choices=["aarch64", "x86_64"],
                        help=f"the board's (default: aarch64); here it is {platform.machine()}")  # fmt: skip
    wheels.add_argument("--extra", action="append", metavar="NAME",
                        help="of this package (default: audio, screen and trust)")  # fmt: skip
    wheels.add_argument("--own-wheel", type=Path, metavar="FILE", help="of this package (default: made here)")


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) < 1_000_000):
        raise argparse.ArgumentTypeError(f"{word!r}; wanted a whole number")
    return int(word)


def _percent(word: str) -> int:
    if _number(word) > 100:
        raise argparse.ArgumentTypeError(f"{word!r}; wanted a whole number from 0 to 100")
    return int(word)


def _batches(word: str) -> list[int | str]:
    parts = word.split(",")
    if not all(re.fullmatch(r"[1-9]\d{0,5}|[1-9]\d?%|100%", part) for part in parts):
        raise argparse.ArgumentTypeError(f"{word!r}; wanted numbers of boards or shares, as 1,25%,100%")
    return [part if part.endswith("%") else int(part) for part in parts]


def _python(word: str) -> str:
    if not re.fullmatch(r"3\.1[0-3]", word):
        raise argparse.ArgumentTypeError(f"{word!r}; wanted one of 3.10 to 3.13")
    return word
