"""Boards at the USB ports of this machine: those in recovery mode, and those that are not.

Receives a system; hands on :class:`Port` values, read from /sys/bus/usb alone.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_streamer.devices.jetson.flash.routes import BOARDS
from edge_streamer.devices.jetson.system import System

NVIDIA, RUNNING = "0955", "7020"
"""The vendor, and a Jetson that has started Linux."""
MODULES = {
    "7023": "AGX Orin", "7223": "AGX Orin 32 GB", "7323": "Orin NX 16 GB", "7423": "Orin NX 8 GB",
    "7523": "Orin Nano 8 GB", "7623": "Orin Nano 4 GB", "7026": "AGX Thor", "7226": "Thor T4000", "7326": "AGX Thor",
}  # fmt: skip
"""Products in recovery mode, as nvautoflash.sh of R39.2 lists them."""
PARTS = {
    "7023": ("p3701-0000", "p3701-0005"), "7223": ("p3701-0004",), "7323": ("p3767-0000", "p3767-0002"),
    "7423": ("p3767-0001",), "7523": ("p3767-0003", "p3767-0005"), "7623": ("p3767-0004",), "7026": ("p3834-0008",),
    "7226": ("p3834-0000", "p3834-0005"),
}  # fmt: skip
"""Which modules show as which product."""


class Port(NamedTuple):
    """A board at a port."""

    port: str
    """``1-3``: as NVIDIA's scripts and logs name it."""
    product: str
    hub: bool
    """Whether there is a hub between."""

    @property
    def module(self) -> str:
        return MODULES.get(self.product, "")

    @property
    def board(self) -> str:
        """Our name of it; empty where the product is none of ours."""
        return next((name for name, board in BOARDS.items() if self.product in board.products), "")

    def __str__(self) -> str:
        return f"{self.module or 'an unknown board'} (0955:{self.product}) at port {self.port}"


def product_of(module: str) -> str:
    """What a module shows as; empty where it is none of ours."""
    return next((product for product, parts in PARTS.items() if module in parts), "")


def found(system: System) -> tuple[list[Port], list[Port]]:
    """Boards in recovery mode, and boards of NVIDIA's that run Linux instead."""
    waiting: list[Port] = []
    running: list[Port] = []
    for path in system.names("/sys/bus/usb/devices/*"):
        if system.line(f"{path}/idVendor").lower() != NVIDIA:
            continue
        product, port = system.line(f"{path}/idProduct").lower(), path.rpartition("/")[2]
        one = Port(port, product, "." in port)
        if product in MODULES:
            waiting.append(one)
        elif product == RUNNING:
            running.append(one)
    return waiting, running
