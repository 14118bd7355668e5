"""What graphs can be linted for: boards with their TensorRT, PCs, CPUs, and all of them at once

Imports nothing, so that the command's help is quick. A board's image decides which TensorRT it has, and a board which
numbers its products take; JetPack 7.2 runs on two boards.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, int]


@dataclass(frozen=True)
class Board:
    """One kind of processor."""

    name: str
    about: str
    lacks: tuple[str, ...]
    """Types that it has no products for, as ONNX calls them."""
    nearest: str
    """The compute capability, as TensorRT-RTX calls it, that a graph is built for in its place."""


SMALL_FLOATS = ("float8e4m3fn", "float4e2m1")
ORIN = Board("orin", "an Orin", SMALL_FLOATS, "SM86")
THOR = Board("thor", "a Thor", (), "SM120")
AMPERE = Board("ampere", "a card before Ada", SMALL_FLOATS, "SM86")
BLACKWELL = Board("blackwell", "a Blackwell card", (), "SM120")
BOARDS = {board.name: board for board in (ORIN, THOR, AMPERE, BLACKWELL)}


@dataclass(frozen=True)
class LintTarget:
    """One thing to lint for."""

    name: str
    about: str
    tensorrt: Version | None
    """Of its TensorRT; None for CPUs, which ONNX Runtime computes on."""
    boards: tuple[Board, ...] = ()
    """What it runs on, the least first. What only some of them lack is a note, unless one of them is chosen."""


PORTABLE = "portable"
TARGETS = {
    target.name: target
    for target in (
        LintTarget("jetpack6.2", "TensorRT 10.3 on an Orin", (10, 3), (ORIN,)),
        LintTarget("jetpack7.1", "TensorRT 10.13 on a Thor", (10, 13), (THOR,)),
        LintTarget("jetpack7.2", "TensorRT 10.16 on an Orin or a Thor", (10, 16), (ORIN, THOR)),
        LintTarget("jetpack7.2.2", "TensorRT 10.16 or 11.4 on an Orin or a Thor", (10, 16), (ORIN, THOR)),
        LintTarget("rtx", "TensorRT-RTX on a PC", (10, 16), (AMPERE, BLACKWELL)),
        LintTarget("cpu", "ONNX Runtime on a CPU", None),
    )
}
NAMES = (PORTABLE, *TARGETS)
QUANTIZED_FOR = {
    "cpu": (("cpu",), None),
    "orin": (("jetpack6.2", "jetpack7.2", "jetpack7.2.2"), ORIN),
    "thor": (("jetpack7.1", "jetpack7.2", "jetpack7.2.2"), THOR),
}
"""Target of `quantize` -> what its graphs must pass, and on which board."""


def named(name: str) -> tuple[LintTarget, ...]:
    """The targets that ``name`` stands for: itself, or all of them for ``portable``."""
    return tuple(TARGETS.values()) if name == PORTABLE else (TARGETS[name],)
