"""Completion of commands, options and choices by the shell, where argcomplete is installed.

Receives what bash and zsh set in the environment when Tab is pressed; hands on the words that fit, on file descriptor
8, and ends the program. No command's work is imported for it: only the options of the command that was typed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Container

ASKED, LINE = "_ARGCOMPLETE", "COMP_LINE"


def asked() -> bool:
    """Whether a shell wants to know what could follow."""
    return ASKED in os.environ and LINE in os.environ


def typed(commands: Container[str]) -> str | None:
    """The command on the line so far."""
    return next((word for word in os.environ[LINE].split() if word in commands), None)


def answer(parser: argparse.ArgumentParser) -> int:
    """Write what fits and end the program; returns 1, having said nothing, where argcomplete is not installed."""
    try:
        import argcomplete
    except ModuleNotFoundError:
        return 1
    argcomplete.autocomplete(parser)
    return 1
