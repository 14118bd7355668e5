"""What runs where, and what a report's figures belong to; of recorded runs and of live ones.

Receives what was asked for and an open session; hands on the heading of a run and the facts that its report begins
with.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from fractions import Fraction

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.request import LivePlan, Plan
from edge_streamer.runtime.machine import machine, peak_megabytes, versions
from edge_streamer.runtime.session.session import Session


def title(session: Session) -> str:
    """What runs where; and a warning that spares a newcomer the search for a fault that is none."""
    name = f"{session.bundle.manifest.name} on {'; '.join((session.engine.name, *session.engine.notes))}"
    untrained = session.bundle.manifest.provenance.weights.startswith("random")
    return f"{name}\nits weights are random numbers: expect noise" if untrained else name


def circumstances(plan: Plan | LivePlan, session: Session) -> dict[str, object]:
    """What a report's figures belong to."""
    bundle = session.bundle
    steps = plan.knobs.steps or session.program.default_steps
    return {
        "bundle": {"name": bundle.manifest.name, "hash": bundle.hash, "path": str(bundle.path)},
        "engine": session.engine.name,
        "engine_notes": list(session.engine.notes),
        "engine_why": session.engine_why,
        "knobs": {**asdict(plan.knobs), "steps": steps},
        "inputs": {option: str(path) for option, path in plan.inputs().items()},
        "outputs": {option: str(path) for option, path in plan.outputs().items()},
        "versions": versions(),
        "machine": machine(),
        "peak_resident_mb": peak_megabytes(),
    }


def units_in(seconds: Fraction | None, media: MediaSpec) -> int | None:
    """Units that ``seconds`` take."""
    return None if seconds is None else math.ceil(seconds / media.unit)
