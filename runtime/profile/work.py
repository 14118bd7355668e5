"""What a run of a graph must do, whatever it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_streamer.runtime.profile.boards import Numbers

Runtime = Literal["tensorrt", "vllm", "mlc", "llama.cpp"]
"""Whose kernels run it: they reach different shares of a board's ceilings."""


@dataclass(frozen=True)
class Work:
    """One run of one graph."""

    name: str
    numbers: Numbers
    """What its weights are stored in."""
    operations: float
    """Of products with weights, multiply-adds times two."""
    attention: float
    """Of products of queries, keys and values, which stay in 16 bits."""
    moved_bytes: float
    """Read or written at least once."""
    layers: float
    """Decoder layers, or as many as it has kernels for."""
    tokens: int = 1
    runs: float = 1
    """Per unit; measured ones may be a fraction, where a unit's passes differ."""
