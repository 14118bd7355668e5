"""Clocks of a machine's cores, GPU and memory, and what they may be at most and at least.

Receives a :class:`~edge_streamer.devices.jetson.system.System`; hands on MHz by name: ``cpu policy0`` (cores that
change together), ``gpu``, ``memory``, and the power mode's number.
"""

from __future__ import annotations

import os
import re

from edge_streamer.devices.board.look import Kind, Look
from edge_streamer.devices.jetson.power import set_mode
from edge_streamer.devices.jetson.system import System

POLICIES, DEVICES = "/sys/devices/system/cpu/cpufreq/policy*", "/sys/class/devfreq/*"
ONLINE = "/sys/devices/system/cpu/online"
MEMORY = "/sys/kernel/debug/bpmp/debug/clk/emc/rate"
"""An Orin's, for root alone."""
_GPU, _MEMORY = re.compile(r"gpu|gpc|ga10b|gv11b"), re.compile(r"emc|dmc")
_ADDRESS = re.compile(r"^[0-9a-f]+\.(gpu|ga10b|gv11b)$")
_CPUINFO = re.compile(r"^cpu MHz\s*:\s*(\d{1,6}(?:\.\d{1,6})?)", re.MULTILINE)


def read(system: System) -> Look:
    """``clock``, ``lowest``, ``highest`` and ``mode``."""
    found: Look = {}
    for path in system.names(POLICIES):
        _add(system, found, f"cpu {os.path.basename(path)}", 1e3,
             (f"{path}/scaling_cur_freq", f"{path}/scaling_min_freq", f"{path}/scaling_max_freq"))  # fmt: skip
    if not found and (shown := _CPUINFO.findall(system.text("/proc/cpuinfo"))):
        found["clock", "cpu"] = sum(map(float, shown)) / len(shown)  # a virtual machine shows them nowhere else
    for path in system.names(DEVICES):
        if name := _name(os.path.basename(path)):
            _add(system, found, name, 1e6, (f"{path}/cur_freq", f"{path}/min_freq", f"{path}/max_freq"))
    if ("clock", "memory") not in found and (hertz := system.number(MEMORY)):
        found["clock", "memory"] = hertz / 1e6
    mode = set_mode(system)
    if mode is not None:
        found["mode", "nvpmodel"] = mode
    return found


def online(system: System) -> str:
    """The cores that are on: ``0-5``."""
    return system.line(ONLINE)[:60]


def _name(device: str) -> str:
    """What a device's clock is called here: ``gpu``; a part of a GPU keeps its own name; empty for other devices."""
    if _ADDRESS.match(device):
        return "gpu"
    if _GPU.search(device):
        return device[:60]
    return "memory" if _MEMORY.search(device) else ""


def _add(system: System, found: Look, name: str, to_mhz: float, files: tuple[str, str, str]) -> None:
    kinds: tuple[Kind, ...] = ("clock", "lowest", "highest")
    for kind, file in zip(kinds, files, strict=True):
        if (value := system.number(file)) is not None:
            found[kind, name] = value / to_mhz
