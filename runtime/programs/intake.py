"""An array that a user gives, into a buffer of the engine, checked.

Receives what came, or nothing; hands on a filled buffer, or a ValueError that says what came and what was wanted.
"""

from __future__ import annotations

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array

GREY = 128
"""Every pixel where there is no camera."""


def take_sound(buffer: Array, came: Array | None) -> None:
    """Samples [unit_samples] into ``buffer``, silence where there are none."""
    take(buffer, came, 0, "samples")
    if not np.isfinite(np.add.reduce(buffer)):
        raise ValueError("the unit's samples hold a NaN or an infinity; wanted full scale -1..1")


def take_pictures(buffer: Array, came: Array | None) -> None:
    """Frames [unit_frames, height, width, 3] into ``buffer``, grey ones where there are none."""
    take(buffer, came, GREY, "frames")


def take(buffer: Array, came: Array | None, missing: float, what: str) -> None:
    """``came`` into ``buffer``; ``missing`` everywhere where there is nothing."""
    if came is None:
        buffer.fill(missing)
    elif not isinstance(came, np.ndarray):
        raise ValueError(f"the unit's {what} are a {type(came).__name__}; wanted a numpy array")
    elif came.shape != buffer.shape or came.dtype != buffer.dtype:
        raise ValueError(
            f"the unit's {what} are {came.dtype} {came.shape}; this bundle wants {buffer.dtype} {buffer.shape}"
        )
    else:
        np.copyto(buffer, came)
