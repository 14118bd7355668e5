"""What ``edge-streamer flash`` may be told.

Receives a parser; hands on the arguments to flash.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.commands.numbers import count, number
from edge_streamer.runtime.commands.passphrase import add_passphrase_file

BOARDS = ("orin-nano", "orin-nx", "agx-orin", "thor", "thor-t4000")
STORAGES = ("nvme", "sd", "emmc")
ALLOWED = ("host", "machine", "packages", "disk", "usb power", "automount", "network")
"""As devices/jetson/flash has them; a test compares."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer flash``."""
    what = parser.add_argument_group("what is flashed")
    what.add_argument("--l4t", type=Path, metavar="DIR", help="NVIDIA's Linux_for_Tegra, unpacked")
    what.add_argument("--board", choices=BOARDS, help="default: the one that is in recovery mode")
    what.add_argument("--storage", choices=STORAGES, help="what it starts from (default: the board's usual one)")
    what.add_argument("--super", action="store_true", help="Orin Nano and NX: NVIDIA's configuration with more power")
    what.add_argument("--board-config", metavar="NAME", help="NVIDIA's or a carrier board's configuration, NAME.conf")
    what.add_argument("--sdkmanager", action="store_true",
                      help="by SDK Manager, which brings its own root file system: it stays as it is")  # fmt: skip
    what.add_argument("--jetpack", metavar="VERSION", help="with --sdkmanager: which")
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true",
                     help="look, and print every command, as far as board and NVIDIA's folder are there to know it "
                          "from; run and write nothing")  # fmt: skip
    how.add_argument("--yes", action="store_true", help="do not ask before the first command")
    how.add_argument("--image-only", action="store_true", help="prepare, and make the images; no board is written")
    how.add_argument("--module", metavar="PART", help="with --image-only and no board: p3767-0005 and the like")
    how.add_argument("--fab", metavar="TEXT", help="with --module: the board's version, as NVIDIA's table has it")
    how.add_argument("--revision", metavar="TEXT", help="with --module: the board's revision")
    how.add_argument("--chip-sku", metavar="TEXT", help="with --module: the chip's, 00:00:00:D5 and the like")
    how.add_argument("--massflash", type=_boards, metavar="N", default=0, help="up to N boards of one kind at once")
    how.add_argument("--identify", action="store_true", help="first read the board's EEPROM: is it what is meant?")
    how.add_argument("--erase-all", action="store_true", help="NVIDIA's --erase-all: every storage of the board")
    how.add_argument("--allow", choices=ALLOWED, action="append", default=[], metavar="LINE",
                     help=f"go on where this line fails: {', '.join(ALLOWED)}")  # fmt: skip
    how.add_argument(
        "--patience", type=_patience, default=1.0, metavar="X", help="times as long before a stage is hung"
    )
    _preparation(parser.add_argument_group("what the device is, from its first start"))


def _preparation(device: argparse._ArgumentGroup) -> None:
    device.add_argument("--user", metavar="NAME", help="a user, with a password that is asked for")
    device.add_argument("--password-file", type=Path, metavar="FILE", help="its first line instead of asking")
    device.add_argument("--no-password", action="store_true", help="only an SSH key lets the user in")
    device.add_argument("--no-sudo", action="store_true", help="the user may not become root")
    device.add_argument("--ssh-key", type=Path, metavar="FILE.pub", action="append", default=[], help="may log in")
    device.add_argument("--hostname", metavar="NAME")
    device.add_argument("--timezone", metavar="ZONE", help="Europe/Berlin and the like")
    device.add_argument("--locale", metavar="LOCALE", help="en_US.UTF-8 and the like")
    device.add_argument(
        "--wifi", metavar="SSID", action="append", default=[], help="a network; its password is asked for"
    )
    device.add_argument("--wifi-password-file", type=Path, metavar="FILE", action="append", default=[],
                        help="instead of asking, one for each --wifi; an empty one for an open network")  # fmt: skip
    device.add_argument("--power-mode", metavar="NAME", help="by its name in the board's file: MAXN_SUPER, 25W, ...")
    device.add_argument("--desktop", action="store_true", help="let the desktop start; it takes up to 0.9 GB")
    device.add_argument("--swap", metavar="SIZE", help="a swap file of 8G and the like, made at the first start")
    device.add_argument("--bundle", type=Path, metavar="BUNDLE", help="talks from the first start (needs --wheels)")
    device.add_argument("--wheels", type=Path, metavar="DIR", help="its environment, by: deploy --make-wheels DIR")
    device.add_argument("--settings", type=Path, metavar="FILE.toml",
                        help="the words of run there, with bundle = \"bundle\" (default: that bundle, on its devices)"
                        )  # fmt: skip
    device.add_argument("--system-service", action="store_true",
                        help="of the system, for a board with ALSA alone (default: of the user, beside the sound "
                             "server)")  # fmt: skip
    device.add_argument("--no-check", action="store_true", help="do not replay the golden units at the first start")
    device.add_argument("--trust-key", type=Path, action="append", default=[], metavar="FILE.pub",
                        help="the device runs only what this key signed")  # fmt: skip
    device.add_argument("--key", type=Path, action="append", default=[], metavar="FILE",
                        help="sign what is flashed with this private key")  # fmt: skip
    add_passphrase_file(device)


def _boards(word: str) -> int:
    return count(word, 1, 10, "1 to 10 boards at once")


def _patience(word: str) -> float:
    return number(word, 100, above=True)
