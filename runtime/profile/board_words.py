"""The board in words: what it is, what it took, how warm it got, what could not be read.

Receives a :class:`Board`; hands on rows that the page shows and a line for the terminal.
"""

from __future__ import annotations

from edge_streamer.runtime.profile.board import Board


def identity(board: Board) -> list[tuple[str, str]]:
    """(what, as it is) of what the board is and how it was set; what nobody tells is left out."""
    pinned = {True: "pinned", False: "rise and fall with load", None: ""}[board.clocks_pinned]
    rows = [
        ("module", board.module), ("L4T", board.l4t), ("JetPack", board.jetpack), ("CUDA", board.cuda),
        ("TensorRT", board.tensorrt), ("driver", board.driver), ("power mode", str(board.power_mode)),
        ("governor", str(board.governor)), ("clocks", pinned), ("cores that are on", str(board.cores)),
    ]  # fmt: skip
    return [(what, told) for what, told in rows if told]


def totals(board: Board) -> list[tuple[str, str]]:
    """(what, how much) of the whole run."""
    rows = []
    if board.power_w is not None:
        of = " + ".join(board.power_of)
        rows.append(("power", f"{board.power_w:.2f} W, mean of {of}"))
    else:
        rows.append(("power", "not read: nothing here tells it, or not to this user"))
    if board.energy_mj_per_unit is not None:
        rows.append(("energy of a unit", energy(board.energy_mj_per_unit)))
    if board.hottest_c is not None:
        rows.append(("hottest", f"{board.hottest_c:.1f} °C, {board.hottest}"))
    if board.peak_ram_mb is not None:
        of = "" if board.ram_mb is None else f" of {board.ram_mb:.0f}"
        rows.append(("memory in use at its peak", f"{board.peak_ram_mb:.0f}{of} MB, by everything that runs"))
    if board.least_block_mb is not None:
        rows.append(("largest free block", f"{board.least_block_mb:.1f} MB at the least"))
    if board.peak_swap_mb is not None:
        rows.append(("swap in use at its peak", f"{board.peak_swap_mb:.0f} MB"))
    held = [f"{name} for {seconds:.0f} s" for name, seconds in board.throttled_seconds.items()]
    held += [f"{name} {count} times" for name, count in board.throttle_events.items()]
    rows.append(("throttled", ", ".join(held) or "never, as far as it tells"))
    return rows


def board_line(board: Board) -> str:
    """The board in one line."""
    return "board: " + "; ".join(f"{what} {told}" for what, told in totals(board))


def energy(millijoules: float) -> str:
    """For people."""
    return f"{millijoules / 1e3:.2f} J" if millijoules >= 1000 else f"{millijoules:.1f} mJ"
