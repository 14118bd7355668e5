"""From an unpacked root file system to one that talks at its first start. Killed anywhere, it is run again.

Receives a root file system and settings; hands on whether it is whole. Every step writes what is wanted wherever it is
not so yet, so that all of them twice are as good as once. A file on the device says what was done: it stands under one
name from before the first step, and under another after the last.
"""

from __future__ import annotations

import json
import re
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from edge_streamer.devices.jetson import power
from edge_streamer.devices.jetson.flash import app, units
from edge_streamer.devices.jetson.flash.accounts import Account, Lists, group_of, hash_of, with_user
from edge_streamer.devices.jetson.flash.rootfs import Rootfs
from edge_streamer.devices.jetson.flash.settings import LOCALE, ZONE, Settings, Wifi, faults
from edge_streamer.runtime.errors import InputError

NOTES = "etc/edge-streamer"
KEYS = f"{NOTES}/keys.d"
"""As runtime/trust/keyring.py has it; a test compares."""
BEGUN, DONE = f"{NOTES}/preparing.json", f"{NOTES}/prepared.json"
SYSTEM_UNITS = "etc/systemd/system"
CONNECTIONS = "etc/NetworkManager/system-connections"
OWN_NETWORK = uuid.UUID("6e1f0f0a-3c0e-4d0c-9e54-6f3f6d1d7a52")
"""What the ids of networks are made from, so that the same network has the same id."""
SUPPORTED = "var/lib/locales/supported.d"
ARCHIVE, ARCHIVE_BYTES = "usr/lib/locale/locale-archive", 400_000_000
"""Of all that there are it takes 220 MB."""
MOST_NAMED = 12
_ARCHIVED = re.compile(rb"(?<=\0)[a-z]{2,3}_[A-Z]{2}(?:\.utf8)?(?:@[a-z]+)?(?=\0)")
_DEFAULT = re.compile(r"(<\s*PM_CONFIG\s+DEFAULT\s*=\s*)\d{1,4}(\s*>)")

Told = Callable[[str], None]


def half(rootfs: Rootfs) -> bool:
    """Whether a preparation began and did not end."""
    return rootfs.look(BEGUN) is not None


def whole(rootfs: Rootfs) -> str:
    """The fingerprint of the preparation that ended last; empty where there was none, or one began since."""
    if half(rootfs):
        return ""
    try:
        told = json.loads(rootfs.text(DONE) or "{}")
    except (ValueError, InputError):  # only root reads it, since secrets could be guessed by it
        return ""
    return str(told.get("fingerprint", "")) if isinstance(told, dict) else ""


def prepare(rootfs: Rootfs, settings: Settings, told: Told = lambda _: None) -> bool:
    """Write all that is wanted; False where it was so already. Raises InputError, before anything is written where that
    can be seen before."""
    modes = possible(rootfs, settings)
    fingerprint = settings.fingerprint()
    if whole(rootfs) == fingerprint:
        return False
    note = (json.dumps({"fingerprint": fingerprint}) + "\n").encode()
    rootfs.folder(NOTES)
    rootfs.write(BEGUN, note, 0o600)
    rootfs.remove(DONE)
    account = _user(rootfs, settings, told)
    _names(rootfs, settings, told)
    for network in settings.wifi:
        _network(rootfs, network)
        told(f"Wi-Fi {network.ssid}")
    for name, text in modes.items():
        rootfs.write(name, text.encode("utf-8", "surrogateescape"), keep=True)
        told(f"power mode {settings.power_mode} in /{name}")
    _targets(rootfs, settings, told)
    for key in settings.trust:
        rootfs.folder(KEYS)
        rootfs.write(f"{KEYS}/{key.name}.pub", key.line)
        told(f"only what the key {key.name} signed is run")
    if settings.app is not None:
        app.install_app(rootfs, settings.user, account, settings.app)
        told(f"bundle, wheels and the {'system' if settings.app.system else 'user'}'s service")
    rootfs.write(DONE, note, 0o600)
    rootfs.remove(BEGUN)
    return True


def possible(rootfs: Rootfs, settings: Settings) -> dict[str, str]:
    """The text of the files of power modes that will be written. Raises InputError where something wanted cannot be."""
    for fault in chain(faults(settings), _faults_of_root(rootfs, settings)):
        raise InputError(fault)
    return _power_files(rootfs, settings)


def impossible(rootfs: Rootfs, settings: Settings) -> Iterator[str]:
    """Everything that is wanted and cannot be in this root file system, a line each. Raises InputError where it cannot
    be read."""
    yield from _faults_of_root(rootfs, settings)
    try:
        _power_files(rootfs, settings)
    except InputError as error:
        yield str(error)


def _faults_of_root(rootfs: Rootfs, settings: Settings) -> Iterator[str]:
    """What a root must have for what is wanted, all before the first byte."""
    if rootfs.read("etc/passwd") is None:
        yield f"{rootfs.path} has no /etc/passwd: no root file system is unpacked there"
    zone = f"usr/share/zoneinfo/{settings.timezone}"
    named = ZONE.fullmatch(settings.timezone) is not None  # of what is none another line has told
    found = rootfs.look(zone, follow=True) if named else None
    if named and (found is None or not stat.S_ISREG(found.st_mode)):
        yield f"the root file system has no time zone {settings.timezone}; wanted a name of /{zone[:18]}"
    yield from _locale_faults(rootfs, settings.locale)
    if settings.wifi and rootfs.look("usr/sbin/NetworkManager", follow=True) is None:
        yield ("the root file system has no NetworkManager, which joins Wi-Fi networks; leave --wifi away, or install "
               "network-manager there")  # fmt: skip
    if settings.app is not None:
        yield from app.faults(rootfs, settings.app)
    if settings.user:
        # Without the lists that only root reads, so that a dry run needs none.
        lists = Lists(rootfs.text("etc/passwd"), "", rootfs.text("etc/group"), "")
        try:
            with_user(lists, settings.user, settings.hashed)
        except InputError as error:
            yield str(error)


def _locale_faults(rootfs: Rootfs, locale: str) -> Iterator[str]:
    """Of a locale that is named as one but that nobody has made in this root."""
    if not LOCALE.fullmatch(locale):  # of what is none another line has told
        return
    made = _locales(rootfs)
    if locale not in made:
        more = f" and {len(made) - MOST_NAMED} more" if len(made) > MOST_NAMED else ""
        yield (f"the root file system has no locale {locale}; it has {', '.join(made[:MOST_NAMED])}{more}; take one, "
               "or generate it there (locale-gen)")  # fmt: skip


def _locales(rootfs: Rootfs) -> list[str]:
    """What glibc brings, what stands in a folder of its own or in the archive of all, and what was ordered."""
    archive = rootfs.read(ARCHIVE, ARCHIVE_BYTES) or b""
    archived = [name.decode() for name in sorted(set(_ARCHIVED.findall(archive)))]
    ordered = [rootfs.text("etc/locale.gen"), *(rootfs.text(f"{SUPPORTED}/{name}") for name in rootfs.names(SUPPORTED))]
    words = [line.split()[0] for text in ordered for line in text.splitlines() if line.split()]
    names = (name.replace(".utf8", ".UTF-8") for name in (*sorted(rootfs.names("usr/lib/locale")), *archived, *words))
    return list(dict.fromkeys(("C.UTF-8", "POSIX", "C", *(name for name in names if LOCALE.fullmatch(name)))))


def _lists(rootfs: Rootfs) -> Lists:
    return Lists(*(rootfs.text(f"etc/{name}") for name in Lists._fields))


def current_hash(rootfs: Rootfs, user: str) -> str:
    """What the root has as the user's password already."""
    return hash_of(rootfs.text("etc/shadow"), user)


def _user(rootfs: Rootfs, settings: Settings, told: Told) -> Account | None:
    """Groups first: a user without one of his groups is put into it by the next run, a group without a user is none."""
    if not settings.user:
        return None
    before = _lists(rootfs)
    lists, account = with_user(before, settings.user, settings.hashed, sudo=settings.sudo)
    for name, mode in (("group", 0o644), ("gshadow", 0o640), ("shadow", 0o640), ("passwd", 0o644)):
        text = getattr(lists, name)
        if text != getattr(before, name):
            owner = 0, group_of(lists.group, "shadow") if mode == 0o640 else 0
            rootfs.write(f"etc/{name}", text.encode("utf-8", "surrogateescape"), mode, owner, keep=True)
    owner = account.uid, account.gid
    rootfs.folder(account.home, 0o750, owner)
    for name in rootfs.names("etc/skel"):
        data = rootfs.read(f"etc/skel/{name}") if _regular(rootfs, f"etc/skel/{name}") else None
        if data is not None and rootfs.look(f"{account.home}/{name}") is None:
            rootfs.write(f"{account.home}/{name}", data, 0o644, owner)
    told(f"user {settings.user}, number {account.uid}")
    if settings.keys:
        rootfs.folder(f"{account.home}/.ssh", 0o700, owner)
        lines = rootfs.text(f"{account.home}/.ssh/authorized_keys").splitlines()
        text = "".join(f"{line}\n" for line in dict.fromkeys((*lines, *settings.keys)))
        rootfs.write(f"{account.home}/.ssh/authorized_keys", text.encode("utf-8", "surrogateescape"), 0o600, owner)
        told(f"{len(settings.keys)} SSH key{'s' if len(settings.keys) > 1 else ''}")
    return account


def _regular(rootfs: Rootfs, name: str) -> bool:
    found = rootfs.look(name)
    return found is not None and stat.S_ISREG(found.st_mode)


def _names(rootfs: Rootfs, settings: Settings, told: Told) -> None:
    """Host's name, time zone, language."""
    if settings.hostname:
        rootfs.write("etc/hostname", f"{settings.hostname}\n".encode())
        hosts = rootfs.text("etc/hosts") or "127.0.0.1 localhost\n"
        lines = [line for line in hosts.splitlines() if not re.match(r"127\.0\.1\.1\s", line)]
        text = "".join(f"{line}\n" for line in (*lines, f"127.0.1.1 {settings.hostname}"))
        rootfs.write("etc/hosts", text.encode("utf-8", "surrogateescape"), keep=True)
        told(f"host name {settings.hostname}")
    if settings.timezone:
        rootfs.link("etc/localtime", f"/usr/share/zoneinfo/{settings.timezone}")
        rootfs.write("etc/timezone", f"{settings.timezone}\n".encode())
        told(f"time zone {settings.timezone}")
    if settings.locale:
        rootfs.write("etc/default/locale", f"LANG={settings.locale}\n".encode())
        told(f"locale {settings.locale}")


def _network(rootfs: Rootfs, network: Wifi) -> None:
    """A connection of NetworkManager's, which reads none that others may read."""
    identity = uuid.uuid5(OWN_NETWORK, network.ssid)
    plain = re.fullmatch(r"[A-Za-z0-9_.-]+", network.ssid) and not network.ssid.startswith(".")
    name = network.ssid if plain else str(identity)
    # A name is written as its bytes: so neither a semicolon nor a backslash nor a line end in it means anything.
    ssid = "".join(f"{byte};" for byte in network.ssid.encode())
    secured = f"\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={_escaped(network.secret)}\n" if network.secret else ""
    text = (
        f"[connection]\nid={name}\nuuid={identity}\ntype=wifi\nautoconnect=true\n\n[wifi]\nmode=infrastructure\n"
        f"ssid={ssid}\n{secured}\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n"
    )
    rootfs.folder(CONNECTIONS, 0o700)
    rootfs.write(f"{CONNECTIONS}/edge-streamer-{name}.nmconnection", text.encode(), 0o600)


def _escaped(secret: str) -> str:
    """As GLib's key files want a string: a space at its start and every backslash are escaped."""
    text = secret.replace("\\", "\\\\")
    lead = len(text) - len(text.lstrip(" "))
    return "\\s" * lead + text[lead:]


def _power_files(rootfs: Rootfs, settings: Settings) -> dict[str, str]:
    """Files of power modes of the wanted modules that have the mode, with it as default."""
    if not settings.power_mode:
        return {}
    names = [f"etc/nvpmodel/{name}" for name in rootfs.names("etc/nvpmodel") if name.endswith(".conf")]
    parts = [part.replace("-", "_") for part in settings.modules]
    meant = [name for name in names if not parts or any(f"nvpmodel_{part}" in name for part in parts)]
    texts = {name: rootfs.text(name) for name in meant}
    found = {}
    for name, text in texts.items():
        number = next((number for number, mode in power.modes(text).items() if mode == settings.power_mode), None)
        if number is not None and _DEFAULT.search(text):
            found[name] = _DEFAULT.sub(rf"\g<1>{number}\g<2>", text)
    if not found:
        raise InputError(_no_mode(settings, names, texts))
    return found


def _no_mode(settings: Settings, names: Sequence[str], texts: Mapping[str, str]) -> str:
    """Why no file has the wanted power mode. ``names``: every file; ``texts``: of those that are meant."""
    wanted, bare = settings.power_mode, [name.rpartition("/")[2] for name in names]
    if not names:
        return f"power mode {wanted!r}: the root file system has no file of power modes in /etc/nvpmodel"
    if not texts:
        return (f"power mode {wanted!r}: no file in the root file system's /etc/nvpmodel is for a module of this board "
                f"({', '.join(settings.modules)}); it has {', '.join(bare)}")  # fmt: skip
    modes = dict.fromkeys(mode for text in texts.values() for mode in power.modes(text).values())
    files = ", ".join(name.rpartition("/")[2] for name in texts)
    if wanted in modes:
        return f"power mode {wanted!r} is in {files}, which has no PM_CONFIG DEFAULT to set it by"
    whose, more = ("this", "") if settings.modules else ("any", "; name the board to know its own: --board NAME")
    return (f"the root file system has no power mode {wanted!r} for {whose} board; it has {', '.join(modes) or 'none'} "
            f"({files}){more}")  # fmt: skip


def _targets(rootfs: Rootfs, settings: Settings, told: Told) -> None:
    """What the device starts. NVIDIA's image starts its own first set-up, which asks at a screen; with a user there is
    nothing to ask, and it is switched off as l4t_create_default_user.sh does."""
    if settings.headless:
        rootfs.link(f"{SYSTEM_UNITS}/default.target", "/lib/systemd/system/multi-user.target")
        told("no desktop at start")
    elif settings.user:
        rootfs.remove(f"{SYSTEM_UNITS}/default.target")
    if settings.user and rootfs.look("etc/nv", follow=True) is not None:
        rootfs.write("etc/nv/nvautoconfig", b"")
    if settings.swap:
        rootfs.write(f"{SYSTEM_UNITS}/{units.SWAP_MAKER}", units.swap_maker(settings.swap).encode())
        rootfs.write(f"{SYSTEM_UNITS}/{units.SWAP_UNIT}", units.swap().encode())
        rootfs.folder(f"{SYSTEM_UNITS}/multi-user.target.wants")
        rootfs.link(f"{SYSTEM_UNITS}/multi-user.target.wants/{units.SWAP_UNIT}", f"../{units.SWAP_UNIT}")
        told(f"swap of {settings.swap >> 20} MiB, made at the first start")
