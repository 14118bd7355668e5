"""``edge-streamer eval [BUNDLE]``: does it still behave?

Receives a bundle and the name of a folder; plays conversations to it in a closed loop and hands on the folder with
``report.html``, ``result.json``, ``suite.json`` and ``clip.mp4``: whole, or not there at all. Exit status: 0 measured
(whatever the verdict), 1 with ``--strict`` where a wanted figure is not reached, 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from edge_streamer.devices.files.side_by_side import SideBySide
from edge_streamer.runtime.commands.evaluate_options import SUITE
from edge_streamer.runtime.commands.evaluate_options import add_arguments as add_arguments
from edge_streamer.runtime.commands.named_bundle import chosen
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation import LEAST_LONG
from edge_streamer.runtime.evaluation.bench import NO_STABILITY, Result, Wish, evaluate
from edge_streamer.runtime.evaluation.clip import Highlights
from edge_streamer.runtime.evaluation.page import render
from edge_streamer.runtime.evaluation.runner import check_media
from edge_streamer.runtime.evaluation.score import Score, differences
from edge_streamer.runtime.evaluation.suite import Suite, duplex, read_suite
from edge_streamer.runtime.evaluation.world.assets import HELD_OUT, HeldOut, load_assets
from edge_streamer.runtime.evaluation.world.scene import World
from edge_streamer.runtime.evaluation.world.table import SHIPPED
from edge_streamer.runtime.files import check_new_folder, new_folder, to_json
from edge_streamer.runtime.loop.request import named
from edge_streamer.runtime.outputs import BUNDLE, check_outside
from edge_streamer.runtime.pages.html import number
from edge_streamer.runtime.pages.terminal import bars, opening
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.streams import as_text
from edge_streamer.runtime.unit import Knobs

MOST_MINUTES = 24 * 60.0


def main(args: argparse.Namespace) -> int:
    """Evaluate; returns the exit status."""
    minutes, long_minutes = _minutes(args)
    baseline = _baseline(args.baseline) if args.baseline else None
    bundle = chosen(args)
    for option, path in named((BUNDLE, bundle), ("--float", args.reference)).items():
        check_outside("--out", args.out, option, path)
    check_new_folder(args.out)
    world, held_out = load_assets(HELD_OUT, SHIPPED)
    suite = _suite(args, minutes, world, held_out)
    session = _open(bundle, args)
    reference = _open(args.reference, args) if args.reference else None
    steps = (1, 2, 4) if args.compare_steps else ()
    wish = Wish(args.seed, args.steps, steps, long_minutes, True, reference)
    with new_folder(args.out) as out:
        result, highlights = _evaluate(session, suite, wish, world, held_out, out)
        (out / "suite.json").write_bytes(to_json(suite))
        (out / "result.json").write_bytes(to_json(result))
        (out / "report.html").write_text(as_text(render(result, highlights.pictures, baseline)), "utf-8")
    if args.json:
        sys.stdout.write(to_json(result).decode() + "\n")
    else:
        _show(result, baseline, args.out)
    return 1 if args.strict and any(line.holds is False for line in result.verdict) else 0


def _evaluate(
    session: Session, suite: Suite, wish: Wish, world: World, held_out: HeldOut, out: Path
) -> tuple[Result, Highlights]:
    check_media(session.media)
    highlights = Highlights(SideBySide(out / "clip.mp4", session.media))
    try:
        with bars("cases") as tell:
            result = evaluate(session, suite, wish, world, held_out, tell, highlights.watch)
        highlights.close()
    finally:
        highlights.discard()  # harmless to what was kept
    return result, highlights


def _minutes(args: argparse.Namespace) -> tuple[float, float]:
    minutes: float = args.minutes
    if not 0 < minutes <= MOST_MINUTES:  # also a NaN
        raise InputError(f"--minutes is {minutes}; wanted more than 0 and at most {MOST_MINUTES:.0f}")
    usual = min(minutes, max(LEAST_LONG, minutes / 5)) if args.suite == SUITE else 0.0
    longest = usual if args.long_minutes is None else float(args.long_minutes)
    if not 0 <= longest <= MOST_MINUTES:
        raise InputError(f"--long is {longest}; wanted 0 to {MOST_MINUTES:.0f}")
    if not 0 <= args.seed < 2**31:
        raise InputError(f"--seed is {args.seed}; wanted 0 to {2**31 - 1}")
    return minutes, longest


def _suite(args: argparse.Namespace, minutes: float, world: World, held_out: HeldOut) -> Suite:
    if args.suite == SUITE:
        return duplex(minutes, args.seed, world, held_out)
    path = Path(args.suite)
    suite = read_suite(path, world, held_out)
    if not suite.cases:
        raise InputError(f"{path} has no cases")
    return suite


def _open(path: Path, args: argparse.Namespace) -> Session:
    try:
        with opening() as tell:
            return open_session(path, knobs=Knobs(steps=args.steps, seed=args.seed), engine=args.engine, tell=tell)
    except ValueError as error:
        raise InputError(str(error)) from error


def _baseline(path: Path) -> Result:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except OSError as error:
        raise InputError(f"--baseline {path} cannot be read ({error.strerror}); wanted a result.json") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"--baseline {path} is no result of this command ({error})") from None


def _show(result: Result, baseline: Result | None, out: Path) -> None:
    """The verdict, a line per kind, and where to look."""
    console = Console()
    console.print(f"{result.bundle['name']} on {result.engine}, {result.minutes:.1f} minutes, {result.steps} steps",
                  highlight=False)  # fmt: skip
    table = Table(Column("score", no_wrap=True), "came", "ceiling", "wanted", "verdict", box=None, pad_edge=False)
    for line in result.verdict:
        word = {True: "[green]holds", False: "[red]short", None: "[dim]not measured"}[line.holds]
        table.add_row(line.wanted.score, number(line.value), number(line.ceiling), bound(line.wanted.sense, line.limit),
                      word)  # fmt: skip
    console.print(table)
    for name in sorted(result.scores):
        if name.startswith("takeover."):
            kind = name.partition(".")[2]
            right = result.scores.get(f"right.{kind}")
            took = f"takeover {_of(result.scores[name])}"
            told = f"  right {_of(right)}" if right else ""
            console.print(f"{kind:14} {took}{told}", highlight=False)
    if result.stability is None:
        console.print(f"[dim]{NO_STABILITY}", highlight=False)
    for found in result.parity:
        error, worst = max((error, quantity) for quantity, error in found.error_db.items())
        told = f"against {found.against}, {found.units} units: at most {error:.1f} dB of error ({worst}), "
        told += f"{found.same_tokens:.1%} of the words the same"
        console.print(told, highlight=False, soft_wrap=True)
    if baseline:
        _show_differences(console, result, baseline)
    console.print(f"\nthe report is {out / 'report.html'}", soft_wrap=True, highlight=False)


def _of(score: Score) -> str:
    """A share and of how many."""
    return f"{'-' if score.value is None else f'{score.value:.0%}'} of {score.count}"


def _show_differences(console: Console, result: Result, other: Result) -> None:
    console.print("\nscore, in the baseline -> here", highlight=False)
    if scenes_of(result) != scenes_of(other):
        told = (
            f"the baseline played other scenes ({scenes_of(other)}; here {scenes_of(result)}): what differs may be the "
        )
        told += "scenes; play both with the same --suite, --minutes and --seed"
        console.print(told, highlight=False, soft_wrap=True)
    for name, (came, was) in differences(result.scores, other.scores).items():
        if abs(came - was) > 1e-9:
            console.print(f"{name:34} {number(was)} -> {number(came)}", highlight=False)


def scenes_of(result: Result) -> str:
    """What was played, in words: two results that differ here are of different conversations."""
    return f"{result.suite}, seed {result.seed}, {result.cases} cases"


def bound(sense: str, limit: float | None) -> str:
    """``at least 0.97``."""
    return "-" if limit is None else f"{sense} {number(limit)}"
