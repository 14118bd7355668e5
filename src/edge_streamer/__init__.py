"""Edge Streamer: runs a streaming, full-duplex audio-visual model on an edge device.

    import edge_streamer

    session = edge_streamer.open("bundle")
    response = session.step(edge_streamer.Unit(samples=..., frames=...))

Receives nothing; hands on the public names of :mod:`edge_streamer.runtime`, each loaded when it is first used.

ONNX Runtime 1.29 and later send telemetry unless ``ORT_DISABLE_TELEMETRY`` is 1 when they are imported: it is set here,
before anything of this package imports ONNX Runtime, so that none is sent.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_streamer.runtime import (
        Bundle,
        BundleError,
        DeviceLost,
        EdgeStreamerError,
        EngineError,
        FakeSession,
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
    "DeviceLost",
    "EdgeStreamerError",
    "EngineError",
    "FakeSession",
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

_TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"


def _no_telemetry() -> None:
    """For this process and those that it starts. One that has it on already is told: it cannot be stopped any more."""
    engine, off = sys.modules.get("onnxruntime"), os.environ.get(_TELEMETRY_OFF) == "1"
    os.environ[_TELEMETRY_OFF] = "1"
    version = getattr(engine, "__version__", "0").split(".")
    if not off and [int(part) for part in version[:2] if part.isdigit()] >= [1, 29]:
        warnings.warn(
            "onnxruntime was imported before edge_streamer and sends telemetry from this process; import edge_streamer "
            f"first, or set {_TELEMETRY_OFF}=1",
            RuntimeWarning,
            stacklevel=3,
        )


_no_telemetry()


def __getattr__(name: str) -> object:
    """A public name, from the runtime, on first use."""
    if name not in __all__:
        raise AttributeError(f"edge_streamer has no {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(import_module("edge_streamer.runtime"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
