"""How long a run takes on a board: a roofline whose shares of the ceilings were fitted on published figures.

Receives a :class:`Work` and a :class:`Board`; hands on a :class:`Time`::

    seconds = max(bytes / (bandwidth * share), operations / (rate * share) + attention / (rate * share))
              + layers * (cycles of a layer + tokens * cycles of a token) / clock

The cycles are what a layer takes however small it is: its kernels start one after another, and each waits for the one
before. So small models reach less of the bandwidth, by the same constants. There is one set of constants for a runtime
on a family of boards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.profile.boards import Board, Family, Numbers
from edge_streamer.runtime.profile.work import Runtime, Work

Binds = Literal["memory", "compute", "kernels"]


@dataclass(frozen=True)
class Shares:
    """What a runtime reaches of a family's ceilings."""

    bandwidth: float
    """Of the memory's, while weights stream."""
    compute: dict[Numbers, float]
    """Of the rate that the products of these numbers are computed at."""
    attention: float
    """Of the rate in 16 bits."""
    layer_cycles: float
    """Cycles of the GPU that a layer takes at least."""
    token_cycles: float
    """And for each token of the pass."""


@dataclass(frozen=True)
class Time:
    """Of one run."""

    seconds: float
    memory: float
    """Seconds that the bytes alone take."""
    compute: float
    """Seconds that the products alone take."""
    kernels: float
    """Seconds of starting and awaiting."""

    @property
    def binds(self) -> Binds:
        """The largest of the three."""
        times: dict[Binds, float] = {"memory": self.memory, "compute": self.compute, "kernels": self.kernels}
        return max(times, key=lambda name: times[name])


COMPUTED: dict[Numbers, Numbers] = {"int4": "fp16"}
"""Numbers that weights are stored in -> those that products are computed in, where they differ."""

SHARES: dict[tuple[Runtime, Family | None], Shares] = {
    ("tensorrt", "orin-small"): Shares(0.921, {"int4": 0.509}, 0.600, 86_100, 238),
    ("tensorrt", "orin-agx"): Shares(0.817, {"int4": 0.503}, 0.534, 72_100, 275),
    ("tensorrt", "thor"): Shares(0.919, {"int4": 0.171, "nvfp4": 0.373}, 0.184, 48_800, 61),
    ("mlc", None): Shares(0.950, {}, 0.35, 247_000, 200),
    ("vllm", None): Shares(0.782, {}, 0.35, 201_000, 200),
    ("llama.cpp", None): Shares(0.444, {}, 0.35, 83_800, 200),
}
"""Fitted by ``python -m tests.bench.predictor --fit`` on the published figures that are marked there; None: one set for
all boards, as so few figures are known. No family where a figure was missing borrows another's: see ASSUMED."""
ASSUMED: dict[Numbers, float] = {"float32": 0.4, "fp16": 0.4, "bf16": 0.4, "int8": 0.35, "fp8": 0.35, "nvfp4": 0.35,
                                 "int4": 0.4}  # fmt: skip
"""Share of the rate in numbers of which no pass of many tokens was published; a plan says where it rests on one."""


def shares_of(runtime: Runtime, board: Board) -> Shares:
    """The constants of ``runtime`` on boards like ``board``."""
    return SHARES.get((runtime, board.family)) or SHARES[runtime, None]


def computed_in(numbers: Numbers) -> Numbers:
    """What products with such weights are computed in."""
    return COMPUTED.get(numbers, numbers)


def run_time(work: Work, board: Board, shares: Shares) -> Time:
    """Of one run of ``work``. InputError where the board does not compute in its numbers."""
    numbers = computed_in(work.numbers)
    if numbers not in board.rates:
        raise InputError(f"{board.title} does not compute in {numbers}; it computes in {', '.join(board.rates)}")
    memory = work.moved_bytes / (board.bandwidth * shares.bandwidth)
    share = shares.compute.get(work.numbers) or ASSUMED[work.numbers]
    compute = work.operations / (board.rates[numbers] * share)
    compute += work.attention / (board.rates["fp16"] * shares.attention)
    kernels = work.layers * (shares.layer_cycles + work.tokens * shares.token_cycles) / (board.clock_ghz * 1e9)
    return Time(max(memory, compute) + kernels, memory, compute, kernels)
