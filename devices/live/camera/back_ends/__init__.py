"""Where pictures come from, one file each.

Receives an address and what the model needs; hands on a :class:`Source`: an iterator of (time, PyAV frame), always the
newest, that runs in the camera's worker process only. Each back end imports its library itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import Any, Protocol


@dataclass(frozen=True)
class Need:
    """The least that is wanted of a camera."""

    height: int
    width: int
    frame_rate: int


class Source(Protocol):
    """An open camera."""

    facts: dict[str, object]
    """Pixel format, size, rate, as it was opened."""
    pixel_aspect: Fraction | None
    """How much wider than high its pixels are; None: they are square."""

    def frames(self) -> Iterator[tuple[float, Any]]:
        """(seconds of the monotonic clock, PyAV frame) as they come; ends where the camera has gone. None stands for a
        picture that the camera gave and nobody can read."""

    def close(self) -> None: ...


def open_source(back_end: str, address: str, need: Need) -> Source:
    """Open a camera. Raises Unopened."""
    source: Source = import_module(f"{__name__}.{back_end}").open_source(address, need)
    return source
