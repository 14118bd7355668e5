"""Units before time counts: caches are warm, and an engine that captures has captured every tape.

Receives a session and its knobs; leaves its state as it was, bit for bit.
"""

from __future__ import annotations

from dataclasses import replace

from edge_streamer.runtime.loop.ladder import rungs_for
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Knobs, Unit

ROUNDS = 2
"""An engine that captures does so in the second."""


def warm_up(session: Session, knobs: Knobs) -> None:
    """Step a few silent units and take them back: the first ones are slow (cold caches, memory touched first), and the
    speaker would keep their delay as surplus.

    Both kinds of unit: one that commits the response before it, and one after ``settle`` has. An engine that captures
    is shown each again for every number of solver steps that the ladder may turn to, so that nothing is captured once
    time counts. ``knobs``: those that the session has.
    """
    before, steps = session.snapshot(), knobs.steps or session.program.default_steps
    rungs = dict.fromkeys(rung.steps for rung in rungs_for(steps)) if steps and session.engine.captures else ()
    for turned in (*(replace(knobs, steps=rung) for rung in rungs if rung != steps), knobs):
        session.turn(turned)
        session.settle()
        for _ in range(ROUNDS):
            session.step(Unit())
            session.step(Unit())
            session.settle()
    session.restore(before)
