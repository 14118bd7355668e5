"""The boards that are planned for: what each can move, compute and hold, and where that is published.

Receives a name; hands on a :class:`Board`. What their Linux sees of memory stands in
``runtime/engines/board_memory.py``.

Arithmetic is dense: the makers' TOPS count zeros of sparse weights and, on Orin NX and AGX Orin, accelerators (DLA)
that have no attention. On Orin a streaming multiprocessor (SM) does 2048 operations of 16-bit numbers a cycle, so that
``SMs * clock * 2048`` is the rate in 16 bits; 8 bits are twice as fast; float32, without tensor cores since the engines
leave TF32 off, 256 a cycle. Rows are of the fastest power mode with the clocks held (``nvpmodel``,
``jetson_clocks``); the Orin NX rows are those of the modes that JetPack 6.2 brought ("Super"). Not read off a maker's
page: the clocks of the NX and AGX modules and of the T4000, and that Thor multiplies 8-bit integers as fast as FP8.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from edge_streamer.runtime.engines.board_memory import BOARDS as RAM
from edge_streamer.runtime.engines.board_memory import LIBRARY, SYSTEM
from edge_streamer.runtime.errors import InputError

Numbers = Literal["float32", "fp16", "bf16", "int8", "int4", "fp8", "nvfp4"]
"""What products are computed in, and weights are stored in. Integers of 4 bits are stored only: products have 16 bits.
"""
Family = Literal["orin-small", "orin-agx", "thor", "host"]
"""Boards that reach the same shares of their ceilings."""

FLOAT32 = 256
"""Operations of float32 a cycle and streaming multiprocessor: 128 cores, a multiply-add each."""
KEPT_BYTES = SYSTEM + LIBRARY["tensorrt"]
"""What a system without a desktop keeps for itself, and the engine's libraries with a CUDA context."""

_ORIN = "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-orin/"
_THOR = "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-thor/"
_NANO = "https://developer.nvidia.com/blog/nvidia-jetson-orin-nano-developer-kit-gets-a-super-boost/"
_MODES = (
    "https://developer.nvidia.com/blog/"
    "nvidia-jetpack-6-2-brings-super-mode-to-nvidia-jetson-orin-nano-and-jetson-orin-nx-modules/"
)


@dataclass(frozen=True)
class Board:
    """One module in its fastest mode."""

    name: str
    title: str
    family: Family
    compute_capability: str
    """As CUDA says it, e.g. ``8.7``."""
    processors: int
    """Streaming multiprocessors."""
    clock_ghz: float
    """Of the GPU."""
    bandwidth: float
    """Bytes a second of the memory, by its data sheet."""
    rates: dict[Numbers, float]
    """Dense operations a second (a multiply-add is two); numbers that are not here are not computed there."""
    ram_bytes: int
    """What the system shows as its memory; the carveouts of the firmware are off already."""
    source: str

    @property
    def usable_bytes(self) -> int:
        """Memory that a bundle may take."""
        return self.ram_bytes - KEPT_BYTES


def _orin(name: str, title: str, family: Family, processors: int, clock: float, bandwidth: float, source: str) -> Board:
    half = processors * clock * 1e9 * 2048
    single = processors * clock * 1e9 * FLOAT32
    rates: dict[Numbers, float] = {"float32": single, "fp16": half, "bf16": half, "int8": 2 * half}
    return Board(name, title, family, "8.7", processors, clock, bandwidth * 1e9, rates, RAM[name], source)


def _thor(name: str, title: str, processors: int, clock: float, nvfp4: float) -> Board:
    four, eight, half = nvfp4 * 1e12, nvfp4 / 2 * 1e12, nvfp4 / 4 * 1e12
    rates: dict[Numbers, float] = {
        "float32": processors * clock * 1e9 * FLOAT32, "fp16": half, "bf16": half,
        "int8": eight, "fp8": eight, "nvfp4": four,
    }  # fmt: skip
    return Board(name, title, "thor", "11.0", processors, clock, 273e9, rates, RAM[name], _THOR)


BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        _orin("orin-nano-8gb", "Jetson Orin Nano 8 GB", "orin-small", 8, 0.625, 68, _ORIN),
        _orin("orin-nano-8gb-super", "Jetson Orin Nano 8 GB Super", "orin-small", 8, 1.02, 102, _NANO),
        _orin("orin-nx-8gb", "Jetson Orin NX 8 GB", "orin-small", 8, 1.173, 102.4, _MODES),
        _orin("orin-nx-16gb", "Jetson Orin NX 16 GB", "orin-small", 8, 1.173, 102.4, _MODES),
        _orin("agx-orin-32gb", "Jetson AGX Orin 32 GB", "orin-agx", 14, 0.93, 204.8, _ORIN),
        _orin("agx-orin-64gb", "Jetson AGX Orin 64 GB", "orin-agx", 16, 1.301, 204.8, _ORIN),
        _thor("thor-t4000", "Jetson T4000", 12, 1.53, 600),
        _thor("thor-t5000", "Jetson T5000 (AGX Thor)", 20, 1.575, 1035),
    )
}
"""By name, the smallest first."""


def board_named(name: str) -> Board:
    """The board of this name. InputError that lists them all."""
    if name not in BOARDS:
        close = get_close_matches(name, BOARDS, 1, 0.4)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"there is no board {name!r}; wanted one of {', '.join(BOARDS)}{hint}")
    return BOARDS[name]
