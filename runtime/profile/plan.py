"""A plan: what a bundle takes on a board that nobody has to have, and how far it could go there.

Receives a bundle, a board, a scheme and a number of solver steps; hands on a :class:`Plan`: the time of each graph and
of a unit, memory, what binds, the most steps and the longest window that still hold, and every scheme on every board
with a verdict. Of a decoder's shape: a :class:`ShapePlan`.

Choices: a verdict is careful by as much as the predictor may err. ``holds``: a quarter more time would still be within
the unit; ``close``: the prediction is, a quarter more would not be; ``misses``: it is not. ``too large``: it does not
fit the memory; ``not computed``: the board has no arithmetic for it. Media, echo and what the host does are not in
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from edge_streamer.runtime.bundle.manifest import Manifest
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.profile.boards import BOARDS, Board, Numbers
from edge_streamer.runtime.profile.graphs import (
    MOST_STEPS,
    STEPS,
    memory,
    window_units,
    with_steps,
    works,
)
from edge_streamer.runtime.profile.predict import Binds, Shares, Time, computed_in, run_time, shares_of
from edge_streamer.runtime.profile.schemes import computed
from edge_streamer.runtime.profile.shape import Shape, work_of
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS, SCHEMES
from edge_streamer.runtime.profile.work import Work

VERSION = 1
"""Of the JSON: raised where a key goes or changes its meaning."""
MARGIN = 1.25
"""How much longer than predicted a unit may take: the predictor's bound on published figures."""
UNIT_SECONDS = 0.16
"""Of a bundle that does not say how long its unit is."""
LONGEST = 10 * 3600 * 25 // 4
"""Units of a window that are tried: ten hours."""

Verdict = Literal["holds", "close", "misses", "too large", "not computed"]


class GraphTime(msgspec.Struct, frozen=True, kw_only=True):
    """One graph at one length."""

    graph: str
    numbers: Numbers
    """What its products are computed in."""
    runs: int
    """Per unit."""
    operations: float
    """Of one run."""
    moved_bytes: float
    """Of one run."""
    run_ms: float
    unit_ms: float
    memory_ms: float
    """What the bytes alone would take, of one run."""
    compute_ms: float
    kernels_ms: float
    binds: Binds


class MemoryUse(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on the board."""

    weights: float
    embeddings: float
    states: float
    tensors: float
    scratch: float
    """What a run computes in."""
    total: float
    usable: float
    """What the board leaves for a bundle."""
    build: float
    """While the largest engine is built there."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A scheme on a board."""

    board: str
    scheme: str
    verdict: Verdict
    unit_ms: float | None
    """None where the board does not compute it."""
    memory_bytes: float
    binds: Binds | None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine of the board would refuse, or that nobody looked."""

    looked: bool
    builds: bool | None
    words: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``plan`` shows of a bundle."""

    version: int
    bundle: str
    hash: str
    path: str
    board: str
    board_title: str
    scheme: str
    steps: int | None
    window_seconds: float | None
    deadline_ms: float
    unit_ms: float
    verdict: Verdict
    binds: Binds
    graphs: tuple[GraphTime, ...]
    memory: MemoryUse
    most_steps: int | None
    """That hold, with the window as it is; 0: not one does."""
    longest_window_seconds: float | None
    """That holds, with the steps as they are; 0: none does."""
    table: tuple[Row, ...]
    lint: Refusal
    assumed: tuple[str, ...]
    """Numbers whose share of the arithmetic was not published, so that it is assumed."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned for."""

    manifest: Manifest
    counted: Mapping[str, int]
    """Products of each graph."""

    @property
    def deadline(self) -> float:
        """Seconds of a unit."""
        return self.manifest.media.unit_seconds if self.manifest.media else UNIT_SECONDS


def times(setting: Setting, board: Board, scheme: str, window: int | None = None) -> dict[Work, Time]:
    """Of each run of a unit. InputError where the board does not compute it."""
    shares = shares_of("tensorrt", board)
    return {w: run_time(w, board, shares) for w in works(setting.manifest, scheme, window, setting.counted)}


def unit_seconds(found: Mapping[Work, Time]) -> float:
    """Of all runs of a unit."""
    return sum(work.runs * time.seconds for work, time in found.items())


def judge(seconds: float, deadline: float, total: float, board: Board) -> Verdict:
    """In one word."""
    if total > board.usable_bytes:
        return "too large"
    return "holds" if seconds * MARGIN <= deadline else "close" if seconds <= deadline else "misses"


def plan(manifest: Manifest, counted: Mapping[str, int], board: Board, scheme: str = AS_IT_IS, steps: int | None = None,
         lint: Refusal | None = None, path: str = "", bundle_hash: str = "") -> Plan:  # fmt: skip
    """The plan. InputError where the board does not compute in the scheme's numbers, or nothing is solved."""
    if scheme != AS_IT_IS and not computed(scheme, board):
        raise InputError(f"{board.title} does not compute in {scheme}; wanted another --scheme or --board")
    setting = Setting(manifest=with_steps(manifest, steps), counted=counted)
    found = times(setting, board, scheme)
    seconds, use = unit_seconds(found), memory(setting.manifest, scheme)
    units = window_units(manifest)
    return Plan(
        version=VERSION,
        bundle=manifest.name,
        hash=bundle_hash,
        path=path,
        board=board.name,
        board_title=board.title,
        scheme=scheme,
        steps=steps_of(setting.manifest),
        window_seconds=None if units is None else units * setting.deadline,
        deadline_ms=1e3 * setting.deadline,
        unit_ms=1e3 * seconds,
        verdict=judge(seconds, setting.deadline, use.total, board),
        binds=binds(found),
        graphs=tuple(_graph(work, time) for work, time in found.items()),
        memory=MemoryUse(weights=use.weights, embeddings=use.embeddings, states=use.states, tensors=use.tensors,
                         scratch=use.scratch, total=use.total, usable=board.usable_bytes, build=use.build),
        most_steps=_most_steps(setting, board, scheme),
        longest_window_seconds=_longest_window(setting, board, scheme),
        table=tuple(_row(setting, one, other) for one in BOARDS.values() for other in (AS_IT_IS, *SCHEMES)),
        lint=lint or Refusal(looked=False, builds=None, words="nobody looked whether its graphs build there"),
        assumed=assumed([work.numbers for work in found], shares_of("tensorrt", board)),
    )  # fmt: skip


def steps_of(manifest: Manifest) -> int | None:
    """Solver steps of a unit; None where nothing is solved."""
    steps = manifest.constants.get(STEPS)
    return steps if isinstance(steps, int) else None


def assumed(numbers: list[Numbers], shares: Shares) -> tuple[str, ...]:
    """Of the numbers computed in, those of which no pass of many tokens was published."""
    return tuple(sorted({name for name in numbers if name not in shares.compute}))


def binds(found: Mapping[Work, Time]) -> Binds:
    """What most of a unit waits for."""
    waits: dict[Binds, float] = {"memory": 0.0, "compute": 0.0, "kernels": 0.0}
    for work, time in found.items():
        # Of bytes and products the longer one is waited for; what the kernels take comes on top.
        waits["memory" if time.memory > time.compute else "compute"] += work.runs * max(time.memory, time.compute)
        waits["kernels"] += work.runs * time.kernels
    return max(waits, key=lambda name: waits[name])


def _graph(work: Work, time: Time) -> GraphTime:
    return GraphTime(
        graph=work.name, numbers=computed_in(work.numbers), runs=int(work.runs),
        operations=work.operations + work.attention,
        moved_bytes=work.moved_bytes, run_ms=1e3 * time.seconds, unit_ms=1e3 * work.runs * time.seconds,
        memory_ms=1e3 * time.memory, compute_ms=1e3 * time.compute, kernels_ms=1e3 * time.kernels, binds=time.binds,
    )  # fmt: skip


def _holds(setting: Setting, board: Board, scheme: str, window: int | None = None) -> bool:
    seconds = unit_seconds(times(setting, board, scheme, window))
    return judge(seconds, setting.deadline, memory(setting.manifest, scheme, window).total, board) == "holds"


def _most_steps(setting: Setting, board: Board, scheme: str) -> int | None:
    if steps_of(setting.manifest) is None:
        return None
    return _last(1, MOST_STEPS, lambda steps: _holds(
        Setting(manifest=with_steps(setting.manifest, steps), counted=setting.counted), board, scheme
    )) or 0  # fmt: skip


def _longest_window(setting: Setting, board: Board, scheme: str) -> float | None:
    if window_units(setting.manifest) is None:
        return None
    units = _last(1, LONGEST, lambda window: _holds(setting, board, scheme, window))
    return (units or 0) * setting.deadline


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int | None:
    """The largest number that holds, where every smaller one does too; None where none does."""
    if not holds(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _row(setting: Setting, board: Board, scheme: str) -> Row:
    total = memory(setting.manifest, scheme).total
    try:
        found = times(setting, board, scheme)
    except InputError:
        return Row(board=board.name, scheme=scheme, verdict="not computed", unit_ms=None, memory_bytes=total,
                   binds=None)  # fmt: skip
    seconds = unit_seconds(found)
    return Row(
        board=board.name, scheme=scheme, verdict=judge(seconds, setting.deadline, total, board), unit_ms=1e3 * seconds,
        memory_bytes=total, binds=binds(found),
    )  # fmt: skip


class ShapeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder on a board."""

    board: str
    board_title: str
    verdict: Verdict
    """``holds`` where it fits: a pass has no deadline of its own."""
    pass_ms: float | None
    tokens_per_second: float | None
    memory_ms: float | None
    compute_ms: float | None
    kernels_ms: float | None
    binds: Binds | None


class ShapePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything ``plan --model`` shows."""

    version: int
    model: str
    shape: Shape
    """With every number that was left out."""
    moved_bytes: float
    operations: float
    memory_bytes: float
    chosen: ShapeRow
    table: tuple[ShapeRow, ...]
    assumed: tuple[str, ...]


def plan_shape(shape: Shape, board: Board, name: str) -> ShapePlan:
    """Of one pass through a decoder."""
    work = work_of(shape)
    chosen = _shape_row(shape, work, board)
    if chosen.pass_ms is None:
        run_time(work, board, shares_of(shape.runtime, board))  # raises with the reason
    return ShapePlan(
        version=VERSION, model=shape.name or name, shape=shape.full, moved_bytes=work.moved_bytes,
        operations=work.operations + work.attention, memory_bytes=shape.memory_bytes, chosen=chosen,
        table=tuple(_shape_row(shape, work, one) for one in BOARDS.values()),
        assumed=assumed([work.numbers], shares_of(shape.runtime, board)) if shape.tokens > 1 else (),
    )  # fmt: skip


def _shape_row(shape: Shape, work: Work, board: Board) -> ShapeRow:
    large = shape.memory_bytes > board.usable_bytes
    try:
        time = run_time(work, board, shares_of(shape.runtime, board))
    except InputError:
        return ShapeRow(board=board.name, board_title=board.title, verdict="not computed", pass_ms=None,
                        tokens_per_second=None, memory_ms=None, compute_ms=None, kernels_ms=None,
                        binds=None)  # fmt: skip
    return ShapeRow(
        board=board.name, board_title=board.title, verdict="too large" if large else "holds",
        pass_ms=1e3 * time.seconds, tokens_per_second=work.tokens / time.seconds, memory_ms=1e3 * time.memory,
        compute_ms=1e3 * time.compute, kernels_ms=1e3 * time.kernels, binds=time.binds,
    )  # fmt: skip
