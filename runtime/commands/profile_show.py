"""A profile, and a comparison of two, as tables on a terminal.

Receives one of them; prints it: the verdict first.
"""

from __future__ import annotations

from typing import Any

from edge_streamer.runtime.commands.plan import plain_table
from edge_streamer.runtime.profile.board import warning
from edge_streamer.runtime.profile.board_words import board_line
from edge_streamer.runtime.profile.compare import Comparison
from edge_streamer.runtime.profile.report import Profile
from edge_streamer.runtime.profile.report_words import compared, headline, lines
from edge_streamer.runtime.profile.timeline import UNIT

SHOWN_SHARE = 0.001
"""Sections that take less of a unit are on the page only."""
SHOWN_DEPTH = 4


def show(made: Profile) -> None:
    """Print a profile."""
    console = _console()
    console.print(headline(made), style="bold", markup=False, soft_wrap=True)
    if words := warning(made.board):
        console.print(words, style="bold", markup=False, soft_wrap=True)
    for line in lines(made):
        console.print(line, markup=False, soft_wrap=True)
    shown = plain_table("Milliseconds of a unit", "", "runs >", "share >", "p50 >", "p95 >", "p99 >", "max >")
    for path, one in made.sections.items():
        if path.count("/") < SHOWN_DEPTH and one.share >= SHOWN_SHARE:
            name = "  " * path.count("/") + path.rpartition("/")[2]
            shown.add_row(name, f"{one.runs:g}", f"{one.share:.1%}", *(f"{ms:.2f}" for ms in (
                one.ms.p50, one.ms.p95, one.ms.p99, one.ms.max
            )))  # fmt: skip
    console.print(shown)
    cold = made.cold
    console.print(
        f"cold start: bundle {cold.open_ms:.0f} ms, engine {cold.engine_ms:.0f}, graphs {cold.build_ms:.0f}, buffers "
        f"{cold.buffers_ms:.0f}, first unit {cold.first_unit_ms:.0f}, warm-up {cold.warm_up_ms:.0f}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    if made.board:
        console.print(board_line(made.board), markup=False, soft_wrap=True)


def show_comparison(found: Comparison) -> None:
    """Print a comparison."""
    console = _console()
    for line in found.apart:
        console.print(f"they do not compare well: {line}", markup=False, soft_wrap=True)
    console.print(compared(found), style="bold", markup=False, soft_wrap=True)
    some = f"{found.block} unit{'s' * (found.block > 1)}"
    title = f"Milliseconds a unit; 95% by a bootstrap over blocks of {some}"
    shown = plain_table(title, "", "figure", "before >", "after >", "change >", "95% >", "")
    for row in found.rows:
        shown.add_row(row.section.removeprefix(f"{UNIT}/"), row.figure, f"{row.before:.3f}", f"{row.after:.3f}",
                      f"{row.interval.value:+.3f}", f"{row.interval.low:+.3f} to {row.interval.high:+.3f}",
                      row.verdict)  # fmt: skip
    console.print(shown)
    console.print(
        "One run each: what another run on another day would differ by, only further runs tell.", markup=False
    )


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
