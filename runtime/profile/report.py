"""``profile.json``: what a profile says, for machines; its keys are described in docs/profile.md.

Receives a :class:`Timeline` and the facts of a run; hands on :class:`Profile`. Times are milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small
from edge_streamer.runtime.profile.board import Board
from edge_streamer.runtime.profile.layers import Layer
from edge_streamer.runtime.profile.live import Live
from edge_streamer.runtime.profile.plan import MARGIN
from edge_streamer.runtime.profile.roofline import GraphRow, Help, Roof
from edge_streamer.runtime.profile.statistics import (
    Histogram,
    Interval,
    Row,
    Spread,
    drift,
    histogram,
    jitter,
    rounded,
    spread,
)
from edge_streamer.runtime.profile.timeline import BETWEEN, REST, UNIT, Timeline, outer

VERSION = 1
"""Of the JSON: raised where a key goes or changes its meaning."""
MOST_BYTES = 200_000_000
MISSES_NAMED = 100
SERIES_DEPTH = 3
"""Sections that are kept unit by unit lie no deeper: ``unit/step/play``; graphs are kept too."""
SOLVER_STEP = re.compile(r"(solve\.\d+)(\.|$)")
"""Runs of one solver step, as ``wan_streamer`` names them."""

Verdict = Literal["holds", "close", "misses"]


class Cold(msgspec.Struct, frozen=True, kw_only=True):
    """From nothing to the first answer."""

    open_ms: float
    """The bundle: manifest, checksums."""
    engine_ms: float
    """Choosing the engine and loading its library."""
    build_ms: float
    """Opening the graphs, building them where the engine builds."""
    graphs: dict[str, float]
    """Graph -> its part of ``build_ms``."""
    buffers_ms: float
    """States, buffers, binding."""
    first_unit_ms: float
    warm_up_ms: float
    """Until time counts; a real run does it only where the engine captures."""


class Misses(msgspec.Struct, frozen=True, kw_only=True):
    """Units that took longer than the unit is."""

    count: int
    share: float
    units: tuple[int, ...]
    """The first of them."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A named part of every unit; per unit, all its stretches together."""

    kind: str
    runs: float
    """Stretches per unit."""
    share: float
    """Of the unit's mean."""
    ms: Spread
    histogram: Histogram


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Of the process, and what the engine says it holds."""

    peak_resident_mb: float
    engine_bytes: dict[str, int]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    version: int
    bundle: dict[str, str]
    """``name``, ``hash``, ``path``."""
    engine: str
    engine_notes: tuple[str, ...] = ()
    """What was found out of it while it ran."""
    engine_why: str
    machine: dict[str, Any]
    versions: dict[str, str]
    began: str
    """The date, with its zone."""
    steps: int | None
    inputs: dict[str, str]
    pace: str
    units: int
    wanted_units: int | None
    """None where minutes or the media decide."""
    stopped: str | None
    """Why it ended early."""
    failed: int
    """Units that failed and were rolled back; they are among the others."""
    wall_seconds: float
    deadline_ms: float
    verdict: Verdict
    unit: Spread
    histogram: Histogram
    misses: Misses
    jitter_ms: float
    drift_ms: Interval | None
    """The last third's median less the first third's; None of too few units."""
    adds_up: float
    """The unit's stages together, as a share of the unit."""
    cold: Cold
    sections: dict[str, Section]
    """Path -> section, outer ones before inner ones."""
    runs_apart: int = 0
    """Units, beside those that count, in which graphs were timed call by call, because the engine launches a unit as
    one; their sections then say more than the play that they lie in."""
    solver_step: Spread | None
    """Of one solver step, the mean of a unit's; None where nothing is solved."""
    memory: Memory
    board: Board | None = None
    """What the machine did meanwhile."""
    roof: Roof | None
    """None where the ceilings of what it ran on were not measured."""
    roof_told: str = ""
    """Why they were not."""
    graphs: tuple[GraphRow, ...]
    binds: str | None
    helps: tuple[Help, ...]
    layers: tuple[Layer, ...]
    layers_told: str
    """Why there are none, or how they were measured."""
    series_ms: dict[str, list[float]]
    """Path -> every unit's time."""
    live: Live | None = None
    """Of a conversation with devices."""


def timed(timeline: Timeline, deadline_ms: float) -> dict[str, Any]:
    """The keys of a :class:`Profile` that a timeline of at least one unit fills."""
    rows, counts = timeline.milliseconds(), timeline.counts()
    unit = rows[UNIT]
    late = np.flatnonzero(unit > deadline_ms)
    stages = sum(row.mean() for path, row in rows.items() if outer(path) == UNIT and not path.endswith("/rest"))
    return {
        "units": timeline.units,
        "deadline_ms": deadline_ms,
        "verdict": judge(spread(unit), len(late), deadline_ms),
        "unit": spread(unit),
        "histogram": histogram(unit),
        "misses": Misses(count=len(late), share=len(late) / len(unit), units=tuple(late[:MISSES_NAMED].tolist())),
        "jitter_ms": jitter(unit),
        "drift_ms": drift(unit),
        "adds_up": rounded(stages / unit.mean()),
        "sections": {path: _section(path, row, unit, timeline, counts) for path, row in rows.items()},
        "solver_step": _solver_step(rows),
        "series_ms": {path: [rounded(ms) for ms in row] for path, row in rows.items() if _kept(path, timeline)},
    }


def with_runs_apart(figures: dict[str, Any], apart: Timeline, deadline_ms: float) -> dict[str, Any]:
    """The keys of :func:`timed` with what another timeline says of runs."""
    if not apart.units:
        return figures
    more = timed(apart, deadline_ms)
    runs: dict[str, Section] = {}
    for path, section in figures["sections"].items():
        runs[path] = section
        if section.kind == "transfer":
            runs |= {inner: one for inner, one in more["sections"].items() if inner.startswith(f"{path}/")}
    return figures | {"sections": runs, "solver_step": more["solver_step"], "runs_apart": apart.units}


def _section(path: str, row: Row, unit: Row, timeline: Timeline, counts: Mapping[str, float]) -> Section:
    derived = {REST: "host", BETWEEN: "transfer"}.get(path.rpartition("/")[2], "graph")
    kind = timeline.kinds.get(path) or derived
    runs = counts.get(path) or sum(n for inner, n in counts.items() if outer(inner) == path) or 1.0
    share = float(row.mean() / unit.mean())
    return Section(kind=kind, runs=round(runs, 3), share=round(share, 5), ms=spread(row), histogram=histogram(row))


def _kept(path: str, timeline: Timeline) -> bool:
    """Whether it is kept unit by unit."""
    graph = any(outer(one) == path and kind == "graph" for one, kind in timeline.kinds.items())
    return path.count("/") < SERIES_DEPTH or graph


def _solver_step(rows: Mapping[str, Row]) -> Spread | None:
    steps: dict[str, Row] = {}
    for path, row in rows.items():
        if found := SOLVER_STEP.match(path.rpartition("/")[2]):
            steps[found[1]] = steps.get(found[1], np.zeros_like(row)) + row
    return spread(np.mean(list(steps.values()), axis=0)) if steps else None


def judge(unit: Spread, misses: int, deadline_ms: float) -> Verdict:
    """In one word: no miss, and a quarter more time than all but one of a hundred units took would be none either."""
    return "misses" if misses else "holds" if unit.p99 * MARGIN <= deadline_ms else "close"


def read_profile(path: Path) -> Profile:
    """A profile that was written before, by its file or its folder. InputError where it is none."""
    path = path / "profile.json" if path.is_dir() else path
    try:
        text = read_small(path, MOST_BYTES)
        version = msgspec.json.decode(text, type=_Version).version
        if version != VERSION:
            raise InputError(f"{path} is a profile of version {version}; this edge-streamer reads {VERSION}: profile "
                             "again")  # fmt: skip
        return msgspec.json.decode(text, type=Profile)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); wanted a profile.json") from error
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(f"{path} is no profile.json ({error}); edge-streamer profile writes one") from error


class _Version(msgspec.Struct):
    version: int
