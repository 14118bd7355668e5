"""A plan in words: the verdict in one line, and what limits it.

Receives a plan; hands on sentences that the terminal and the page share.
"""

from __future__ import annotations

from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.profile.boards import BOARDS
from edge_streamer.runtime.profile.graphs import MOST_STEPS
from edge_streamer.runtime.profile.plan import LONGEST, MARGIN, MemoryUse, Plan, ShapePlan, Verdict
from edge_streamer.runtime.profile.predict import Binds
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS

VERDICTS: dict[Verdict, str] = {
    "holds": "holds", "close": "is close to", "misses": "misses", "too large": "does not fit for", "not computed": "-",
}  # fmt: skip
WAITS: dict[Binds, str] = {
    "memory": "bytes that are moved: fewer bits help{window}",
    "compute": "products: numbers that the board multiplies faster help{steps}",
    "kernels": "kernels that start one after another: fewer bits do not help{steps}",
}


def headline(made: Plan) -> str:
    """The verdict, first of all."""
    scheme = "as it is" if made.scheme == AS_IT_IS else f"in {made.scheme}"
    steps = "" if made.steps is None else f", {made.steps} solver step{'s' * (made.steps > 1)}"
    if made.verdict == "too large":
        return (f"{made.bundle} {scheme} does not fit {made.board_title}: {size_text(made.memory.total)} of the "
                f"{size_text(made.memory.usable)} that it leaves")  # fmt: skip
    if made.lint.builds is False:
        return (f"{made.bundle} {scheme} does not build for {made.board_title}; in graphs that do it "
                f"{VERDICTS[made.verdict]} {made.deadline_ms:g} ms: {made.unit_ms:.1f} ms a unit "
                f"predicted{steps}")  # fmt: skip
    return (f"{made.bundle} {scheme} {VERDICTS[made.verdict]} {made.deadline_ms:g} ms on {made.board_title}: "
            f"{made.unit_ms:.1f} ms a unit predicted{steps}")  # fmt: skip


def limits(made: Plan) -> list[str]:
    """What limits it, and how far it could go."""
    window = "" if made.window_seconds is None else ", and a shorter window where it is long"
    steps = "" if made.steps is None else ", fewer solver steps do" if made.binds == "kernels" else ", fewer steps too"
    lines = [
        {True: "It builds: ", False: "It does not build as it is: ", None: "Not known: "}[made.lint.builds]
        + made.lint.words
        + ".",
        f"A unit waits most for {WAITS[made.binds].format(window=window, steps=steps)}.",
    ]
    if made.most_steps is not None:
        some = f"{made.most_steps}{' or more' if made.most_steps == MOST_STEPS else ''}"
        lines.append(f"Solver steps that hold: {some if made.most_steps else 'not even one'}.")
    if made.longest_window_seconds is not None and made.window_seconds is not None:
        tried = LONGEST * made.deadline_ms / 1e3
        longest = duration(made.longest_window_seconds)
        if made.longest_window_seconds >= tried:
            longest += " or more"
        lines.append(f"It remembers {duration(made.window_seconds)}; the longest window that holds: "
                     f"{longest if made.longest_window_seconds else 'none'}.")  # fmt: skip
    if made.memory.build > made.memory.usable:
        lines.append(f"Building its largest engine takes some {size_text(made.memory.build)}, more than the board has: "
                     "build with swap, or on a larger board of the same kind.")  # fmt: skip
    more = f"{MARGIN - 1:.0%} more time, which is how far the predictor may err,"
    meant = {
        "holds": f"holds: {more} would still be within the unit.",
        "close": f"is close to: the prediction is within the unit, {more} would not be.",
        "misses": "misses: the prediction is beyond the unit.",
    }.get(made.verdict, "The times are of a board with more memory.")
    lines.append(f"{meant} Media, echo and screen are not in it.")
    if made.assumed:
        named = ", ".join(made.assumed)
        lines.append(f"No published pass of many tokens tells how much of {BOARDS[made.board].title}'s arithmetic is "
                     f"reached in {named}: assumed.")  # fmt: skip
    return lines


def duration(seconds: float) -> str:
    """For people: ``10.2 s``, ``3.5 min``, ``2.1 h``."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def shape_headline(made: ShapePlan) -> str:
    """The verdict of a decoder's pass."""
    chosen, shape = made.chosen, made.shape
    what = f"{made.model} in {shape.precision} on {chosen.board_title}"
    if chosen.pass_ms is None or chosen.tokens_per_second is None:
        return f"{what}: the board does not compute it"
    if chosen.verdict == "too large":
        usable = size_text(BOARDS[chosen.board].usable_bytes)
        return f"{what} does not fit: {size_text(made.memory_bytes)} of the {usable} that the board leaves"
    if shape.tokens == 1:
        rate = f"{chosen.tokens_per_second:.1f} tokens a second, {chosen.pass_ms:.1f} ms each"
    else:
        rate = f"{chosen.pass_ms:.1f} ms for {shape.tokens} tokens, {chosen.tokens_per_second:.0f} a second"
    return f"{what}: {rate}, {shape.context} positions before; {size_text(made.memory_bytes)}"


def memory_rows(use: MemoryUse) -> tuple[tuple[str, float], ...]:
    """(what takes memory, bytes)."""
    return (
        ("weights", use.weights), ("token tables", use.embeddings), ("states, with rings for its window", use.states),
        ("tensors between graphs", use.tensors), ("what a run computes in", use.scratch), ("together", use.total),
        ("the board leaves", use.usable), ("while the largest engine is built there", use.build),
    )  # fmt: skip
