"""A profile in words: the verdict in one line, for how long, what limits it, what would help.

Receives a profile; hands on sentences that the terminal and the page share.
"""

from __future__ import annotations

from edge_streamer.runtime.profile.compare import Comparison
from edge_streamer.runtime.profile.live import heard, live_lines
from edge_streamer.runtime.profile.plan import MARGIN
from edge_streamer.runtime.profile.report import Profile, Section, Verdict
from edge_streamer.runtime.profile.timeline import outer
from edge_streamer.runtime.profile.words import duration

VERDICTS: dict[Verdict, str] = {"holds": "holds", "close": "is close to", "misses": "misses"}
SETTLED_SECONDS = 600.0
"""Heat and throttling show within so long."""
WAITS = {
    "memory": "bytes that are moved: fewer bits and a shorter window help",
    "compute": "products: fewer of them, or numbers that are multiplied faster",
    "kernels": "operators that start one after another: fewer runs help, fewer bits do not",
}
HELPS_SHOWN = 3


def headline(made: Profile) -> str:
    """The verdict, first of all."""
    steps = "" if made.steps is None else f", {made.steps} solver step{'s' * (made.steps > 1)}"
    missed = f"{made.misses.count} of {made.units} missed" if made.misses.count else f"none of {made.units} missed"
    if made.live:
        missed = f"{made.misses.count or 'none'} of {made.units} took longer, {heard(made.live)}"
    return (f"{made.bundle['name']} {VERDICTS[made.verdict]} {made.deadline_ms:g} ms here: {made.unit.p99:.1f} ms a "
            f"unit (p99), {missed}{steps}")  # fmt: skip


def lines(made: Profile) -> list[str]:
    """For how long, what limits it, what would help."""
    said = [_how_long(made)]
    if made.stopped:
        said.insert(0, f"Stopped early: {made.stopped}.")
    if made.live:
        said += live_lines(made.live)
    if made.binds:
        said.append(f"Its graphs wait most for {WAITS[made.binds]}.")
    counts = is_play if made.runs_apart else is_graph
    outside = 1 - sum(one.share for path, one in made.sections.items() if counts(path, one))
    if outside > 0.1:
        said.append(f"{outside:.0%} of a unit are not its graphs: see the sections.")
    if words := runs_apart(made):
        said.append(words)
    if made.helps:
        told = "; ".join(f"{one.what} ({one.unit_ms:.1f} ms, {one.gain:.0%} less)" for one in made.helps[:HELPS_SHOWN])
        said.append(f"Would help most, predicted: {told}.")
    also = ", and the speaker never ran dry" if made.live else ""
    said.append(f"holds: {MARGIN - 1:.0%} more than the p99 would still be within the unit, and no unit was "
                f"beyond{also}.")  # fmt: skip
    return said


def runs_apart(made: Profile) -> str:
    """Where its graphs' times are from other units; empty where they are not."""
    if not made.runs_apart:
        return ""
    return (f"A unit is launched as one captured graph; its graphs' own times are from {made.runs_apart} units more, "
            "played call by call, and may sum to more.")  # fmt: skip


def is_play(path: str, one: Section) -> bool:
    """Whether ``path`` is a play, all that lies between two decisions of the host."""
    return one.kind == "transfer" and path.endswith("/play")


def is_graph(path: str, one: Section) -> bool:
    """Whether ``path`` is a graph, all its runs of a unit together."""
    return one.kind == "graph" and outer(path).endswith("/play")


def _how_long(made: Profile) -> str:
    drift, ran = made.drift_ms, f"{duration(made.wall_seconds)} were measured"
    if drift is None:
        return f"For how long: {ran}, too short to tell; --minutes 30 does."
    text = f"{drift.value:+.2f} ms from the first third to the last ({drift.low:+.2f} to {drift.high:+.2f})"
    if not drift.certain or drift.high < 0:
        words = f"For how long: {ran} without getting slower ({text})"
    else:
        rate = drift.value / (made.wall_seconds * 2 / 3)
        left = (made.deadline_ms - made.unit.p99) / rate
        after = f"; at this pace the p99 is beyond {made.deadline_ms:g} ms after {duration(left)} more" * (left > 0)
        words = f"For how long: it got slower over {duration(made.wall_seconds)}, {text}{after}"
    if made.wall_seconds < SETTLED_SECONDS:
        words += f". A chip takes minutes to get warm: only a run of {duration(SETTLED_SECONDS)} or more tells for good"
    return f"{words}."


def compared(found: Comparison) -> str:
    """A comparison in one line."""
    unit = {row.figure: row for row in found.rows if row.section == "unit"}
    row = unit.get("p50")
    if row is None:
        return "the two have no section in common"
    change = f"{row.before:.2f} ms to {row.after:.2f} ms (p50 of a unit)"
    if row.verdict in ("slower", "faster"):
        return f"{found.after} is {row.verdict} than {found.before}: {change}"
    if row.verdict == "same":
        return f"{found.after} is as fast as {found.before}: {change}"
    return f"no difference to be told between {found.before} and {found.after}: {change}"
