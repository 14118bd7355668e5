"""``board`` of ``profile.json``: what the machine did while it was measured.

Receives nothing; hands on :class:`Board`, plain values, which ``commands/profile_board.py`` fills. What the machine
does not tell is None, empty or absent; nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

CURVES = {
    "power_w": "Power, W", "temperatures_c": "Temperatures, degrees Celsius", "clocks_mhz": "Clocks, MHz",
    "loads": "Load, share of the time",
}  # fmt: skip
"""What is kept over time, and what it is called."""
SENTENCES = 4
"""Of what happened, that are told at the top."""


class Figure(msgspec.Struct, frozen=True):
    """A reading over the run."""

    start: float
    low: float
    mean: float
    high: float
    end: float


class Curve(msgspec.Struct, frozen=True):
    """A reading over time."""

    seconds: list[float]
    """Since the first unit began."""
    values: list[float]


class Setting(msgspec.Struct, frozen=True):
    """What is set, not measured; empty where nobody tells."""

    start: str
    end: str

    def __str__(self) -> str:
        return self.start if self.start == self.end else f"{self.start}, at the end {self.end}"


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The machine and its readings."""

    module: str
    """A Jetson's module or model; empty for other machines."""
    l4t: str
    jetpack: str
    cuda: str
    tensorrt: str
    driver: str
    power_mode: Setting
    governor: Setting
    cores: Setting
    """That are on."""
    clocks_pinned: bool | None
    """Whether each clock's least is its most, at the start."""
    changed: tuple[str, ...]
    """Why its figures do not compare; empty where nothing happened."""
    told: tuple[str, ...]
    """What could not be read or understood."""
    power_w: float | None
    """Of ``power_of`` together, mean."""
    power_of: tuple[str, ...]
    energy_mj_per_unit: float | None
    hottest_c: float | None
    hottest: str
    peak_ram_mb: float | None
    """In use on the whole machine."""
    ram_mb: float | None
    """That there is."""
    least_block_mb: float | None
    """The largest free block when it was smallest."""
    peak_swap_mb: float | None
    rails_w: dict[str, Figure]
    clocks_mhz: dict[str, Figure]
    lowest_mhz: dict[str, Figure]
    highest_mhz: dict[str, Figure]
    temperatures_c: dict[str, Figure]
    loads: dict[str, Figure]
    memory_mb: dict[str, Figure]
    fans_rpm: dict[str, Figure]
    fans: dict[str, Figure]
    """Share of their most."""
    throttled_seconds: dict[str, float]
    throttle_events: dict[str, int]
    seconds: float
    looks: int
    look_ms: float
    """Of a core, for one look."""
    core_share: float
    """Of one core, that looking took."""
    curves: dict[str, dict[str, Curve]]
    """:data:`CURVES` -> name -> values over time."""


def warning(board: Board | None) -> str:
    """That the figures do not compare and why; empty where nothing happened."""
    if board is None or not board.changed:
        return ""
    some, more = board.changed[:SENTENCES], len(board.changed) - SENTENCES
    rest = f"; and {more} more" if more > 0 else ""
    return f"These numbers do not compare with others: {'; '.join(some)}{rest}."


def unlike(before: Board | None, after: Board | None) -> list[str]:
    """What of two machines differs, so that their figures do not compare."""
    if before is None or after is None:
        return [] if before is after else ["one of them has no readings of the board"]
    caps = _apart(before.highest_mhz, after.highest_mhz), _apart(after.highest_mhz, before.highest_mhz)
    facts = (
        ("power mode", before.power_mode.start, after.power_mode.start),
        ("highest clocks, MHz", *caps),
        ("clocks pinned", before.clocks_pinned, after.clocks_pinned),
        ("governor", before.governor.start, after.governor.start),
        ("cores that are on", before.cores.start, after.cores.start),
        ("L4T", before.l4t, after.l4t),
        ("board", before.module, after.module),
        ("CUDA", before.cuda, after.cuda),
        ("TensorRT", before.tensorrt, after.tensorrt),
    )
    found = [f"{name}: {_told(one)} and {_told(other)}" for name, one, other in facts if one != other]
    for name, board in (("the first", before), ("the second", after)):
        if board.changed:
            found.append(f"in {name}, {'; '.join(board.changed[:SENTENCES])}")
    return found


def _apart(caps: Mapping[str, Figure], others: Mapping[str, Figure]) -> str:
    """What of ``caps`` is not alike in ``others``."""
    return ", ".join(
        f"{name} {one.start:.0f}" for name, one in caps.items() if name not in others or others[name].start != one.start
    )


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value else "not told"
