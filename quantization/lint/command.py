"""``edge-streamer lint BUNDLE --target jetpack6.2``: what a target refuses of a bundle, node by node

Receives what options.py reads; hands on a table for people or JSON for programs. Exit status: 0 the target takes all of
it; 1 it refuses something; 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_streamer.quantization.lint.check import Lint, lint
from edge_streamer.quantization.lint.rules import Finding
from edge_streamer.quantization.lint.targets import BOARDS, PORTABLE, TARGETS
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json
from edge_streamer.runtime.pages.terminal import bars

if TYPE_CHECKING:
    from rich.console import Console


def main(args: argparse.Namespace) -> int:
    """Lint; returns the exit status."""
    if args.parser and not args.build:
        raise InputError("--parser names real parsers to ask; wanted --build beside it")
    for folder in args.parser:
        if not folder.is_dir():
            raise InputError(f"--parser {folder}: there is no such folder; wanted one that pip install --target made")
    board = BOARDS[args.board] if args.board else None
    with bars() as tell:
        found = lint(Bundle.open(args.bundle), args.target, board, args.build, args.parser, tell)
    if args.json:
        print(to_json(found).decode())
    else:
        _show(found)
    return 0 if found.ok else 1


def _show(found: Lint) -> None:
    from rich.console import Console

    console = Console()

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    if found.refusals:
        _table(console, found.refusals)
    notes: dict[tuple[str, tuple[str, ...]], list[Finding]] = {}
    for note in found.notes:
        notes.setdefault((note.words, note.targets), []).append(note)
    for (words, targets), nodes in notes.items():
        more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
        say(f"note: {words} (on {', '.join(targets)}): graph {nodes[0].graph!r}, node {nodes[0].node}{more}")
    for parser in found.parsers:
        did = "parsed and built" if parser.built else "parsed"
        say(f"{parser.name} {did} {parser.graphs} graphs in {parser.seconds:.0f} s, without a GPU")
    count = len(found.refusals)
    verdict = "ok" if found.ok else f"refused, for {count} reason{'s' * (count > 1)}"
    say(f"{found.bundle} for {found.target}: {verdict} ({found.graphs} graphs, {found.nodes} nodes)")
    refusing = Counter(name for one in found.refusals for name in one.targets)
    if found.target == PORTABLE and refusing:
        say("refused by " + ", ".join(f"{name} ({refusing[name]})" for name in TARGETS if name in refusing))
        takes = [name for name in TARGETS if name not in refusing]
        say(f"taken by {', '.join(takes) or 'none'}")
    if found.for_cpus:
        say(
            "this bundle is for CPUs: its products of integers are operators that TensorRT has not; for a board, "
            "quantize the float32 bundle that it was made from: quantize FLOAT32_BUNDLE --scheme int8 --target orin "
            "(or thor) --out NAME"
        )


def _table(console: Console, findings: Sequence[Finding]) -> None:
    """Names whole, however long: they are what somebody looks for in a graph."""
    from rich.table import Table

    shown = Table("graph", "node", "what", "why", title_justify="left")
    shown.columns[1].overflow = shown.columns[3].overflow = "fold"
    for one in findings:
        shown.add_row(one.graph, one.node, one.rule, one.words)
    console.print(shown)
