"""The option ``--engine`` of commands that run a bundle.

Receives the words of the command line; hands on a name that ``open_session`` takes.
"""

from __future__ import annotations

import argparse

from edge_streamer.runtime.engines.choose import AUTO, NAMES


def add_engine(parser: argparse._ActionsContainer, what: str = "what runs the graphs") -> None:
    """The option ``--engine``, for ``what``."""
    parser.add_argument("--engine", choices=NAMES, default=AUTO,
                        help=f"{what} (default: {AUTO}, the best that is here)")  # fmt: skip
