"""What several workers of pytest-xdist make once for all of them, and how many they are."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
"""How many run the tests side by side; 0 where they are not dealt out."""


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """The folder ``name`` that ``make`` writes, whole or not at all: made by the first of the workers that asks for it,
    while others that do wait. It goes with the run, or stays in the folder EDGE_STREAMER_MADE_ONCE for the next."""
    run = factory.getbasetemp().parent if WORKERS else factory.getbasetemp()
    folder = Path(os.environ.get("EDGE_STREAMER_MADE_ONCE") or run / "made-once") / name
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder if folder.exists() else make(folder)
