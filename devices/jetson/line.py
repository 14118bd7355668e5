"""A line of what the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    """What is so."""
    mend: str = ""
    """The command, or what to do, where it is not ok."""


def ok(name: str, found: str) -> Line:
    return Line(name, "ok", found)


def warn(name: str, found: str, mend: str) -> Line:
    return Line(name, "warn", found, mend)


def fail(name: str, found: str, mend: str) -> Line:
    return Line(name, "fail", found, mend)
