"""Everything that is looked at before a board is touched, all of it at once.

Receives what was read of the host, of Linux_for_Tegra and of the USB ports, and what is wanted; hands on lines: ok,
warn or fail, what was found, and what to do. Where one fails nothing is run. A few may be allowed by name, where people
have got through with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from edge_streamer.devices.jetson.flash.host import AUTOSUSPEND, Host
from edge_streamer.devices.jetson.flash.routes import BOARDS, HOSTS, SERIES, STORAGES, storages_of
from edge_streamer.devices.jetson.flash.tree import PREREQUISITES, Tree
from edge_streamer.devices.jetson.flash.usb import Port
from edge_streamer.devices.jetson.line import Line, fail, ok, warn
from edge_streamer.runtime.files import size_text

ALLOWED = ("host", "machine", "packages", "disk", "usb power", "automount", "network")
"""Lines that may fail where ``--allow`` names them."""
NO_DISK, LITTLE_DISK = 30_000_000_000, 60_000_000_000
"""Bytes: images of a 57 GB partition and what NVIDIA's scripts copy around them."""
FOREIGN = (
    "ntfs",
    "ntfs3",
    "fuseblk",
    "exfat",
    "vfat",
    "9p",
    "vboxsf",
    "fuse.vmhgfs-fuse",
    "drvfs",
    "cifs",
    "nfs",
    "nfs4",
)
"""File systems without owners and modes of their own, or which no NFS server hands on."""
RECOVERY = ("put the board into Force Recovery Mode and plug its USB-C port into this machine: power off, hold Force "
            "Recovery (Orin Nano and NX: bridge pins 9 and 10, FC REC and GND), power on, let go")  # fmt: skip


class Wanted(NamedTuple):
    """What is to be flashed."""

    board: str
    storage: str
    config: str
    images_only: bool = False
    boards: int = 1
    """How many may be in recovery mode."""
    sdkmanager: bool = False
    module: str = ""
    """The part number, where it was told."""


def lines(host: Host, tree: Tree, ports: tuple[Sequence[Port], Sequence[Port]], wanted: Wanted,
          allow: Iterable[str] = ()) -> list[Line]:  # fmt: skip
    """Every line, in the order in which one would mend."""
    found = [*_host(host, tree, wanted)]
    if not wanted.board:
        found += [*_unnamed(host, tree, ports[0], wanted)]
    elif wanted.sdkmanager:
        found.append(_sdkmanager(host))
    else:
        found += [*_tree(host, tree, wanted)]
    if wanted.board:
        found += [*_usb(host, wanted), _board(*ports, wanted)]
        found += [] if wanted.sdkmanager else [*_network(host, tree, wanted)]
        found += [*_firmware(tree, wanted)]
    allowed = set(allow)
    return [replace(line, state="warn") if line.state == "fail" and line.name in allowed else line for line in found]


def failed(found: Iterable[Line]) -> list[Line]:
    return [line for line in found if line.state == "fail"]


def _unnamed(host: Host, tree: Tree, waiting: Sequence[Port], wanted: Wanted) -> Iterator[Line]:
    """What can be looked at while nobody knows which board is meant."""
    if not wanted.sdkmanager:
        yield _there(tree)
    if not wanted.sdkmanager and tree.there:
        yield from _place(host, tree)
    yield from _usb(host, wanted)
    named = f"name it: --board {' | '.join(BOARDS)}"
    if waiting:
        yield fail(
            "board", f"several in recovery mode: {'; '.join(map(str, waiting))}", f"leave one plugged in, or {named}"
        )
    else:
        yield fail("board", "none in recovery mode, and none was named", f"{RECOVERY}; or {named}")


def _host(host: Host, tree: Tree, wanted: Wanted) -> Iterator[Line]:
    name = f"{host.system or 'an unknown system'} {host.version} on {host.architecture}"
    versions = HOSTS.get(tree.series, tuple(sorted({version for each in HOSTS.values() for version in each})))
    ubuntu = f"Ubuntu {' or '.join(versions)} on x86-64"
    if host.architecture != "x86_64" or host.system != "ubuntu":
        yield fail("host", name, f"NVIDIA's tools run on {ubuntu}")
    elif host.version not in versions:
        yield fail("host", f"{name}, for R{tree.series or '?'}",
                   f"flash from {ubuntu}; on another Ubuntu at your own risk: --allow host")  # fmt: skip
    else:
        yield ok("host", name)
    if host.inside:
        yield fail("machine", f"this is {host.inside}",
                   "flash from a machine of its own: the board changes its USB device in the middle, and it is lost "
                   "here; where you have handed all of USB through: --allow machine")  # fmt: skip
    else:
        yield ok("machine", "of its own")
    if wanted.sdkmanager:
        return
    if host.root:
        yield ok("root", "yes")
    else:
        yield fail("root", "no", 'run it as root: sudo "$(command -v edge-streamer)" flash ...; --dry-run needs none')
    yield _packages(host, tree)


def _packages(host: Host, tree: Tree) -> Line:
    script = f"in {tree.path}: sudo ./{PREREQUISITES}; or: " if tree.prerequisites else ""
    if host.packages is None:
        return fail("packages", "no dpkg here: what is installed cannot be told",
                    f"{script}flash from Ubuntu, where NVIDIA's script installs what it needs")  # fmt: skip
    lacks = [name for name in tree.packages if name not in host.packages]
    if lacks:
        return fail("packages", f"{len(lacks)} of {len(tree.packages)} missing: {', '.join(lacks)}",
                    f"{script}sudo apt-get install {' '.join(lacks)}")  # fmt: skip
    return ok("packages", f"all {len(tree.packages)} of {PREREQUISITES}")


def _sdkmanager(host: Host) -> Line:
    if host.sdkmanager:
        return ok("sdkmanager", "is there; it asks for NVIDIA's login itself")
    return fail("sdkmanager", "not found", "install it: https://developer.nvidia.com/sdk-manager")


def _tree(host: Host, tree: Tree, wanted: Wanted) -> Iterator[Line]:
    yield _there(tree)
    if not tree.there:
        return
    yield _release(tree, wanted)
    yield from _rootfs(tree, wanted)
    if wanted.config in tree.configs:
        yield ok("config", wanted.config)
    else:
        near = sorted(name for name in tree.configs if name.startswith("jetson-"))[:8]
        yield fail("config", f"{wanted.config}.conf is not in {tree.path}",
                   f"name one that is: --board-config {' | '.join(near) or 'NAME'}")  # fmt: skip
    yield from _place(host, tree)


def _there(tree: Tree) -> Line:
    if tree.there and re.search(r"\s", str(tree.path)):
        return fail("l4t", f"{tree.path}: a space in the path, at which NVIDIA's scripts split it", "rename the folder")
    unpack = "unpack Jetson_Linux_R..._aarch64.tbz2 and name its folder: --l4t .../Linux_for_Tegra"
    if tree.there and not tree.release:
        return fail("l4t", f"{tree.path} tells no release: it is not all of a Linux_for_Tegra", unpack)
    if tree.there:
        return ok("l4t", str(tree.path))
    inside = tree.path / "Linux_for_Tegra"
    return fail("l4t", f"{tree.path} {tree.instead}", f"--l4t {inside}" if inside.is_dir() else unpack)


def _release(tree: Tree, wanted: Wanted) -> Line:
    if tree.series not in SERIES:
        said = f"R{tree.release}" if tree.release else "not told by rootfs/etc/nv_tegra_release, nor by nv_tegra"
        return fail("release", said, f"known are {', '.join(f'R{s} ({name})' for s, name in SERIES.items())}")
    storages, title = storages_of(wanted.board, tree.series), BOARDS[wanted.board].title
    if not storages:
        fits = [f"R{series}" for series in SERIES if storages_of(wanted.board, series)]
        return fail("release", f"R{tree.release} does not flash a {title}", f"unpack {' or '.join(fits)}")
    if wanted.storage not in storages:
        place = STORAGES[wanted.storage]
        return fail("storage", f"{wanted.storage}: R{tree.series} does not flash a {title} to {place}",
                    f"--storage {' or '.join(storages)}")  # fmt: skip
    if wanted.storage == "sd":
        return warn("release", f"R{tree.release}, {SERIES[tree.series]}; to a microSD card of at least 64 GB",
                    "only the developer kit's module (P3767-0005) has a slot for it")  # fmt: skip
    least = {"nvme": f" of at least {'234 GiB' if tree.series == 39 and BOARDS[wanted.board].thor else '64 GB'}"}
    place = STORAGES[wanted.storage] + least.get(wanted.storage, "")
    return ok("release", f"R{tree.release}, {SERIES[tree.series]}; to {place}")


def _rootfs(tree: Tree, wanted: Wanted) -> Iterator[Line]:
    unpack = f"sudo tar xpf Tegra_Linux_Sample-Root-Filesystem_R..._aarch64.tbz2 -C {tree.rootfs}"
    if not tree.unpacked:
        yield fail("rootfs", f"{tree.rootfs} is empty", unpack)
        return
    if not tree.root_owned:
        yield fail("rootfs", f"{tree.rootfs}/etc/passwd does not belong to root: it was unpacked without sudo",
                   f"sudo rm -rf {tree.rootfs} && sudo mkdir {tree.rootfs} && {unpack}")  # fmt: skip
    else:
        yield ok("rootfs", "unpacked, and root's")
    thor = BOARDS[wanted.board].thor
    apply = f"in {tree.path}: sudo ./apply_binaries.sh{' --openrm' if thor else ''}"
    other = "nvgpu" if thor else "openrm"
    if not tree.applied:
        yield fail("binaries", "apply_binaries.sh has not run", apply)
    elif tree.driver == other:
        yield fail("binaries", f"apply_binaries.sh ran {'without' if thor else 'with'} --openrm, which a "
                   f"{BOARDS[wanted.board].title} {'needs' if thor else 'must not have'}",
                   f"unpack rootfs anew; then {apply}")  # fmt: skip
    elif thor and not tree.driver:
        yield warn("binaries", "applied; whether with --openrm, which a Thor needs, cannot be told", f"if not: {apply}")
    else:
        yield ok("binaries", "applied")


def _place(host: Host, tree: Tree) -> Iterator[Line]:
    mount = host.mount
    bad = sorted(mount.options & {"nosuid", "noexec", "nodev", "ro"}) if mount else []
    if mount and mount.kind in FOREIGN:
        yield fail("mount", f"{tree.path} lies on {mount.kind} ({mount.point})",
                   "move it to ext4 on this machine, with sudo and tar, so that owners and modes are kept")  # fmt: skip
    elif mount and bad:
        yield fail("mount", f"{mount.point} is mounted {', '.join(bad)}",
                   f"sudo mount -o remount,{','.join(_LIFTED[name] for name in bad)} {mount.point}")  # fmt: skip
    else:
        yield ok("mount", mount.kind if mount else "not told")
    if host.free is None:
        yield warn("disk", "not told", f"df -h {tree.path}")
    elif host.free < NO_DISK:
        yield fail("disk", f"{size_text(host.free)} free in {tree.path}", f"wanted are {size_text(NO_DISK)}; make room")
    elif host.free < LITTLE_DISK:
        yield warn("disk", f"{size_text(host.free)} free", "enough for images, hardly for those of several boards")
    else:
        yield ok("disk", f"{size_text(host.free)} free")


_LIFTED = {"nosuid": "suid", "noexec": "exec", "nodev": "dev", "ro": "rw"}


def _usb(host: Host, wanted: Wanted) -> Iterator[Line]:
    if wanted.images_only:
        return
    if host.autosuspend is not None and host.autosuspend >= 0:
        yield warn("usb power", f"ports sleep after {host.autosuspend} s: boards are lost in the middle of a flash",
                   f"echo -1 | sudo tee {AUTOSUSPEND}")  # fmt: skip
    else:
        yield ok("usb power", "ports do not sleep")
    active = sorted(name.removesuffix(".service") for name in host.services)
    if active:
        yield warn("automount", f"{' and '.join(active)} run: they open the board's drives and serial line meanwhile",
                   f"sudo systemctl stop {' '.join(active)}")  # fmt: skip
    else:
        yield ok("automount", "off")


def _board(waiting: Sequence[Port], running: Sequence[Port], wanted: Wanted) -> Line:
    title = BOARDS[wanted.board].title
    if not waiting:
        if wanted.images_only:
            if wanted.module:
                return ok("board", f"none is needed: {wanted.module} was told")
            return fail(
                "board", "none in recovery mode, and no module was told", "--module p3767-0005, or: " + RECOVERY
            )
        if running:
            return fail("board", f"{running[0].port} runs Linux; it is not in recovery mode",
                        f"sudo reboot --force forced-recovery on the board, or: {RECOVERY}")  # fmt: skip
        return fail("board", "none in recovery mode", RECOVERY)
    wrong = [port for port in waiting if port.board != wanted.board]
    if wrong:
        found = ", ".join(map(str, wrong))
        hint = f"--board {wrong[0].board}" if wrong[0].board else "flash it with NVIDIA's own tools"
        return fail("board", f"{found}: not a {title}", f"unplug it, or: {hint}")
    if len(waiting) > wanted.boards:
        found = "; ".join(map(str, waiting))
        return fail("board", f"{len(waiting)} in recovery mode: {found}",
                    f"leave {wanted.boards} plugged in, or: --massflash {len(waiting)}")  # fmt: skip
    kinds = sorted({port.module for port in waiting})
    if len(kinds) > 1:
        return fail("board", f"several kinds in recovery mode: {' and '.join(kinds)}",
                    "NVIDIA's tools flash boards of one kind at once; unplug the others")  # fmt: skip
    hub = [port.port for port in waiting if port.hub]
    if hub:
        return warn("board", "; ".join(map(str, waiting)), f"behind a hub ({', '.join(hub)}): plug it in directly")
    return ok("board", "; ".join(map(str, waiting)))


def _network(host: Host, tree: Tree, wanted: Wanted) -> Iterator[Line]:
    """Orin is flashed over IPv6 and NFS through the USB cable; Thor is not (README_initrd_flash.txt, R39.2)."""
    if wanted.images_only or BOARDS[wanted.board].thor or (wanted.storage == "emmc" and tree.series == 36):
        return
    if not host.ipv6:
        yield fail("network", "IPv6 is off, by which the board is flashed",
                   "sudo sysctl net.ipv6.conf.all.disable_ipv6=0")  # fmt: skip
    elif host.firewall:
        yield warn("network", "a firewall (ufw) is on; NFS to the board must pass", "sudo ufw allow nfs")
    elif host.vpn:
        yield warn("network", f"a tunnel is up ({', '.join(host.vpn)}); it may take the board's packets", "close it")
    else:
        yield ok("network", "IPv6, no firewall, no tunnel")


def _firmware(tree: Tree, wanted: Wanted) -> Iterator[Line]:
    if wanted.images_only or BOARDS[wanted.board].thor:
        return
    if tree.series >= 39:
        yield warn("firmware", "R39 (JetPack 7.2) also writes the module's QSPI: afterwards drives and cards of "
                   "JetPack 6 do not start in it any more",
                   "to go back, the whole board must be flashed again with R36, from Ubuntu 20.04 or 22.04; changing "
                   "the card is not enough")  # fmt: skip
    elif tree.series:
        yield ok("firmware", f"QSPI is written too, as of R{tree.series}")
