"""Whether a run is healthy, by what it tells of itself.

Receives a file or a socket of ``run --health``; hands on a :class:`Verdict` with every reason against it. What cannot
be read is an InputError; a socket at which nobody answers any more is a run that has gone.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small
from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.health.record import VERSION, Health, Stamp
from edge_streamer.runtime.health.unix_socket import MOST_BYTES, ask

JUDGED_UNITS = 25
"""Fewer units than this (4 s) have no share: the first ones are slow."""
STARTING = ("opening", "warming up")


class Limits(NamedTuple):
    """What a healthy run keeps. Seconds."""

    max_age: float = 5.0
    """Since it was written."""
    no_unit: float = 10.0
    """Since the newest unit was answered, and that a step may take."""
    starting: float = 0.0
    """That a run which opens or warms up is healthy all the same."""
    units: int = 1
    """That must have been answered, but of a run that is starting."""
    misses: float = 0.5
    """The share of recent units that may be late, failed or skipped."""
    devices: bool = False
    """Whether every device must be open."""


class Verdict(NamedTuple):
    reasons: list[str]
    """Why it is not healthy; none: it is."""
    age: float | None = None
    """Seconds since it was written, where that can be told."""
    health: Health | None = None
    """None where nobody answers."""


def look_at(place: Place, limits: Limits, now: Stamp | None = None) -> Verdict:
    """Read what lies at ``place`` and judge it. ``now``: where it is not now."""
    try:
        socket = place.kind == "socket" or stat.S_ISSOCK(place.path.stat().st_mode)
        data = ask(place.path, limits.max_age) if socket else read_small(place.path, MOST_BYTES)
    except ConnectionRefusedError:
        return Verdict([f"nobody answers at {place.path}: the run has gone"])
    except TimeoutError:
        return Verdict([f"no answer at {place.path} for {limits.max_age:g} s: the run stands still"])
    except OSError as error:
        missing = "; no run has begun with --health there, or a socket's run has ended"
        why = f"{error.strerror}{missing if error.errno == errno.ENOENT else ''}"
        raise InputError(f"cannot read {place.path}: {why}") from error
    health = read(data, place.path)
    now = now or Stamp.now()
    return Verdict(reasons(health, limits, now), health.written.age(now), health)


def read(data: bytes, path: Path) -> Health:
    """What a file or a socket holds. InputError where that is nothing of ours, or of a newer version."""
    if data.startswith(b"# HELP"):
        raise InputError(f"{path} is text for Prometheus; name a file of JSON, or a socket")
    try:
        version = msgspec.json.decode(data, type=_Versioned).version
        if version == VERSION:
            return msgspec.json.decode(data, type=Health)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not what run --health writes: {' '.join(str(error).split())[:200]}") from error
    raise InputError(f"{path} is of version {version} of the schema, and this edge-streamer reads {VERSION}; update it")


class _Versioned(msgspec.Struct):
    version: int


def reasons(health: Health, limits: Limits, now: Stamp) -> list[str]:
    """Everything that speaks against it, the gravest first."""
    age = health.written.age(now)
    if health.state == "stopped":
        status = "" if health.exit_status is None else f" (exit status {health.exit_status})"
        return [f"stopped: {health.why}{status}"]
    if age is None:
        return ["stale: written before this machine started, or by a clock that is ahead of this one"]
    if age > limits.max_age:
        return [f"stale: written {age:.1f} s ago, so its process {health.pid} has gone, stands still or cannot write"]
    found = []
    if health.step_seconds is not None and health.step_seconds > limits.no_unit:
        at = f" ({health.engine_at})" if health.engine_at else ""
        found.append(f"hangs: a step has taken {health.step_seconds:.1f} s so far{at}")
    if health.state in STARTING:
        at = f" ({health.at})" if health.at else ""
        long = health.uptime_seconds > limits.starting
        return [*found, *([f"{health.state} for {health.state_seconds:.0f} s{at}"] if long else [])]
    return [*found, *([f"is {health.state}"] if health.state == "ending" else []), *_of_units(health, limits)]


def _of_units(health: Health, limits: Limits) -> list[str]:
    found, recent, idle = [], health.recent, health.unit_age_seconds
    if health.answered < limits.units and health.uptime_seconds > limits.starting:
        found.append(f"{health.answered} units answered; wanted {limits.units}")
    idle = health.state_seconds if idle is None else idle
    if idle > limits.no_unit:
        found.append(f"no unit was answered for {idle:.1f} s")
    bad = recent.deadline_misses + recent.failed
    if recent.units >= JUDGED_UNITS and bad > limits.misses * recent.units:
        found.append(f"{bad} of the newest {recent.units} units were late, failed or skipped; at most "
                     f"{limits.misses:.0%} may be")  # fmt: skip
    if limits.devices and not health.devices:
        found.append("it tells of no devices: it is not a live run")
    if limits.devices:
        found += [f"{kind} is not open: {device.error or device.name}" for kind, device in health.devices.items()
                  if not device.open]  # fmt: skip
    return found


def line(verdict: Verdict) -> str:
    """The verdict and how the run stands, in one line."""
    word = f"not healthy: {'; '.join(verdict.reasons)}" if verdict.reasons else "healthy"
    health = verdict.health
    if health is None:
        return word
    recent, stopped = health.recent, health.state == "stopped"
    parts = [
        f"ran for {health.uptime_seconds:.0f} s" if stopped else f"{health.state} for {health.state_seconds:.0f} s"
    ]
    parts.append(f"{health.answered} of {health.units} units answered")
    if recent.last_ms is not None:
        parts.append(f"unit {recent.last_ms:.0f} ms (p50 {recent.p50_ms:.0f}, p99 {recent.p99_ms:.0f})")
    parts.append(f"deadline misses {health.deadline_misses} ({recent.deadline_misses} of the newest {recent.units})")
    if health.hottest:
        parts.append(f"{health.hottest.celsius:.0f} C ({health.hottest.name})")
    if health.bundle:
        parts.append(f"{health.bundle.name} {health.bundle.hash[:12]} on {health.engine}")
    if health.last_error:
        parts.append(f"last error {health.last_error.what}")
    if verdict.age is not None:
        parts.append(f"written {verdict.age:.1f} s ago by process {health.pid}")
    return f"{word}; {', '.join(parts)}"
