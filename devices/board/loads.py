"""How busy a machine is: GPU, cores, memory, swap, fan.

Receives a :class:`~edge_streamer.devices.jetson.system.System`; hands on shares of the time, MB and turns a minute.
"""

from __future__ import annotations

import os
import re

from edge_streamer.devices.board.look import Look
from edge_streamer.devices.jetson.facts import memory
from edge_streamer.devices.jetson.system import System

GPU = ("/sys/devices/platform/gpu.0/load", "/sys/devices/platform/17000000.gpu/load",
       "/sys/devices/platform/bus@0/17000000.gpu/load", "/sys/class/devfreq/17000000.gpu/device/load")  # fmt: skip
"""Where an Orin tells the share of time in which its GPU worked, of 1000."""
FANS, TURNS, PULSE = "/sys/class/hwmon/hwmon*/fan*_input", "/sys/class/hwmon/hwmon*/rpm", "/sys/class/hwmon/hwmon*/pwm1"
MOST_PULSE = 255
_CPU = re.compile(r"^cpu +((?:\d{1,18} *){4,10})$", re.MULTILINE)


def read(system: System) -> Look:
    """``load`` of the GPU, ``memory`` (``used``, ``swap``, ``largest block``), ``fan`` and ``fan power``."""
    found: Look = {}
    thousandths = next((load for load in map(system.number, GPU) if load is not None), None)
    if thousandths is not None and 0 <= thousandths <= 1000:
        found["load", "gpu"] = thousandths / 1000
    now = memory(system)
    if now.total is not None and now.free is not None:
        found["memory", "used"] = (now.total - now.free) / 1e6
    if now.swap is not None and now.swap_free is not None:
        found["memory", "swap"] = (now.swap - now.swap_free) / 1e6
    if now.largest_block is not None:
        found["memory", "largest block"] = now.largest_block / 1e6
    for path in (*system.names(FANS), *system.names(TURNS)):
        if (turns := system.number(path)) is not None:
            found["fan", _chip(system, path)] = turns
    for path in system.names(PULSE):
        if (pulse := system.number(path)) is not None and 0 <= pulse <= MOST_PULSE:
            found["fan power", _chip(system, path)] = pulse / MOST_PULSE
    return found


def cpu_time(system: System) -> tuple[int, int] | None:
    """(busy, all) of all cores together since the machine started, in ticks."""
    found = _CPU.search(system.text("/proc/stat", 4096))
    if found is None:
        return None
    ticks = [int(word) for word in found[1].split()][:8]  # what guests use is in the first already
    idle = ticks[3] + (ticks[4] if len(ticks) > 4 else 0)
    return sum(ticks) - idle, sum(ticks)


def _chip(system: System, path: str) -> str:
    folder, sensor = os.path.split(path)
    chip = system.line(f"{folder}/name") or os.path.basename(folder)
    number = re.search(r"\d+", sensor)
    return chip if number is None or number[0] == "1" else f"{chip} {number[0]}"
