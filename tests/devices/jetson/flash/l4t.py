"""A Linux_for_Tegra that is none: its scripts write down how they were called, and say and do what a test wants.

Also the machine that flashes, as files, and root file systems with what they may hold. What the scripts say is what
NVIDIA's of R36.4 and R39.2 do.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_streamer.devices.jetson.flash.rootfs import Owners
from edge_streamer.devices.jetson.flash.tree import PACKAGES
from edge_streamer.devices.jetson.system import System, silent

SCRIPTS = ("flash.sh", "l4t_initrd_flash.sh", "tools/kernel_flash/l4t_initrd_flash.sh", "nvautoflash.sh")
CONFIGS = ("jetson-orin-nano-devkit", "jetson-orin-nano-devkit-super", "jetson-agx-orin-devkit",
           "jetson-agx-thor-devkit", "jetson-agx-thor-t4000")  # fmt: skip
SCRIPT = """#!{python} -S
import json, os, sys, time
l4t = {l4t!r}
call = {{"words": [{name!r}, *sys.argv[1:]], "environment": dict(os.environ), "in": os.getcwd()}}
with open(os.path.join(l4t, "calls.jsonl"), "a") as calls:
    calls.write(json.dumps(call) + "\\n")
for kind, *rest in json.load(open(os.path.join(l4t, "behaviour.json"))).get({name!r}, []):
    if kind == "say":
        print(rest[0], flush=True)
    elif kind == "sleep":
        time.sleep(rest[0])
    elif kind == "write":
        path = os.path.join(l4t, rest[0])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write(rest[1])
    elif kind == "exit":
        sys.exit(rest[0])
"""
IMAGES_MADE = (
    ("say", "************************************\n*  Step 1: Generate flash packages *"),
    ("say", "Success"), ("say", "Cleaning up..."), ("write", "tools/kernel_flash/initrdflashparam.txt", "x"),
    ("say", "Finish generating flash package."),
)  # fmt: skip
WAITS = (
    ("say", "*  Step 3: Boot the device with flash initrd image *"), ("say", "Mounting NFS folder  from this host"),
    ("say", "Waiting for target to boot-up..."), ("say", "Waiting for target to boot-up..."),
)  # fmt: skip
WRITTEN = (*WAITS, ("say", "Waiting for device to expose ssh ......SSH ready"), ("say", "Flash is successful"),
           ("say", "Reboot device"), ("say", "Cleaning up..."))  # fmt: skip
TIMED_OUT = (
    *WAITS, ("say", "16:12:15.019 - Error: Timeout"),
    ("say", "16:12:15.022 - Error: Device ping failed after RCM boot."), ("say", "Cleaning up..."), ("exit", 4),
)  # fmt: skip
EMMC_WRITTEN = (
    ("say", "Making system.img... "), ("write", "bootloader/system.img", "x"),
    ("say", "system.img built successfully. "), ("say", "*** Flashing target device started. ***"),
    ("say", "*** The target generic has been flashed successfully. ***"),
)  # fmt: skip
IDENTIFIED = """--- Reading board information succeeded.
Chip SKU(00:00:00:D5) ramcode(00:00:00:02)
Parsing module EEPROM:
--- Parsing board ID (3767) succeeded.
--- Parsing board version (300) succeeded.
--- Parsing board SKU ({sku}) succeeded.
--- Parsing board REV (V.2) succeeded.
jetson-orin-nano-devkit found."""


class Recorded(Owners):
    """Owners that are written down, as no test is root everywhere."""

    def __init__(self) -> None:
        self.given: dict[str, tuple[int, int]] = {}

    def give(self, number: int, name: str, uid: int, gid: int) -> None:
        self.given[name.strip("/")] = uid, gid

    def of(self, name: str, found: os.stat_result) -> tuple[int, int]:
        return self.given.get(name.strip("/"), (0, 0))


def release(version: str) -> str:
    series, _, revision = version.partition(".")
    return f"# R{series} (release), REVISION: {revision}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: x\n"


def make(folder: Path, version: str = "36.4.3", *, driver: str = "nvgpu", applied: bool = True) -> Path:
    """A Linux_for_Tegra with scripts and a root file system."""
    l4t = folder / "Linux_for_Tegra"
    (l4t / "tools/kernel_flash").mkdir(parents=True)
    (l4t / "bootloader").mkdir()
    for name in SCRIPTS:
        path = l4t / name
        path.write_text(SCRIPT.format(python=sys.executable, l4t=str(l4t), name=f"./{name}"))
        path.chmod(0o755)
    for name in CONFIGS:
        (l4t / f"{name}.conf").write_text("CHIPID=0x23\n")
    (l4t / "tools/l4t_flash_prerequisites.sh").write_text(
        f"#!/bin/bash\npackage_list=({' '.join(PACKAGES[:-2])})\npackage_list+=(lz4 python-is-python3)\n"
    )
    behave(l4t)
    for kind in ("openrm", "nvgpu"):
        debs = l4t / "nv_tegra/l4t_deb_packages" / kind
        debs.mkdir(parents=True)
        (debs / f"nvidia-l4t-{kind}-driver_{version}-1_arm64.deb").touch()
    root(l4t / "rootfs", version if applied else "", f"nvidia-l4t-{driver}-driver" if driver else "")
    return l4t


def behave(l4t: Path, **how: Sequence[Sequence[Any]]) -> None:
    """What scripts say and do: ``flash``, ``initrd``, ``top``, ``identify``."""
    names = dict(zip(("flash", "top", "initrd", "identify"), SCRIPTS, strict=True))
    (l4t / "behaviour.json").write_text(json.dumps({f"./{names[name]}": steps for name, steps in how.items()}))


def calls(l4t: Path) -> list[dict[str, Any]]:
    """Every call of a script."""
    path = l4t / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def words(l4t: Path) -> list[list[str]]:
    return [call["words"] for call in calls(l4t)]


NVPMODEL = """< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
# mandatory section to configure the default power mode
< PM_CONFIG DEFAULT=1 >
"""


def root(folder: Path, version: str = "36.4.3", package: str = "") -> Path:
    """A root file system as it comes out of the archive."""
    files = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
        "etc/shadow": "root:*:19700:0:99999:7:::\ndaemon:*:19700:0:99999:7:::\n",
        "etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\naudio:x:29:\nvideo:x:44:\nrender:x:104:\ngpio:x:999:\n",
        "etc/gshadow": "root:*::\nadm:*::\nsudo:*::\naudio:*::\nvideo:*::\nrender:!::\ngpio:!::\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 tegra-ubuntu\n", "etc/hostname": "tegra-ubuntu\n",
        "etc/skel/.bashrc": "# bash\n", "etc/nvpmodel/nvpmodel_p3767_0003_super.conf": NVPMODEL,
        "etc/nvpmodel/nvpmodel_p3701_0005.conf": NVPMODEL.replace("MAXN_SUPER", "MAXN"),
        "usr/share/zoneinfo/Europe/Berlin": "TZif2", "usr/sbin/NetworkManager": "ELF", "etc/nv/x": "",
        "etc/locale.gen": "# de_DE.UTF-8 UTF-8\nen_US.UTF-8 UTF-8\n",
        "etc/systemd/system/x": "", "var/lib/dpkg/status": dpkg([package] if package else []),
        "etc/NetworkManager/system-connections/x": "", "home/x": "", "lib64/x": "",
        "usr/bin/python3.10": "ELF",
    }  # fmt: skip
    if version:
        files["etc/nv_tegra_release"] = release(version)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "etc/shadow").chmod(0o640)
    (folder / "etc/gshadow").chmod(0o640)
    (folder / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (folder / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (folder / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/nv-oem-config.target")
    (folder / "lib").symlink_to("usr/lib")
    (folder / "usr/bin/python3").symlink_to("python3.10")
    return folder


def dpkg(names: Sequence[str]) -> str:
    return "\n".join(f"Package: {name}\nStatus: install ok installed\nVersion: 1\n" for name in names)


def board(product: str = "7523", port: str = "1-3") -> dict[str, str]:
    """A board at a port."""
    at = f"/sys/bus/usb/devices/{port}"
    return {f"{at}/idVendor": "0955\n", f"{at}/idProduct": f"{product}\n"}


def host(folder: Path, *boards: Mapping[str, str], **changed: str | None) -> System:
    """A PC with Ubuntu 22.04 where nothing is in the way. ``changed``: files, by the last parts of their names."""
    files: dict[str, str] = {
        "/etc/os-release": 'NAME="Ubuntu"\nID=ubuntu\nVERSION_ID="22.04"\n', "/var/lib/dpkg/status": dpkg(PACKAGES),
        "/sys/module/usbcore/parameters/autosuspend": "-1\n", "/proc/1/cgroup": "0::/init.scope\n",
        "/proc/self/mountinfo": "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n",
        "/proc/sys/kernel/osrelease": "6.8.0-40-generic\n", "/sys/class/dmi/id/sys_vendor": "LENOVO\n",
        "/proc/sys/net/ipv6/conf/all/disable_ipv6": "0\n",
    }  # fmt: skip
    for one in boards:
        files |= one
    for name, text in changed.items():
        path = next(
            (path for path in files if path.replace("-", "_").endswith(f"/{name}")), f"/{name.replace('__', '/')}"
        )
        if text is None:
            files.pop(path, None)
        else:
            files[path] = text
    for name, text in files.items():
        path = folder / "host" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return System(folder / "host", silent)


def snapshot(folder: Path, *, times: bool = False) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, mode, content or target."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content: object = b""
        if stat.S_ISLNK(state.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(state.st_mode):
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (
            oct(state.st_mode), state.st_uid, content, state.st_mtime_ns if times else 0
        )  # fmt: skip
    return found
