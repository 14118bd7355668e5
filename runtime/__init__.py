"""The device side: the bundle format, engines, the session, the loop. No torch, no onnx.

Receives nothing; hands on the public names, each loaded when it is first used, so that ``import edge_streamer`` and
``edge-streamer --help`` cost milliseconds and no engine library is loaded before a bundle is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.errors import (
        BundleError,
        DeviceLost,
        EdgeStreamerError,
        EngineError,
        InputError,
        MediaError,
        StepError,
    )
    from edge_streamer.runtime.session.fake import FakeSession
    from edge_streamer.runtime.session.session import Session
    from edge_streamer.runtime.session.session import open_session as open
    from edge_streamer.runtime.unit import Knobs, Response, Unit

_WHERE = {
    "Bundle": ("bundle.reader", "Bundle"),
    "BundleError": ("errors", "BundleError"),
    "DeviceLost": ("errors", "DeviceLost"),
    "EdgeStreamerError": ("errors", "EdgeStreamerError"),
    "EngineError": ("errors", "EngineError"),
    "FakeSession": ("session.fake", "FakeSession"),
    "InputError": ("errors", "InputError"),
    "Knobs": ("unit", "Knobs"),
    "MediaError": ("errors", "MediaError"),
    "Response": ("unit", "Response"),
    "Session": ("session.session", "Session"),
    "StepError": ("errors", "StepError"),
    "Unit": ("unit", "Unit"),
    "open": ("session.session", "open_session"),
}
"""Public name -> (module of this folder, name in it)."""

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
    "open",
]


def __getattr__(name: str) -> object:
    """A public name, on first use."""
    if name not in _WHERE:
        raise AttributeError(f"edge_streamer.runtime has no {name!r}; it has {', '.join(__all__)}")
    file, inner = _WHERE[name]
    value: object = getattr(import_module(f"edge_streamer.runtime.{file}"), inner)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
