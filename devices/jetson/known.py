"""Jetson modules and JetPack releases that are known: what NVIDIA's tables say of them.

Receives what the device tree and the release file say; hands on a :class:`Module` and a :class:`Release`. A release
that is not in the table is no fault: what counts is the version of each library that is really there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

Capability = tuple[int, int]
"""Of CUDA: major, minor."""


class Module(NamedTuple):
    """A Jetson module."""

    name: str
    board: str
    """As ``--board`` of a memory plan calls it."""
    capability: Capability
    gigabytes: int


class Release(NamedTuple):
    """A JetPack release."""

    jetpack: str
    tensorrt: str
    cuda: str
    python: tuple[int, int]
    """Of the system: TensorRT's package is for this one."""


_ORIN, _THOR = (8, 7), (11, 0)
MODULES = {
    "p3767-0004": Module("Orin Nano 4 GB", "orin-nano-4gb", _ORIN, 4),
    "p3767-0003": Module("Orin Nano 8 GB", "orin-nano-8gb", _ORIN, 8),
    "p3767-0005": Module("Orin Nano 8 GB", "orin-nano-8gb", _ORIN, 8),
    "p3767-0001": Module("Orin NX 8 GB", "orin-nx-8gb", _ORIN, 8),
    "p3767-0000": Module("Orin NX 16 GB", "orin-nx-16gb", _ORIN, 16),
    "p3701-0000": Module("AGX Orin 32 GB", "agx-orin-32gb", _ORIN, 32),
    "p3701-0004": Module("AGX Orin 32 GB", "agx-orin-32gb", _ORIN, 32),
    "p3701-0005": Module("AGX Orin 64 GB", "agx-orin-64gb", _ORIN, 64),
    "p3701-0008": Module("AGX Orin Industrial 64 GB", "agx-orin-64gb", _ORIN, 64),
    "p3834-0005": Module("Thor T4000", "thor-t4000", _THOR, 64),
    "p3834-0008": Module("Thor T5000", "thor-t5000", _THOR, 128),
}
"""Part of the module in the device tree's ``compatible`` -> the module."""
CHIPS = {"tegra194": (7, 2), "tegra234": _ORIN, "tegra264": _THOR}
"""Of modules that are not in the table, at least the chip."""

_6 = "10.3.0", "12.6", (3, 10)
_7_TENSORRT = "10.16.2"
RELEASES = {
    "36.4.0": Release("6.1", *_6), "36.4.3": Release("6.2", *_6), "36.4.4": Release("6.2.1", *_6),
    "36.4.7": Release("6.2.1", *_6), "36.5.0": Release("6.2.2", *_6),
    "38.2.0": Release("7.0", "10.13.3", "13.0", (3, 12)), "38.2.1": Release("7.0", "10.13.3", "13.0", (3, 12)),
    "38.2.2": Release("7.0", "10.13.3", "13.0", (3, 12)), "38.4.0": Release("7.1", "10.13.3", "13.0", (3, 12)),
    "39.2.0": Release("7.2", _7_TENSORRT, "13.2", (3, 12)), "39.2.1": Release("7.2.1", _7_TENSORRT, "13.2", (3, 12)),
    "39.2.2": Release("7.2.2", _7_TENSORRT, "13.2", (3, 12)),
}  # fmt: skip
"""L4T -> what the image was made with. Newer TensorRT can be installed on some."""
OLDEST = (36, 4, 0)
"""Before it TensorRT is older than 10.3, the oldest that is taken."""

_RELEASE = re.compile(r"R(\d{1,4})\s*\(release\),\s*REVISION:\s*(\d{1,4}(?:\.\d{1,4}){0,2})")
_PART = re.compile(r"p(?:3701|3767|3834)-\d{4}")


def jetpacks() -> list[str]:
    """Every JetPack that is known, each once."""
    return list(dict.fromkeys(release.jetpack for release in RELEASES.values()))


def l4t_of(line: str) -> str:
    """``36.4.3`` of the first line of /etc/nv_tegra_release; empty where it says none."""
    found = _RELEASE.search(line)
    return f"{found[1]}.{found[2]}" if found else ""


def numbers(version: str) -> tuple[int, ...]:
    """``(36, 4, 3)`` of ``36.4.3-b1``: as far as it is numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version.strip() or "0")[0])[:6])


def module_of(compatible: str) -> tuple[Module | None, Capability | None]:
    """The module that ``compatible`` of the device tree names, and its GPU's compute capability."""
    for part in _PART.findall(compatible):
        if part in MODULES:
            return MODULES[part], MODULES[part].capability
    return None, next((capability for chip, capability in CHIPS.items() if chip in compatible), None)
