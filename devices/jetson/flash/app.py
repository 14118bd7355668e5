"""Our own part of a root file system: bundle, wheels, and the unit that starts them. One function is the seam.

Receives a root file system and where bundle and wheels lie; hands on nothing. Whatever lays out releases on a device
differently replaces ``install_app``.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_streamer.devices.jetson.flash import units
from edge_streamer.devices.jetson.flash.accounts import Account
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.runtime.errors import InputError

LINGER = "var/lib/systemd/linger"


def install_app(rootfs: Rootfs, user: str, account: Account, bundle: Path | None, wheels: Path | None) -> None:
    """Bundle and wheels below /opt/edge-streamer, root's; with both, the user's unit, started at boot without a login.
    Raises InputError where one of them is not what it should be."""
    if wheels is not None and not any(wheels.glob("edge_streamer-*.whl")):
        raise InputError(f"{wheels} holds no wheel of edge_streamer; put it and what it needs there")
    for source, name in ((bundle, units.BUNDLE), (wheels, units.WHEELS)):
        if source is not None:
            _bring(rootfs, source, name)
    if bundle is None or wheels is None:
        return
    rootfs.write(units.FIRST_START, units.first_start().encode(), 0o755)
    owner = account.uid, account.gid
    at = f"{account.home}/.config/systemd/user"
    for folder in (".config", ".config/systemd", ".config/systemd/user", ".config/systemd/user/default.target.wants"):
        rootfs.folder(f"{account.home}/{folder}", 0o755, owner)
    rootfs.write(f"{at}/{units.SERVICE}", units.service().encode(), 0o644, owner)
    rootfs.link(f"{at}/default.target.wants/{units.SERVICE}", f"../{units.SERVICE}")
    rootfs.folder(LINGER)
    rootfs.write(f"{LINGER}/{user}", b"")


def _bring(rootfs: Rootfs, source: Path, name: str) -> None:
    """A file, or a folder with what is in it; links of it are followed, as a copy of Hugging Face's cache wants. What
    another preparation brought there and this one has not goes away."""
    there = rootfs.look(name)
    if source.is_file():
        if there is not None and stat.S_ISDIR(there.st_mode):
            rootfs.remove(name)
        rootfs.copy(source, name)
        return
    if there is not None and not stat.S_ISDIR(there.st_mode):
        rootfs.remove(name)
    rootfs.folder(name)
    wanted = set()
    for folder, _, files in os.walk(source, followlinks=True):
        inside = os.path.relpath(folder, source)
        place = name if inside == "." else f"{name}/{inside}"
        rootfs.folder(place)
        for each in files:
            rootfs.copy(Path(folder, each), f"{place}/{each}")
            wanted.add(f"{place}/{each}")
    _drop(rootfs, name, wanted)


def _drop(rootfs: Rootfs, name: str, wanted: set[str]) -> None:
    """What lies below ``name`` and is not wanted."""
    for each in rootfs.names(name):
        path = f"{name}/{each}"
        found = rootfs.look(path)
        if found is not None and stat.S_ISDIR(found.st_mode) and any(one.startswith(f"{path}/") for one in wanted):
            _drop(rootfs, path, wanted)
        elif path not in wanted:
            rootfs.remove(path)
