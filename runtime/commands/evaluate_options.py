"""What ``edge-streamer eval`` may be told.

Receives a parser; hands on the arguments to evaluate.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.named_bundle import add_bundle
from edge_streamer.runtime.evaluation import LEAST_LONG

SUITE = "duplex"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of ``eval``."""
    add_bundle(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make for the results")
    parser.add_argument("--suite", default=SUITE, metavar="NAME|FILE", help="duplex (default), or a suite's JSON file")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of conversation (default: 10)")
    parser.add_argument("--long", type=float, metavar="M", dest="long_minutes",
                        help="minutes of one run without a reset, 0: none (default: a fifth of --minutes, at least "
                        f"{LEAST_LONG}, but no more than --minutes; of a suite's file none)")  # fmt: skip
    parser.add_argument("--baseline", type=Path, metavar="OTHER.json", help="an earlier result.json to compare with")
    parser.add_argument("--float", type=Path, metavar="BUNDLE", dest="reference",
                        help="a bundle of the same preset to compare latents with, on the same noise")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the scenes and the noise (default: 0)")
    parser.add_argument("--steps", type=int, metavar="N", help="solver steps per unit (default: the bundle's)")
    parser.add_argument("--compare-steps", action="store_true", help="a tenth of the minutes with 1, 2 and 4 steps too")
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of tables")
    parser.add_argument("--strict", action="store_true", help="exit status 1 where a wanted figure is not reached")
