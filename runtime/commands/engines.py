"""``edge-streamer engines``: what can run the graphs on this machine, and what would install the rest.

Receives nothing; hands on a row for each engine: whether it is here, its version, why not, and the command for this
board or PC. Exit status 0 also where something is missing: that is an answer.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from edge_streamer.runtime.engines.choose import ENGINES, Entry
from edge_streamer.runtime.engines.probe import version

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.facts import Facts

ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
DISTRIBUTIONS = {
    "cpu": ONNXRUNTIME[::-1], "cuda": ONNXRUNTIME[1:],
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-rtx", "tensorrt-rtx-cu13-bindings"),
}  # fmt: skip
"""Engine -> whose version it has."""


@dataclass(frozen=True)
class Row:
    """An engine."""

    name: str
    here: bool
    taken: bool
    """``--engine auto`` takes it, for a bundle that it takes."""
    version: str
    lacks: str
    commands: list[str] = field(default_factory=list)
    """What installs what is missing, in this order."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def main(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.facts import read

    rows = look(read())
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show(rows)
    return 0


def look(facts: Facts, engines: tuple[Entry, ...] = ENGINES) -> list[Row]:
    """Every engine, the best first."""
    from edge_streamer.devices.jetson.installs import commands

    rows: list[Row] = []
    for entry in engines:
        lacks = entry.lacking()
        first = not lacks and not any(row.taken for row in rows)
        missing = commands(facts, entry.name) if lacks else []
        if lacks and not missing and facts.gpu_files:
            missing = ["edge-streamer doctor"]
        there = "" if lacks else version(*DISTRIBUTIONS.get(entry.name, ()))
        rows.append(Row(entry.name, not lacks, first, there, lacks, missing))
    return rows


def show(rows: list[Row]) -> None:
    """For a person."""
    from rich.console import Console
    from rich.text import Text

    console, width = Console(highlight=False), max(len(row.name) for row in rows)
    for row in rows:
        mark, here = "*" if row.taken else " ", "here" if row.here else "not here"
        console.print(Text(f"{mark} {row.name:{width}}  {here:8}  {row.version}".rstrip()), soft_wrap=True)
        for line in ([row.lacks] if row.lacks else []) + [f"→ {command}" for command in row.commands]:
            console.print(Text(f"{'':{width + 4}}{line}"), soft_wrap=True)
    console.print(Text("* what --engine auto takes, where the bundle is for it"))
