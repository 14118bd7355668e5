"""A machine is looked at again and again while it works.

Receives a system, and the times of looks; hands on :class:`Watch`, whose series hold everything that was read. Devices
are looked for again every ten seconds and at once where one is missed, because they come late and are numbered anew.
"""

from __future__ import annotations

from time import sleep

from edge_streamer.devices.board import clocks, loads, rails, thermal, throttling
from edge_streamer.devices.board.look import Kind, Look, Remembering
from edge_streamer.devices.board.others import NvidiaSmi, Tegrastats, completed
from edge_streamer.devices.board.program import Start
from edge_streamer.devices.board.program import start as start_program
from edge_streamer.devices.board.series import GAP, Series
from edge_streamer.devices.jetson.system import System

AGAIN_SECONDS = 10.0
FIRST_LINE_SECONDS = 3.0
"""A program that has not said anything by then is not waited for."""
POLL_SECONDS = 0.05
TEGRASTATS_KNOWS: tuple[tuple[Kind, str], ...] = (("rail", ""), ("temperature", ""), ("clock", "gpu"), ("load", "gpu"))
"""What a Jetson's files mostly tell; where they do not, tegrastats is asked. Any name where it is empty."""


class Watch:
    """Everything that was read of a machine, by kind and name. Close it."""

    def __init__(self, system: System | None = None, *, jetson: bool = False, start: Start = start_program) -> None:
        """``jetson``: that tegrastats may know what files do not."""
        self._system = Remembering.of(system or System())
        self.series: dict[Kind, dict[str, Series]] = {}
        self.total = Series()
        """Watts of what stands for the whole machine."""
        self.total_of: tuple[str, ...] = ()
        """The names that are summed for it."""
        self.told: list[str] = []
        """What whoever reads the figures has to know."""
        self._jetson, self._start = jetson, start
        self._others: list[NvidiaSmi | Tegrastats] = []
        self._more, self._wraps, self._found_at = Look(), dict[str, float](), 0.0
        self._files: set[tuple[Kind, str]] = set()
        self._joules: dict[str, tuple[float, float]] = {}
        self._whole: rails.Names = ()
        self._whole_at = 0.0
        self._busy: tuple[int, int] | None = None
        self.counts_power = False
        """Whether files tell power, so that looking at it more often is cheap."""

    def begin(self) -> None:
        """Find out who knows what; wait for the first line of programs."""
        found = self._of_files()
        self._wraps = rails.wraps_at(self._system)
        if self._jetson and any(not any(kind == k and name.startswith(n) for kind, name in found)
                                for k, n in TEGRASTATS_KNOWS):  # fmt: skip
            self._others.append(Tegrastats(self._start))
        if self._system.there("/dev/nvidiactl"):
            self._others.append(NvidiaSmi(self._start))
        for _ in range(int(FIRST_LINE_SECONDS / POLL_SECONDS)):
            if all([other.look() or other.silent for other in self._others]):
                break
            sleep(POLL_SECONDS)

    def look(self, seconds: float) -> None:
        """At everything, ``seconds`` after the begin."""
        if seconds - self._found_at >= AGAIN_SECONDS:
            self._find_again(seconds)
        found = self._of_files()
        if self._files - found.keys():
            self._find_again(seconds)  # a device is gone, or has another number
            found = self._of_files()
        self._files = set(found)
        self._more = {}
        for other in self._others:
            found = completed(found, other.look(), ("rail", "temperature") if isinstance(other, Tegrastats) else ())
        self._more = {key: value for key, value in found.items() if key not in self._files}
        self._loads(found)
        self._take(seconds, found)

    def power(self, seconds: float) -> None:
        """At power alone, which changes faster than all else."""
        self._take(seconds, rails.read(self._system), power_alone=True)

    def close(self) -> None:
        """End the programs; tell what of them was not understood."""
        for other in self._others:
            other.close()
            if isinstance(other, Tegrastats) and other.unknown:
                self._tell(f"tegrastats says what is not known here and was left out: {other.unknown!r}")
        if not self.total.count and rails.locked(self._system):
            self._tell(f"power: only root may read {rails.RAPL}/energy_uj; 'sudo chmod a+r' makes it readable")

    def _of_files(self) -> Look:
        system = self._system
        found = rails.read(system) | clocks.read(system) | loads.read(system) | throttling.read(system)
        self.counts_power = any(kind in ("rail", "energy", "sensor") for kind, _ in found)
        return found | {("temperature", name): degrees for name, degrees in thermal.zones(system).items()}

    def _find_again(self, seconds: float) -> None:
        self._system.forget()
        self._found_at = seconds
        self._wraps = rails.wraps_at(self._system)

    def _loads(self, found: Look) -> None:
        now, before = loads.cpu_time(self._system), self._busy
        self._busy = now
        if now and before and now[1] > before[1]:
            found["load", "cpu"] = min(max((now[0] - before[0]) / (now[1] - before[1]), 0.0), 1.0)

    def _take(self, seconds: float, found: Look, power_alone: bool = False) -> None:
        since = self._packages(seconds, found)
        for (kind, name), value in found.items():
            if kind != "energy":
                held = since.get(name) if kind == "package" else None
                self.series.setdefault(kind, {}).setdefault(name, Series()).add(seconds, value, held)
        cards = {key: value for key, value in self._more.items() if key[0] in ("rail", "card")} if power_alone else {}
        self._sum(seconds, cards | found, since)

    def _packages(self, seconds: float, found: Look) -> dict[str, float]:
        """Watts of what counts joules, into ``found``; since when each is the mean."""
        since = {}
        for name in [name for kind, name in found if kind == "energy"]:
            joules, before = found["energy", name], self._joules.get(name)
            self._joules[name] = seconds, joules
            if before is None or seconds <= before[0]:
                continue
            more = joules - before[1]
            if more < 0:
                more += self._wraps.get(name, 0.0)
            if more >= 0:
                found["package", name] = more / (seconds - before[0])
                since[name] = before[0]
        return since

    def _sum(self, seconds: float, found: Look, since: dict[str, float]) -> None:
        """Add to the total, if all of it was read."""
        names: list[tuple[Kind, str]] = [
            ("package" if kind == "energy" else kind, name) for kind, name in found if kind != "package"
        ]
        chosen = rails.whole(names)
        if chosen and self._better(seconds, chosen) and all(one in found for one in chosen):
            if self.total.count:
                self._tell(f"power: {', '.join(name for _, name in chosen)} can be read since {seconds:.1f} s; the "
                           "total is of the time from there")  # fmt: skip
            self._whole, self.total = chosen, Series()
            self.total_of = tuple(name for _, name in chosen)
        if self._whole and all(one in found for one in self._whole):
            held = {since.get(name) for _, name in self._whole}
            self.total.add(seconds, sum(found[one] for one in self._whole), held.pop() if len(held) == 1 else None)
            self._whole_at = seconds

    def _better(self, seconds: float, chosen: rails.Names) -> bool:
        """Whether to sum ``chosen`` from now on: it has more than was summed so far, or that is gone for good. A rail
        that one look could not read is neither."""
        more = not set(chosen) <= set(self._whole) and (
            set(chosen) > set(self._whole) or chosen[0][1] in (*rails.WHOLE, rails.PLATFORM)
        )
        return more or (chosen != self._whole and seconds - self._whole_at > GAP)

    def _tell(self, words: str) -> None:
        if words not in self.told:
            self.told.append(words)
