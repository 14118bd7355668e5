"""``python -m`` for a process of ours, which runs nothing of the current directory.

Receives a module's name; hands on the words of a command. ``python -m`` and ``python -c`` look for modules in the
current directory first: a file of somebody else's there that is named as one of ours, or as a library, would be run.
Against that ``-P`` is new in Python 3.11, and ``-I`` also forgets PYTHONPATH and what a user installed for himself. So
the child takes up this process's path before it imports anything.
"""

from __future__ import annotations

import os
import sys


def python_m(module: str) -> list[str]:
    """The words that run ``module`` as a program in a new interpreter; words added to them are its own."""
    path = [place for place in sys.path if os.path.isabs(place)]  # "" means wherever one happens to stand
    start = f"import sys; sys.path[:] = {path!r}; from runpy import run_module"
    return [sys.executable, "-c", f"{start}; run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)", module]
