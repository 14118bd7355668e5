"""``edge-streamer profile`` watches the board: what it is, and what it does while units run.

Receives nothing; hands on :class:`Watched`, whose readings become :class:`Board` of the profile.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_streamer.devices.board.changes import changes, settings, throttle_events, throttled_seconds
from edge_streamer.devices.board.look import Kind
from edge_streamer.devices.board.monitor import Monitor
from edge_streamer.devices.board.program import Start, start
from edge_streamer.devices.board.series import Series
from edge_streamer.devices.board.watch import Watch
from edge_streamer.devices.jetson import power
from edge_streamer.devices.jetson.facts import Facts, read
from edge_streamer.devices.jetson.known import RELEASES
from edge_streamer.devices.jetson.system import System
from edge_streamer.runtime.profile.board import Board, Curve, Figure, Setting

COVERED = 0.95
"""Of the run, that power must have been read for: with less there is no energy of a unit."""
WATTS: tuple[Kind, ...] = ("rail", "package", "card", "sensor")


class Watched:
    """As a context: from entering it to leaving it the machine is watched."""

    def __init__(self, system: System | None = None, start: Start = start) -> None:
        self._system = system or System()
        self._facts = read(self._system)
        self._settings = settings(self._system, self._facts.power)
        self.watch = Watch(self._system, jetson=self._facts.jetson, start=start)
        self.monitor = Monitor(self.watch)

    def __enter__(self) -> Watched:
        self.monitor.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.monitor.__exit__(*raised)
        self._after = settings(self._system, power.read(self._system))

    def board(self, units: int) -> Board:
        """What was read, while so many units ran."""
        facts, watch, monitor, series = self._facts, self.watch, self.monitor, self.watch.series
        temperatures, memory = _figures(series.get("temperature")), series.get("memory", {})
        hottest = max(temperatures, key=lambda name: temperatures[name].high, default="")
        total = watch.total
        covered = total.covered >= COVERED * monitor.seconds and total.covered > 0
        rails = {name: one for kind in WATTS for name, one in series.get(kind, {}).items()}
        return Board(
            **_facts(facts), clocks_pinned=facts.power.pinned,
            power_mode=Setting(self._settings.mode, self._after.mode),
            governor=Setting(self._settings.governor, self._after.governor),
            cores=Setting(self._settings.cores, self._after.cores),
            changed=tuple(changes(watch, self._settings, self._after, facts.power.modes)), told=tuple(self._told()),
            power_w=round(total.mean, 4) if total.count else None, power_of=watch.total_of,
            energy_mj_per_unit=round(1e3 * total.integral / units, 4) if covered and units else None,
            hottest=hottest, hottest_c=temperatures[hottest].high if hottest else None,
            peak_ram_mb=_extreme(memory, "used"), peak_swap_mb=_extreme(memory, "swap"),
            least_block_mb=round(memory["largest block"].low, 4) if "largest block" in memory else None,
            ram_mb=None if facts.memory.total is None else round(facts.memory.total / 1e6, 1),
            rails_w=_figures(rails), clocks_mhz=_figures(series.get("clock")),
            lowest_mhz=_figures(series.get("lowest")), highest_mhz=_figures(series.get("highest")),
            temperatures_c=temperatures, loads=_figures(series.get("load")), memory_mb=_figures(memory),
            fans_rpm=_figures(series.get("fan")), fans=_figures(series.get("fan power")),
            throttled_seconds=throttled_seconds(watch), throttle_events=throttle_events(watch),
            seconds=round(monitor.seconds, 3), looks=monitor.looks,
            look_ms=round(1e3 * monitor.look_seconds / max(monitor.looks, 1), 3),
            core_share=round(monitor.core_seconds / max(monitor.seconds, 1e-9), 5),
            curves={"power_w": _curves({" + ".join(watch.total_of): total} if total.count else rails),
                    "temperatures_c": _curves(series.get("temperature")), "clocks_mhz": _curves(series.get("clock")),
                    "loads": _curves(series.get("load"))},
        )  # fmt: skip

    def _told(self) -> list[str]:
        told, l4t = list(self.watch.told), self._facts.l4t
        if l4t and l4t not in RELEASES:
            told.append(f"L4T {l4t} is not among those that are known here; what it tells in another form is left out")
        total, seconds = self.watch.total, self.monitor.seconds
        if total.count and total.covered < COVERED * seconds:
            told.append(f"power was read for {total.covered:.1f} s of {seconds:.1f}: too little for the energy of a "
                        "unit")  # fmt: skip
        return told


def _facts(facts: Facts) -> dict[str, str]:
    """What is so all the time."""
    release = facts.release
    tensorrt = facts.libraries.get("libnvinfer") or next(
        (wheel.version for name, wheel in facts.wheels.items() if name.startswith("tensorrt")), "")  # fmt: skip
    return {
        "module": facts.module.name if facts.module else facts.model[:100], "l4t": facts.l4t,
        "jetpack": release.jetpack if release else facts.debian.get("nvidia-jetpack", ""), "cuda": facts.cuda,
        "tensorrt": tensorrt, "driver": facts.driver,
    }  # fmt: skip


def _figures(series: Mapping[str, Series] | None) -> dict[str, Figure]:
    return {
        name: Figure(*(round(value, 4) for value in (one.first, one.low, one.mean, one.high, one.last)))
        for name, one in (series or {}).items()
    }


def _curves(series: Mapping[str, Series] | None) -> dict[str, Curve]:
    return {
        name: Curve([round(at, 2) for at, _ in one.points], [round(value, 4) for _, value in one.points])
        for name, one in (series or {}).items()
    }


def _extreme(memory: Mapping[str, Series], name: str) -> float | None:
    return round(memory[name].high, 1) if name in memory else None
