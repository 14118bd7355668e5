"""NVIDIA's own commands, board by board, storage by storage, release by release, and where each is written.

Receives a board's name, a storage and a release; hands on :class:`Route` (the words that NVIDIA documents, with the
document) and the commands that follow from it: images alone, flashing of images that are there, several boards at once.

Choices: ``--erase-all``, which the Quick Start of R39.2 has in every line, erases every storage of the board and not
only the one that is written, and NVIDIA's README of the same release has the same commands without it; so it is said
only where somebody asks for it. A row that was not read in a file or page of NVIDIA's own, but in copies of it, says so
in ``read``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edge_streamer.runtime.errors import InputError

INITRD, TOP, FLASH = "./tools/kernel_flash/l4t_initrd_flash.sh", "./l4t_initrd_flash.sh", "./flash.sh"
IDENTIFY = ("./nvautoflash.sh", "--print_boardid")
"""Reads the module's EEPROM in recovery mode and writes nothing; the board is in recovery mode again afterwards."""


class Board(NamedTuple):
    """What can be flashed."""

    title: str
    config: str
    """NVIDIA's name, whose ``.conf`` lies in Linux_for_Tegra."""
    products: tuple[str, ...]
    """USB products in recovery mode (nvautoflash.sh, R39.2)."""
    modules: tuple[str, ...]
    """Part numbers, first the one of the developer kit."""
    thor: bool = False
    has_super: bool = False


BOARDS = {
    "orin-nano": Board("Jetson Orin Nano", "jetson-orin-nano-devkit", ("7523", "7623"),
                       ("p3767-0005", "p3767-0003", "p3767-0004"), has_super=True),
    "orin-nx": Board("Jetson Orin NX", "jetson-orin-nano-devkit", ("7323", "7423"),
                     ("p3767-0000", "p3767-0001", "p3767-0002"), has_super=True),
    "agx-orin": Board("Jetson AGX Orin", "jetson-agx-orin-devkit", ("7023", "7223"),
                      ("p3701-0005", "p3701-0000", "p3701-0004")),
    "thor": Board("Jetson AGX Thor", "jetson-agx-thor-devkit", ("7026", "7326"), ("p3834-0008",), thor=True),
    "thor-t4000": Board("Jetson Thor T4000", "jetson-agx-thor-t4000", ("7226",), ("p3834-0000", "p3834-0005"),
                        thor=True),
}  # fmt: skip
STORAGES = {"nvme": "an NVMe drive", "sd": "a microSD card", "emmc": "the module's eMMC"}
SERIES = {36: "JetPack 6", 38: "JetPack 7.0 and 7.1", 39: "JetPack 7.2"}
HOSTS = {36: ("20.04", "22.04"), 38: ("22.04", "24.04"), 39: ("22.04", "24.04")}
"""Ubuntu releases that flash it. Of R39 in the release notes of 39.2.1; of R36 and R38 as owners of boards quote
NVIDIA's pages."""


@dataclass(frozen=True)
class Command:
    """Words that are run in Linux_for_Tegra, as root."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As one would type it there."""
        given = [f"{name}={shlex.quote(value)}" for name, value in self.environment]
        return " ".join(["sudo", *given, shlex.join(self.words)])


class Route(NamedTuple):
    """A row of the table."""

    board: str
    storage: str
    series: int
    words: tuple[str, ...]
    """``{config}`` stands for the board's configuration."""
    document: str
    read: bool
    """Whether it was read in NVIDIA's own text; else in copies that agree."""


_T234 = ("-c", "tools/kernel_flash/flash_l4t_t234_nvme.xml")
_QSPI = ("-p", "-c bootloader/generic/cfg/flash_t234_qspi.xml")
_LOGS = ("--showlogs", "--network", "usb0")
_NVME, _SD = ("--external-device", "nvme0n1p1"), ("--external-device", "mmcblk0p1")
_INSIDE, _OUTSIDE = ("{config}", "internal"), ("{config}", "external")
_QUICK_36 = "Jetson Linux Developer Guide, Quick Start, R36.4"
_QUICK_39 = "Jetson Linux Developer Guide, Quick Start, R39.2.1"
_NAMED = "Workflow 1; the board's .conf names the drive"
_README_39 = "tools/kernel_flash/README_initrd_flash.txt, R39.2"

ROUTES = (
    Route("orin-nano", "nvme", 36, (INITRD, *_NVME, *_T234, *_QSPI, *_LOGS, *_INSIDE), _QUICK_36, False),
    Route("orin-nano", "sd", 36, (INITRD, *_SD, *_T234, *_QSPI, *_LOGS, *_INSIDE), _QUICK_36, False),
    Route("orin-nx", "nvme", 36, (INITRD, *_NVME, *_T234, *_QSPI, *_LOGS, *_INSIDE), _QUICK_36, False),
    Route("agx-orin", "emmc", 36, (FLASH, *_INSIDE), _QUICK_36, False),
    Route("agx-orin", "nvme", 36, (INITRD, *_NVME, *_T234, *_LOGS, *_OUTSIDE), _QUICK_36, False),
    Route("thor", "nvme", 38, (TOP, *_INSIDE),
          "Jetson Linux Developer Guide, Flashing Support for Jetson Thor, R38.4", False),
    Route("thor-t4000", "nvme", 38, (TOP, *_INSIDE), "nvautoflash.sh names the board, R39.2", False),
    Route("orin-nano", "nvme", 39, (TOP, *_INSIDE), f"{_README_39}, {_NAMED}", True),
    Route("orin-nano", "sd", 39, (TOP, *_SD, *_INSIDE), _QUICK_39, False),
    Route("orin-nx", "nvme", 39, (TOP, *_INSIDE), f"{_README_39}, {_NAMED}", True),
    Route("agx-orin", "emmc", 39, (TOP, *_INSIDE),
          f"{_README_39}, Workflow 1; README of the UEFI binaries, R39.2", True),
    Route("agx-orin", "nvme", 39, (TOP, *_NVME, *_T234, *_OUTSIDE),
          f"{_README_39}, Workflow 3, with the layout of nvsdkmanager_flash.sh, R39.2", True),
    Route("thor", "nvme", 39, (TOP, *_INSIDE), f"{_README_39}, Workflow 1; README of the UEFI binaries, R39.2", True),
    Route("thor-t4000", "nvme", 39, (TOP, *_INSIDE), "nvautoflash.sh names the board, R39.2", False),
)  # fmt: skip


def route(board: str, storage: str, series: int) -> Route:
    """The row for a board; raises InputError where NVIDIA's documents have none."""
    found = [row for row in ROUTES if (row.board, row.storage, row.series) == (board, storage, series)]
    if found:
        return found[0]
    storages = [row.storage for row in ROUTES if row.board == board and row.series == series]
    title = BOARDS[board].title
    if storages:
        raise InputError(
            f"a {title} is not flashed to {STORAGES[storage]} with R{series}; name one of: {_or(storages)}"
        )
    fits = [f"R{row.series} ({SERIES[row.series]})" for row in ROUTES if row.board == board]
    raise InputError(f"a {title} is not flashed with R{series}; unpack one of: {_or(dict.fromkeys(fits))}")


def storages_of(board: str, series: int) -> tuple[str, ...]:
    """What a board can be flashed to, the usual one first."""
    return tuple(row.storage for row in ROUTES if row.board == board and row.series == series)


class Wish(NamedTuple):
    """How a route is to be run."""

    config: str
    erase: bool = False
    massflash: int = 0
    """Boards at once; 0 for one board in one command."""
    module: tuple[tuple[str, str], ...] = ()
    """BOARDID and the like, where no board tells."""


def whole(row: Route, wish: Wish) -> Command:
    """Images and flashing in NVIDIA's one command."""
    return Command(_with_erase(_named(row, wish.config), wish))


def images(row: Route, wish: Wish) -> Command:
    """The images alone (README_initrd_flash.txt, Workflows 2 and 6)."""
    script, *rest = _named(row, wish.config)
    if not wish.massflash:
        return Command((script, "--no-flash", *rest), wish.module)
    several = (INITRD, "--no-flash", "--massflash", str(wish.massflash), "--network", "usb0")
    options = [word for word in rest[:-2] if word not in _LOGS]
    return Command((*several, *options, *_place(row, wish)), wish.module)


def flashing(row: Route, wish: Wish) -> Command:
    """Flashing of images that are there (Workflows 2 and 6); of flash.sh with its ``-r``, which keeps system.img."""
    if wish.massflash:
        several = (INITRD, "--flash-only", "--massflash", str(wish.massflash), "--network", "usb0")
        return Command(_with_erase((*several, *_place(row, wish)), wish))
    script, *rest = _named(row, wish.config)
    if script == FLASH:
        return Command((script, "-r", *rest))
    kept = tuple(word for word in rest[:-2] if word in _LOGS)
    return Command(_with_erase((script, "--flash-only", *kept, *rest[-2:]), wish))


def _place(row: Route, wish: Wish) -> tuple[str, str]:
    """Board and root device. Several boards always go by initrd, which calls an eMMC by its name."""
    return wish.config, "mmcblk0p1" if row.words[0] == FLASH else row.words[-1]


def _named(row: Route, config: str) -> tuple[str, ...]:
    return tuple(config if word == "{config}" else word for word in row.words)


def _with_erase(words: tuple[str, ...], wish: Wish) -> tuple[str, ...]:
    if not wish.erase or words[0] == FLASH:
        return words
    return (*words[:-2], "--erase-all", *words[-2:])


def _or(names: Iterable[str]) -> str:
    return ", ".join(names)
