"""What tests of the session share: a run, and what "the same" means."""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Response, Unit

LONG_ENOUGH = 12
"""Units: the tiny preset's main ring (8 units) and video ring (3) have both wrapped and evicted."""


def run(session: Session, units: list[Unit]) -> list[Response]:
    return [session.step(unit).copy() for unit in units]


def assert_same(one: Response, other: Response) -> None:
    """Bit for bit, but for the clock."""
    assert one.tokens == other.tokens
    assert one.text == other.text
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_array_equal(one.frames, other.frames)


def differs(one: Response, other: Response) -> bool:
    return not (np.array_equal(one.samples, other.samples) and np.array_equal(one.frames, other.frames))
