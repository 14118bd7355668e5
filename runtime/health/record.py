"""How a run stands, as one value: what ``run --health`` writes and ``edge-streamer health`` reads.

Receives nothing; hands on :class:`Health`, version 1 of the schema. A key may be added without another version; a key
that goes, or that means something else, makes another. The fields are described in docs/health.md.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

VERSION = 1
State = Literal["opening", "warming up", "running", "ending", "stopped"]
STATES: tuple[State, ...] = ("opening", "warming up", "running", "ending", "stopped")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """When and where something was written, so that a reader can tell how old it is though clocks are set."""

    time: float
    """Seconds since 1970."""
    host: str
    boot: str
    """Of this start of the machine; empty where the system does not tell."""
    monotonic: float
    """Seconds of the clock that nobody sets, since that start."""

    @classmethod
    def now(cls) -> Stamp:
        return cls(time=time.time(), host=os.uname().nodename, boot=boot_id(), monotonic=time.monotonic())

    def age(self, now: Stamp) -> float | None:
        """Seconds until ``now``; None where it is of an earlier start of the same machine, or of a clock that is ahead:
        nobody knows how long ago that was."""
        if self.boot and self.boot == now.boot:
            return max(now.monotonic - self.monotonic, 0.0)
        if self.boot and now.boot and self.host == now.host:
            return None
        return now.time - self.time if now.time >= self.time - 1 else None


class Named(msgspec.Struct, frozen=True):
    """A bundle."""

    name: str
    hash: str


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """The newest units. Milliseconds; None where none was answered."""

    units: int = 0
    """That passed within the newest 80 seconds or so."""
    deadline_misses: int = 0
    failed: int = 0
    """And skipped."""
    last_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    """Of the newest 500 answered ones."""


class Zone(msgspec.Struct, frozen=True):
    name: str
    celsius: float


class Device(msgspec.Struct, frozen=True):
    """Of a live run."""

    name: str
    open: bool
    error: str | None = None


class Trouble(msgspec.Struct, frozen=True):
    """What went wrong last."""

    what: str
    time: float
    """Seconds since 1970."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands. Seconds, but for what ends in ``_ms``."""

    version: int = VERSION
    state: State
    at: str | None = None
    """How far the opening is."""
    why: str | None = None
    """What ended it."""
    exit_status: int | None = None
    state_seconds: float
    step_seconds: float | None = None
    """How long the step in progress has taken; None between steps."""
    engine_at: str | None = None
    """What the engine is at: the run or the loading of a graph."""
    unit_age_seconds: float | None = None
    """Since the newest unit was answered; None before the first."""
    units: int = 0
    """Answered, failed or skipped."""
    answered: int = 0
    failed: int = 0
    skipped: int = 0
    deadline_misses: int = 0
    unit_ms: float | None = None
    """Length of a unit."""
    recent: Recent = Recent()
    temperatures: dict[str, float] = {}
    """Degrees Celsius."""
    hottest: Zone | None = None
    devices: dict[str, Device] = {}
    last_error: Trouble | None = None
    bundle: Named | None = None
    engine: str | None = None
    pace: str
    """``live``, ``real`` or ``fast``."""
    edge_streamer: str
    pid: int
    started: float
    uptime_seconds: float
    written: Stamp


@cache
def boot_id() -> str:
    """Of this start of the machine; empty where the system does not tell."""
    try:
        return BOOT_ID.read_text("ascii").strip()[:64]
    except (OSError, ValueError):
        return ""
