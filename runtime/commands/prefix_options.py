"""What ``edge-streamer prefix`` may be told.

Receives a parser; hands on the arguments to prefix.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.options import positive_seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of ``prefix``."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle's folder or archive")
    add_engine(parser)
    parser.add_argument("--text", help="a world, a persona, instructions")
    parser.add_argument("--image", type=Path, help="a picture of the agent: one silent unit of it")
    parser.add_argument("--clip", type=Path, help="a film of the agent, with its voice; as many units as fit")
    parser.add_argument("--seconds", type=positive_seconds, metavar="S", help="use at most so much of the clip")
    parser.add_argument("--out", type=Path, required=True, help="the snapshot file to write (.npz)")
