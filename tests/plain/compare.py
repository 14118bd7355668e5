"""python -m tests.plain.compare OUT.npz MINE.npz: how far another driver is from the session

Receives the file of ``tests.plain.reference`` (its arrays are listed there) and one with the same names for what the
other driver came to: all of them, or some. Prints a line per array: the largest relative error of a unit
(``||mine - out|| / ||out||``), the unit, and the largest difference of a single value; of tokens, how many differ.
Ends with status 1 where an error is above the tolerance, a token differs, a shape is another or there is nothing to
compare. A float32 bundle on one machine differs by rounding alone, some 1e-6; a token that differs by a near tie makes
everything after it incomparable.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.compare.golden import relative_error

ANSWERS = ("tokens", "scores", "latents.video", "latents.audio", "samples", "frames", "words")
"""In the order in which a unit computes them: the first that is off is nearest to the fault."""
WHOLE = ("tokens", "words")
TOLERANCE = 1e-3
"""What ``check`` allows a float32 bundle."""


@dataclass
class Row:
    """One array."""

    name: str
    error: float
    """The largest relative error of a unit; of tokens the share that differs."""
    unit: int | None
    """Where the error is largest; of tokens the first that differs."""
    told: str


def compare(wanted: Mapping[str, Array], came: Mapping[str, Array]) -> list[Row]:
    """A row for each array that both have."""
    return [_row(name, wanted[name], came[name]) for name in ANSWERS if name in wanted and name in came]


def _row(name: str, wanted: Array, came: Array) -> Row:
    if came.shape != wanted.shape:
        return Row(name, float("inf"), None, f"shape {list(came.shape)}; wanted {list(wanted.shape)}")
    if name in WHOLE:
        differ = came != wanted
        first = int(np.argwhere(differ)[0, 0]) if differ.any() and name == "tokens" else None
        return Row(name, float(differ.mean()) if differ.size else 0.0, first, f"{differ.sum()} of {differ.size} differ")
    errors = [relative_error(mine, out) for mine, out in zip(came, wanted, strict=True)]
    unit = int(np.argmax(errors))
    most = np.abs(came.astype(np.float64) - wanted.astype(np.float64)).max()
    return Row(name, errors[unit], unit, f"a value by {most:.3g} at most")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="compare a driver's answers with a session's")
    parser.add_argument("out", type=Path, help="written by tests.plain.reference")
    parser.add_argument("mine", type=Path, help="the same names, by another driver")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="relative error that is allowed")
    args = parser.parse_args()
    try:
        wanted, came = (dict(np.load(path, allow_pickle=False)) for path in (args.out, args.mine))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows = compare(wanted, came)
    print(f"{'array':14} {'largest error':>13} {'unit':>5}")
    for row in rows:
        print(f"{row.name:14} {row.error:13.3g} {'' if row.unit is None else row.unit:>5}  {row.told}")
    missing = [name for name in ANSWERS if name not in came]
    if missing:
        print(f"not in {args.mine}: {', '.join(missing)}")
    allowed = {name: 0.0 if name in WHOLE else args.tolerance for name in ANSWERS}
    return int(not rows or any(not row.error <= allowed[row.name] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
