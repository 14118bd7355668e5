"""Boards as files: what real ones have where the doctor looks.

The lines that identify a board (release, model, ``compatible``, power modes, driver, versions of packages, memory that
Linux sees) are those that owners of such boards have published: an Orin Nano 8 GB Super with JetPack 6.2, an AGX Orin
64 GB with 7.2, a Thor T5000 with 7.1, whose driver has a word in place of a number. The rest (users, free memory,
cameras, the build numbers of ``nvidia-jetpack`` and ``nvidia-l4t-core`` on the Nano and the Thor) is made up in the
form in which the system writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge_streamer.devices.jetson.facts import Facts, Who, read
from edge_streamer.devices.jetson.packages import Wheel
from edge_streamer.devices.jetson.system import System, silent

Files = dict[str, str]

LIBRARY = "/usr/lib/aarch64-linux-gnu"
PASSWD = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada,,,:/home/ada:/bin/bash\n"
GROUP = "root:x:0:\naudio:x:29:ada\nvideo:x:44:ada\nrender:x:104:ada\nada:x:1000:\n"
WHO = Who(1000, frozenset({29, 44, 104, 1000}))


def dpkg(**packages: str) -> str:
    """/var/lib/dpkg/status of these, and of one that was removed."""
    stanzas = [
        f"Package: {name.replace('_', '-')}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {version}\n"
        for name, version in packages.items()
    ]
    return "\n".join([*stanzas, "Package: tensorrt\nStatus: deinstall ok config-files\nVersion: 8.5.2-1+cuda11.4\n"])


def meminfo(total: int, free: int, swap: int) -> str:
    """/proc/meminfo, in kB."""
    return (
        f"MemTotal:       {total} kB\nMemFree:         {free // 2} kB\nMemAvailable:    {free} kB\n"
        f"SwapTotal:       {swap} kB\nSwapFree:        {swap} kB\n"
    )


def clocks(low: int, high: int, gpu: str, gpu_low: int, gpu_high: int) -> Files:
    """What sysfs has of the cores' and the GPU's clocks."""
    policy, devfreq = "/sys/devices/system/cpu/cpufreq/policy0", f"/sys/class/devfreq/{gpu}"
    return {
        f"{policy}/scaling_min_freq": f"{low}\n", f"{policy}/scaling_max_freq": f"{high}\n",
        f"{devfreq}/min_freq": f"{gpu_low}\n", f"{devfreq}/max_freq": f"{gpu_high}\n",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    }  # fmt: skip


COMMON: Files = {
    "/etc/passwd": PASSWD, "/etc/group": GROUP, "/dev/snd/pcmC1D0p": "", "/run/user/1000/pulse/native": "",
    "/proc/asound/cards": " 0 [HDA            ]: tegra-hda - NVIDIA Jetson HDA\n 1 [APE            ]: tegra-ape\n",
}  # fmt: skip

ORIN_NANO: Files = COMMON | clocks(729600, 1344000, "17000000.gpu", 306000000, 918000000) | {
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed "
    "Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\n',
    "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "/proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "/proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  "
    "(buildbrain@mobile-u64-6336-d8000)  Tue Jan  7 17:35:12 PST 2025\nGCC version:  error\n",
    "/proc/meminfo": meminfo(7802816, 5314944, 3901408),
    "/proc/buddyinfo": "Node 0, zone DMA 212 104 50 17 8 3 1 1 0 1 10\nNode 0, zone Normal 1012 404 51 7 0 0\n",
    "/etc/nvpmodel.conf": "< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/devices/system/cpu/cpu0/online\n"
    "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\nCPU_ONLINE CORE_0 1\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\nCPU_ONLINE CORE_0 1\n< PM_CONFIG DEFAULT=1 >\n",
    "/var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n",
    "/var/lib/dpkg/status": dpkg(
        nvidia_jetpack="6.2+b77", nvidia_l4t_core="36.4.3-20250107174145", libnvinfer10="10.3.0.30-1+cuda12.5",
        python3_libnvinfer="10.3.0.30-1+cuda12.5", libcudnn9_cuda_12="9.3.0.75-1", cuda_cudart_12_6="12.6.68-1",
    ),
    f"{LIBRARY}/libnvinfer.so.10.3.0": "", f"{LIBRARY}/libcudnn.so.9.3.0": "",
    f"{LIBRARY}/nvidia/libcuda.so.1": "",
    "/usr/local/cuda/version.json": '{\n "cuda" : {\n  "name" : "CUDA SDK",\n  "version" : "12.6.11"\n }\n}\n',
    "/dev/nvmap": "", "/dev/nvhost-gpu": "",
    "/sys/class/video4linux/video0/name": "vi-output, imx219 9-0010\n", "/dev/video0": "", "/tmp/argus_socket": "",
}  # fmt: skip

AGX_ORIN: Files = COMMON | clocks(2201600, 2201600, "17000000.gpu", 1300500000, 1300500000) | {
    "/etc/nv_tegra_release": "# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, DATE: Mon "
    "Jun  1 09:28:48 PM UTC 2026\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.4 LTS"\n',
    "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  595.71.05  Release\n",
    "/proc/meminfo": meminfo(64324608, 43187200, 32162304),
    "/proc/buddyinfo": "Node 0, zone   Normal   1012  404   51    7    4    1    1    9    3    2    0\n",
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=MODE_15W >\n"
    "< POWER_MODEL ID=2 NAME=MODE_30W >\n< POWER_MODEL ID=3 NAME=MODE_50W >\n< PM_CONFIG DEFAULT=2 >\n",
    "/var/lib/nvpmodel/status": "pmode:0000\n",
    "/var/lib/dpkg/status": dpkg(
        nvidia_jetpack="7.2-b187", nvidia_l4t_core="39.2.0-20260601141651", libnvinfer10="10.16.2.10-1+cuda13.2",
        libcudnn9_cuda_13="9.20.0.46-1",
    ),
    f"{LIBRARY}/libnvinfer.so.10.16.2": "", f"{LIBRARY}/libcudnn.so.9.20.0": "", f"{LIBRARY}/libcuda.so.1": "",
    "/usr/local/cuda/version.json": '{"cuda" : {"name" : "CUDA SDK", "version" : "13.2.2"}}',
    "/dev/nvmap": "", "/dev/nvidiactl": "", "/dev/nvidia0": "",
}  # fmt: skip

THOR: Files = COMMON | clocks(972000, 2601000, "gpu-gpc-0", 315000000, 1575000000) | {
    "/etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 43443517, BOARD: generic, EABI: aarch64, DATE: Wed "
    "Dec 31 00:15:19 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
    "/proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3971-0080+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  TempVersion  Release "
    "Build  (bugfix_main)  (buildbrain@mobile)  Tue Dec 30 16:12:31 PST 2025\n",
    "/proc/meminfo": meminfo(128790528, 124002304, 2097152),
    "/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=120W >\n"
    "< POWER_MODEL ID=2 NAME=90W >\n< POWER_MODEL ID=3 NAME=70W >\n< PM_CONFIG DEFAULT=1 >\n",
    "/var/lib/nvpmodel/status": "pmode:0001 fmode:quiet\n",
    "/var/lib/dpkg/status": dpkg(nvidia_jetpack="7.1-b77", libnvinfer10="10.13.3.9-1+cuda13.0"),
    f"{LIBRARY}/libnvinfer.so.10.13.3": "", f"{LIBRARY}/libcuda.so.1": "",
    "/dev/nvmap": "", "/dev/nvidiactl": "", "/dev/nvidia0": "",
}  # fmt: skip

PC: Files = {
    "/etc/passwd": PASSWD, "/etc/group": GROUP, "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
    "/proc/meminfo": meminfo(65000000, 50000000, 0), "/dev/nvidiactl": "", "/dev/nvidia0": "",
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Wed Jan 22 2025\n",
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n", "/usr/lib/x86_64-linux-gnu/libcuda.so.1": "",
}  # fmt: skip
SMI = "NVIDIA GeForce RTX 4070 Laptop GPU, 8.9, 570.86.15, 8188\n"


def at(root: Path, files: Mapping[str, str]) -> System:
    """A system of these files, whose programs do not answer."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return System(root, silent)


def facts(root: Path, files: Mapping[str, str], python: tuple[int, int] = (3, 10), **wheels: str) -> Facts:
    """The facts of a board with these wheels (their names with ``_``), to a user who is in all groups."""
    read_here = read(at(root, files), WHO, [], "aarch64")
    installed = {name.replace("_", "-"): Wheel(version, root / "site") for name, version in wheels.items()}
    return replace(read_here, python=python, venv="", sees_system=True, wheels=installed, disk_free=80_000_000_000)
