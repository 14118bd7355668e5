"""Power of a machine: a Jetson's rails, a processor's counters (RAPL), other sensors; and what stands for all of it.

Receives a :class:`~edge_streamer.devices.jetson.system.System`; hands on watts and joules. A chip that measures a
Jetson's rails (INA3221) has three of them: ``in1`` to ``in3`` with ``curr1`` to ``curr3``. Its ``in4`` to ``in7`` are
voltages across its own shunts, no rails.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

from edge_streamer.devices.board.look import Kind, Look
from edge_streamer.devices.jetson.system import System

HWMON = ("/sys/class/hwmon/hwmon*", "/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*",
         "/sys/bus/i2c/drivers/ina238/*/hwmon/hwmon*")  # fmt: skip
"""The same chips by two ways, of which a sandboxed process may see one only."""
CHANNELS = (1, 2, 3)
"""Of an INA3221."""
INPUT = "VIN"
"""What an INA238 of a Thor measures, where it has no label."""
WHOLE = ("VDD_IN", "VIN")
"""Rails that all others hang from: of Orin Nano and NX, of Thor. An AGX Orin has none."""
RAPL = "/sys/class/powercap/intel-rapl:*"
PLATFORM, PACKAGE, DRAM = "psys", "package-", "dram"
_NO_RAIL = re.compile(r"^$|^NC$|shunt", re.IGNORECASE)

Names = tuple[tuple[Kind, str], ...]


def read(system: System) -> Look:
    """Watts of everything that tells some (``rail``, ``sensor``) and joules of what counts them (``energy``)."""
    found: Look = {}
    for folder, chip in _chips(system):
        for kind, name, watts in _chip(system, folder, chip):
            found.setdefault((kind, name), watts)
    for path in system.names(RAPL):
        if (joules := system.number(f"{path}/energy_uj")) is not None:
            found.setdefault(("energy", _domain(system, path)), joules / 1e6)
    return found


def wraps_at(system: System) -> dict[str, float]:
    """Joules at which each counter begins anew."""
    found = {}
    for path in system.names(RAPL):
        if most := system.number(f"{path}/max_energy_range_uj"):
            found[_domain(system, path)] = most / 1e6
    return found


def locked(system: System) -> bool:
    """Whether there are counters and this user may not read them."""
    paths = system.names(RAPL)
    return bool(paths) and all(system.number(f"{path}/energy_uj") is None for path in paths)


def whole(names: Iterable[tuple[Kind, str]]) -> Names:
    """What stands for the whole machine, to be summed: the rail that all others hang from, else all rails, else what
    the platform counts, else processors, their memory and graphics cards. Empty where there is none of them."""
    every = tuple(names)
    rails = tuple(one for one in every if one[0] == "rail")
    for name in WHOLE:
        if ("rail", name) in rails:
            return (("rail", name),)
    if rails:
        return rails
    counted = [one for one in every if one[0] == "package"]
    if platform := next((one for one in counted if one[1] == PLATFORM), None):
        return (platform,)
    parts = [one for one in counted if one[1].startswith(PACKAGE) and (" " not in one[1] or one[1].endswith(DRAM))]
    return (*parts, *(one for one in every if one[0] == "card"))


def _chips(system: System) -> Iterator[tuple[str, str]]:
    """(folder, name) of every chip, once."""
    seen = set()
    for pattern in HWMON:
        for folder in system.names(pattern):
            if os.path.basename(folder) not in seen:
                seen.add(os.path.basename(folder))
                yield folder, system.line(f"{folder}/name")


def _chip(system: System, folder: str, chip: str) -> Iterator[tuple[Kind, str, float]]:
    if chip == "ina3221":
        for n in CHANNELS:
            label = system.line(f"{folder}/in{n}_label")[:60]
            if not _NO_RAIL.search(label) and (watts := _product(system, folder, n)) is not None:
                yield "rail", label, watts
    elif chip == "ina238":
        microwatts = system.number(f"{folder}/power1_input")
        watts = microwatts / 1e6 if microwatts is not None else _product(system, folder, 1)
        if watts is not None:
            yield "rail", system.line(f"{folder}/in1_label")[:60] or INPUT, watts
    else:
        for path in (*system.names(f"{folder}/power*_input"), *system.names(f"{folder}/power*_average")):
            sensor = os.path.basename(path).rpartition("_")[0]
            if (microwatts := system.number(path)) is not None:
                yield "sensor", f"{chip} {system.line(f'{folder}/{sensor}_label') or sensor}"[:60], microwatts / 1e6


def _product(system: System, folder: str, n: int) -> float | None:
    """Watts of a channel: millivolts times milliamperes."""
    volts, amperes = system.number(f"{folder}/in{n}_input"), system.number(f"{folder}/curr{n}_input")
    return None if volts is None or amperes is None else volts * amperes / 1e6


def _domain(system: System, path: str) -> str:
    """``package-0``, ``package-0 dram``, ``psys``."""
    name, outer = system.line(f"{path}/name") or os.path.basename(path), path.rpartition(":")[0]
    if path.count(":") < 2:
        return name
    return f"{system.line(f'{outer}/name')} {name}"
