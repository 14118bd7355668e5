"""Numbers instead of behaviour: how far a bundle's answers are from another's on the same noise.

Receives two sessions of one geometry and a case; hands on the relative error of latents, samples and frames.
Teacher-forced: both are given the reference's words and its history of latents, so that what differs is this bundle's
own arithmetic and state. Or receives one session alone, and replays the golden units that ride along: they were
answered where the bundle was made, by the float model or, of a quantized bundle, by the bundle itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.compare.check import TOLERANCE, by_quantity, compare
from edge_streamer.runtime.compare.error_over_time import HEARD_AND_SEEN, check_constants, decibels, drift
from edge_streamer.runtime.compare.golden import Golden, golden_units, relative_error, replay
from edge_streamer.runtime.evaluation.runner import Microphone, SessionAgent, Voices
from edge_streamer.runtime.evaluation.suite import Case, scene_of
from edge_streamer.runtime.evaluation.world.assets import HeldOut
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import typed_text
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Unit

GOLDEN = "its golden units"
"""What :func:`golden_parity` calls its reference."""


class Parity(msgspec.Struct, frozen=True):
    """Against a reference."""

    against: str
    units: int
    error_db: dict[str, float]
    """Quantity -> 20 log10 of the relative error, over all units."""
    worst_db: dict[str, float]
    """The same of the worst unit; against another bundle over the mean unit's signal, since a silent one has none."""
    same_tokens: float
    """Share of slots in which this bundle would have chosen the reference's token."""


def _decibels(error: float) -> float:
    """A relative error in dB; see :func:`~edge_streamer.runtime.compare.error_over_time.decibels`."""
    return decibels(error**2, 1.0)


def golden_parity(session: Session) -> Parity | None:
    """Against the golden units that ride along: does this machine compute what the bundle's maker did? None where there
    are none."""
    golden, twin = golden_units(session), session.twin()
    if golden is None:
        return None
    units = golden.meta.units
    answers = replay(twin, golden.meta.seed, units, golden.tokens)
    worst = {row.quantity: _decibels(row.error) for row in compare(golden, answers, TOLERANCE["float32"])}
    return Parity(GOLDEN, units, together_db(golden, answers), worst, golden.agreement(answers))


def together_db(golden: Golden, answers: dict[str, Array]) -> dict[str, float]:
    """Quantity -> error of ``answers`` over all golden units."""

    def joined(some: dict[str, Array], names: list[str]) -> Array:
        return np.concatenate([some[name].ravel() for name in names])

    return {
        quantity: _decibels(relative_error(joined(answers, names), joined(golden.answers, names)))
        for quantity, names in by_quantity(golden).items()
    }


def bundle_parity(tested: Session, reference: Session, case: Case, world: World, held_out: HeldOut) -> Parity:
    """Against another bundle on a case as :func:`run_case` plays it, but for the echo: both hear the same.

    InputError where the bundles' geometry differs."""
    check_constants(tested, reference)
    scene = scene_of(case, world)
    for session in (tested, reference):
        SessionAgent(session, world).begin(case, scene, True)
    found = drift(tested, reference, units_of(case, scene, held_out), "forced")
    return Parity(
        reference.bundle.manifest.name, found.units,
        {name: found.error_db[name] for name in HEARD_AND_SEEN},
        {name: max(found.curve_db[name]) for name in HEARD_AND_SEEN},
        found.same_slots,
    )  # fmt: skip


def units_of(case: Case, scene: Scene, held_out: HeldOut) -> Iterator[Unit]:
    """What an agent that says nothing would get."""
    microphone, camera, typed = (
        Microphone(scene, Voices(case, held_out)),
        scene.camera(),
        typed_text(case.script),
    )
    for k in range(case.script.units):
        yield Unit(microphone.unit(k), camera[k * 4 : k * 4 + 4], typed.get(k, ""))
