"""How near each graph comes to what this machine can do, and what would make a unit shorter.

Receives a bundle's works, the measured time of each, and the machine's ceilings; hands on a :class:`Roof`, a row per
graph and :class:`Help`, the largest gain first.

Choices: a gain is the measured time of the graphs times the ratio of two predictions (``host.py``: as it would be, as
it is), so that what the predictor errs by in common cancels; what the host does beside the graphs stays as it was
measured. Another engine is predicted for a board (``predict.py``), not for this machine. Weights of graphs that stay in
the last cache do not come from memory in every run: such a graph may show more than all of the bandwidth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.profile.boards import board_named
from edge_streamer.runtime.profile.graphs import PRODUCTS, window_units, with_steps, work_of, works
from edge_streamer.runtime.profile.host import binds, host_times
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
    """What the machine can do at most, on so many threads."""

    threads: int
    rates: dict[str, float]
    """Numbers -> 10^9 operations a second."""
    bandwidth: float
    """10^9 bytes a second."""
    node_us: float
    """Microseconds of an operator that does next to nothing."""


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
    of_compute: float
    """Share of the rate that its numbers can have."""
    traffic: float
    """10^9 bytes a second, as if every byte came from memory."""
    of_bandwidth: float
    predicted_ms: float
    binds: Binds


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


def roof_of(limits: Limits, threads: int) -> Roof:
    """The flat parts of the roofline."""
    best = {kind: max(r for (k, _, _), r in limits.products.items() if k == kind) / 1e9 for kind in ("float32", "int8")}
    best["float32"] = max(best["float32"], limits.large)
    return Roof(threads=threads, rates=best, bandwidth=limits.bandwidth, node_us=1e6 * limits.node)


def graph_rows(measured: Measured, limits: Limits, roof: Roof) -> tuple[GraphRow, ...]:
    """Of every run that was measured, the one that takes most of a unit first."""
    rows, manifest, found = [], measured.manifest, measured.operators
    counted = (work_of(manifest, name, run.runs) for name, run in measured.runs.items())
    for work, seconds in host_times(manifest, found, limits, [work for work in counted if work]).items():
        run = measured.runs[work.name].ms
        numbers = "int8" if work.numbers == "int8" else "float32"
        rate, traffic = (work.operations + work.attention) / run / 1e6, work.moved_bytes / run / 1e6
        rows.append(GraphRow(
            graph=work.name, numbers=numbers, runs=work.runs, operations=work.operations + work.attention,
            moved_bytes=work.moved_bytes, run_ms=run, rate=rate, of_compute=rate / roof.rates[numbers],
            traffic=traffic, of_bandwidth=traffic / roof.bandwidth, predicted_ms=1e3 * seconds,
            binds=binds(work, manifest, found, limits),
        ))  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row.runs * row.run_ms))


def bound_by(rows: Iterable[GraphRow]) -> Binds | None:
    """What most of a unit's graphs wait for."""
    waits = Counter[Binds]()
    for row in rows:
        waits[row.binds] += row.runs * row.run_ms  # type: ignore[assignment]  # a Counter of floats
    return waits.most_common(1)[0][0] if waits else None


def what_helps(measured: Measured, limits: Limits) -> tuple[Help, ...]:
    """The largest gain first; what gains nothing is left out."""
    manifest = measured.manifest
    found, rows = [], works(manifest)
    before = sum(w.runs * s for w, s in host_times(manifest, measured.operators, limits).items())
    graphs = sum(run.runs * run.ms for run in measured.runs.values())
    for what, how, changed in _changes(manifest, rows):
        after = sum(w.runs * s for w, s in host_times(manifest, measured.operators, limits, changed).items())
        found.append((what, how, measured.unit_ms - graphs + graphs * after / before))
    board = board_named(BOARD)
    counted = {graph: sum(ops[one] for one in PRODUCTS) for graph, ops in measured.operators.items()}
    there = 1e3 * unit_seconds(times(Setting(manifest=manifest, counted=counted), board, "bundle"))
    found.append((f"another engine: TensorRT on {board.title}", "predicted for that board, graphs alone; edge-streamer "
                  "plan says more of it and of other boards", there))  # fmt: skip
    made = [
        Help(what=what, unit_ms=round(after, 3), gain=round(1 - after / measured.unit_ms, 4), how=how)
        for what, how, after in found
        if 1 - after / measured.unit_ms >= LEAST_GAIN
    ]
    return tuple(sorted(made, key=lambda one: -one.gain))


def _changes(manifest: Manifest, rows: list[Work]) -> Iterable[tuple[str, str, list[Work]]]:
    """What may be changed of a bundle: (what, how, its works then)."""
    steps, window = steps_of(manifest), window_units(manifest)
    if steps is not None and steps > 1:
        fewer = max(1, steps // 2)
        yield (f"fewer solver steps: {fewer} instead of {steps}", f"run --steps {fewer}; eval --compare-steps hears "
               "what it costs", works(with_steps(manifest, fewer)))  # fmt: skip
    if any(row.numbers == "float32" and row.layers > 1 for row in rows) or not any(r.numbers == "int8" for r in rows):
        yield "int8", "edge-streamer quantize --scheme int8; eval hears what it costs", works(manifest, "int8")
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
