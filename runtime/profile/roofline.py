"""How near each graph comes to what this machine can do, and what would make a unit shorter.

Receives a bundle's works, the measured time of each, and a :class:`Model` of what they ran on, made of its ceilings: a
CPU's (:class:`HostModel`) or a GPU's (``device_model.py``); hands on a row per graph and :class:`Help`, the largest
gain first.

Choices: a gain is the measured time of the graphs times the ratio of two predictions (as it would be, as it is), so
that what the predictor errs by in common cancels; what the host does beside the graphs stays as it was measured.
Another engine is predicted for a board (``predict.py``), not for this machine. Weights of graphs that stay in the last
cache do not come from memory in every run: such a graph may show more than all of the bandwidth. What there is no rate
of is not predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.profile.boards import board_named
from edge_streamer.runtime.profile.graphs import PRODUCTS, window_units, with_steps, work_of, works
from edge_streamer.runtime.profile.host import binds, host_time
from edge_streamer.runtime.profile.limits import Limits
from edge_streamer.runtime.profile.plan import Setting, steps_of, times, unit_seconds
from edge_streamer.runtime.profile.predict import Binds
from edge_streamer.runtime.profile.timeline import Run
from edge_streamer.runtime.profile.work import Work

BOARD = "orin-nano-8gb-super"
"""The smallest on which an engine on a GPU is predicted."""
FEWER_TOKENS = 0.75
LEAST_GAIN = 0.02
"""Of a unit: less is not told."""


class Roof(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine can do at most."""

    threads: int
    """That it was measured on; 0: on a GPU."""
    rates: dict[str, float]
    """Numbers -> 10^9 operations a second."""
    bandwidth: float
    """10^9 bytes a second."""
    node_us: float
    """Microseconds of an operator, or on a GPU of a kernel, that does next to nothing."""
    through: str = ""
    """The engine that it was measured through."""
    left_out: dict[str, str] = {}
    """Numbers -> why they have no rate."""


class GraphRow(msgspec.Struct, frozen=True, kw_only=True):
    """One graph at one length."""

    graph: str
    numbers: str
    runs: float
    """Per unit."""
    operations: float
    """Of one run, as the manifest counts them."""
    moved_bytes: float
    run_ms: float
    """Measured, the median unit's."""
    rate: float
    """10^9 operations a second."""
    of_compute: float | None
    """Share of the rate that its numbers can have; None where that was not measured."""
    traffic: float
    """10^9 bytes a second, as if every byte came from memory."""
    of_bandwidth: float
    predicted_ms: float | None
    """From the ceilings alone; None where one that it takes was not measured."""
    binds: Binds | None


class Help(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would change the unit's time."""

    what: str
    unit_ms: float
    """Predicted."""
    gain: float
    """Share of the unit that goes."""
    how: str
    """What to do, and what it costs."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is set against the ceilings."""

    manifest: Manifest
    operators: Mapping[str, Counter[str]]
    """Of each graph's file."""
    runs: Mapping[str, Run]
    """By the work's name."""
    unit_ms: float


class Model(Protocol):
    """What a machine's ceilings say of a run."""

    @property
    def roof(self) -> Roof: ...

    @property
    def schemes(self) -> Sequence[str]:
        """Of ``quantize``, that may help on it."""

    @property
    def is_device(self) -> bool:
        """Whether it is a GPU."""

    def numbers(self, work: Work) -> str:
        """What a run is computed in: a key of the roof's rates, where there is a rate."""

    def seconds(self, work: Work, measured: Measured) -> float | None:
        """Of one run; None where a rate that it takes was not measured."""

    def binds(self, work: Work, measured: Measured) -> Binds | None:
        """What a run waits for most."""


@dataclass(frozen=True)
class HostModel:
    """Of ONNX Runtime on so many threads of a CPU."""

    limits: Limits
    threads: int
    schemes = ("int8",)
    is_device = False

    @property
    def roof(self) -> Roof:
        """The flat parts of the roofline."""
        rates = self.limits.products
        best = {kind: max(r for (k, _, _), r in rates.items() if k == kind) / 1e9 for kind in ("float32", "int8")}
        best["float32"] = max(best["float32"], self.limits.large)
        return Roof(threads=self.threads, rates=best, bandwidth=self.limits.bandwidth, node_us=1e6 * self.limits.node)

    def numbers(self, work: Work) -> str:
        return "int8" if work.numbers == "int8" else "float32"

    def seconds(self, work: Work, measured: Measured) -> float:
        return host_time(work, measured.manifest, measured.operators, self.limits).seconds

    def binds(self, work: Work, measured: Measured) -> Binds:
        return binds(work, measured.manifest, measured.operators, self.limits)


def graph_rows(measured: Measured, model: Model) -> tuple[GraphRow, ...]:
    """Of every run that was measured, the one that takes most of a unit first."""
    rows, roof = [], model.roof
    counted = (work_of(measured.manifest, name, run.runs) for name, run in measured.runs.items())
    for work in (work for work in counted if work):
        run, seconds, numbers = measured.runs[work.name].ms, model.seconds(work, measured), model.numbers(work)
        rate, traffic = (work.operations + work.attention) / run / 1e6, work.moved_bytes / run / 1e6
        rows.append(GraphRow(
            graph=work.name, numbers=numbers, runs=work.runs, operations=work.operations + work.attention,
            moved_bytes=work.moved_bytes, run_ms=run, rate=rate,
            of_compute=rate / roof.rates[numbers] if numbers in roof.rates else None,
            traffic=traffic, of_bandwidth=traffic / roof.bandwidth,
            predicted_ms=None if seconds is None else 1e3 * seconds, binds=model.binds(work, measured),
        ))  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row.runs * row.run_ms))


def bound_by(rows: Iterable[GraphRow]) -> Binds | None:
    """What most of a unit's graphs wait for."""
    waits = Counter[Binds]()
    for row in rows:
        if row.binds:
            waits[row.binds] += row.runs * row.run_ms  # type: ignore[assignment]  # a Counter of floats
    return waits.most_common(1)[0][0] if waits else None


def what_helps(measured: Measured, model: Model) -> tuple[Help, ...]:
    """The largest gain first; what gains nothing, or is not predicted, is left out."""
    found, rows = [], works(measured.manifest)
    before = _predicted(rows, measured, model)
    graphs = min(sum(run.runs * run.ms for run in measured.runs.values()), measured.unit_ms)  # call by call: slower
    for what, how, changed in _changes(measured.manifest, rows, model):
        after = _predicted(changed, measured, model)
        if before and after is not None:
            found.append((what, how, measured.unit_ms - graphs + graphs * after / before))
    if not model.is_device:
        found.append(_on_a_board(measured))
    made = [
        Help(what=what, unit_ms=round(after, 3), gain=round(1 - after / measured.unit_ms, 4), how=how)
        for what, how, after in found
        if 1 - after / measured.unit_ms >= LEAST_GAIN
    ]
    return tuple(sorted(made, key=lambda one: -one.gain))


def _predicted(rows: Iterable[Work], measured: Measured, model: Model) -> float | None:
    """Seconds of a unit's graphs."""
    total = 0.0
    for work in rows:
        seconds = model.seconds(work, measured)
        if seconds is None:
            return None
        total += work.runs * seconds
    return total


def _on_a_board(measured: Measured) -> tuple[str, str, float]:
    board = board_named(BOARD)
    counted = {graph: sum(ops[one] for one in PRODUCTS) for graph, ops in measured.operators.items()}
    there = 1e3 * unit_seconds(times(Setting(manifest=measured.manifest, counted=counted), board, "bundle"))
    made = ("; this bundle is for CPUs, quantize the float32 one with --target orin for it"
            if any(graph.precision.dynamic for graph in measured.manifest.graphs) else "")  # fmt: skip
    return (f"another engine: TensorRT on {board.title}", "predicted for that board, graphs alone; edge-streamer plan "
            f"says more of it and of other boards{made}", there)  # fmt: skip


def _changes(manifest: Manifest, rows: list[Work], model: Model) -> Iterable[tuple[str, str, list[Work]]]:
    """What may be changed of a bundle: (what, how, its works then)."""
    steps, window = steps_of(manifest), window_units(manifest)
    if steps is not None and steps > 1:
        fewer = max(1, steps // 2)
        yield (f"fewer solver steps: {fewer} instead of {steps}", f"run --steps {fewer}; eval --compare-steps hears "
               "what it costs", works(with_steps(manifest, fewer)))  # fmt: skip
    for scheme in model.schemes:
        wide = any(row.numbers == "float32" and row.layers > 1 for row in rows)
        if wide or not any(row.numbers == scheme for row in rows):
            yield scheme, f"edge-streamer quantize --scheme {scheme}; eval hears what it costs", works(manifest, scheme)
    if window is not None and window > 1:
        yield (f"a shorter window: {window // 2} units instead of {window}", "export with half the window: it forgets "
               "sooner", works(manifest, window=window // 2))  # fmt: skip
    if any(row.tokens > 1 for row in rows):
        yield (f"fewer tokens: {FEWER_TOKENS:.0%} of every pass", "another model: fewer tokens a unit for sound or "
               "picture", [_fewer(row) for row in rows])  # fmt: skip


def _fewer(row: Work) -> Work:
    if row.tokens == 1:
        return row
    share = max(1, round(row.tokens * FEWER_TOKENS)) / row.tokens
    return replace(row, operations=row.operations * share, attention=row.attention * share,
                   tokens=round(row.tokens * share))  # fmt: skip
