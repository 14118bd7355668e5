"""``edge-streamer doctor``: is this machine ready, and if not, what mends it?

Receives nothing; hands on a line for each thing that was looked at: ok, warn or fail, what was found, and the command
that mends it. Exit status 0, or 1 where a line fails. Nothing is changed, and nothing is loaded that could end the
process.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.facts import Facts
    from edge_streamer.devices.jetson.line import Line
    from edge_streamer.devices.jetson.software import Code

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def main(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.facts import read

    facts = read()
    lines = examined(facts)
    failed = any(line.state == "fail" for line in lines)
    if args.json:
        print(json.dumps({"ok": not failed, "lines": [asdict(line) for line in lines]}, indent=2))
    else:
        show(lines)
    return 1 if failed else 0


def examined(facts: Facts) -> list[Line]:
    """Every line, software first."""
    from edge_streamer.devices.jetson import machine, software

    return [*software.lines(facts, code_of(facts)), *machine.lines(facts)]


def code_of(facts: Facts) -> Code | None:
    """What ONNX Runtime's CUDA library holds for this machine's GPU; None where there is none, or no GPU that is
    known."""
    from edge_streamer.devices.jetson.software import Code
    from edge_streamer.runtime.engines import fatbin

    gpu = facts.capability
    if facts.cuda_provider is None or gpu is None:
        return None
    held = fatbin.held(facts.cuda_provider)
    return Code(fatbin.names(held), any(code.runs_on(gpu) for code in held))


def show(lines: Sequence[Line]) -> None:
    """For a person: each line, and below it what mends it."""
    from rich.console import Console
    from rich.text import Text

    console, width = Console(highlight=False), max(len(line.name) for line in lines)
    for line in lines:
        shown = Text(f"{line.state:4}", style=COLOURS[line.state]) + Text(f"  {line.name:{width}}  {line.found}")
        console.print(shown, soft_wrap=True)
        if line.mend:
            console.print(Text(f"{'':{width + 6}}  → {line.mend}"), soft_wrap=True)
    counts = {state: sum(line.state == state for line in lines) for state in COLOURS}
    console.print(Text(", ".join(f"{count} {state}" for state, count in counts.items())))
