"""``edge-streamer check [BUNDLE]``: does this bundle compute here what it computed where it was made?

Receives a bundle; replays its golden units on this machine's engine and hands on a table of how far each quantity is
from the answer that came where the bundle was made (the float model's, or a quantized bundle's own), with the first
unit that is too far. Exit status 0 within tolerance, 1 beyond it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

from edge_streamer.runtime.bundle import Bundle
from edge_streamer.runtime.engine import Array, Engine
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.golden import Golden, golden_units, relative_error, replay
from edge_streamer.runtime.manifest import DYNAMIC
from edge_streamer.runtime.session import open_session
from edge_streamer.runtime.shipped import add_bundle, chosen

HELP = "replay a bundle's golden units here and say how far the answers differ"

TOLERANCE = {
    "float32": 1e-3, "int8 weights": 0.1, "int8": 0.3, "int4 weights": 0.3, "mixed": 0.3, "fp16": 0.05, "bf16": 0.1,
    "fp8": 0.3, "nvfp4 weights": 0.3,
}  # fmt: skip
"""Largest relative error of a quantity, by precision. float32: the exporter demands 1e-4 on its own machine; other
processors order their sums differently. Measured: 5e-6 (tiny) and 3e-6 (demo) on one thread and two, ONNX Runtime 1.32
and 1.23.2, all on x86-64. Integers: where a sum ends near the middle between two codes, another kernel takes the other
one, and answers differ by as much as the precision costs. Measured between 1.32 and 1.23.2 (demo): int8 0.17, int4
0.081, the same version 0; a scale off by two gives more than 1. Half precision costs 1.4e-3 in all (demo)."""


@dataclass
class Row:
    """One quantity over all golden units."""

    quantity: str
    error: float
    worst_unit: str
    first_beyond: str | None
    """The first unit whose error is beyond the tolerance."""


@dataclass
class Verdict:
    """What ``check`` found."""

    bundle: str
    engine: str
    units: int
    tolerance: float
    slots_agree: float
    """Share of slots where this machine would have chosen the same token."""
    rows: list[Row]

    @property
    def passed(self) -> bool:
        return all(row.first_beyond is None for row in self.rows)


def check(bundle: Bundle, engine: Engine | None = None) -> Verdict:
    """Replay the golden units. InputError where the bundle has none."""
    manifest = bundle.manifest
    if manifest.golden is None:
        raise InputError(f"bundle {manifest.name!r} carries no golden units, so there is nothing to check it against")
    found = (g.precision.removesuffix(DYNAMIC) for g in manifest.graphs)
    precision = max(found, key=lambda p: TOLERANCE.get(p, 1.0), default="float32")
    tolerance = TOLERANCE.get(precision)
    if tolerance is None:
        raise InputError(f"no tolerance is known for precision {precision!r}; upgrade edge-streamer on this device")
    session = open_session(bundle, engine=engine)
    golden = golden_units(session)
    assert golden is not None
    units = golden.meta.units
    answers = replay(session, golden.meta.seed, units, golden.tokens)
    rows = compare(golden, answers, tolerance)
    return Verdict(manifest.name, session.engine.name, units, tolerance, golden.agreement(answers), rows)


def compare(golden: Golden, answers: dict[str, Array], tolerance: float) -> list[Row]:
    """A row per quantity, in the order in which a unit computes them; tokens are compared apart."""
    return [
        _row(quantity, [(n.split(".")[0], relative_error(answers[n], golden.answers[n])) for n in names], tolerance)
        for quantity, names in by_quantity(golden).items()
    ]


def by_quantity(golden: Golden) -> dict[str, list[str]]:
    """Quantity -> the names of its answers; without the tokens."""
    found: dict[str, list[str]] = {}
    for name in golden.answers:
        unit, quantity = name.split(".", 1)
        if quantity != "tokens":
            found.setdefault("states at the end" if unit == "end" else quantity, []).append(name)
    return found


def _row(quantity: str, errors: list[tuple[str, float]], tolerance: float) -> Row:
    worst_unit, worst = max(errors, key=lambda pair: pair[1])
    beyond = next((unit for unit, error in errors if not error <= tolerance), None)
    return Row(quantity, worst, worst_unit, beyond)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def main(args: argparse.Namespace) -> int:
    verdict = check(Bundle.open(chosen(args)))
    if args.json:
        print(json.dumps({**asdict(verdict), "passed": verdict.passed}, indent=2))
    else:
        _print_table(verdict)
    return 0 if verdict.passed else 1


def _print_table(verdict: Verdict) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{verdict.bundle}: {verdict.units} golden units on {verdict.engine}"
    table = Table("quantity", "relative error", "worst in unit", "verdict")
    for row in verdict.rows:
        said = "ok" if row.first_beyond is None else f"[red]beyond {verdict.tolerance:g} from unit {row.first_beyond}"
        table.add_row(row.quantity, f"{row.error:.2e}", row.worst_unit, said)
    console = Console(file=sys.stdout)
    console.print(title, soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"relative error: at most {verdict.tolerance:g} at this precision", highlight=False)
    console.print(f"slots: {verdict.slots_agree:.1%} of tokens as the float model chose them")
    console.print(
        "[green]passed" if verdict.passed else "[red]FAILED: this bundle does not compute here what it should"
    )
