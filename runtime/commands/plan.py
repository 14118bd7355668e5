"""``edge-streamer plan [BUNDLE] --board NAME``: what a bundle would take on a board that is not here.

Receives a bundle, or the shape of a decoder, and the name of a board; hands on tables for people or JSON for machines,
and with ``--out`` a page. Where ``edge-streamer lint`` can be asked, it says first whether the bundle would build there
at all. Exit status: 0 planned, whatever the verdict; 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands.named_bundle import chosen
from edge_streamer.runtime.commands.plan_options import add_arguments as add_arguments
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.extras import EXTRAS
from edge_streamer.runtime.files import replacing, size_text, to_json
from edge_streamer.runtime.outputs import BUNDLE, check_outputs
from edge_streamer.runtime.profile.boards import Board, board_named
from edge_streamer.runtime.profile.graphs import products
from edge_streamer.runtime.profile.page import render, render_shape
from edge_streamer.runtime.profile.plan import Plan, Refusal, ShapePlan, plan, plan_shape
from edge_streamer.runtime.profile.shape import read_shape
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS
from edge_streamer.runtime.profile.words import headline, limits, memory_rows, shape_headline
from edge_streamer.runtime.streams import as_text

LINT = "edge_streamer.quantization.lint.check"
"""What looks whether graphs build, where it is installed with what it needs."""


def main(args: argparse.Namespace) -> int:
    """``edge-streamer plan``."""
    board = board_named(args.board)
    made: Plan | ShapePlan
    if args.model is not None:
        made = _of_shape(args, board)
        page = render_shape(made)
    else:
        path = chosen(args)
        _check_out(args, {BUNDLE: path})
        bundle = Bundle.open(path)
        made = plan(bundle.manifest, products(bundle), board, args.scheme or AS_IT_IS, args.steps,
                    lint(bundle, board, args.scheme or AS_IT_IS), str(bundle.path), bundle.hash)  # fmt: skip
        page = render(made)
    if args.out:
        with replacing(args.out) as partial:
            partial.write_bytes(as_text(page).encode())
    if args.json:
        print(to_json(made).decode())
    else:
        show(made)
    if args.out:
        print(f"the page is {args.out}", file=sys.stderr if args.json else sys.stdout)
    return 0


def _of_shape(args: argparse.Namespace, board: Board) -> ShapePlan:
    for option, came in (("BUNDLE", args.bundle), ("--steps", args.steps)):
        if came is not None:
            raise InputError(f"--model plans for a shape, which has no {option}; leave one of them out")
    _check_out(args, {"--model": args.model})
    shape = read_shape(args.model)
    if args.scheme not in (None, AS_IT_IS):
        shape = msgspec.structs.replace(shape, precision=args.scheme, bits=None)
    return plan_shape(shape, board, args.model.stem)


def _check_out(args: argparse.Namespace, inputs: dict[str, Path]) -> None:
    check_outputs({"--out": args.out} if args.out else {}, inputs)


def lint(bundle: Bundle, board: Board, scheme: str = AS_IT_IS) -> Refusal:
    """Whether the bundle's graphs would build on ``board``, as far as it can be told here."""
    target = "thor" if board.family == "thor" else "orin"
    if scheme == "float32":
        return Refusal(looked=False, builds=None, words="in float32 it is what export writes: edge-streamer lint looks "
                       "whether that builds")  # fmt: skip
    if scheme != AS_IT_IS:
        return Refusal(looked=False, builds=None, words=f"quantize --scheme {scheme} --target {target} looks "
                       "whether its graphs build when it makes them")  # fmt: skip
    cpu = next((graph.name for graph in bundle.manifest.graphs if graph.precision.dynamic), None)
    if cpu is not None:
        return Refusal(looked=True, builds=False, words=(
            f"graph {cpu!r} is quantized for CPUs, and TensorRT refuses it: quantize the float32 bundle with --target "
            f"{target}. The times are of the same numbers in graphs that it takes"
        ))  # fmt: skip
    try:
        check: Any = import_module(LINT)
        targets: Any = import_module(LINT.replace(".check", ".targets"))
    except ModuleNotFoundError as error:
        if (error.name or "") not in LINT and (error.name or "").partition(".")[0] not in EXTRAS["quantize"]:
            raise
        return Refusal(looked=False, builds=None, words="nobody looked whether its graphs build there: "
                       "edge-streamer lint does, with pip install 'edge-streamer[quantize]'")  # fmt: skip
    names, kind = targets.QUANTIZED_FOR[target]
    refused = {name: found.refusals[0] for name in names if not (found := check.lint(bundle, name, kind)).ok}
    taken = " and ".join(name for name in names if name not in refused)
    if not refused:
        return Refusal(looked=True, builds=True, words=f"no graph has anything that {taken} refuse")
    why = "; ".join(f"{name}: {check.said(one)}" for name, one in refused.items())
    if taken:
        return Refusal(looked=True, builds=True, words=f"{taken} refuse nothing; not so {why}")
    return Refusal(looked=True, builds=False, words=why)


def show(made: Plan | ShapePlan) -> None:
    """Print a plan as tables."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:  # as wide as its content, in a file
        console = Console(highlight=False, width=160)
    if isinstance(made, ShapePlan):
        console.print(shape_headline(made), style="bold", markup=False, soft_wrap=True)
        console.print(_shape_table(made))
        return
    console.print(headline(made), style="bold", markup=False, soft_wrap=True)
    for line in limits(made):
        console.print(line, markup=False, soft_wrap=True)
    for table in (_graph_table(made), _memory_table(made), _verdicts(made)):
        console.print(table)


def plain_table(title: str, *columns: str) -> Any:
    """A table; a column whose heading ends in ``>`` is aligned right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    for column in columns:
        table.add_column(column.removesuffix(" >"), justify="right" if column.endswith(">") else "left", no_wrap=True)
    return table


def _graph_table(made: Plan) -> Any:
    table = plain_table("Time", "graph", "computed in", "runs >", "ms a run >", "ms a unit >", "bytes >", "products >",
                   "kernels >", "waits for")  # fmt: skip
    for one in made.graphs:
        table.add_row(
            one.graph, one.numbers, str(one.runs), f"{one.run_ms:.2f}", f"{one.unit_ms:.2f}", f"{one.memory_ms:.2f}",
            f"{one.compute_ms:.2f}", f"{one.kernels_ms:.2f}", one.binds,
        )  # fmt: skip
    table.add_section()
    table.add_row("unit", "", "", "", f"{made.unit_ms:.2f}", "", "", "", made.binds)
    return table


def _memory_table(made: Plan) -> Any:
    table = plain_table("Memory", "", "bytes >")
    for name, size in memory_rows(made.memory):
        table.add_row(name, size_text(size))
    return table


def _verdicts(made: Plan) -> Any:
    schemes = list(dict.fromkeys(row.scheme for row in made.table))
    title = f"Milliseconds of a unit by board and scheme; where no word says otherwise it holds {made.deadline_ms:g} ms"
    table = plain_table(title, "board", *(f"{scheme} >" for scheme in schemes))
    for board in dict.fromkeys(row.board for row in made.table):
        rows = [row for row in made.table if row.board == board]
        table.add_row(board, *(
            "-" if row.unit_ms is None else f"{row.unit_ms:.1f}" if row.verdict == "holds" else
            f"{row.verdict} {row.unit_ms:.1f}" for row in rows
        ))  # fmt: skip
    return table


def _shape_table(made: ShapePlan) -> Any:
    some = f"{made.shape.tokens} token{'s' * (made.shape.tokens > 1)}"
    table = plain_table(f"One pass of {some}", "board", "ms >", "tokens a second >", "bytes >",
                   "products >", "kernels >", "waits for", "fits it")  # fmt: skip
    for row in made.table:
        if row.pass_ms is None or row.tokens_per_second is None or row.binds is None:
            table.add_row(row.board, "", "", "", "", "", "", row.verdict)
            continue
        fits = "fits" if row.verdict == "holds" else row.verdict
        table.add_row(row.board, f"{row.pass_ms:.1f}", f"{row.tokens_per_second:.1f}", f"{row.memory_ms:.1f}",
                      f"{row.compute_ms:.1f}", f"{row.kernels_ms:.1f}", row.binds, fits)  # fmt: skip
    return table
