"""The folder Linux_for_Tegra: which release it is, and how far somebody has prepared it.

Receives its path; hands on :class:`Tree`. Nothing is changed, and no script of it is run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_streamer.devices.jetson.flash.host import installed
from edge_streamer.devices.jetson.known import l4t_of, numbers
from edge_streamer.devices.jetson.packages import MOST_STATUS
from edge_streamer.devices.jetson.system import System

PREREQUISITES = "tools/l4t_flash_prerequisites.sh"
DEBS = "/nv_tegra/l4t_deb_packages"
PACKAGES = (
    "abootimg", "binfmt-support", "binutils", "cpio", "cpp", "device-tree-compiler", "dosfstools", "e2fsprogs", "file",
    "gdisk", "iproute2", "iputils-ping", "lbzip2", "libxml2-utils", "netcat-openbsd", "nfs-kernel-server", "openssl",
    "parted", "python3-yaml", "qemu-user-static", "rsync", "sshpass", "udev", "usbutils", "uuid-runtime", "whois",
    "xmlstarlet", "xxd", "zstd", "zlib1g", "python3-usb", "lz4", "python-is-python3",
)  # fmt: skip
"""Of l4t_flash_prerequisites.sh of R39.2, for a tree whose own list cannot be read. The scripts themselves look for
four of them, and end in the middle of a flash where another is missing."""
NEWER = ("lz4", "python-is-python3")
"""Added by the script on Ubuntu 20.04 and newer."""

_LIST = re.compile(r"package_list=\(([^)]{1,5000})\)")


@dataclass(frozen=True)
class Tree:
    """What was found."""

    path: Path
    there: bool = False
    """Whether it is a Linux_for_Tegra at all."""
    release: str = ""
    """``36.4.3``; empty where nothing tells."""
    packages: tuple[str, ...] = PACKAGES
    """What its own list wants of the host."""
    prerequisites: bool = False
    """Whether NVIDIA's script that installs them lies in it."""
    instead: str = ""
    """What is there where it is none."""
    unpacked: bool = False
    """Whether the root file system lies in it."""
    root_owned: bool = False
    applied: bool = False
    """Whether apply_binaries.sh has run."""
    driver: str = ""
    """``openrm`` or ``nvgpu``: which of the two GPU drivers it installed; empty where that cannot be told."""
    configs: frozenset[str] = frozenset()

    @property
    def series(self) -> int:
        """``36`` of ``36.4.3``; 0 where nothing tells."""
        return numbers(self.release)[0] if self.release else 0

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"


def read(path: Path, uid: int = 0) -> Tree:
    """Of a folder that may hold anything. ``uid``: who root is, in a test that is not."""
    system = System(path)
    there = system.there("/flash.sh") and system.there("/bootloader")
    if not there:
        return Tree(path, instead=_instead(path))
    passwd = path / "rootfs/etc/passwd"
    status = installed(system.text("/rootfs/var/lib/dpkg/status", MOST_STATUS))
    return Tree(
        path, there, _release(system), _packages(system), system.there(f"/{PREREQUISITES}"), "",
        os.path.lexists(passwd), _owned(passwd, uid),
        system.there("/rootfs/etc/nv_tegra_release") or "nvidia-l4t-core" in status, _driver(system, status),
        frozenset(name.rpartition("/")[2].removesuffix(".conf") for name in system.names("/*.conf")),
    )  # fmt: skip


def _instead(path: Path) -> str:
    """In words, what a path leads to that is no Linux_for_Tegra."""
    try:
        if not os.path.lexists(path):
            return "does not exist"
        if not path.is_dir():
            return "is a file" if path.exists() else "is a link to nothing"
        if not os.listdir(path):
            return "is an empty folder"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "is no Linux_for_Tegra: a folder without its flash.sh and bootloader"


def _release(system: System) -> str:
    """Of the root file system where it tells, else of the tree, whose files may carry it in their names."""
    for name in ("/rootfs/etc/nv_tegra_release", "/nv_tegra/nv_tegra_release"):
        if found := l4t_of(system.line(name)):
            return found
    for name in system.names(f"{DEBS}/nvidia-l4t-core_*.deb"):
        if version := re.search(r"core_(\d+\.\d+\.\d+)-", name):
            return version[1]
    return ""


def _packages(system: System) -> tuple[str, ...]:
    found = _LIST.search(system.text(f"/{PREREQUISITES}"))
    names = tuple(re.findall(r"[a-z0-9][a-z0-9+.-]+", found[1])) if found else ()
    return tuple(dict.fromkeys((*names, *NEWER))) if names else PACKAGES


def _owned(passwd: Path, uid: int) -> bool:
    try:
        return os.lstat(passwd).st_uid == uid
    except OSError:
        return False


def _driver(system: System, status: frozenset[str]) -> str:
    """By the packages that only one of apply_binaries.sh's two ways installs; their names are those of the tree."""
    packages = {
        kind: {name.rpartition("/")[2].partition("_")[0] for name in system.names(f"{DEBS}/{kind}/*.deb")}
        for kind in ("openrm", "nvgpu")
    }
    for kind, other in (("openrm", "nvgpu"), ("nvgpu", "openrm")):
        if (packages[kind] - packages[other]) & status:
            return kind
    return ""
