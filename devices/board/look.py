"""What one look at a machine gives: numbers by kind and name.

Receives nothing; hands on the words that every source of readings uses, and :class:`Remembering`, with which looking
again and again is cheap.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edge_streamer.devices.jetson.system import System

Kind = Literal[
    "rail",  # watts of a board's supply
    "package",  # watts of a processor
    "energy",  # joules that a processor has counted since some start
    "card",  # watts of a graphics card
    "sensor",  # watts of anything else
    "power",  # watts of what stands for the whole: a sum of those above
    "clock",  # MHz
    "lowest", "highest",  # MHz that a clock may have
    "watts allowed",
    "mode",  # the number of the power mode that is set
    "temperature",  # degrees Celsius
    "load",  # share of the time, 0 to 1
    "memory",  # MB
    "fan",  # turns a minute
    "fan power",  # share of the most, 0 to 1
    "throttle",  # 1 while it throttles, else 0
    "throttle events",  # a count since some start
]  # fmt: skip
Look = dict[tuple[Kind, str], float]
"""(kind, name) -> value. What cannot be read is absent."""

_FIXED = ("type", "name", "max_energy_range_uj")
"""Files that say what a device is."""


@dataclass(frozen=True)
class Remembering(System):
    """A system that remembers where devices are and what they are called, until it is told to look for them again."""

    _names: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)
    _lines: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _paths: dict[str, Path] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, system: System) -> Remembering:
        return cls(system.root, system.ask)

    def forget(self) -> None:
        """Devices may have come, gone or been numbered anew."""
        self._names.clear()
        self._lines.clear()
        self._paths.clear()

    def path(self, name: str) -> Path:
        if name not in self._paths:
            self._paths[name] = super().path(name)
        return self._paths[name]

    def names(self, pattern: str) -> list[str]:
        if pattern not in self._names:
            self._names[pattern] = super().names(pattern)
        return self._names[pattern]

    def line(self, name: str) -> str:
        last = os.path.basename(name)
        if last not in _FIXED and not last.endswith("_label"):
            return super().line(name)
        if name not in self._lines:
            self._lines[name] = super().line(name)
        return self._lines[name]
