"""What ``edge-streamer replay`` may be told.

Receives a parser; hands on the arguments to replay.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.runtime.commands.engine_option import add_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of ``replay``."""
    parser.add_argument("recording", type=Path, metavar="DIR", help="a folder by 'run --record'")
    parser.add_argument("--bundle", type=Path, help="the bundle, where it is no longer where it was")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the agent's voice and film into a new folder")
    add_engine(parser)
    parser.add_argument("--json", action="store_true", help="the result for machines")
