"""What the device is to be, from the words of ``edge-streamer flash``: files are read, passwords asked for.

Receives arguments; hands on everything that is wrong with them, before anybody is asked, and then settings, or None
where nothing is to be prepared. No password is ever a word of a command,
of ours or of another: it comes from a terminal or a file, and only its hash goes on.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edge_streamer.devices.jetson.flash import prepare
from edge_streamer.devices.jetson.flash.accounts import LOCKED, check_name
from edge_streamer.devices.jetson.flash.app import SIGNATURE
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import (
    Settings,
    Wifi,
    check_keys,
    check_password,
    hashed,
    keys_of,
    size_of,
)
from edge_streamer.devices.jetson.flash.settings import faults as settings_faults
from edge_streamer.runtime.commands import flash_app
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small
from edge_streamer.runtime.trust.keyring import refuse_private

MOST_KEY, MOST_SECRET = 100_000, 4096
TO_BE_ASKED = "*"
"""In place of a hash in a dry run, which asks nothing."""


NOBODY = ("nobody is there to type it; give a file (--password-file, --wifi-password-file), or --no-password with an "
          "--ssh-key")  # fmt: skip

_Read = TypeVar("_Read")


class _Wrong(list[str]):
    """What is wrong, one after the other."""

    def of(self, read: Callable[[], _Read], otherwise: _Read) -> _Read:
        """What ``read`` gives; where it cannot, why is kept."""
        try:
            return read()
        except InputError as error:
            self.append(str(error))
            return otherwise


def faults(args: argparse.Namespace, rootfs: Path | None, modules: Sequence[str]) -> list[str]:
    """Everything that is wrong with what the device is to be, a line each. ``rootfs``: None where none is unpacked
    yet, by which some of it is told."""
    wrong = _Wrong(_apart(args))
    settings = _read(args, modules, wrong)
    if settings is not None:
        wrong += settings_faults(settings)
    if settings is not None and rootfs is not None:
        wrong += wrong.of(lambda: _impossible(rootfs, settings), [])
    return list(dict.fromkeys(wrong))


def asked_for(args: argparse.Namespace) -> list[str]:
    """What somebody must type, as no file says it."""
    user = args.user and args.user.isprintable() and not (args.no_password or args.password_file)
    networks = () if args.wifi_password_file else [ssid for ssid in dict.fromkeys(args.wifi) if ssid and _shown(ssid)]
    return [f"Password of {args.user} on the device"] * bool(user) + [f"Password of the network {ssid}"
                                                                       for ssid in networks]  # fmt: skip


def settings_of(args: argparse.Namespace, rootfs: Path, modules: Sequence[str]) -> Settings | None:
    """Asks for what is to be typed. Raises InputError where a file cannot be read, or nobody is there to be asked."""
    wrong = _Wrong(_apart(args))
    settings = _read(args, modules, wrong)
    if wrong:
        raise InputError("; ".join(wrong))
    if settings is None:
        return None
    files = args.wifi_password_file or [None] * len(args.wifi)
    return replace(
        settings, hashed=_hash(args, rootfs), app=flash_app.whole(args, _signature(rootfs)),
        wifi=tuple(Wifi(ssid, _secret(ssid, path, args.dry_run)) for ssid, path in zip(args.wifi, files, strict=True)),
    )  # fmt: skip


def _read(args: argparse.Namespace, modules: Sequence[str], wrong: _Wrong) -> Settings | None:
    """The settings, but for what is to be typed."""
    choices = (args.user, args.ssh_key, args.hostname, args.timezone, args.locale, args.wifi, args.power_mode,
               args.swap, args.bundle, args.wheels, args.desktop, args.trust_key)  # fmt: skip
    if not any(choices):
        return None
    if args.user:
        wrong.of(lambda: check_name(args.user), "")
    if args.password_file:
        wrong.of(lambda: check_password(_line(args.password_file)), None)
    texts = [wrong.of(lambda path=path: _public(path), None) for path in args.ssh_key]  # type: ignore[misc]
    secrets = [wrong.of(lambda path=path: _line(path), "") for path in args.wifi_password_file]  # type: ignore[misc]
    secrets += [""] * (len(args.wifi) - len(secrets))
    return Settings(
        user=args.user or "", hashed=LOCKED if args.no_password and None not in texts else TO_BE_ASKED,
        sudo=not args.no_sudo, keys=keys_of(text or "" for text in texts), hostname=args.hostname or "",
        timezone=args.timezone or "", locale=args.locale or "", wifi=tuple(map(Wifi, args.wifi, secrets)),
        power_mode=args.power_mode or "", modules=tuple(modules), headless=not args.desktop,
        swap=wrong.of(lambda: size_of(args.swap), 0) if args.swap else 0,
        app=flash_app.outline(args, wrong.append), trust=wrong.of(lambda: flash_app.trusted(args), ()),
    )  # fmt: skip


def _apart(args: argparse.Namespace) -> Iterator[str]:
    """What does not go together, or is not there."""
    yield from flash_app.apart(args)
    for ssid in dict.fromkeys(args.wifi):
        if not _shown(ssid):
            yield f"the network's name {ssid[:40]!r} has characters that cannot be shown; wanted it as it is seen"
    if args.wifi_password_file and not args.wifi:
        yield "a file of a network's password, and no network; name it: --wifi SSID"
    elif len(args.wifi_password_file) not in (0, len(args.wifi)):
        yield (f"--wifi stands {_times(args.wifi)} and --wifi-password-file {_times(args.wifi_password_file)}; wanted "
               "a file for each network, in the same order")  # fmt: skip
    if not args.user and (args.password_file or args.no_password):
        yield "a password is a user's; name one: --user NAME"
    typed = asked_for(args)
    if typed and not args.dry_run and not sys.stdin.isatty():
        yield f"{', '.join(typed)}: {NOBODY}"


def _shown(ssid: str) -> bool:
    """Whether a terminal can show a network's name, and do nothing else by it."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in ssid)


def _times(words: Sequence[object]) -> str:
    return "once" if len(words) == 1 else f"{len(words)} times"


def _signature(rootfs: Path) -> bytes:
    """Of the release that the root has."""
    with suppress(InputError), Rootfs(rootfs, write=False) as root:
        return root.read(SIGNATURE) or b""
    return b""


def _impossible(rootfs: Path, settings: Settings) -> list[str]:
    with Rootfs(rootfs, write=False) as root:
        return list(prepare.impossible(root, settings))


def _hash(args: argparse.Namespace, rootfs: Path) -> str:
    if not args.user or args.no_password:
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
        raise InputError(f"{what}: {NOBODY}")
    typed = getpass.getpass(f"{what}: ")
    if not typed and not empty:
        raise InputError("an empty password lets nobody in; with an --ssh-key: --no-password")
    if typed and getpass.getpass("Again: ") != typed:
        raise InputError("the two were not the same; nothing was changed")
    return typed


def _public(path: Path) -> str:
    """A file of public SSH keys."""
    text = _text(path, MOST_KEY)
    refuse_private(text.encode(), path)
    check_keys(text, str(path))
    return text


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
