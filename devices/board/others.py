"""Programs that know what files do not tell: tegrastats on a Jetson, nvidia-smi where there is NVIDIA's driver of PCs.

Receives what the files told; hands on what these add to it. nvidia-smi is NVML as a program: one process that prints a
line a second. The library itself would be called from this process, where a wrong structure of some driver ends the
run; a field that nvidia-smi does not know, or renames, is an empty cell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from edge_streamer.devices.board.look import Kind, Look
from edge_streamer.devices.board.program import Program, Start
from edge_streamer.devices.board.tegrastats import parse

EVERY_MS = 1000
TEGRASTATS = ("tegrastats", "--interval", str(EVERY_MS))
COLUMNS: tuple[tuple[str, Kind, str, float], ...] = (
    ("power.draw", "card", "", 1.0),
    ("enforced.power.limit", "watts allowed", "", 1.0),
    ("clocks.current.sm", "clock", "", 1.0),
    ("clocks.current.memory", "clock", " memory", 1.0),
    ("temperature.gpu", "temperature", "", 1.0),
    ("utilization.gpu", "load", "", 0.01),
    ("utilization.memory", "load", " memory", 0.01),
    ("memory.used", "memory", "", 1.048576),
    ("fan.speed", "fan power", "", 0.01),
)
"""Of nvidia-smi: its name, what it is here, what is added to the card's name, and its factor."""
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The newer and the older name of one column. A program that does not know a column prints none."""
HELD_BACK = {0x4: "power", 0x8: "hardware", 0x20: "heat", 0x40: "heat, by hardware", 0x80: "supply"}
"""Bit -> why a card's clocks are held back; the other bits are idleness and settings."""
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,6})?", re.ASCII)


def of_tegrastats(text: str) -> tuple[Look, str]:
    """What a line of tegrastats says, and what of it is not known."""
    line, found = parse(text), Look()
    for name, rail in line.rails.items():
        found["rail", name] = rail.now / 1e3
    for name, degrees in line.temperatures.items():
        found["temperature", name] = degrees
    for n, core in enumerate(line.cores):
        if core is not None and core.mhz is not None:
            found["clock", f"cpu {n}"] = core.mhz
    for engine, name in (("GR3D", "gpu"), ("EMC", "memory")):
        if told := line.engines.get(engine):
            if told.load is not None and told.load <= 100:
                found["load", name] = told.load / 100
            if told.mhz:
                found["clock", name] = max(told.mhz)
    if line.ram:
        found["memory", "used"] = 1.048576 * line.ram[0]
    if line.swap:
        found["memory", "swap"] = 1.048576 * line.swap[0]
    if line.largest_blocks:
        found["memory", "largest block"] = 1.048576 * line.largest_blocks[1]
    return found, text[:80] if line.empty else " ".join(line.unknown)[:80]


def of_nvidia_smi(text: str) -> Look:
    """What a line of nvidia-smi's table says: the card's index, :data:`COLUMNS`, and why it is held back."""
    cells = [cell.strip() for cell in text[:1000].split(",")]
    if not re.fullmatch(r"\d{1,2}", cells[0], re.ASCII) or len(cells) < 2:
        return {}
    card, found = f"gpu {cells[0]}", Look()
    for cell, (_, kind, more, factor) in zip(cells[1:], COLUMNS, strict=False):
        if _NUMBER.fullmatch(cell):
            found[kind, card + more] = float(cell) * factor
    if len(cells) == len(COLUMNS) + 2 and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", cells[-1]):
        mask = int(cells[-1], 16)
        for bit, why in HELD_BACK.items():
            found["throttle", f"{card}: {why}"] = float(bool(mask & bit))
    return found


def table(reasons: Sequence[str]) -> list[str]:
    """The words that ask nvidia-smi for a line a second of each card."""
    columns = ",".join(("index", *(name for name, *_ in COLUMNS), *reasons))
    return ["nvidia-smi", f"--query-gpu={columns}", "--format=csv,noheader,nounits", f"--loop-ms={EVERY_MS}"]


def completed(files: Look, more: Look, whole_kinds: Collection[Kind] = ()) -> Look:
    """``files`` and what ``more`` knows besides: by name; of ``whole_kinds`` only where the files had none of the kind,
    and clocks of cores or GPUs only where they had none of any."""
    kinds = {kind for kind, _ in files}
    clocks = {_part(name) for kind, name in files if kind == "clock"}
    added = {
        (kind, name): value
        for (kind, name), value in more.items()
        if not (kind in whole_kinds and kind in kinds) and not (kind == "clock" and _part(name) in clocks)
    }
    return added | files


def _part(name: str) -> str:
    """``gpu`` of ``gpu-gpc-0`` and of ``gpu 0``."""
    return re.split("[ -]", name, maxsplit=1)[0]


class NvidiaSmi:
    """nvidia-smi, asked for what it knows."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._asks = [[name] for name in REASONS] + [[]]
        self._program: Program | None = None
        self._cards: dict[str, Look] = {}

    def look(self) -> Look:
        """The newest of every card."""
        lines = self._program.lines() if self._program else []
        for line in lines:
            if found := of_nvidia_smi(line):
                self._cards[line.partition(",")[0]] = found
        if (self._program is None or self._program.ended) and not lines:
            self._cards.clear()
            self._next()
        return {key: value for one in self._cards.values() for key, value in one.items()}

    @property
    def silent(self) -> bool:
        """Whether it will never say anything."""
        return self._program is None and not self._asks

    def _next(self) -> None:
        """Ask again, with other columns: one that ended did not know some."""
        self.close()
        if self._asks:
            self._program = self._start(table(self._asks.pop(0)))

    def close(self) -> None:
        if self._program:
            self._program.close()
            self._program = None


class Tegrastats:
    """tegrastats, where it is there."""

    def __init__(self, start: Start) -> None:
        self._program = start(TEGRASTATS)
        self._newest: Look = {}
        self.unknown = ""
        """What of its lines is not known."""

    @property
    def silent(self) -> bool:
        """Whether it will never say anything."""
        return self._program is None

    def look(self) -> Look:
        """The newest line."""
        if self._program:
            for line in self._program.lines()[-1:]:
                self._newest, unknown = of_tegrastats(line)
                self.unknown = self.unknown or unknown
            if self._program.ended:
                self.close()
        return self._newest

    def close(self) -> None:
        if self._program:
            self._program.close()
            self._program, self._newest = None, {}
