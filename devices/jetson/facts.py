"""Everything that is read of a machine, in one value.

Receives a system and who asks; hands on :class:`Facts`. Reading is by files alone, but for two questions with a time
limit: which mode nvpmodel set where its own file cannot be read, and which cards there are where a PC has a driver.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson import packages, power
from edge_streamer.devices.jetson.known import RELEASES, Capability, Module, Release, l4t_of, module_of
from edge_streamer.devices.jetson.system import System

GPU_FILES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/power", "/dev/dxg")
"""What CUDA opens, of which a machine has some: a PC's or Thor's, an Orin's, Windows' for its Linux."""
SOUND_USER = ("pipewire-0", "pulse/native")
"""Sockets below /run/user/UID."""
SOUND_SYSTEM = ("/run/pulse/native", "/var/run/pulse/native", "/run/pipewire/pipewire-0")
NVIDIA_PCI = "0x10de"


class Gpu(NamedTuple):
    """A card of a PC, as nvidia-smi tells."""

    name: str
    capability: Capability | None
    driver: str
    megabytes: int


class Camera(NamedTuple):
    """A device of the kernel that gives pictures."""

    path: str
    name: str
    usable: bool

    @property
    def csi(self) -> bool:
        """Whether it hangs at the board's own camera port."""
        return "vi-output" in self.name or "csi" in self.name.lower()


@dataclass(frozen=True)
class Memory:
    """Bytes; None where the kernel does not tell."""

    total: int | None = None
    free: int | None = None
    """That a program can still get."""
    swap: int | None = None
    swap_free: int | None = None
    largest_block: int | None = None
    """That lies in one piece."""


@dataclass(frozen=True)
class Facts:
    """What a machine is."""

    architecture: str = ""
    system: str = ""
    """The distribution, as it calls itself."""
    kernel: str = ""
    python: tuple[int, int] = (0, 0)
    venv: str = ""
    """Folder of the virtual environment that Python runs in; empty outside of one."""
    sees_system: bool = True
    """Whether this Python sees the system's own packages."""
    model: str = ""
    module: Module | None = None
    capability: Capability | None = None
    """Of the GPU that is used."""
    release_line: str = ""
    l4t: str = ""
    debian: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    cuda: str = ""
    """The toolkit's version, as it lies in /usr/local/cuda."""
    driver: str = ""
    driver_library: str = ""
    gpu_files: tuple[tuple[str, bool], ...] = ()
    """(path, whether this user may use it)."""
    card: bool = False
    """Whether an NVIDIA card is plugged in."""
    gpus: tuple[Gpu, ...] = ()
    wheels: dict[str, packages.Wheel] = field(default_factory=dict)
    cuda_provider: Path | None = None
    power: power.Power = field(default_factory=power.Power)
    memory: Memory = field(default_factory=Memory)
    disk_free: int | None = None
    """Bytes, where this user's files lie."""
    cameras: tuple[Camera, ...] = ()
    argus: bool = False
    """Whether the daemon of CSI cameras runs."""
    cards: tuple[str, ...] = ()
    """Sound cards."""
    sound_devices: tuple[tuple[str, bool], ...] = ()
    sound_server: str = ""
    """``user``, ``system``, or empty where none runs."""
    user: str = ""
    root: bool = False
    groups: frozenset[str] = frozenset()
    desktop_boot: bool | None = None
    """Whether the machine starts a desktop; None where nobody tells."""
    desktop_runs: bool = False

    @property
    def jetson(self) -> bool:
        return bool(self.l4t or self.release_line or self.module or "jetson" in self.model.lower())

    @property
    def release(self) -> Release | None:
        """The JetPack release that this L4T belongs to, where it is known."""
        return RELEASES.get(self.l4t)


class Who(NamedTuple):
    """Who asks."""

    uid: int
    gids: frozenset[int]

    @classmethod
    def this(cls) -> Who:
        return cls(os.getuid(), frozenset((*os.getgroups(), os.getgid())))


def read(
    system: System | None = None, who: Who | None = None, path: Sequence[str] | None = None, architecture: str = ""
) -> Facts:
    """All facts of the machine at ``system``. ``path``: the folders that Python looks for modules in; ``architecture``:
    where it is not this machine's."""
    system, who, path = system or System(), who or Who.this(), sys.path if path is None else path
    compatible = system.text("/proc/device-tree/compatible")
    module, capability = module_of(compatible)
    wheels = packages.wheels(path)
    gpus = _gpus(system) if system.there("/dev/nvidiactl") or system.there("/dev/dxg") else ()
    user, groups = _user(system, who)
    inside = sys.prefix != sys.base_prefix
    return Facts(
        python=sys.version_info[:2], venv=sys.prefix if inside else "",
        sees_system=not inside or any(name.endswith("dist-packages") for name in path),
        architecture=architecture or platform.machine(), kernel=system.line("/proc/sys/kernel/osrelease"),
        system=_distribution(system), model=system.line("/proc/device-tree/model"), module=module,
        capability=capability or next((gpu.capability for gpu in gpus if gpu.capability), None),
        release_line=system.line("/etc/nv_tegra_release"), l4t=l4t_of(system.line("/etc/nv_tegra_release")),
        debian=packages.debian(system), libraries=packages.libraries(system), cuda=_cuda(system),
        driver=_driver(system, gpus), driver_library=packages.driver_library(system),
        gpu_files=tuple((name, system.usable(name)) for name in GPU_FILES if system.there(name)),
        card=any(system.line(name) == NVIDIA_PCI for name in system.names("/sys/bus/pci/devices/*/vendor")),
        gpus=gpus, wheels=wheels, cuda_provider=packages.cuda_provider(wheels), power=power.read(system),
        memory=memory(system), disk_free=_disk(system),
        cameras=tuple(_cameras(system)), argus=system.there("/tmp/argus_socket"),
        cards=_cards(system),
        sound_devices=tuple((name, system.usable(name)) for name in system.names("/dev/snd/pcm*")),
        sound_server=_sound_server(system, who.uid), user=user, root=who.uid == 0, groups=groups,
        desktop_boot=_desktop_boot(system), desktop_runs=bool(system.names("/tmp/.X11-unix/X*")),
    )  # fmt: skip


def _distribution(system: System) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]{1,100})', system.text("/etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def _cuda(system: System) -> str:
    told = system.text("/usr/local/cuda/version.json")
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"([\d.]{1,20})"', told)
    if found:
        return found[1]
    from_name = re.fullmatch(r"cuda-(\d+\.\d+)", system.real("/usr/local/cuda"))
    return from_name[1] if from_name else ""


def _driver(system: System, gpus: Sequence[Gpu]) -> str:
    """The kernel module's version, or what stands in place of a number (some boards')."""
    line = system.line("/proc/driver/nvidia/version") or system.line("/sys/module/nvidia/version")
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\S{1,40})", line) or re.match(r"(\d\S{1,40})", line)
    return found[1] if found else next((gpu.driver for gpu in gpus), "")


def _gpus(system: System) -> tuple[Gpu, ...]:
    said = system.ask(("nvidia-smi", "--query-gpu=name,compute_cap,driver_version,memory.total",
                       "--format=csv,noheader,nounits"))  # fmt: skip
    found = []
    for line in said.splitlines()[:64]:
        fields = [part.strip() for part in line.split(",")]
        if len(fields) == 4:
            number = re.fullmatch(r"(\d{1,2})\.(\d)", fields[1])
            capability = (int(number[1]), int(number[2])) if number else None
            megabytes = int(fields[3]) if re.fullmatch(r"\d{1,9}", fields[3]) else 0
            found.append(Gpu(fields[0][:100], capability, fields[2][:40], megabytes))
    return tuple(found)


def memory(system: System) -> Memory:
    """What the kernel tells of its memory now."""
    kilobytes = dict(re.findall(r"^(\w{1,40}):\s+(\d{1,15}) kB$", system.text("/proc/meminfo"), re.MULTILINE))
    names = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
    total, free, swap, swap_free = (1024 * int(kilobytes[name]) if name in kilobytes else None for name in names)
    return Memory(total, free, swap, swap_free, _largest_block(system.text("/proc/buddyinfo")))


def _largest_block(buddyinfo: str) -> int | None:
    """Of the counts of free blocks of 1, 2, 4 ... pages: ``Node 0, zone Normal 12 3 0 1``."""
    orders = []
    for line in buddyinfo.splitlines():
        counts = line.partition("zone")[2].split()[1:]
        orders += [order for order, count in enumerate(counts[:32]) if count.isdigit() and int(count[:12])]
    return os.sysconf("SC_PAGE_SIZE") << max(orders) if orders else None


def _disk(system: System) -> int | None:
    try:
        found = os.statvfs(system.root)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _cameras(system: System) -> list[Camera]:
    found = []
    for path in system.names("/sys/class/video4linux/video*"):
        device = f"/dev/{os.path.basename(path)}"
        found.append(Camera(device, system.line(f"{path}/name")[:100], system.usable(device)))
    return found


def _cards(system: System) -> tuple[str, ...]:
    return tuple(re.findall(r"^ *\d{1,3} \[([^\]\n]{1,40}?) *\]", system.text("/proc/asound/cards"), re.MULTILINE))


def _sound_server(system: System, uid: int) -> str:
    if any(system.there(f"/run/user/{uid}/{name}") for name in SOUND_USER):
        return "user"
    return "system" if any(system.there(name) for name in SOUND_SYSTEM) else ""


def _user(system: System, who: Who) -> tuple[str, frozenset[str]]:
    """The user's name, and the names of the groups that this process has."""
    by_id = {
        fields[2]: fields[0]
        for line in system.text("/etc/group").splitlines()
        if len(fields := line.split(":")) >= 3
    }  # fmt: skip
    users = (line.split(":") for line in system.text("/etc/passwd").splitlines())
    user = next((fields[0] for fields in users if len(fields) >= 3 and fields[2] == str(who.uid)), "")
    return user, frozenset(by_id[str(gid)] for gid in who.gids if str(gid) in by_id)


def _desktop_boot(system: System) -> bool | None:
    for name in ("/etc/systemd/system/default.target", "/usr/lib/systemd/system/default.target",
                 "/lib/systemd/system/default.target"):  # fmt: skip
        if target := system.target(name):
            return target == "graphical.target"
    return None
