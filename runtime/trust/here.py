"""What a statement's targets are compared with: this machine's architecture, board and Jetson Linux.

Receives the root of a file system; hands on :class:`Here`, and why something is not for it.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_streamer.runtime.trust.statement import Targets

_RELEASE = re.compile(r"R(\d{1,4})\s*\(release\),\s*REVISION:\s*(\d{1,4}(?:\.\d{1,4}){0,2})")
_MOST_BYTES = 100_000


class Here(NamedTuple):
    """This machine. Empty words where nobody tells."""

    architecture: str
    compatible: str
    """Of the device tree, the most exact first."""
    l4t: str
    """Jetson Linux: ``36.4.3``."""


def read_here(root: Path = Path("/")) -> Here:
    """The machine whose files lie below ``root``."""
    found = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    l4t = f"{found[1]}.{found[2]}" if found else ""
    compatible = " ".join(_text(root / "proc/device-tree/compatible").split("\0")).strip()
    return Here(platform.machine(), compatible, l4t)


def not_for(targets: Targets, here: Here) -> str:
    """Why a thing is not for this machine; empty where it is."""
    if targets.architectures and here.architecture not in targets.architectures:
        return f"for {_any(targets.architectures)}; this machine is {here.architecture or 'of an unknown kind'}"
    if targets.boards and not any(_is_board(board, here.compatible) for board in targets.boards):
        return f"for the board {_any(targets.boards)}; this one is {here.compatible or 'none that says its name'}"
    if (targets.l4t_from or targets.l4t_to) and not _within(targets, here.l4t):
        wanted = " to ".join(bound for bound in (targets.l4t_from or "any", targets.l4t_to or "any newer") if bound)
        return f"for Jetson Linux {wanted}; here is {here.l4t or 'none'}"
    return ""


def _is_board(board: str, compatible: str) -> bool:
    """Whether ``p3767-0005`` is in ``nvidia,p3768-0000+p3767-0005-super nvidia,tegra234``: as words, not as letters."""
    return re.search(rf"(?<![A-Za-z0-9.-]){re.escape(board)}(?![A-Za-z0-9.])", compatible) is not None


def _within(targets: Targets, l4t: str) -> bool:
    here = _numbers(l4t)
    first, last = _numbers(targets.l4t_from), _numbers(targets.l4t_to)
    return bool(here) and here >= first and (not last or here[: len(last)] <= last)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")) if version else ()


def _any(words: Sequence[str]) -> str:
    return " or ".join(words)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
