"""The predictor beside published figures, row by row: ``python -m tests.bench.predictor [--fit] [--json]``.

Receives nothing; hands on a table of every row (predicted, published, error, and whether the constants were fitted on
it), the medians, and with ``--fit`` the constants fitted anew. Exit status 1 where a row or a median is beyond what is
wanted.

Fitted are logarithms of times, by search along one constant after the other, with a weak pull to where the search
starts: constants that no row says anything about stay there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edge_streamer.runtime.profile.boards import BOARDS, Family, Numbers
from edge_streamer.runtime.profile.predict import SHARES, Shares, run_time, shares_of
from edge_streamer.runtime.profile.shape import work_of
from edge_streamer.runtime.profile.work import Runtime
from tests.bench.published import ROWS, Row

MOST, MEDIAN = 0.25, 0.12
"""Largest error of a row and of the median that is wanted."""
KEEP = 0.0002
"""Weight of the pull to the start."""
BANDWIDTH, ATTENTION = 0.95, 0.6
"""Shares that nothing reaches for long."""
START = (0.85, 0.35, 80_000.0, 200.0)
"""Bandwidth, attention, cycles of a layer and of a token; every compute share starts at 0.4."""

Key = tuple[Runtime, Family | None]
Vector = NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.predictor", description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="fit the constants anew, and show them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args()
    console = Console(width=120)
    found = fit() if args.fit else SHARES
    if args.fit:
        for key, shares in found.items():
            console.print(key, shares, highlight=False)
    errors = {row: error_of(row, found) for row in ROWS}
    if args.json:
        print(json.dumps([{**_words(row), "error": round(error, 4)} for row, error in errors.items()]))
    else:
        _show(console, errors)
    return 0 if holds(errors.values()) else 1


def holds(errors: Iterable[float]) -> bool:
    """Whether every error and their median are within what is wanted."""
    sizes = [abs(error) for error in errors]
    return max(sizes) <= MOST and statistics.median(sizes) <= MEDIAN


def error_of(row: Row, shares: dict[Key, Shares] | None = None) -> float:
    """Of the figure, as it was published: 0.1 is a tenth too many tokens a second, or a tenth too long."""
    return predicted(row, shares) / row.figure - 1


def predicted(row: Row, shares: dict[Key, Shares] | None = None) -> float:
    """The figure: tokens a second of one token, milliseconds of more."""
    board = BOARDS[row.board]
    mine = shares_of(row.runtime, board) if shares is None else shares[key_of(row)]
    seconds = run_time(work_of(row.shape), board, mine).seconds
    return 1 / seconds if row.tokens == 1 else 1e3 * seconds


def key_of(row: Row) -> Key:
    """Which set of constants a row belongs to."""
    return row.runtime, BOARDS[row.board].family if row.runtime == "tensorrt" else None


def fit() -> dict[Key, Shares]:
    """The constants, from the rows that they may look at."""
    groups: dict[Key, list[Row]] = {}
    for row in ROWS:
        if row.fit:
            groups.setdefault(key_of(row), []).append(row)
    return {key: _fit(rows) for key, rows in groups.items()}


def _fit(rows: Sequence[Row]) -> Shares:
    numbers = sorted({row.numbers for row in rows if row.tokens > 1})
    start = np.log([*START, *(0.4 for _ in numbers)])

    def loss(x: Vector) -> float:
        shares = _shares(x, numbers)
        errors = [
            math.log(1e3 * run_time(work_of(r.shape), BOARDS[r.board], shares).seconds / r.milliseconds) for r in rows
        ]
        over = max(0.0, shares.bandwidth - BANDWIDTH) ** 2 + max(0.0, shares.attention - ATTENTION) ** 2
        return float(np.square(errors).sum() + KEEP * np.square(x - start).sum() + 10 * over)

    return _shares(_descend(loss, start), numbers)


def _shares(x: Vector, numbers: Sequence[Numbers]) -> Shares:
    bandwidth, attention, layer, token, *compute = (float(v) for v in np.exp(x))
    return Shares(bandwidth, dict(zip(numbers, compute, strict=True)), attention, layer, token)


def _descend(loss: Callable[[Vector], float], x: Vector) -> Vector:
    best, step = loss(x), 0.3
    while step > 1e-4:
        better = False
        for index in range(len(x)):
            for change in (step, -step):
                moved = x.copy()
                moved[index] += change
                if (now := loss(moved)) < best:
                    x, best, better = moved, now, True
        step = step if better else step / 2
    return x


def _words(row: Row) -> dict[str, object]:
    return {
        "runtime": row.runtime, "board": row.board, "model": row.model, "numbers": row.numbers, "tokens": row.tokens,
        "context": row.context, "published": row.figure, "source": row.source, "fit": row.fit,
    }  # fmt: skip


def _show(console: Console, errors: dict[Row, float]) -> None:
    table = Table("runtime", "board", "model", "numbers", title="published figures and the predictor's")
    for column in ("tokens", "context", "predicted", "published", "error"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row, error in errors.items():
        unit = "tok/s" if row.tokens == 1 else "ms"
        figure = row.figure * (1 + error)
        mark = "fit" if row.fit else "[red]beyond[/]" if abs(error) > MOST else "test"
        table.add_row(row.runtime, row.board, row.model, row.numbers, str(row.tokens), str(row.context),
                      f"{figure:.1f} {unit}", f"{row.figure:g} {unit}", f"{error:+.1%}", mark)  # fmt: skip
    console.print(table)
    for name, rows in (("fit", [r for r in errors if r.fit]), ("test", [r for r in errors if not r.fit])):
        sizes = sorted(abs(errors[row]) for row in rows)
        inside = sum(size <= MOST for size in sizes)
        console.print(f"{name}: {len(sizes)} rows, median error {statistics.median(sizes):.1%}, largest "
                      f"{sizes[-1]:.1%}, {inside} within {MOST:.0%}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
