"""Waiting for something that another thread or process brings about."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds. Starting a worker takes one on a machine at rest."""


def until(true: Callable[[], bool], what: str = "did it come about", patience: float = PATIENCE) -> None:
    """Return as soon as ``true`` is; fail after ``patience`` seconds, with ``what`` as the reason."""
    ends = time.monotonic() + patience
    while not true():
        assert time.monotonic() < ends, f"in {patience:.0f} s never {what}"
        time.sleep(0.005)
