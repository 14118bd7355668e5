"""A line of tegrastats, field by field, whatever release wrote it.

Receives text; hands on :class:`Line`. No two releases write the same: zones in upper or lower case, one, two or three
values of a rail, a GPU with or without its load, clocks of several parts of it, engines that are ``off``. So a line is
read word by word, each field by itself: one that is absent, or that nobody has seen before, takes nothing from the
others. Whatever comes, nothing raises, and a line takes time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from edge_streamer.devices.board.thermal import COLDEST, HOTTEST

LONGEST = 8192
"""Characters of a line that are read; real ones have some 700."""
UNKNOWN_KEPT = 8
MOST_CORES = 64

_NUMBER = r"-?\d{1,9}"
_OF = re.compile(rf"({_NUMBER})/({_NUMBER})([kMG]?)B", re.ASCII)
_BLOCKS = re.compile(rf"({_NUMBER})x({_NUMBER})([kMG]?)B\)?", re.ASCII)
_CACHED = re.compile(rf"({_NUMBER})([kMG]?)B\)?", re.ASCII)
_LOAD = re.compile(r"(?:(\d{1,3})%)?(?:@(.{1,200}))?", re.ASCII)
_CLOCKS = re.compile(r"\[?(\d{1,6}(?:,\d{1,6}){0,15})\]?", re.ASCII)
_ZONE = re.compile(r"([A-Za-z][\w.-]{0,40})@(-?\d{1,4}(?:\.\d{1,6})?)C(?:/.{0,40})?", re.ASCII)
_POWER = re.compile(rf"{_NUMBER}(?:mW)?(?:/{_NUMBER}(?:mW)?){{1,3}}", re.ASCII)
_NAME = re.compile(r"[A-Za-z]\w{0,40}", re.ASCII)
_DATE = re.compile(r"[\d:/.-]{4,40}", re.ASCII)
_MEGA = {"k": 1e-3, "": 1e-6, "M": 1.0, "G": 1e3}


class Core(NamedTuple):
    """A core that is on."""

    load: int
    """Percent."""
    mhz: int | None


class Engine(NamedTuple):
    """Anything that has a clock: memory (``EMC``), GPU (``GR3D``), coders, ``APE``."""

    on: bool = True
    load: int | None = None
    """Percent; only root sees those of memory and GPU, and Thor's GPU tells none."""
    mhz: tuple[int, ...] = ()
    """Of its parts."""


class Rail(NamedTuple):
    """Milliwatts, as measured: small ones may be below zero."""

    now: int
    mean: int


@dataclass(frozen=True)
class Line:
    """What a line says. Megabytes are tegrastats' own (MiB)."""

    ram: tuple[float, float] | None = None
    """(used, there)."""
    largest_blocks: tuple[int, float] | None = None
    """(how many, of how many megabytes each)."""
    swap: tuple[float, float] | None = None
    swap_cached: float | None = None
    cores: tuple[Core | None, ...] = ()
    """None for one that is off."""
    engines: dict[str, Engine] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    """Degrees Celsius; without those that are switched off."""
    rails: dict[str, Rail] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    """The first words that are no field that is known."""

    @property
    def empty(self) -> bool:
        """Whether nothing was read: that is no line of tegrastats."""
        return replace(self, unknown=()) == EMPTY


EMPTY = Line()


def parse(text: str) -> Line:
    """What ``text`` says."""
    words = text[:LONGEST].split()
    found: dict[str, object] = {"engines": {}, "temperatures": {}, "rails": {}}
    unknown: list[str] = []
    at = 0
    while at < len(words):
        taken = _field(words, at, found)
        if not taken and len(unknown) < UNKNOWN_KEPT and not _DATE.fullmatch(words[at]):
            unknown.append(words[at][:60])
        at += max(taken, 1)
    return Line(**found, unknown=tuple(unknown))  # type: ignore[arg-type]  # each is set to its own type


def _field(words: Sequence[str], at: int, found: dict[str, object]) -> int:
    """How many words the field at ``at`` has, which is put into ``found``; 0 where it is none."""
    name, value = words[at], words[at + 1] if at + 1 < len(words) else ""
    if name == "RAM":
        return _memory(words, at, "ram", found)
    if name in ("SWAP", "IRAM"):
        return _memory(words, at, "swap" if name == "SWAP" else "", found)
    if name == "CPU" and value.startswith("["):
        return _cores(words, at, found)
    if zone := _ZONE.fullmatch(name):
        degrees = float(zone[2])
        if COLDEST <= degrees <= HOTTEST:
            found["temperatures"][zone[1]] = degrees  # type: ignore[index]
        return 1
    if not _NAME.fullmatch(name):
        return 0
    if _POWER.fullmatch(value):
        now, mean = value.replace("mW", "").split("/")[:2]
        found["rails"][name] = Rail(int(now), int(mean))  # type: ignore[index]
        return 2
    engine = _engine(value)
    if engine is None:
        return 0
    found["engines"][name.removesuffix("_FREQ")] = engine  # type: ignore[index]
    return 2


def _memory(words: Sequence[str], at: int, key: str, found: dict[str, object]) -> int:
    """``RAM 1/2MB (lfb 3x4MB)``, ``SWAP 1/2MB (cached 5MB)``, each with or without what is in brackets."""
    sizes = _OF.fullmatch("".join(words[at + 1 : at + 2]).partition("(")[0])
    if not sizes:
        return 0
    if key:
        mega = _MEGA[sizes[3]]
        found[key] = int(sizes[1]) * mega, int(sizes[2]) * mega
    taken = 2
    if words[at + 1].endswith(("(lfb", "(cached")):
        inside = words[at + 1].rpartition("(")[2]
    elif at + 2 < len(words) and words[at + 2] in ("(lfb", "(cached"):
        inside, taken = words[at + 2][1:], 3
    else:
        return taken
    told = words[at + taken] if at + taken < len(words) else ""
    if inside == "lfb" and (blocks := _BLOCKS.fullmatch(told)):
        found["largest_blocks"] = int(blocks[1]), int(blocks[2]) * _MEGA[blocks[3]]
    elif inside == "cached" and key and (cached := _CACHED.fullmatch(told)):
        found["swap_cached"] = int(cached[1]) * _MEGA[cached[2]]
    return taken + bool(told.endswith(")"))


def _cores(words: Sequence[str], at: int, found: dict[str, object]) -> int:
    """``CPU [19%@729,off,22%@729]``, with or without spaces after the commas."""
    end = next((n for n in range(at + 1, min(at + 1 + MOST_CORES, len(words))) if words[n].endswith("]")), None)
    if end is None:
        return 0
    cores: list[Core | None] = []
    for part in "".join(words[at + 1 : end + 1]).strip("[]").split(","):
        load = _LOAD.fullmatch(part)
        if load and load[1]:
            clock = _CLOCKS.fullmatch(load[2] or "")
            cores.append(Core(int(load[1]), int(clock[1].partition(",")[0]) if clock else None))
        elif part == "off":
            cores.append(None)
    found["cores"] = tuple(cores)
    return end + 1 - at


def _engine(value: str) -> Engine | None:
    """``off``, ``174``, ``4%@2133``, ``0%``, ``@1600``, ``@[314,314]``; None where it is none of them."""
    if value == "off":
        return Engine(on=False)
    if re.fullmatch(r"\d{1,6}", value, re.ASCII):
        return Engine(mhz=(int(value),))
    load = _LOAD.fullmatch(value) if value else None
    if load is None:
        return None
    clocks = _CLOCKS.fullmatch(load[2]) if load[2] else None
    mhz = tuple(int(one) for one in clocks[1].split(",")) if clocks else ()
    return Engine(load=None if load[1] is None else int(load[1]), mhz=mhz) if load[1] or mhz else None
