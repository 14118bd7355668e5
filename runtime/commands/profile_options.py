"""What ``edge-streamer profile`` may be told.

Receives a parser; hands on the arguments to profile.py, and the plan of a live conversation that they make. Nothing
here needs a library, so that help and completion are quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.named_bundle import add_bundle
from edge_streamer.runtime.commands.numbers import count, number
from edge_streamer.runtime.commands.options import ENDS, add_conversation, add_ends, live_ends, option
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.runtime.loop.request import LivePlan
    from edge_streamer.runtime.unit import Knobs

UNITS = 375
"""A minute of conversation."""

LIVE_ONLY = ("mic", "channel", "camera", "speaker", "display", "echo", "buffer", "push_to_talk")
RECORDED_ONLY = ("media", "pace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer profile``."""
    add_bundle(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to make for the report")
    add_engine(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--units", type=_count, metavar="N", help=f"to measure over (default: {UNITS})")
    length.add_argument("--minutes", type=_minutes, metavar="M", help="of media instead")
    parser.add_argument("--media", type=Path, nargs=2, metavar=("MIC", "CAMERA"),
                        help="sound and film that are played over and over (default: those that ship)")  # fmt: skip
    parser.add_argument("--live", action="store_true", help="a conversation with live devices instead, as 'run' has it")
    parser.add_argument("--pace", choices=("fast", "real"),
                        help="one unit after the other (default), or each when it would be full, live")  # fmt: skip
    parser.add_argument("--steps", type=_count, metavar="N", help="solver steps per unit (default: the bundle's)")
    parser.add_argument("--layers", action="store_true", help="also where the graphs' time goes, operator by operator")
    parser.add_argument("--trace", action="store_true", help="also trace.json, for Perfetto or chrome://tracing")
    parser.add_argument("--budget", type=Path, metavar="FILE.toml",
                        help="exit status 1 where a bound in this file is broken")  # fmt: skip
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A.json", "B.json"),
                        help="instead of a run, how the second profile.json differs from the first")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    live = parser.add_argument_group("with --live", ENDS)
    add_ends(live, records=False)
    add_conversation(live)


def live_plan(args: argparse.Namespace, bundle: Path, knobs: Knobs) -> LivePlan | None:
    """The plan of a live conversation; None where none is asked for. InputError where words do not go together."""
    given = {name: option(name) for name in (*LIVE_ONLY, *RECORDED_ONLY) if getattr(args, name) is not None}
    wrong = [given[name] for name in (RECORDED_ONLY if args.live else LIVE_ONLY) if name in given]
    named = f"{', '.join(wrong)} {'are' if len(wrong) > 1 else 'is'}"
    if wrong and args.live:
        raise InputError(f"{named} for recorded media, and --live for devices; leave one or the other out")
    if wrong:
        raise InputError(f"{named} for a live conversation; add --live (recorded media: --media)")
    if not args.live:
        return None
    for name in ("speaker", "display"):
        word = getattr(args, name)
        if word is not None and word.file:
            raise InputError(f"--{name} {word} is a file, and a profile records nothing; name a device, or none")
    from edge_streamer.runtime.loop.request import LivePlan

    return LivePlan(bundle=bundle, engine=args.engine, knobs=knobs, **live_ends(args))


def _count(word: str) -> int:
    return count(word, 1, 10**7)


def _minutes(word: str) -> float:
    return number(word, 100_000, above=True)
