"""Temperatures of a machine: a Jetson's thermal zones, and the sensors that other Linux has besides.

Receives a :class:`~edge_streamer.devices.jetson.system.System`; hands on degrees Celsius by name. A zone that cannot be
read (a GPU's, while it is switched off), that holds no number, or one that no chip survives, is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from edge_streamer.devices.jetson.system import System

ZONES = ("/sys/devices/virtual/thermal", "/sys/class/thermal")
"""The same zones by two ways, of which a sandboxed process may see one only."""
COLDEST, HOTTEST = -50.0, 150.0
"""Degrees beyond which it is a sensor that is absent or broken: boards tell -256 for one that is switched off."""
LONGEST_NAME = 60


def zones(system: System) -> dict[str, float]:
    """Degrees Celsius of every sensor, by its own name (``cpu-thermal``, ``coretemp Package id 0``), in the kernel's
    order; where several have one name, the later ones get a number: ``acpitz``, ``acpitz 2``."""
    found: dict[str, float] = {}
    kinds = set()
    for name, degrees in _thermal(system):
        kinds.add(name.replace("-", "_"))
        _add(found, name, degrees)
    for chip, label, degrees in _hwmon(system):
        if chip.replace("-", "_") not in kinds:  # the kernel shows most zones as a chip too
            _add(found, f"{chip} {label}", degrees)
    return found


def hottest(zones: Mapping[str, float]) -> tuple[str, float] | None:
    """(name, degrees Celsius) of the hottest; None where there is none."""
    return max(zones.items(), key=lambda zone: zone[1], default=None)


def _thermal(system: System) -> Iterator[tuple[str, float | None]]:
    seen = set()
    for folder in ZONES:
        for path in sorted(system.names(f"{folder}/thermal_zone*"), key=_numbers):
            if os.path.basename(path) not in seen:
                seen.add(os.path.basename(path))
                yield system.line(f"{path}/type") or os.path.basename(path), _degrees(system, f"{path}/temp")


def _hwmon(system: System) -> Iterator[tuple[str, str, float | None]]:
    """(chip, label, degrees) of every sensor; a chip without a name gets its folder's."""
    for path in sorted(system.names("/sys/class/hwmon/hwmon*/temp*_input"), key=_numbers):
        folder, sensor = os.path.dirname(path), os.path.basename(path).removesuffix("_input")
        chip = system.line(f"{folder}/name") or os.path.basename(folder)
        yield chip, system.line(f"{folder}/{sensor}_label") or sensor, _degrees(system, path)


def _degrees(system: System, name: str) -> float | None:
    """Of a file with thousandths of a degree; None where there is no number that can be one."""
    thousandths = system.number(name)
    degrees = None if thousandths is None else thousandths / 1000
    return degrees if degrees is not None and COLDEST <= degrees <= HOTTEST else None


def _add(found: dict[str, float], name: str, degrees: float | None) -> None:
    if degrees is None:
        return
    name = name[:LONGEST_NAME]
    free, number = name, 2
    while free in found:
        free, number = f"{name} {number}", number + 1
    found[free] = degrees


def _numbers(path: str) -> list[int]:
    """``thermal_zone2`` comes before ``thermal_zone10``."""
    return [int(digits) for digits in re.findall(r"\d+", path)]
