"""What happened to a machine while it was measured, so that its figures do not compare with others.

Receives a :class:`Watch` that was closed and the settings before and after; hands on sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edge_streamer.devices.board.clocks import online
from edge_streamer.devices.board.look import Kind
from edge_streamer.devices.board.series import Series
from edge_streamer.devices.board.watch import Watch
from edge_streamer.devices.jetson import power
from edge_streamer.devices.jetson.system import System

CAPS: tuple[tuple[Kind, str, str], ...] = (
    ("highest", "the highest clock of {}", "MHz"), ("lowest", "the lowest clock of {}", "MHz"),
    ("watts allowed", "the power that {} may take", "W"),
)  # fmt: skip


class Settings(NamedTuple):
    """What is set, not measured."""

    mode: str = ""
    """As nvpmodel calls it; empty where there are no modes or nobody tells."""
    governor: str = ""
    cores: str = ""
    """That are on."""


def settings(system: System, now: power.Power) -> Settings:
    """Of ``system``, whose modes and governor ``now`` has."""
    mode = "" if now.current is None else now.modes.get(now.current, str(now.current))
    return Settings(mode, now.governor, online(system))


def changes(watch: Watch, before: Settings, after: Settings, modes: Mapping[int, str]) -> list[str]:
    """A sentence for each change of what figures depend on, and for each throttling; the weightiest first."""
    return [*_settings(watch, before, after, modes), *_throttled(watch), *_caps(watch)]


def throttled_seconds(watch: Watch) -> dict[str, float]:
    """Alert -> how long it was on; those that never were are absent."""
    alerts = watch.series.get("throttle", {})
    return {name: round(one.integral, 1) for name, one in alerts.items() if one.high}


def throttle_events(watch: Watch) -> dict[str, int]:
    """Counter -> how often it happened while it was watched; those that never did are absent."""
    counters = watch.series.get("throttle events", {})
    return {name: round(one.last - one.first) for name, one in counters.items() if one.last > one.first}


def _settings(watch: Watch, before: Settings, after: Settings, modes: Mapping[int, str]) -> Iterator[str]:
    mode = watch.series.get("mode", {}).get("nvpmodel")
    if mode is not None and mode.changed is not None:
        extremes = _extreme(mode)
        names = [modes.get(round(value), f"{value:g}") for value in (mode.first, extremes)]
        back = " and back" if mode.last == mode.first else ""
        yield f"the power mode changed from {names[0]} to {names[1]}{back} after {mode.changed:.0f} s"
    elif before.mode and after.mode and before.mode != after.mode:
        yield f"the power mode changed from {before.mode} to {after.mode}"
    for what, one, other in (("the governor", before.governor, after.governor),
                             ("the cores that are on", before.cores, after.cores)):  # fmt: skip
        if one and other and one != other:
            yield f"{what} changed from {one} to {other}"


def _throttled(watch: Watch) -> Iterator[str]:
    for name, seconds in throttled_seconds(watch).items():
        yield f"{name} throttled for {seconds:.0f} s" if seconds >= 1 else f"{name} throttled for a moment"
    for name, count in throttle_events(watch).items():
        yield f"throttled {count} time{'s' * (count > 1)} ({name})"


def _caps(watch: Watch) -> Iterator[str]:
    for kind, what, unit in CAPS:
        for name, one in watch.series.get(kind, {}).items():
            if one.changed is not None:
                back = " and back" if one.last == one.first else ""
                yield (f"{what.format(name)} changed from {one.first:.0f} to {_extreme(one):.0f} {unit}{back} after "
                       f"{one.changed:.0f} s")  # fmt: skip


def _extreme(one: Series) -> float:
    """What it changed to: the last value, or, where it came back, the one furthest from the first."""
    if one.last != one.first:
        return one.last
    return max(one.low, one.high, key=lambda value: abs(value - one.first))
