"""What the device is to be, from the words of ``edge-streamer flash``: files are read, passwords asked for.

Receives arguments; hands on settings, or None where nothing is to be prepared. No password is ever a word of a command,
of ours or of another: it comes from a terminal or a file, and only its hash goes on.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_streamer.devices.jetson.flash import prepare
from edge_streamer.devices.jetson.flash.accounts import LOCKED, check_name
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings, Wifi, hashed, keys_of, size_of
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small

MOST_KEY, MOST_SECRET = 100_000, 4096
TO_BE_ASKED = "*"
"""In place of a hash in a dry run, which asks nothing."""


def settings_of(args: argparse.Namespace, rootfs: Path, modules: Sequence[str]) -> Settings | None:
    """Raises InputError where a file cannot be read, or nobody is there to be asked."""
    choices = (args.user, args.ssh_key, args.hostname, args.timezone, args.locale, args.wifi, args.power_mode,
               args.swap, args.bundle, args.wheels, args.desktop)  # fmt: skip
    if not any(choices):
        return None
    if bool(args.bundle) != bool(args.wheels):
        raise InputError("a bundle talks only with the packages that run it: name both --bundle and --wheels")
    for path in (args.bundle, args.wheels):
        if path is not None and not path.exists():
            raise InputError(f"{path} does not exist")
    if len(args.wifi_password_file) not in (0, len(args.wifi)):
        raise InputError(
            f"{len(args.wifi)} networks and {len(args.wifi_password_file)} files of passwords; wanted one each"
        )
    files = args.wifi_password_file or [None] * len(args.wifi)
    return Settings(
        user=args.user or "", hashed=_hash(args, rootfs), sudo=not args.no_sudo,
        keys=keys_of(_text(path, MOST_KEY) for path in args.ssh_key), hostname=args.hostname or "",
        timezone=args.timezone or "", locale=args.locale or "",
        wifi=tuple(Wifi(ssid, _secret(ssid, path, args.dry_run)) for ssid, path in zip(args.wifi, files, strict=True)),
        power_mode=args.power_mode or "", modules=tuple(modules), headless=not args.desktop,
        swap=size_of(args.swap) if args.swap else 0,
        bundle=args.bundle and args.bundle.absolute(), wheels=args.wheels and args.wheels.absolute(),
    )  # fmt: skip


def _hash(args: argparse.Namespace, rootfs: Path) -> str:
    if not args.user:
        if args.password_file or args.no_password:
            raise InputError("a password is a user's; name one: --user NAME")
        return LOCKED
    check_name(args.user)
    if args.no_password:
        return LOCKED
    before = ""
    try:
        with Rootfs(rootfs, write=False) as root:
            before = prepare.current_hash(root, args.user)
    except InputError:
        if not args.dry_run:
            raise
    if args.password_file:
        return hashed(_line(args.password_file), before)
    if args.dry_run:
        return before or TO_BE_ASKED
    return hashed(_typed(f"Password of {args.user} on the device"), before)


def _secret(ssid: str, path: Path | None, dry_run: bool) -> str:
    if path is not None:
        return _line(path)
    return "" if dry_run else _typed(f"Password of the network {ssid} (none: an open one)", empty=True)


def _typed(what: str, *, empty: bool = False) -> str:
    """Twice, unseen."""
    if not sys.stdin.isatty():
        raise InputError(f"{what}: nobody is there to type it; give a file (--password-file, --wifi-password-file), or "
                         "--no-password with an --ssh-key")  # fmt: skip
    typed = getpass.getpass(f"{what}: ")
    if not typed and not empty:
        raise InputError("an empty password lets nobody in; with an --ssh-key: --no-password")
    if typed and getpass.getpass("Again: ") != typed:
        raise InputError("the two were not the same; nothing was changed")
    return typed


def _line(path: Path) -> str:
    """The first line of a file."""
    return next(iter(_text(path, MOST_SECRET).splitlines()), "")


def _text(path: Path, most: int) -> str:
    try:
        return read_small(path, most).decode()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text") from error
