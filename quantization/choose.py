"""Which of several bundles to ship.

Receives the reports of a float32 bundle's quantized twins; hands on the one to ship, why, and a row of figures for
each. Those that cost too much are out: an error of the latents above a bound, or words that differ too often. Of the
others, and the float32 bundle itself, a CPU takes the smallest of the fastest; where times were not measured, as for
boards, the smallest. Where that is float32, why says what kept the others out. A few units advise nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path

import msgspec

from edge_streamer.quantization.report import Report
from edge_streamer.quantization.vocabulary import BOUND, USUAL
from edge_streamer.runtime.compare.error_over_time import NOT_FINITE
from edge_streamer.runtime.errors import InputError

SAME = 0.995
"""Share of words, given float's history, that must agree."""
AS_FAST = 1.05
"""Unit times this close are one: machines vary by as much."""
FEW = 100
"""Units; over fewer one word more or less, or one loud answer, decides."""
FLOAT = "float32"


class Row(msgspec.Struct, frozen=True):
    """One bundle."""

    name: str
    folder: str
    weights: float
    """Of its size, to float32's."""
    unit_time: float | None
    """The same; None where it was not measured on what runs it."""
    error_db: float | None
    same_slots: float
    against: str | None
    """Why it is not to be shipped, whatever it buys."""


class Advice(msgspec.Struct, frozen=True):
    """What a stranger should do."""

    ship: Row
    why: str
    rows: list[Row]
    units: int = USUAL
    """What the shortest of the reports was measured over."""
    bound: float = BOUND

    @property
    def few(self) -> bool:
        """Too few to advise by: ``ship`` is then only what came first."""
        return self.units < FEW

    @property
    def words(self) -> str:
        """In a sentence."""
        said = f"{self.ship.name}{f' ({self.ship.folder})' if self.ship.folder else ''}: {self.why}"
        if self.few:
            count = "1 unit is" if self.units == 1 else f"{self.units} units are"
            return f"{count} too few to advise by (the default is {USUAL}); over so few it would be {said}"
        return f"ship {said}"


def advise(reports: Mapping[str, Report], bound: float = BOUND) -> Advice:
    """``reports``: by folder, of one source and target; :func:`read` sees to it."""
    target = next(iter(reports.values())).target
    rows = [Row(FLOAT, "", 1.0, 1.0 if target == "cpu" else None, None, 1.0, None)]
    rows += [_row(folder, report, bound) for folder, report in reports.items()]
    units = min(report.drifts[0].units for report in reports.values())
    sound = [row for row in rows if row.against is None]
    others = sound[1:]
    if target == "cpu":
        fastest = min(row.unit_time for row in sound if row.unit_time is not None)
        sound = [row for row in sound if row.unit_time is not None and row.unit_time <= AS_FAST * fastest]
        picked = "the smallest of the fastest on this CPU"
    else:
        picked = f"the smallest; times on {target} were not measured"
    best = min(sound, key=lambda row: (row.weights, row.unit_time or 0.0))
    if best is rows[0]:
        why = _slower(others, bound) if others else _nothing(rows[1:], bound)
        return Advice(best, why, rows, units, bound)
    costly = sum(row.against is not None for row in rows)
    held = f"of what holds {bound:g} dB and {SAME:.1%} of the words" + (
        f" ({costly} of {len(rows)} cost more)" if costly else ""
    )
    why = f"{held}, {picked}: {best.weights:.2f}x the weights{_times(best)}"
    return Advice(best, why, rows, units, bound)


def _nothing(rows: Sequence[Row], bound: float) -> str:
    """Why float32, where nothing else is good enough: what came nearest, and by how much it missed."""

    def above(row: Row) -> float:
        error = float("inf") if row.error_db is None or isnan(row.error_db) else row.error_db
        return max(error - bound, 0.0)

    nearest = min(rows, key=lambda row: (above(row), -row.same_slots))
    misses = []
    if nearest.error_db is None or not nearest.error_db < NOT_FINITE:
        misses.append("its latents are not finite")
    elif above(nearest):
        misses.append(f"its latents' error, {nearest.error_db:.1f} dB, is {above(nearest):.2f} dB above")
    if not nearest.same_slots >= SAME:
        misses.append(f"{nearest.same_slots:.2%} of its words agree")
    said = f"{nearest.name} comes nearest" if len(rows) > 1 else nearest.name
    return f"nothing else holds {bound:g} dB and {SAME:.1%} of the words; {said}: {' and '.join(misses)}"


def _slower(rows: Sequence[Row], bound: float) -> str:
    """Why float32, where others are good enough."""
    nearest = min(rows, key=lambda row: (row.unit_time or 0.0, row.weights))
    return (
        f"what else holds {bound:g} dB and {SAME:.1%} of the words is slower, or no smaller: {nearest.name} takes "
        f"{nearest.weights:.2f}x the weights{_times(nearest)}"
    )


def _times(row: Row) -> str:
    return "" if row.unit_time is None else f", {row.unit_time:.2f}x the unit time"


def _row(folder: str, report: Report, bound: float) -> Row:
    forced = report.drifts[0]
    against = None
    if not report.worst_db <= bound:
        against = f"its latents' error is above {bound:g} dB"
    elif not forced.same_slots >= SAME:
        against = f"words differ: {SAME:.1%} must agree"
    before, after = report.bytes
    ratio = report.unit_ratio if report.target == "cpu" else None
    return Row(report.label, folder, after / before, ratio, report.worst_db, forced.same_slots, against)


def read(path: Path, source: str, target: str) -> Report:
    """An earlier report, of the same source and target. InputError where it is none."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        raise InputError(f"--beside {path}: {error.strerror}; wanted the .json of an earlier quantize") from error
    except msgspec.DecodeError as error:
        raise InputError(f"--beside {path} is no report of this version's quantize ({error})") from error
    for word, came, wanted in (("source", report.source, source), ("target", report.target, target)):
        if came != wanted:
            raise InputError(f"--beside {path} is of {word} {came}; wanted {wanted}, as here: they must compare")
    return report
