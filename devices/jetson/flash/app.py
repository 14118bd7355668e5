"""Our own part of a root file system: what the first release is made of, the keeper, and the unit that runs it.

Receives a root file system and an :class:`App`; hands on nothing. Nothing is installed here, as nothing of the device
runs here: the first start makes the release, with the device's own Python (devices/jetson/releases/first.py).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_streamer.devices.jetson.deploy.payload import SILENT, SOUND, Payload, fits
from edge_streamer.devices.jetson.deploy.wheels import Goal, lacking
from edge_streamer.devices.jetson.flash import units
from edge_streamer.devices.jetson.flash.accounts import Account
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.releases import first
from edge_streamer.devices.jetson.releases.service import SYSTEM_ROOT, SYSTEM_UNITS, keeper_files
from edge_streamer.devices.jetson.releases.unit import GROUPS, NAME, Service
from edge_streamer.runtime.errors import InputError

LINGER = "var/lib/systemd/linger"
SIGNATURE = f"{units.FLASHED}.sig"
ARCHITECTURE = "aarch64"
PACKAGES, LIBRARIES = "usr/lib/python3/dist-packages", f"usr/lib/{ARCHITECTURE}-linux-gnu"
"""Where Debian puts Python's packages, and libraries."""
USER_UNITS = ".config/systemd/user"
USER_ROOT = ".local/share/edge-streamer"


@dataclass(frozen=True)
class App:
    """What talks: bundle, words of run and wheels, as one release."""

    payload: Payload
    signature: bytes = b""
    """Of the release; empty where it is not signed."""
    system: bool = False
    """Whether the service is the system's instead of the user's."""
    check: bool = True
    """Whether the golden units are replayed at the first start, before it talks."""
    sound: bool = False
    """Whether it takes a microphone or speaker."""

    def said(self) -> list[object]:
        """Equal where the same would be written."""
        return [self.payload.plan(""), self.signature.hex(), self.system, self.check]


def faults(rootfs: Rootfs, app: App) -> Iterator[str]:
    """Why this root could not make the release, a line each."""
    python = python_of(rootfs)
    if python is None:
        yield f"the root file system has no {units.PYTHON}, which makes the first release; install python3 there"
        return
    wrong = [name for file in app.payload.wheels
             if not fits(name := file.path.rpartition("/")[2], ARCHITECTURE, python)] if python else []  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield (f"{wrong[0]}{more} cannot be installed on the device ({ARCHITECTURE}, Python {python}); make the wheels "
               f"for it: edge-streamer deploy --make-wheels DIR --python {python}")  # fmt: skip
    elif python:
        try:
            less = lacking(app.payload.wheel_paths, Goal(python, ARCHITECTURE, ()))
        except InputError as error:
            yield str(error)
            less = []
        if less:
            yield (f"the wheels lack {', '.join(less)}, without which nothing starts on the device; complete them: "
                   f"edge-streamer deploy --make-wheels DIR --python {python}")  # fmt: skip
    if app.sound:
        yield from _without_sound(rootfs, app)


def _without_sound(rootfs: Rootfs, app: App) -> Iterator[str]:
    """Why it could neither hear nor speak."""
    packaged = any(name.startswith(SOUND) for name in rootfs.names(PACKAGES))
    if not packaged and not app.payload.brings(SOUND):
        yield ("the device could neither hear nor speak: neither the wheels nor the root file system have PyAudio; "
               f"build it (docs/flash.md, step 3), {SILENT}")  # fmt: skip
    elif not any(name.startswith("libportaudio.so.2") for name in rootfs.names(LIBRARIES)):
        yield ("the device could neither hear nor speak: the root file system has no libportaudio2, which PyAudio "
               f"loads; install it there (docs/flash.md, step 3), {SILENT}")  # fmt: skip


def python_of(rootfs: Rootfs) -> str | None:
    """``3.10``; empty where no name tells it, None where there is none."""
    there = rootfs.look(units.PYTHON, follow=True)
    if there is None:
        return None
    for name in rootfs.names("usr/bin"):
        found = re.fullmatch(r"python(3\.\d{1,2})", name)
        one = rootfs.look(f"usr/bin/{name}", follow=True) if found else None
        if found and one is not None and (one.st_dev, one.st_ino) == (there.st_dev, there.st_ino):
            return found[1]
    return ""


def install_app(rootfs: Rootfs, user: str, account: Account | None, app: App) -> None:
    """All of it. The user's service starts at boot without a login; the system's needs no user."""
    _bring(rootfs, app)
    rootfs.write(units.FIRST_START, Path(first.__file__).read_bytes())
    _drop_service(rootfs, account, app)
    if app.system or account is None:
        there = [group for group in GROUPS if re.search(rf"^{group}:", rootfs.text("etc/group"), re.MULTILINE)]
        service = Service(SYSTEM_ROOT, True, units.PYTHON, groups=there)
        _service(rootfs, service, str(SYSTEM_UNITS), "multi-user", (0, 0), app)
        return
    owner = account.uid, account.gid
    service = Service(Path(f"{account.home}/{USER_ROOT}"), python=units.PYTHON)
    _service(rootfs, service, f"{account.home}/{USER_UNITS}", "default", owner, app)
    rootfs.folder(LINGER)
    rootfs.write(f"{LINGER}/{user}", b"")


def _service(rootfs: Rootfs, service: Service, at: str, target: str, owner: tuple[int, int], app: App) -> None:
    """The keeper, the unit, and what makes the first release."""
    _folders(rootfs, str(service.root), owner)
    for name, text in keeper_files().items():
        _folders(rootfs, f"{service.root}/{Path(name).parent}", owner)
        rootfs.write(f"{service.root}/{name}", text, 0o644, owner)
    dropin = f"{at}/{NAME}.d/{units.DROPIN}"
    for folder in (f"{at}/{target}.target.wants", f"{at}/{NAME}.d"):
        _folders(rootfs, folder, owner)
    rootfs.write(dropin, units.first_start(str(service.root), dropin, app.check).encode(), 0o644, owner)
    rootfs.write(f"{at}/{NAME}", service.text().encode(), 0o644, owner)
    rootfs.link(f"{at}/{target}.target.wants/{NAME}", f"../{NAME}")


def _folders(rootfs: Rootfs, name: str, owner: tuple[int, int]) -> None:
    """A folder, and those above it that are not there, all of one owner."""
    parts = name.strip("/").split("/")
    for end in range(1, len(parts) + 1):
        rootfs.folder("/".join(parts[:end]), 0o755, owner)


def _drop_service(rootfs: Rootfs, account: Account | None, app: App) -> None:
    """The service of the other kind, which an earlier preparation may have written: two would both take the devices."""
    at, target = (f"{account.home}/{USER_UNITS}" if account else "", "default") if app.system else (
        str(SYSTEM_UNITS), "multi-user")  # fmt: skip
    if at:
        for name in (NAME, f"{NAME}.d", f"{target}.target.wants/{NAME}"):
            rootfs.remove(f"{at}/{name}")


def _bring(rootfs: Rootfs, app: App) -> None:
    """Every file of the release, root's. What another preparation brought there and this one has not goes away."""
    places = {f"{units.FLASHED}/{file.path}": file for file in app.payload.files}
    _drop(rootfs, units.FLASHED, set(places))
    for place, file in places.items():
        if isinstance(file.source, bytes):
            rootfs.write(place, file.source)
        else:
            rootfs.copy(file.source, place)
    if app.signature:
        rootfs.write(SIGNATURE, app.signature)
    else:
        rootfs.remove(SIGNATURE)


def _drop(rootfs: Rootfs, name: str, wanted: set[str]) -> None:
    """What lies below ``name`` and is not wanted."""
    for each in rootfs.names(name):
        path = f"{name}/{each}"
        found = rootfs.look(path)
        folder = found is not None and stat.S_ISDIR(found.st_mode)
        if folder and any(one.startswith(f"{path}/") for one in wanted):
            _drop(rootfs, path, wanted)
        elif folder or path not in wanted:
            rootfs.remove(path)
