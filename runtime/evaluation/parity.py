"""Numbers instead of behaviour: how far a bundle's answers are from another bundle's on the same noise.

Receives two sessions of one geometry and a scene; hands on the relative error of latents, samples and frames.
Teacher-forced: both are given the reference's words and its history of latents, so that what differs is this bundle's
own arithmetic and state.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edge_streamer.runtime.check import TOLERANCE, compare
from edge_streamer.runtime.engine import Array
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.runner import SessionAgent, Voices
from edge_streamer.runtime.evaluation.suite import Case, scene_of
from edge_streamer.runtime.golden import load_golden, relative_error, replay
from edge_streamer.runtime.scenes.assets import HeldOut
from edge_streamer.runtime.scenes.scene import World
from edge_streamer.runtime.scenes.script import UNIT
from edge_streamer.runtime.session import Session
from edge_streamer.runtime.unit import Unit

LATENTS = ("video", "audio")
QUANTITIES = (*LATENTS, "samples", "frames")


class Parity(msgspec.Struct, frozen=True):
    """Against a reference."""

    against: str
    units: int
    error_db: dict[str, float]
    """Quantity -> 20 log10 of the relative error, over all units."""
    worst_db: dict[str, float]
    """The same of the worst unit."""
    same_tokens: float
    """Share of slots in which this bundle would have chosen the reference's token."""


def decibels(error: float) -> float:
    """A relative error in dB, not below -200."""
    return float(20 * np.log10(max(error, 1e-10)))


def golden_parity(session: Session) -> Parity | None:
    """Against the golden units that ride along: the float model's answers. None where there are none."""
    bundle = session.bundle
    if bundle.manifest.golden is None:
        return None
    golden, twin = load_golden(bundle.file(bundle.manifest.golden)), session.twin()
    units = golden.meta.units
    answers = replay(twin, golden.meta.seed, units, golden.tokens)
    rows = compare(golden, answers, TOLERANCE["float32"])
    worst = {row.quantity: decibels(row.error) for row in rows}
    return Parity("its golden units", units, worst, worst, golden.agreement(answers))


def agreement(session: Session, tokens: Sequence[int]) -> list[bool]:
    """Slot by slot, whether the session would have chosen ``tokens`` in its last unit, whatever it was forced to."""
    chosen = (int(s["token"][0]) for s in session.streamer.wiring.sampled)
    return [a == b for a, b in zip(chosen, tokens, strict=True)]


def bundle_parity(tested: Session, reference: Session, case: Case, world: World, held_out: HeldOut) -> Parity:
    """Against another bundle on a scene. InputError where their geometry differs."""
    if tested.streamer.constants != reference.streamer.constants:
        raise InputError(f"{reference.bundle.manifest.name} has other constants than {tested.bundle.manifest.name}; "
                         "name a bundle of the same preset")  # fmt: skip
    scene = scene_of(case, world)
    heard, camera = scene.microphone(Voices(case, held_out).utter), scene.camera()
    for session in (tested, reference):
        SessionAgent(session, world).begin(case, scene, True)
    came: dict[str, list[Array]] = {name: [] for name in QUANTITIES}
    wanted: dict[str, list[Array]] = {name: [] for name in QUANTITIES}
    same: list[bool] = []
    for k in range(case.script.units):
        unit = Unit(heard[k * UNIT : (k + 1) * UNIT].copy(), camera[k * 4 : k * 4 + 4])
        right = reference.step(unit)
        tokens = right.tokens
        answer = tested.step(unit, tokens)
        for made, response in ((came, answer), (wanted, right)):
            made["samples"].append(response.samples.copy())
            made["frames"].append(response.frames.astype(np.float32) - 128)
        same += agreement(tested, tokens)
        for name in LATENTS:
            came[name].append(tested.streamer.wiring.past[f"latents.{name}"].copy())
            wanted[name].append(reference.streamer.wiring.past[f"latents.{name}"].copy())
        np.copyto(tested.streamer.wiring.all_past, reference.streamer.wiring.all_past)
    return Parity(
        reference.bundle.manifest.name, case.script.units,
        {n: decibels(relative_error(np.stack(came[n]), np.stack(wanted[n]))) for n in QUANTITIES},
        {n: decibels(max(relative_error(a, b) for a, b in zip(came[n], wanted[n], strict=True))) for n in QUANTITIES},
        sum(same) / len(same),
    )  # fmt: skip
