"""Displays, as far as they can be told without opening a window.

Receives the environment and /dev; hands on what ``--display`` may be here.

    default       a window on a desktop, the whole screen where there is none (a console, a kiosk)
    window        a window
    fullscreen    the whole screen
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

WORDS = ("default", "window", "fullscreen")


@dataclass(frozen=True)
class Found:
    """A display for people."""

    name: str
    detail: str
    default: bool


def desktop(environment: Mapping[str, str]) -> str:
    """The desktop's display; empty where there is none."""
    return environment.get("WAYLAND_DISPLAY") or environment.get("DISPLAY") or ""


def found(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev/dri")) -> list[Found]:
    """All displays."""
    there = desktop(environment)
    cards = sorted(path.name for path in devices.glob("card*")) if devices.is_dir() else []
    listed = [Found("window", f"on the desktop {there}", True)] if there else []
    if there or cards:
        detail = f"on the desktop {there}" if there else f"on the console, by KMS: {', '.join(cards)}"
        listed.append(Found("fullscreen", detail, not there))
    return listed
