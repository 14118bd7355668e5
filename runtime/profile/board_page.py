"""The board's part of a profile's page: that figures do not compare, first of all; its readings, after the rest.

Receives a :class:`Board`; hands on HTML.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from edge_streamer.runtime.pages.html import legend, number, table, wide
from edge_streamer.runtime.profile.board import CURVES, Board, Figure, warning
from edge_streamer.runtime.profile.board_words import identity, totals
from edge_streamer.runtime.profile.pictures import curves


def alarm(board: Board | None) -> list[str]:
    """What has to be known before any number is."""
    words = warning(board)
    return [f'<p class="alarm">{escape(words)}</p>'] if words else []


def section(board: Board | None) -> list[str]:
    """Everything that was read."""
    if board is None:
        return []
    rows = [(escape(what), escape(told)) for what, told in (*identity(board), *totals(board))]
    pictures = [
        curves({name: (one.seconds, one.values) for name, one in board.curves.get(key, {}).items()}, title)
        for key, title in CURVES.items()
    ]
    cost = (f"{board.looks} looks at the machine, beside the run; one takes {board.look_ms:.2f} ms of a core, all "
            f"together {board.core_share:.2%} of one.")  # fmt: skip
    return [
        "<h2>The board</h2>", table(("", ""), rows), *(f"<p>{escape(one)}.</p>" for one in board.told), *pictures,
        wide(table(("reading", "start", "least", "mean", "most", "end", ""), _readings(board))),
        f'<p class="facts">{escape(cost)}</p>',
        legend([
            ("clocks: may be at most", "what power mode, heat and governor allowed; where that changed, figures do not "
             "compare."),
            ("largest free block", "what the kernel can give in one piece."),
        ]),
    ]  # fmt: skip


def _readings(board: Board) -> Iterator[tuple[str, ...]]:
    kinds: tuple[tuple[str, str, dict[str, Figure], float], ...] = (
        ("power", "W", board.rails_w, 1), ("clock", "MHz", board.clocks_mhz, 1),
        ("may be at most", "MHz", board.highest_mhz, 1), ("may be at least", "MHz", board.lowest_mhz, 1),
        ("temperature", "°C", board.temperatures_c, 1), ("load", "%", board.loads, 100),
        ("memory", "MB", board.memory_mb, 1), ("fan", "turns a minute", board.fans_rpm, 1),
        ("fan", "% of its most", board.fans, 100),
    )  # fmt: skip
    for kind, unit, figures, factor in kinds:
        for name, one in figures.items():
            values = (one.start, one.low, one.mean, one.high, one.end)
            yield escape(f"{kind}: {name}"), *(number(factor * value) for value in values), unit
