"""``edge-streamer check [BUNDLE]``: does this bundle compute here what it computed where it was made?

Receives a bundle; hands on a table of how far each quantity of its golden units is from the answer that came where it
was made. Exit status 0 within tolerance, 1 beyond it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.named_bundle import add_bundle, add_downgrade, chosen

if TYPE_CHECKING:
    from edge_streamer.runtime.compare.check import Row, Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_downgrade(parser)


def main(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.compare.check import check
    from edge_streamer.runtime.pages.terminal import opening
    from edge_streamer.runtime.trust.opening import open_bundle

    with opening() as tell:
        verdict = check(open_bundle(chosen(args), allow_downgrade=args.allow_downgrade), args.engine, tell=tell)
    if args.json:
        print(json.dumps({**asdict(verdict), "passed": verdict.passed}, indent=2))
    else:
        _print_table(verdict)
    return 0 if verdict.passed else 1


def _print_table(verdict: Verdict) -> None:
    from rich.console import Console
    from rich.table import Table

    from edge_streamer.runtime.compare.check import ROUNDINGS

    title = f"{verdict.bundle}: {verdict.units} golden units on {verdict.engine}"
    rounded = any(row.rounding is not None for row in verdict.rows)
    table = Table("quantity", "relative error", *(["rounding"] if rounded else []), "worst in unit", "verdict")
    for row in verdict.rows:
        moved = [f"{row.rounding:.2e}"] if row.rounding is not None else []
        table.add_row(row.quantity, f"{row.error:.2e}", *moved, row.worst_unit, _said(row))
    console = Console(file=sys.stdout)
    console.print(title, soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"relative error: at most {verdict.tolerance:g} at this precision", highlight=False)
    if rounded:
        console.print(ROUNDED.format(ROUNDINGS), soft_wrap=True, highlight=False)
    console.print(f"slots: {verdict.slots_agree:.1%} of tokens as the float model chose them")
    console.print(
        "[green]passed" if verdict.passed else "[red]FAILED: this bundle does not compute here what it should"
    )


ROUNDED = (
    "and at most {:g} times the rounding: another processor or version of ONNX Runtime may round a value to\n"
    "the next step of 8 bits, and golden units, whose history is noise, make much of it. How much is\n"
    "measured here, by moving that history by a hundred-thousandth. What a bundle loses on speech and\n"
    "pictures is another figure, which 'edge-streamer eval' tells."
)


def _said(row: Row) -> str:
    from edge_streamer.runtime.compare.check import TOLERANCE

    if row.first_beyond is not None:
        return f"[red]beyond from unit {row.first_beyond}"
    return "ok, same" if row.error <= TOLERANCE["float32"] else "ok, rounded" if row.rounding is not None else "ok"
