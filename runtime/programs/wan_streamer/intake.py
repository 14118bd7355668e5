"""What a user, or for a prefix the agent, says and shows in one unit, into the engine's buffers.

Receives a :class:`~edge_streamer.runtime.unit.Unit`; hands on nothing: the buffers ``samples`` and ``frames`` hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_streamer.runtime.engines.contract import Buffer, Table
from edge_streamer.runtime.programs.intake import take_pictures, take_sound
from edge_streamer.runtime.unit import Unit


def take_in(buffers: Mapping[str, Buffer], unit: Unit) -> None:
    """Copy a unit's samples and frames into ``buffers``. ValueError for arrays outside the media contract."""
    take_sound(buffers["samples"].host, unit.samples)
    take_pictures(buffers["frames"].host, unit.frames)


def check_tokens(tokens: Sequence[int], table: Table) -> None:
    """ValueError for one without an embedding row."""
    for token in tokens:
        if not 0 <= token < table.rows:
            raise ValueError(f"token {token} is outside the embedding table of {table.rows} rows")
