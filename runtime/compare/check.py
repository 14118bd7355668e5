"""Does a bundle compute here what it computed where it was made?

Receives a bundle; replays its golden units on this machine's engine and hands on how far each quantity is from the
answer that came where the bundle was made (the float model's, or a quantized bundle's own), with the first unit that is
too far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.golden import Golden, golden_units, relative_error, replay
from edge_streamer.runtime.engines.choose import AUTO
from edge_streamer.runtime.engines.contract import Engine, GraphFile
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import Tell, untold

TOLERANCE = {
    "float32": 1e-3, "fp16": 0.05, "bf16": 0.1, "int8": 0.1, "int4": 0.3, "fp8": 0.3, "nvfp4": 0.3, "mixed": 0.3,
}  # fmt: skip
"""Largest relative error of a quantity, by what weights are kept in. float32: the exporter demands 1e-4 on its own
machine; other processors order their sums differently. Measured: 5e-6 (tiny) and 5e-5 (demo, its voice), ONNX Runtime
1.32 and 1.23.2, x86-64 and an emulated arm64. Integers: where a sum ends near the middle between two codes, another
kernel takes the other one, and answers differ by as much as the precision costs. Measured between 1.32 and 1.23.2
(demo): int8 0.14, int4 0.081. Half precision costs 1.4e-3 in all (demo)."""

NARROW = 0.3
"""The same where activations are multiplied in 8 bits."""
ROUNDS = Precision(weights="int8", activations="int8", dynamic=True)
"""Precision whose answers may jump by a step of an integer, where the graph itself says. How far that moves this
bundle's answers is measured here: the golden units start from a history that is noise, and what is off in one unit
stays in the next. Not so for 4 bits: how they are multiplied is the engine's own, and 1.23.2 is up to four times that
away."""
DRAWS = 4
"""Ways in which the history is moved, to see how far rounding moves the answers."""
ROUNDINGS = 2.0
"""An answer may be off by so many times what rounding did. Measured on the demo in int8, made with ONNX Runtime 1.32 on
another processor: 1.32 here and on an emulated Haswell is the same for three units, then 0.3; 1.23.2 on both 1.0 at
most. Of 24 wrong scales and 9 faults of state this sees 26; a tolerance of 0.3 alone saw 20. What stays unseen is as
small as rounding: one layer's scale off by 5 %, the oldest unit of a window not forgotten."""


@dataclass
class Row:
    """One quantity over all golden units."""

    quantity: str
    error: float
    worst_unit: str
    first_beyond: str | None
    """The first unit whose error is beyond what is allowed."""
    rounding: float | None = None
    """How far rounding alone moved the quantity here; None where that was not asked."""


@dataclass
class Verdict:
    """What ``check`` found."""

    bundle: str
    engine: str
    units: int
    tolerance: float
    slots_agree: float
    """Share of slots where this machine would have chosen the same token."""
    rows: list[Row]

    @property
    def passed(self) -> bool:
        return all(row.first_beyond is None for row in self.rows)


def check(
    bundle: Bundle, engine: Engine | str = AUTO, graphs: Mapping[str, GraphFile] | None = None, tell: Tell = untold
) -> Verdict:
    """Replay the golden units, with what else :func:`open_session` is given. InputError where the bundle has none."""
    manifest = bundle.manifest
    if manifest.golden is None:
        raise InputError(f"bundle {manifest.name!r} carries no golden units, so there is nothing to check it against")
    precisions = [graph.precision for graph in manifest.graphs]
    tolerance = max(map(tolerance_of, precisions), default=TOLERANCE["float32"])
    session = open_session(bundle, engine=engine, graphs=graphs, tell=tell)
    golden = golden_units(session)
    assert golden is not None
    answers = _replayed(session, golden)
    rows = compare(golden, answers, tolerance)
    coarsest = {precision.words for precision in precisions if tolerance_of(precision) == tolerance}
    if coarsest == {ROUNDS.words} and any(row.error > TOLERANCE["float32"] for row in rows):
        rows = compare(golden, answers, tolerance, _rounding(session, golden, answers))
    return Verdict(manifest.name, session.engine.name, golden.meta.units, tolerance, golden.agreement(answers), rows)


def tolerance_of(precision: Precision) -> float:
    """The largest relative error of a quantity, for graphs of this precision."""
    wide = precision.activations in ("float32", "fp16", "bf16")
    return TOLERANCE[precision.weights] if wide else NARROW


def _replayed(session: Session, golden: Golden, shaken: int | None = None) -> dict[str, Array]:
    return replay(session, golden.meta.seed, golden.meta.units, golden.tokens, shaken)


def _rounding(session: Session, golden: Golden, answers: dict[str, Array]) -> dict[str, float]:
    """Answer -> how far it, or its quantity in a unit before, moves here with a history that is moved a little.

    At least as far as the quantity ever moves, over ``ROUNDINGS``: that nothing jumped so early here was luck.
    """
    moved = [_replayed(session, golden, draw) for draw in range(1, DRAWS + 1)]
    found: dict[str, float] = {}
    for names in by_quantity(golden).values():
        every = [relative_error(some[n], answers[n]) for n in names for some in moved]
        most = max(every) / ROUNDINGS
        for _, same_unit in groupby(names, lambda name: name.split(".")[0]):
            together = list(same_unit)
            most = max(most, *(relative_error(some[n], answers[n]) for n in together for some in moved))
            found |= dict.fromkeys(together, most)
    return found


def compare(
    golden: Golden, answers: dict[str, Array], tolerance: float, rounding: dict[str, float] | None = None
) -> list[Row]:
    """A row per quantity, in the order in which a unit computes them; tokens are compared apart. ``rounding``: how far
    each answer moves by rounding alone, which may be less than ``tolerance``."""
    rows = []
    for quantity, names in by_quantity(golden).items():
        errors = {name: relative_error(answers[name], golden.answers[name]) for name in names}
        allowed = dict.fromkeys(names, tolerance)
        if rounding is not None:
            allowed = {n: min(tolerance, max(TOLERANCE["float32"], ROUNDINGS * rounding[n])) for n in names}
        worst = max(names, key=errors.__getitem__)
        beyond = next((n.split(".")[0] for n in names if not errors[n] <= allowed[n]), None)
        moved = None if rounding is None else max(rounding[n] for n in names)
        rows.append(Row(quantity, errors[worst], worst.split(".")[0], beyond, moved))
    return rows


def by_quantity(golden: Golden) -> dict[str, list[str]]:
    """Quantity -> the names of its answers; without the tokens."""
    found: dict[str, list[str]] = {}
    for name in golden.answers:
        unit, quantity = name.split(".", 1)
        if quantity != "tokens":
            found.setdefault("states at the end" if unit == "end" else quantity, []).append(name)
    return found
