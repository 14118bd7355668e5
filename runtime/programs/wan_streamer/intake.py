"""What a user, or for a prefix the agent, says and shows in one unit, into the engine's buffers.

Receives a :class:`~edge_streamer.runtime.unit.Unit`; hands on nothing: the buffers ``samples`` and ``frames`` hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.engines.contract import Buffer, Table
from edge_streamer.runtime.unit import Unit

GREY = 128
"""Every pixel where there is no camera."""


def take_in(buffers: Mapping[str, Buffer], unit: Unit) -> None:
    """Copy a unit's samples and frames into ``buffers``. ValueError for arrays outside the media contract."""
    samples = buffers["samples"].host
    _take(samples, unit.samples, 0, "samples")
    _take(buffers["frames"].host, unit.frames, GREY, "frames")
    if not np.isfinite(np.add.reduce(samples)):
        raise ValueError("the unit's samples hold a NaN or an infinity; wanted full scale -1..1")


def _take(buffer: Array, came: Array | None, missing: float, what: str) -> None:
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


def check_tokens(tokens: Sequence[int], table: Table) -> None:
    """ValueError for one without an embedding row."""
    for token in tokens:
        if not 0 <= token < table.rows:
            raise ValueError(f"token {token} is outside the embedding table of {table.rows} rows")
