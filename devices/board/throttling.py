"""Whether a machine holds itself back, for heat or for current.

Receives a :class:`~edge_streamer.devices.jetson.system.System`; hands on alerts that are on or off, and counts of what
happened since the machine started.
"""

from __future__ import annotations

import os
import re

from edge_streamer.devices.board.look import Look
from edge_streamer.devices.jetson.system import System

COOLING = ("/sys/devices/virtual/thermal/cooling_device*", "/sys/class/thermal/cooling_device*")
ALERT = "-throttle-alert"
OVER_CURRENT = "/sys/class/hwmon/hwmon*/oc*_event_cnt"
"""A Jetson that draws more than its supply or its mode allows."""
PACKAGES, CORES = "package_throttle_count", "core_throttle_count"
COUNTS = "/sys/devices/system/cpu/cpu*/thermal_throttle"
"""A PC's: cores count for themselves, and all cores of a package say the package's count."""


def read(system: System) -> Look:
    """``throttle`` by alert, ``throttle events`` by counter."""
    found: Look = {}
    for pattern in COOLING:
        for path in system.names(pattern):
            kind = system.line(f"{path}/type")[:60]
            if kind.endswith(ALERT) and (state := system.number(f"{path}/cur_state")) is not None:
                found["throttle", kind.removesuffix(ALERT)] = float(state > 0)
    for path in system.names(OVER_CURRENT):
        if (count := system.number(path)) is not None:
            found["throttle events", f"over-current {os.path.basename(path).partition('_')[0]}"] = count
    for kind, name in ((CORES, "cores"), (PACKAGES, "packages")):
        counts = [system.number(f"{path}/{kind}") for path in _cores(system)]
        known = [count for count in counts if count is not None]
        if known:
            found["throttle events", name] = sum(known) if kind == CORES else max(known)
    return found


def _cores(system: System) -> list[str]:
    return [path for path in system.names(COUNTS) if re.search(r"/cpu\d+/", path)]
