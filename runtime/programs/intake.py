"""An array that a user gives, into a buffer of the engine, checked.

Receives what came (of sound and pictures also nothing); hands on a filled buffer, or a ValueError that says what came
and what was wanted.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array

GREY = 128
"""Every pixel where there is no camera."""


def take_sound(buffer: Array, came: Array | None) -> None:
    """Samples [unit_samples] into ``buffer``, silence where there are none."""
    if came is None:
        buffer.fill(0)
    else:
        take(buffer, came, "samples")
    if not np.isfinite(np.add.reduce(buffer)):
        raise ValueError("the unit's samples hold a NaN or an infinity; wanted full scale -1..1")


def take_pictures(buffer: Array, came: Array | None) -> None:
    """Frames [unit_frames, height, width, 3] into ``buffer``, grey ones where there are none."""
    if came is None:
        buffer.fill(GREY)
    else:
        take(buffer, came, "frames")


def take(buffer: Array, came: Array, what: str) -> None:
    """``came`` into ``buffer``."""
    if not isinstance(came, np.ndarray):
        raise ValueError(f"the unit's {what} are a {type(came).__name__}; wanted a numpy array")
    if came.shape != buffer.shape or came.dtype != buffer.dtype:
        raise ValueError(
            f"the unit's {what} are {came.dtype} {came.shape}; this bundle wants {buffer.dtype} {buffer.shape}"
        )
    np.copyto(buffer, came)
