"""A profile in words: the verdict in one line, for how long, what limits it, what would help.

Receives a profile; hands on sentences that the terminal and the page share.
"""

from __future__ import annotations

from edge_streamer.runtime.profile.compare import Comparison
from edge_streamer.runtime.profile.live import heard, live_lines, speaks
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
FORECAST_SECONDS = 60.0
"""A shorter run's drift says nothing of what comes."""
UNSTEADY = 0.1
"""Of a unit: where it may have got slower by more, nobody can tell whether it did."""
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
    return [*said, _verdict(made)]


def _verdict(made: Profile) -> str:
    """What the word of the headline means."""
    dry = " and the speaker never ran dry" if made.live and speaks(made.live) else ""
    more = f"{MARGIN - 1:.0%} more than the p99"
    return {
        "holds": f"holds: no unit was beyond{dry}, and {more} would still be within the unit.",
        "close": f"is close to: no unit was beyond{dry}, but {more} would be.",
        "misses": "misses: a unit at least was longer than it may be" + (", or the speaker ran dry." if dry else "."),
    }[made.verdict]


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
    text = (f"{drift.value:+.2f} ms from the first third to the last, with 95 % between {drift.low:+.2f} and "
            f"{drift.high:+.2f}")  # fmt: skip
    if drift.certain and drift.value > 0:
        rate = drift.value / (made.wall_seconds * 2 / 3)
        left = (made.deadline_ms - made.unit.p99) / rate
        after = ""
        if left > 0 and made.wall_seconds >= FORECAST_SECONDS:
            after = f"; at this pace the p99 is beyond {made.deadline_ms:g} ms after {duration(left)} more"
        words = f"For how long: it got slower over {duration(made.wall_seconds)}, {text}{after}"
    elif drift.high > UNSTEADY * made.unit.p50:
        words = f"For how long: {ran}, too unsteady to tell whether it gets slower: {text}"
    else:
        words = f"For how long: {ran} without getting slower: {text}"
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
    sure = [f"{one.section}{f' ({one.figure})' * (one.section == 'unit')} {one.verdict}"
            for one in found.rows if one.verdict in ("slower", "faster")]  # fmt: skip
    also = f"; surely so: {', '.join(sure)}" if sure else ""
    if row.verdict == "same":
        return f"{found.after} is as fast as {found.before}: {change}{also}"
    return f"no difference to be told between {found.before} and {found.after} in {change}{also}"
