"""Edge Streamer: runs a streaming, full-duplex audio-visual model on an edge device.

    import edge_streamer

    session = edge_streamer.open("bundle")
    response = session.step(edge_streamer.Unit(samples=..., frames=...))

Receives nothing; hands on the public names of :mod:`edge_streamer.runtime`, each loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_streamer.runtime import (
        Bundle,
        BundleError,
        EdgeStreamerError,
        EngineError,
        InputError,
        Knobs,
        MediaError,
        Response,
        Session,
        StepError,
        Unit,
        open,
    )

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleError",
    "EdgeStreamerError",
    "EngineError",
    "InputError",
    "Knobs",
    "MediaError",
    "Response",
    "Session",
    "StepError",
    "Unit",
    "__version__",
    "open",
]


def __getattr__(name: str) -> object:
    """A public name, from the runtime, on first use."""
    if name not in __all__:
        raise AttributeError(f"edge_streamer has no {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(import_module("edge_streamer.runtime"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
