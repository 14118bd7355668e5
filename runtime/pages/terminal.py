"""Shows how a run goes and how it went.

Receives reports; writes one live line to standard error (on a terminal; elsewhere a plain line now and then, as a log
wants it) and at the end the table to standard output.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edge_streamer.runtime.streams import Unheard
from edge_streamer.runtime.timing import Clock, MonotonicClock, Tell

REFRESH_SECONDS = 0.25
"""The line changes four times a second: more cannot be read and takes time from the units."""
SPARSE_SECONDS = 10.0
"""Where nobody watches, a line every ten seconds keeps the log short."""
NAME_WIDTH = 16
"""Of the first column at the end."""
PATIENT_SECONDS = 1.0
"""Opening that takes no longer shows nothing."""
RECENT_CHARACTERS = 48
"""Of what the agent says, the end is shown."""


def unheard(stream: TextIO) -> Console:
    """A console on ``stream``, silent where nobody reads it any more."""
    return Console(file=cast("TextIO", Unheard(stream)))


class StatusLine:
    """The line that tells how a run stands; a context manager."""

    def __init__(self, title: str, console: Console | None = None, clock: Clock | None = None) -> None:
        self._console = console or unheard(sys.stderr)
        self._clock = clock or MonotonicClock()
        self._title = title
        self._said = ""
        self._due = self._clock.now()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> StatusLine:
        self._console.print(Text(self._title), soft_wrap=True)
        if self._console.is_terminal:
            self._live.start()
        else:
            self._due += SPARSE_SECONDS
        return self

    def __exit__(self, *unused: object) -> None:
        self._live.stop()

    def show(self, said: str, line: Callable[[str], str]) -> None:
        """Take note of what the agent said in one unit; write ``line`` of its recent words when it is time."""
        self._said = (self._said + said)[-RECENT_CHARACTERS:]
        now = self._clock.now()
        if now < self._due:
            return
        text = line(self._said)
        if self._console.is_terminal:
            self._due = now + REFRESH_SECONDS
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            self._due = now + SPARSE_SECONDS
            self._console.print(Text(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Write a line that stays, above the one that changes."""
        self._console.print(Text(text), soft_wrap=True)


@contextmanager
def bars(counted: str = "", clock: Clock | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per part of a long job on standard error, moved by ``tell(part, done, total)``. Without a terminal a line
    when a part begins and when it is done, and every ten seconds between; ``counted`` says what its steps are."""
    console, tasks, due = Console(stderr=True), dict[str, TaskID](), 0.0
    clock = clock or MonotonicClock()
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:

        def tell(part: str, done: int, total: int) -> None:
            nonlocal due
            begins = part not in tasks
            if begins:
                tasks[part] = shown.add_task(part, total=total)
            shown.update(tasks[part], completed=done)
            if not console.is_terminal and (begins or done == total or clock.now() >= due):
                due = clock.now() + SPARSE_SECONDS
                console.print(f"{part}: {done} of {total} {counted}".rstrip(), highlight=False, soft_wrap=True)

        yield tell


@contextmanager
def opening(clock: Clock | None = None) -> Iterator[Tell]:
    """How far the opening of a bundle is, on standard error where that is a terminal and the opening takes seconds: a
    bar per graph, gone when all are open."""
    console = unheard(sys.stderr)
    clock = clock or MonotonicClock()
    due, tasks = clock.now() + PATIENT_SECONDS, dict[str, TaskID]()
    shown = Progress(TextColumn("opening {task.description:16}"), BarColumn(), MofNCompleteColumn(), console=console,
                     transient=True, disable=not console.is_terminal)  # fmt: skip

    def tell(graph: str, done: int, total: int) -> None:
        if graph not in tasks:
            tasks[graph] = shown.add_task(graph, total=total)
        shown.update(tasks[graph], completed=done, total=total)
        if clock.now() >= due:
            shown.start()

    try:
        yield tell
    finally:
        shown.stop()


class Shown(Protocol):
    """A report that has rows."""

    units: int

    def rows(self) -> list[tuple[str, str]]: ...


def show_end(report: Shown, files: Mapping[str, Path], console: Console | None = None) -> None:
    """The table at the end of a run. ``files``: what each file is -> where it is."""
    console = console or Console()
    if not report.units:
        console.print(Text("nothing was recorded, and no file was written"))
        return
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=NAME_WIDTH)
    table.add_column(overflow="fold")
    for name, value in report.rows():
        table.add_row(name, Text(value))
    console.print(table)
    for name, path in files.items():  # not in the table, which would break long names
        console.print(Text(f"{name:<{NAME_WIDTH}}  {path}"), soft_wrap=True)


def next_command(*words: object) -> str:
    """A line that says what to run next, as a shell takes it."""
    return f"next: edge-streamer {shlex.join(str(word) for word in words)}"
