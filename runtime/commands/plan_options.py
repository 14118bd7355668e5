"""What ``edge-streamer plan`` may be told.

Receives a parser; hands on the arguments to plan.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.commands.named_bundle import add_bundle
from edge_streamer.runtime.profile.boards import BOARDS
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS, SCHEMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer plan``."""
    add_bundle(parser)
    parser.add_argument("--board", required=True, choices=tuple(BOARDS), help="what it shall run on")
    parser.add_argument("--scheme", choices=(AS_IT_IS, *SCHEMES),
                        help="as if it were quantized so for that board (default: the bundle as it is)")  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N", help="solver steps of a unit (default: the bundle's)")
    parser.add_argument("--model", type=Path, metavar="SHAPE.json",
                        help="instead of a bundle, the shape of any decoder, or its config.json")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="PLAN.html", help="write the plan as a page, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
