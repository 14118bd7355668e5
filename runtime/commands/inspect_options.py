"""What ``edge-streamer inspect`` may be told.

Receives a parser; hands on the arguments to inspect.py. Nothing here needs a library, so that help and completion are
quick.
"""

from __future__ import annotations

import argparse

from edge_streamer.runtime.commands.named_bundle import add_bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``edge-streamer inspect``."""
    add_bundle(parser)
    parser.add_argument("--board", default="", metavar="NAME",
                        help="whether it fits this board: orin-nano-8gb, agx-orin-64gb, thor-t5000 ...")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
