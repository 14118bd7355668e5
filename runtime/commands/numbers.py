"""Numbers among the words of a command, within bounds.

Receives a word; hands on the number, or argparse's own error, which says what came and what was wanted.
"""

from __future__ import annotations

import argparse
import re
from math import nan


def number(word: str, most: float, wanted: str = "", above: bool = False) -> float:
    """A number from 0 (``above``: beyond it) to ``most``. ``wanted``: what it is, in words."""
    try:
        found = float(word)
    except ValueError:
        found = nan
    if not 0 <= found <= most or (above and not found):
        bounds = f"a number above 0, to {most:g}" if above else f"a number from 0 to {most:g}"
        raise argparse.ArgumentTypeError(f"{word!r}; wanted {wanted or bounds}")
    return found


def count(word: str, least: int, most: int, wanted: str = "") -> int:
    """A whole number from ``least`` to ``most``."""
    if not re.fullmatch("[0-9]{1,16}", word) or not least <= int(word) <= most:
        raise argparse.ArgumentTypeError(f"{word!r}; wanted {wanted or f'a whole number from {least} to {most}'}")
    return int(word)
