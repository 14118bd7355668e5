"""What a statement's targets are compared with: this machine's architecture, board and Jetson Linux.

Receives the root of a file system; hands on :class:`Here`, why something is not for it, and targets in words.
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
NAMES = {
    "p3767-0000": "orin-nx-16gb", "p3767-0001": "orin-nx-8gb", "p3767-0003": "orin-nano-8gb",
    "p3767-0004": "orin-nano-4gb", "p3767-0005": "orin-nano-8gb", "p3701-0000": "agx-orin-32gb",
    "p3701-0004": "agx-orin-32gb", "p3701-0005": "agx-orin-64gb", "p3701-0008": "agx-orin-64gb",
    "p3834-0005": "thor-t4000", "p3834-0008": "thor-t5000",
}  # fmt: skip
"""What people call the modules whose numbers are signed: as devices/jetson/known.py has them; a test compares."""


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
        return (f"for {_any(targets.architectures)}; this machine is {here.architecture or 'of an unknown kind'}"
                f"{_too('architecture', here.architecture)}")  # fmt: skip
    if targets.boards and not any(_is_board(board, here.compatible) for board in targets.boards):
        name = next((NAMES[part] for part in NAMES if _is_board(part, here.compatible)), "")
        this = f"{name} ({here.compatible})" if name else here.compatible or "none that says its name"
        return f"for the board {_any(_boards(targets.boards))}; this one is {this}{_too('board', name)}"
    if (targets.l4t_from or targets.l4t_to) and not _within(targets, here.l4t):
        return f"for Jetson Linux {_bounds(targets)}; here is {here.l4t or 'none'}"
    return ""


def in_words(targets: Targets) -> str:
    """Where a thing may be used: ``for the board orin-nx-16gb (p3767-0000), Jetson Linux 36.4``."""
    found = [_any(targets.architectures)] if targets.architectures else []
    found += [f"the board {_any(_boards(targets.boards))}"] if targets.boards else []
    if targets.l4t_from or targets.l4t_to:
        same = targets.l4t_from == targets.l4t_to
        found.append(f"Jetson Linux {targets.l4t_from if same else _bounds(targets)}")
    return f"for {', '.join(found) or 'every machine'}"


def _too(option: str, name: str) -> str:
    """What to do where somebody left this machine out."""
    this = f"--{option} {name} beside what it has, or " if name else ""
    return f"; to use it here too, sign it anew with {this}no --{option}, for every machine"


def _boards(boards: Sequence[str]) -> list[str]:
    """Each as people call it, with the numbers that stand for it."""
    named: dict[str, list[str]] = {}
    for board in boards:
        named.setdefault(NAMES.get(board, board), []).append(board)
    return [name if numbers == [name] else f"{name} ({', '.join(numbers)})" for name, numbers in named.items()]


def _is_board(board: str, compatible: str) -> bool:
    """Whether ``p3767-0005`` is in ``nvidia,p3768-0000+p3767-0005-super nvidia,tegra234``: as words, not as letters."""
    return re.search(rf"(?<![A-Za-z0-9.-]){re.escape(board)}(?![A-Za-z0-9.])", compatible) is not None


def _bounds(targets: Targets) -> str:
    return f"{targets.l4t_from or 'any'} to {targets.l4t_to or 'any newer'}"


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
