"""The table of a unit's passes, in layout.py and on the page for other drivers, stays a table, and the same."""

from __future__ import annotations

import re
from pathlib import Path

from edge_streamer.runtime.programs.wan_streamer import layout
from edge_streamer.runtime.programs.wan_streamer.layout import AGENT, USER

PAGE = Path(__file__).parents[3] / "docs" / "unit.md"
MOST_COLUMNS = 118
HEAD = ["pass", "T", "tokens", "belongs to", "group", "committed to", "time (unit)"]


def table(text: str) -> list[str]:
    """Its lines in ``text``, from the head to the next empty one or the end of a block."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if re.split(r"\s{2,}", line.strip()) == HEAD)
    rows = lines[start:]
    stop = next(i for i, line in enumerate(rows) if not line.strip() or line.startswith("```"))
    indent = len(rows[0]) - len(rows[0].lstrip())
    assert max(map(len, rows[:stop])) <= MOST_COLUMNS
    return [row[indent:] for row in rows[:stop]]


def test_every_row_keeps_to_the_columns() -> None:
    """A formatter once ran them together into a paragraph."""
    head, rule, *rows = table(layout.__doc__ or "")
    starts = [found.start() for found in re.finditer(r"-+", rule)]
    assert [head[start:].split("  ")[0].strip() for start in starts] == HEAD
    for row in rows:
        assert all(row[start - 1 : start].strip() == "" for start in starts[1:]), row
        cells = [row[start:stop].strip() for start, stop in zip(starts, [*starts[1:], None], strict=True)]
        assert all(cells[2:]), row
        assert not any("  " in cell for cell in cells), row


def test_the_rows_are_the_segments_in_their_order() -> None:
    names = [line.split("  ") for line in table(layout.__doc__ or "")[2:]]
    tokens = [
        next(c for c in (cell.strip() for cell in row) if "." in c or c in ("start", "slots[s]")) for row in names
    ]
    assert tokens == [*AGENT, *USER, "slots[s]", *AGENT]


def test_the_page_has_the_same_table() -> None:
    assert table(PAGE.read_text("utf-8")) == table(layout.__doc__ or "")
