"""How long a bundle's unit takes on this machine's CPU, predicted from its measured ceilings.

Receives works, the operators of each graph and :class:`Limits`; hands on seconds of each run, and what they go to. On a
CPU a product's rate is measured with its weights streaming, so bytes are no roof of their own but for the states::

    seconds = operations / (rate(rows) * share) + attention / (attends(rows) * share) + states / bandwidth
              + nodes * node

The shares are what the demo's graphs reach of the ceilings, operator by operator; ``python -m
tests.bench.host_prediction`` holds the whole against bundles that they are not from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.profile.graphs import works
from edge_streamer.runtime.profile.limits import ROWS, Kind, Limits
from edge_streamer.runtime.profile.predict import Binds
from edge_streamer.runtime.profile.work import Work

CACHE_BYTES = 32_000_000
"""Weights of a unit's longest graph that stay in the last cache between its runs; larger ones stream."""
SMALL = 0.65
"""Share of the products' rate that a model whose weights stay in a cache reaches: its matrices are smaller than those
that the rate was measured with."""
ATTEND = 0.7
"""Share of attention's rate: keys of rings and of the unit are joined first, a prefix has scores of its own."""
CONVOLVE = 0.85
"""Share of a convolution's rate that a codec's reach, which are of many sizes."""
NODES = 4.0
"""How much longer an operator takes than one that does nothing: it has tensors to go through."""
FEW = 0.5
"""Products that reach a smaller share of their best rate have few rows."""
FUSED = 2
"""Operators that become one with a product of integers: its scales' multiplications."""
FREE = ("DequantizeLinear", "Cast", "Constant", "Reshape", "Unsqueeze", "Squeeze", "DynamicQuantizeLinear")
"""Operators that are folded, fused or only rename."""


@dataclass(frozen=True)
class HostTime:
    """Of one run, seconds; one after the other."""

    compute: float
    """Of products, weights that stream counted with them."""
    memory: float
    """Of reading states."""
    kernels: float
    """Of starting operators."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.compute + self.memory + self.kernels


def host_times(manifest: Manifest, found: Mapping[str, Counter[str]], limits: Limits,
               rows: Iterable[Work] | None = None) -> dict[Work, float]:  # fmt: skip
    """Seconds of each run of a unit (or of ``rows``), on as many threads as ``limits`` was measured with."""
    rows = works(manifest) if rows is None else rows
    return {work: host_time(work, manifest, found, limits).seconds for work in rows}


def binds(work: Work, manifest: Manifest, found: Mapping[str, Counter[str]], limits: Limits) -> Binds:
    """What a run waits for most. A product of few rows waits for its weights, be they in memory or in a cache: more
    rows would take hardly longer."""
    time, graph = host_time(work, manifest, found, limits), manifest.graph(work.name.partition(" at ")[0])
    if time.kernels > time.compute + time.memory:
        return "kernels"
    kind, cached = _kind(work), graph.weight_bytes <= CACHE_BYTES
    most = max(limits.rate(kind, cached, rows) for rows in ROWS)
    few = work.name != graph.name and limits.rate(kind, cached, work.tokens) < FEW * most
    return "memory" if few or time.memory > time.compute else "compute"


def _kind(work: Work) -> Kind:
    return "int8" if work.numbers == "int8" else "float32"


def host_time(work: Work, manifest: Manifest, found: Mapping[str, Counter[str]], limits: Limits) -> HostTime:
    """Of one run."""
    graph = manifest.graph(work.name.partition(" at ")[0])
    operators = found[graph.name]
    kind = _kind(work)
    cached = graph.weight_bytes <= CACHE_BYTES
    nodes = sum(count for name, count in operators.items() if name not in FREE)
    nodes -= FUSED * operators["MatMulInteger"]
    if operators["Conv"] > operators["MatMul"] + operators["MatMulInteger"]:
        return HostTime(work.operations / (limits.convolve * CONVOLVE), 0.0, nodes * NODES * limits.node)
    states = max(work.moved_bytes - graph.weight_bytes, 0.0)
    products = work.operations / (limits.rate(kind, cached, work.tokens) * (SMALL if cached else 1.0))
    attention = work.attention / (limits.attends(cached, work.tokens) * ATTEND)
    return HostTime(products + attention, states / (limits.bandwidth * 1e9), nodes * NODES * limits.node)
