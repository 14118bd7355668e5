"""Power modes and clocks of a Jetson.

Receives a system; hands on :class:`Power`: the modes that /etc/nvpmodel.conf has, which one is set, and whether the
clocks are pinned. The same id means another mode on another module, and a name may have another id in the next release,
so an id is only ever looked up by its name here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edge_streamer.devices.jetson.system import System

CONFIGURATION = "/etc/nvpmodel.conf"
STATUS = "/var/lib/nvpmodel/status"
"""What nvpmodel itself writes: ``pmode:0002 fmode:quiet``."""
GPU_CLOCKS = ("17000000.gpu", "17000000.ga10b", "gpu-gpc-0", "gpu-gpc0")
"""Names of the GPU's clock under /sys/class/devfreq: Orin's, an older one, Thor's."""

_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+([^<>]{1,200})>", re.MULTILINE)
_FIELD = re.compile(r"(ID|NAME)\s*=\s*(\S{1,60})")
_DEFAULT = re.compile(r"^\s*<\s*PM_CONFIG\s+DEFAULT\s*=\s*(\d{1,4})\s*>", re.MULTILINE)
_WATTS = re.compile(r"(\d{1,4})\s*W\b|(\d{1,4})W_")


@dataclass(frozen=True)
class Power:
    """Modes, the one that is set, and clocks."""

    modes: dict[int, str] = field(default_factory=dict)
    """Id -> name, as this board has them."""
    current: int | None = None
    default: int | None = None
    """What a board without a status boots in."""
    governor: str = ""
    """Of the first core."""
    pinned: bool | None = None
    """Whether every core's and the GPU's lowest clock is its highest (jetson_clocks); None where nobody tells."""

    @property
    def best(self) -> int | None:
        """The id of the fastest mode: one without a limit by name, else the one with the most watts."""
        return max(self.modes, key=lambda number: _rank(self.modes[number]), default=None)


def _rank(name: str) -> tuple[int, int]:
    watts = _WATTS.search(name)
    return name.startswith("MAXN") + (name == "MAXN_SUPER"), int(watts[1] or watts[2]) if watts else 0


def read(system: System) -> Power:
    """What the files say; nvpmodel is asked where its status cannot be read."""
    text = system.text(CONFIGURATION)
    default = _DEFAULT.search(text)
    return Power(
        modes(text), _current(system), int(default[1]) if default else None,
        system.line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), _pinned(system),
    )  # fmt: skip


def modes(text: str) -> dict[int, str]:
    """Id -> name of every mode in the text of /etc/nvpmodel.conf, whose fields may stand in any order."""
    found = dict[int, str]()
    for mode in _MODE.findall(text):
        fields = dict(_FIELD.findall(mode))
        if re.fullmatch(r"\d{1,4}", fields.get("ID", "")) and "NAME" in fields:
            found.setdefault(int(fields["ID"]), fields["NAME"])
    return found


def set_mode(system: System) -> int | None:
    """The number of the mode that is set, as nvpmodel wrote it down; None where it did not or it cannot be read."""
    found = re.search(r"pmode:\s*(\d{1,6})", system.text(STATUS))
    return int(found[1]) if found else None


def _current(system: System) -> int | None:
    written = set_mode(system)
    if written is not None:
        return written
    if not system.there(CONFIGURATION):
        return None
    said = system.ask(("nvpmodel", "-q")).split()
    return int(said[-1]) if said and re.fullmatch(r"\d{1,4}", said[-1]) else None


def _pinned(system: System) -> bool | None:
    pairs = [
        (system.number(f"{name}/scaling_min_freq"), system.number(f"{name}/scaling_max_freq"))
        for name in system.names("/sys/devices/system/cpu/cpufreq/policy*")
    ]
    pairs += [
        (system.number(f"/sys/class/devfreq/{name}/min_freq"), system.number(f"/sys/class/devfreq/{name}/max_freq"))
        for name in GPU_CLOCKS
        if system.there(f"/sys/class/devfreq/{name}")
    ]
    known = [(low, high) for low, high in pairs if low is not None and high is not None]
    return all(low == high for low, high in known) if known else None
