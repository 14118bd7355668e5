"""The machine that flashes: what of it decides whether NVIDIA's scripts will run.

Receives a system and the folder of Linux_for_Tegra; hands on :class:`Host`. Files are read, and systemctl is asked
which services run; nothing is changed.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson.packages import MOST_STATUS
from edge_streamer.devices.jetson.system import System

AUTOSUSPEND = "/sys/module/usbcore/parameters/autosuspend"
SERVICES = ("udisks2.service", "ModemManager.service")
"""What takes hold of a board's drives and serial lines as soon as they show."""
VIRTUAL = ("qemu", "kvm", "vmware", "virtualbox", "innotek", "xen", "parallels", "bochs", "hyper-v", "virtual machine",
           "amazon ec2", "google compute")  # fmt: skip
"""In what the firmware says of its maker."""


class Mount(NamedTuple):
    """Where a folder lies."""

    point: str
    kind: str
    options: frozenset[str]


@dataclass(frozen=True)
class Host:
    """What was read."""

    architecture: str = ""
    system: str = ""
    """``ubuntu``, or another ID of /etc/os-release."""
    version: str = ""
    root: bool = False
    inside: str = ""
    """``a container``, ``WSL``, ``a virtual machine``; empty on a machine of its own."""
    packages: frozenset[str] | None = None
    """Installed ones; None where there is no dpkg."""
    autosuspend: int | None = None
    """Seconds; -1 for never."""
    services: frozenset[str] = frozenset()
    ipv6: bool = True
    firewall: bool = False
    """Whether ufw is on."""
    vpn: tuple[str, ...] = ()
    """Interfaces of tunnels."""
    mount: Mount | None = None
    """Where Linux_for_Tegra lies."""
    free: int | None = None
    """Bytes there."""
    sdkmanager: bool = False


def read(system: System, l4t: Path, *, architecture: str = "", root: bool | None = None) -> Host:
    """All of it. ``architecture`` and ``root``: where they are not this process's."""
    release = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]{1,60})"?$', system.text("/etc/os-release"), re.MULTILINE))
    return Host(
        architecture=architecture or platform.machine(), system=release.get("ID", ""),
        version=release.get("VERSION_ID", ""), root=os.geteuid() == 0 if root is None else root, inside=_inside(system),
        packages=_packages(system), autosuspend=system.number(AUTOSUSPEND),
        services=frozenset(name for name in SERVICES if _active(system, name)),
        ipv6=system.line("/proc/sys/net/ipv6/conf/all/disable_ipv6") != "1",
        firewall=bool(re.search(r"^ENABLED=yes", system.text("/etc/ufw/ufw.conf"), re.MULTILINE)),
        vpn=tuple(name for path in system.names("/sys/class/net/*")
                  if re.match(r"tun|tap|ppp|wg|gpd", name := path.rpartition("/")[2])),
        mount=_mount(system, l4t), free=_free(l4t), sdkmanager=shutil.which("sdkmanager") is not None,
    )  # fmt: skip


def installed(text: str) -> frozenset[str]:
    """Names of the packages that dpkg's list has as installed."""
    names = set()
    for stanza in text.split("\n\n"):
        name = re.search(r"^Package: (\S{1,200})$", stanza, re.MULTILINE)
        if name and re.search(r"^Status: \S+ \S+ installed$", stanza, re.MULTILINE):
            names.add(name[1])
    return frozenset(names)


def _active(system: System, name: str) -> bool:
    return system.ask(("systemctl", "is-active", name)).strip() == "active"


def _packages(system: System) -> frozenset[str] | None:
    text = system.text("/var/lib/dpkg/status", MOST_STATUS)
    return installed(text) if text else None


def _inside(system: System) -> str:
    if "microsoft" in system.line("/proc/sys/kernel/osrelease").lower():
        return "WSL"
    marks = system.there("/.dockerenv") or system.there("/run/.containerenv")
    if marks or re.search(r"docker|lxc|containerd|kubepods|libpod", system.text("/proc/1/cgroup")):
        return "a container"
    maker = " ".join(system.line(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")).lower()
    return "a virtual machine" if any(name in maker for name in VIRTUAL) else ""


def _mount(system: System, folder: Path) -> Mount | None:
    """The line of the kernel's list whose mount point is nearest above ``folder``; of several there, the last."""
    place, best = os.path.realpath(folder), None
    for line in system.text("/proc/self/mountinfo", 1024 * 1024).splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(), right.split()
        if len(before) < 6 or len(after) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before[4])
        if place == point or place.startswith(point.rstrip("/") + "/"):
            options = frozenset((*before[5].split(","), *after[2].split(",")))
            if best is None or len(point) >= len(best.point):
                best = Mount(point, after[0], options)
    return best


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
