"""Two profiles side by side: what differs, how surely, and whether the two can be compared at all.

Receives two profiles; hands on :class:`Comparison`. Intervals are of 95 %, from a bootstrap over blocks of units that
follow each other (``statistics.py``). They tell what the units of these two runs allow to say; that another run on
another day would differ by more only further runs can tell.
"""

from __future__ import annotations

import msgspec
import numpy as np

from edge_streamer.runtime.profile.board import unlike
from edge_streamer.runtime.profile.report import Profile
from edge_streamer.runtime.profile.statistics import BLOCK, Figure, Interval, block_of, difference, mean, median, p95

WORTH = 0.02
"""A difference of a smaller share is not worth a word, however sure."""
LEAST_SHARE = 0.01
"""Sections that take less of a unit in both are left out."""
TOO_FEW = 4 * BLOCK
"""Units of a run from which an interval is trusted."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Of one section's milliseconds per unit, B less A."""

    section: str
    figure: str
    """``p50``, ``p95`` or ``mean``."""
    before: float
    after: float
    interval: Interval
    verdict: str
    """``slower``, ``faster``, ``same`` (surely less than 2 %) or ``not to be told``."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    before: str
    after: str
    apart: tuple[str, ...]
    """What else differs between the two, so that the times may differ for its sake."""
    block: int
    """Units of a block of the bootstrap."""
    rows: tuple[Difference, ...]


def compare(before: Profile, after: Profile, names: tuple[str, str]) -> Comparison:
    """``after`` against ``before``."""
    rows = []
    for path in before.series_ms:
        if path not in after.series_ms:
            continue
        if path.endswith("/rest") or max(p.sections[path].share for p in (before, after)) < LEAST_SHARE:
            continue
        for figure in ("mean", "p50", "p95") if path == "unit" else ("p50",):
            rows.append(_row(path, figure, before, after))
    block = block_of(min(before.units, after.units))
    return Comparison(before=names[0], after=names[1], apart=apart(before, after), block=block, rows=tuple(rows))


def _row(path: str, figure: str, before: Profile, after: Profile) -> Difference:
    one, other = (np.array(profile.series_ms[path]) for profile in (before, after))
    found = difference(one, other, FIGURES[figure])
    was = FIGURES[figure](one).item()
    few = min(before.units, after.units) < TOO_FEW
    if not few and found.certain and abs(found.value) >= WORTH * was:
        verdict = "slower" if found.value > 0 else "faster"
    elif not few and max(abs(found.low), abs(found.high)) < WORTH * was:
        verdict = "same"
    else:
        verdict = "not to be told"
    return Difference(section=path, figure=figure, before=round(was, 4), after=round(was + found.value, 4),
                      interval=found, verdict=verdict)  # fmt: skip


FIGURES: dict[str, Figure] = {"mean": mean, "p50": median, "p95": p95}


def apart(before: Profile, after: Profile) -> tuple[str, ...]:
    """What must be alike for times to be compared, and is not."""
    facts = (
        ("bundle", before.bundle.get("hash", "")[:16], after.bundle.get("hash", "")[:16]),
        ("engine", before.engine, after.engine),
        ("processor", before.machine.get("processor"), after.machine.get("processor")),
        ("cores", before.machine.get("cores"), after.machine.get("cores")),
        ("solver steps", before.steps, after.steps),
        ("pace", before.pace, after.pace),
        ("media", before.inputs, after.inputs),
        ("edge-streamer", before.versions.get("edge-streamer"), after.versions.get("edge-streamer")),
    )
    found = unlike(before.board, after.board)
    found += [f"{name}: {one} and {other}" for name, one, other in facts if one != other]
    short = min(before.units, after.units)
    if short < TOO_FEW:
        found.append(f"one has {short} units: fewer than {TOO_FEW} tell nothing surely")
    return tuple(found)
