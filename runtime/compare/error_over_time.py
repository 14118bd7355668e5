"""Error over time: how far a bundle is from another of its geometry, unit by unit, for minutes.

Receives two sessions of one geometry and a stream of units; hands on :class:`Drift`: a curve per output. Two modes:

    forced   the tested bundle is given the reference's words and its last answer before each unit, so that a curve
             shows this bundle's own arithmetic and what its rings and tails gather, and nothing else
    free     each goes its own way on its own history, as in use: where one word differs, everything after it does
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Response, Unit

Mode = Literal["forced", "free"]
LATENTS = ("latents.video", "latents.audio")
HEARD_AND_SEEN = (*LATENTS, "samples", "frames")
OUTPUTS = (*HEARD_AND_SEEN, "scores")
"""Of a ``wan_streamer``; other programs have others."""
TOKENS = "tokens"
EXACT, NOT_FINITE = -200.0, 200.0
"""dB where :func:`decibels` ends: nothing differs, or a number is not finite."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """Of one mode."""

    mode: Mode
    units: int
    error_db: dict[str, float]
    """Output -> 10 log10 of the error's energy over the signal's, over all units."""
    curve_db: dict[str, list[float]]
    """The same per unit, against the mean unit's energy: a silent unit has no energy of its own."""
    same_slots: float
    """Share of slots in which the tested bundle would have chosen the reference's token; 1 where nothing is chosen."""
    same_states: float
    """The same of the first slot alone: who speaks."""


def drift(
    tested: Session, reference: Session, units: Iterable[Unit], mode: Mode,
    tell: Callable[[int], None] = lambda _: None,
    watch: Callable[[int, Response, Response], None] = lambda *_: None,
) -> Drift:  # fmt: skip
    """Run ``units`` through both, from the state they are in; ``watch`` sees unit, reference's answer and tested one's.

    InputError where their geometry differs or nothing came."""
    check_constants(tested, reference)
    errors, energies = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    same: list[list[bool]] = []
    for number, unit in enumerate(units):
        right = reference.step(unit)
        answer = tested.step(unit, right.tokens if mode == "forced" and right.tokens else None)
        wanted, came = outputs(reference, right), outputs(tested, answer)
        same.append(agreement(came, right.tokens))
        for name in (name for name in wanted if name != TOKENS):
            signal = wanted[name].astype(np.float64) - (128 if name == "frames" else 0)
            lost = came[name].astype(np.float64) - wanted[name].astype(np.float64)
            errors[name].append(float(np.sum(lost**2)))
            energies[name].append(float(np.sum(signal**2)))
        if mode == "forced":
            _hand_on_answer(reference, tested)
        watch(number, right, answer)
        tell(number + 1)
    if not same:
        raise InputError("the stream holds no unit; wanted a recording of at least some seconds")
    agree, mean = np.array(same), {name: sum(energies[name]) / len(same) for name in energies}
    chooses = agree.size > 0
    return Drift(
        mode=mode, units=len(same),
        same_slots=float(agree.mean()) if chooses else 1.0, same_states=float(agree[:, 0].mean()) if chooses else 1.0,
        error_db={n: decibels(sum(errors[n]), sum(energies[n])) for n in errors},
        curve_db={n: [decibels(e, mean[n]) for e in errors[n]] for n in errors},
    )  # fmt: skip


def _hand_on_answer(reference: Session, tested: Session) -> None:
    history = tested.program.held()
    for path, buffer in reference.program.held().items():
        tested.engine.write(history[path], reference.engine.read(buffer))


def check_constants(tested: Session, reference: Session) -> None:
    """InputError where the two bundles' geometry differs."""
    if tested.program.constants != reference.program.constants:
        names = reference.bundle.manifest.name, tested.bundle.manifest.name
        raise InputError(f"{names[0]} has other constants than {names[1]}; name a bundle of the same preset")


def agreement(came: dict[str, Array], tokens: Sequence[int]) -> list[bool]:
    """Slot by slot, whether ``tokens`` would have been chosen in a unit with these :func:`outputs`, whatever was
    forced."""
    return [bool(a == b) for a, b in zip(came.get(TOKENS, ()), tokens, strict=True)]


def outputs(session: Session, response: Response) -> dict[str, Array]:
    """All of the last unit, by name: what the program's probe shows, and what it answered."""
    given = {"samples": response.samples, "frames": response.frames, **response.arrays}
    return session.probe() | {name: array for name, array in given.items() if array is not None}


def worst_db(error_db: Mapping[str, float]) -> float:
    """Of the latents, which are what the model itself makes of a unit; where there are none, of everything."""
    return max(value for name, value in error_db.items() if name in LATENTS or not set(LATENTS) & error_db.keys())


def decibels(error: float, energy: float) -> float:
    """Of an error's energy against a signal's, not below EXACT; NOT_FINITE where either is not finite."""
    if not np.isfinite(error) or not np.isfinite(energy):
        return NOT_FINITE
    return float(10 * np.log10(max(error / max(energy, 1e-30), 10 ** (EXACT / 10))))
