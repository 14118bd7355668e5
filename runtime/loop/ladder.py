"""What is given up when the model is late, in a fixed order, and taken back when it is not.

Receives the margin that every answer found (see `playout.py`) and how long its step took; hands on the rung that the
next unit is answered on.

    rung 0          all solver steps
    rung 1 ...      half of them, a quarter ..., one
    last rung       one step, and the picture is held: it is neither converted nor shown

Below the ladder lie what no choice can avoid: a speaker that ran dry is concealed by its device, and where whole units
have piled up at the microphone the oldest are skipped by the loop.

Choices: down one rung for each answer that came too close to the end of the sound, at once. Up one rung after
``CALM_UNITS`` answers with room to spare, if the rung above can be kept up at all: what its step will take is what it
took, or what this one takes times the ratio of their solver steps, whichever is less (a step has a part that does not
depend on them, so the second is never too little). The longer step eats into the margin, so where the margin has no
room for it the loop is told to make room, and only in a unit in which the agent is quiet. A rung that had to be left
again soon after it was taken back is tried half as often, so that a machine that is a little too slow does not swing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLOSE = 0.35
"""An answer that found less than this share of the target margin came too close."""

ROOMY = 0.7
"""An answer that found at least this share of the target had room to spare."""

CALM_UNITS = 25
"""Answers with room before the next rung is tried: 4 s."""

MOST_CALM_UNITS = 800
"""The longest wait for a rung that failed again and again, or that seemed too slow to be kept up: two minutes."""

SOON_UNITS = 50
"""A rung left again within so many units (8 s) was taken back too early."""


@dataclass(frozen=True)
class Rung:
    """How a unit is answered."""

    steps: int
    """Solver steps."""
    hold: bool = False
    """Whether the picture is held."""


def rungs_for(steps: int) -> tuple[Rung, ...]:
    """All rungs of a bundle that takes ``steps`` solver steps.

    >>> [rung.steps for rung in rungs_for(4)]
    [4, 2, 1, 1]
    """
    halved = [steps]
    while halved[-1] > 1:
        halved.append(halved[-1] // 2)
    return (*(Rung(count) for count in halved), Rung(1, hold=True))


SUSTAINABLE = 0.95
"""A step that takes more than this share of a unit cannot be kept up."""

OUTLIER = 2.0
"""One step counts at most so many times as long as usual: a stall says nothing of the rung."""


class Ladder:
    """The rung in use, and when it changes. ``rungs``: best first."""

    def __init__(self, rungs: Sequence[Rung], unit_seconds: float) -> None:
        self._rungs, self._unit_seconds = tuple(rungs), unit_seconds
        self.room = 0.0
        """Seconds of margin that the rung just taken back needs and that are not there."""
        self.index = 0
        self.downs = self.ups = 0
        """Changes so far."""
        self._calm = 0
        self._patience = CALM_UNITS
        self._since_up: int | None = None
        """Units since the last step up; None where there was none lately."""
        self._took: dict[int, float] = {}
        """Rung -> how long its step took when it was last used, smoothed."""

    @property
    def rung(self) -> Rung:
        return self._rungs[self.index]

    def answered(self, margin: float, target: float, step_seconds: float, quiet: bool) -> int:
        """Take note of one answer on the rung in use; returns -1, 0 or 1: how the rung has changed. ``quiet``: the
        agent was not heard in it."""
        self._remember(step_seconds)
        self.room = 0.0
        if self._since_up is not None:
            self._since_up += 1
        if margin < CLOSE * target:
            return self._down()
        self._calm = self._calm + 1 if margin >= ROOMY * target else 0
        if self._calm < self._patience or self.index == 0:
            return 0
        expected, now = self._expected_above(), self._took[self.index]
        if expected > SUSTAINABLE * self._unit_seconds and self._calm < MOST_CALM_UNITS:
            return 0
        lacking = CLOSE * target - (margin - (expected - now))
        if lacking > 0 and not quiet:
            return 0
        self.room = max(lacking, 0.0)
        return self._up()

    def _remember(self, seconds: float) -> None:
        known = self._took.get(self.index, seconds)
        self._took[self.index] = known + 0.125 * (min(seconds, OUTLIER * known) - known)

    def _expected_above(self) -> float:
        """What a step on the rung above will take."""
        here, above = self._rungs[self.index], self._rungs[self.index - 1]
        bound = self._took[self.index] * above.steps / here.steps
        return min(self._took.get(self.index - 1, bound), bound)

    def _down(self) -> int:
        too_early = self._since_up is not None and self._since_up <= SOON_UNITS
        self._patience = min(2 * self._patience, MOST_CALM_UNITS) if too_early else CALM_UNITS
        self._calm, self._since_up = 0, None
        if self.index + 1 == len(self._rungs):
            return 0
        self.index += 1
        self.downs += 1
        return -1

    def _up(self) -> int:
        self.index -= 1
        self.ups += 1
        self._calm, self._since_up = 0, 0
        return 1
