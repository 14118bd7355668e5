"""What a scheme of ``quantize`` makes of a graph, in bytes and in numbers, without quantizing it.

Receives the name of a scheme and of a graph; hands on :class:`Stored`: bits per weight, what products are computed in,
as ``quantize`` decides it for boards. ``bundle`` stands for the bundle as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_streamer.runtime.bundle.manifest import GraphSpec, Precision
from edge_streamer.runtime.profile.boards import Board, Numbers
from edge_streamer.runtime.profile.vocabulary import SCHEMES

CODECS = ("encode", "decode", "encode_agent")
ENDS = ("solve_in", "solve_out")


@dataclass(frozen=True)
class Stored:
    """How the weights of a graph are kept, and multiplied."""

    bits: float
    """Per weight, scales counted."""
    numbers: Numbers


_FLOAT, _EIGHT_KEPT = Stored(32, "float32"), Stored(8, "float32")
_TABLE: dict[str, tuple[Stored, Stored, Stored]] = {
    # codecs, the solver's ends, all other graphs
    "float32": (_FLOAT, _FLOAT, _FLOAT),
    "fp16": (Stored(16, "fp16"),) * 3,
    "bf16": (Stored(16, "bf16"),) * 3,
    "int8": (_EIGHT_KEPT, Stored(8, "int8"), Stored(8, "int8")),
    "int4": (_EIGHT_KEPT, Stored(8, "int4"), Stored(5, "int4")),  # a scale of 32 bits for 32 weights
    "fp8": (Stored(16, "fp16"), Stored(8, "fp8"), Stored(8, "fp8")),
    "nvfp4": (Stored(16, "fp16"), Stored(8, "fp8"), Stored(4.5, "nvfp4")),
}


def stored(scheme: str, graph: str) -> Stored:
    """Of a graph's weights under ``scheme``."""
    codecs, ends, rest = _TABLE[scheme]
    return codecs if graph in CODECS else ends if graph in ENDS else rest


def computed(scheme: str, board: Board) -> bool:
    """Whether ``board`` computes in all that ``scheme`` needs."""
    return all(one.numbers in board.rates or one.numbers == "int4" for one in _TABLE[scheme])


def numbers_of(precision: Precision) -> Numbers:
    """What a graph that is quantized already computes in: the numbers of its inputs, where they are named."""
    weights: dict[str, Numbers] = {"mixed": "int8"}
    if precision.weights in ("int8", "fp8", "mixed") and precision.activations == "float32":
        return "float32"
    known: dict[str, Numbers] = {name: name for name in SCHEMES}  # type: ignore[misc]
    return weights.get(precision.weights) or known[precision.weights]


def as_it_is(graph: GraphSpec) -> Stored:
    """Of a graph of the bundle itself."""
    bits = 8 * graph.weight_bytes / graph.parameters if graph.parameters else 32
    return Stored(bits, numbers_of(graph.precision))
