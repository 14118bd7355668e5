"""Golden units: a few units of known answers that ride along in a bundle.

Receives a session; hands on what ``check`` and the exporter compare. Everything that goes in is made from a seed (see
``noise.py``, the same on every machine), also the *starting state*: rings full of made-up history whose next unit
wraps, carries that are not zero, a last response. So three or four units test every pass, every state, every ring's
wrap and eviction, at any window, without running for a window's length. What comes out is the float model's answer, or
of a quantized bundle its own where it was made, stored small: latents and sounds whole, pictures as block means. Slots
are forced to the float model's tokens, of every bundle, and compared apart, so that one near tie does not make
everything after it incomparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import msgspec
import numpy as np

from edge_streamer.runtime.bundle.arrays import Array, ArrayFile, Form, save_arrays
from edge_streamer.runtime.bundle.manifest import MediaSpec, RingSpec
from edge_streamer.runtime.errors import BundleError, MediaError
from edge_streamer.runtime.files import size_text
from edge_streamer.runtime.programs.base import form_of
from edge_streamer.runtime.programs.noise import INPUTS, START, Noise
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Unit

BLOCK = 16
"""Pictures are stored as means of BLOCK x BLOCK pixels."""
START_UNIT = 1000
"""Index of the first golden unit: well past the distance at which the prefix stops receding."""
UNITS_TO_WRAP = 2
"""All rings are full at the start, and wrap together after so many units."""


SHAKEN = 1e-5
"""What :func:`shake` changes is no more than what machines differ by, since each has its own order in a sum: the demo's
float32 sounds by 5e-5."""
MOST_UNITS = 64
ARRAYS = 1 << 20
"""Draws from there on are of arrays that go in: beyond those of states."""
NOTHING: Mapping[str, Form] = MappingProxyType({})
FILE_BYTES = 64_000_000
"""More answers than that are none of ours: those of the demo take 0.2 MB."""


class Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How golden units were made."""

    program: str
    seed: Annotated[int, msgspec.Meta(ge=0)]
    units: Annotated[int, msgspec.Meta(gt=UNITS_TO_WRAP, le=MOST_UNITS)]


@dataclass(frozen=True)
class Golden:
    """Answers by name: ``<unit>.<quantity>``."""

    meta: Meta
    answers: dict[str, Array]

    @property
    def tokens(self) -> list[tuple[int, ...]]:
        """What the float model chose in each unit's slots: what a replay is forced to; else nothing."""
        return [tuple(int(token) for token in word) for word in self.words.values()]

    @property
    def words(self) -> dict[str, Array]:
        """The answers that are tokens, unit by unit."""
        names = [f"{index}.tokens" for index in range(self.meta.units)]
        return {name: self.answers[name] for name in names if name in self.answers}

    def agreement(self, answers: dict[str, Array]) -> float:
        """Share of slots in which ``answers`` of a replay would have chosen the same token; 1 where none is chosen."""
        same = [answers[name] == word for name, word in self.words.items()]
        return float(np.mean(same)) if same else 1.0

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        save_arrays(path, self.meta, self.answers)


def load_golden(path: Path) -> Golden:
    """Golden units from a bundle's file. BundleError where it is damaged."""
    try:
        file = ArrayFile(path, Meta, "golden units")
        if file.record.seed >= 2**64:
            raise MediaError(f"{path}: seed {file.record.seed}; wanted less than 2**64")
        if sum(form.bytes for form in file.forms.values()) > FILE_BYTES:
            raise MediaError(f"{path}: more than {size_text(FILE_BYTES)} of answers")
        return Golden(file.record, dict(file))
    except MediaError as error:
        raise BundleError(f"{error}; export the bundle again") from None


def golden_units(session: Session) -> Golden | None:
    """The golden units that ride along in a session's bundle; None where there are none.

    BundleError where they are damaged, another program's, or do not answer every quantity and state of this bundle in
    every unit: what is not answered would pass any comparison.
    """
    bundle = session.bundle
    if bundle.manifest.golden is None:
        return None
    path = bundle.file(bundle.manifest.golden)
    golden = load_golden(path)
    why = _unfit(golden, session)
    if why:
        raise BundleError(f"{path}: {why}; export the bundle again")
    return golden


def _unfit(golden: Golden, session: Session) -> str | None:
    """Why ``golden`` does not answer for ``session``'s bundle."""
    program = session.bundle.manifest.program
    if golden.meta.program != program:
        return f"golden units of program {golden.meta.program!r}; the bundle's is {program!r}"
    wanted = _wanted(session, golden.meta.units)
    missing, left = sorted(wanted.keys() - golden.answers.keys()), sorted(golden.answers.keys() - wanted.keys())
    if missing or left:
        few = ", ".join(map(repr, (missing or left)[:3]))
        if missing:
            return f"{len(missing)} of {len(wanted)} answers are missing ({few} ...)"
        return f"nothing of this bundle is called {few}"
    for name, form in wanted.items():
        came = golden.answers[name]
        if Form.of(came) != form:
            return f"answer {name!r} is {Form.of(came)}; wanted {form}"
        if not np.isfinite(came).all():
            return f"answer {name!r} holds a NaN or an infinity"
        rows = session.program.token_count
        if name in golden.words and not ((came >= 0) & (came < rows)).all():
            return f"answer {name!r} is {came.tolist()}; wanted tokens from 0 to {rows - 1}"
    return None


def _wanted(session: Session, units: int) -> dict[str, Form]:
    """Every answer that ``replay`` gives."""
    media = session.bundle.manifest.media
    unit = {name: Form.of(array) for name, array in session.probe().items()} | session.program.gives()
    if media is not None and media.sound_out is not None:
        unit["samples"] = Form(np.dtype(np.float32), (media.says.unit_samples,))
    if media is not None and media.pictures_out is not None:
        height, width = (max(1, pixels // BLOCK) for pixels in media.shows.size)
        unit["frames"] = Form(np.dtype(np.float32), (media.shows.unit_frames, height, width, 3))
    wanted = {f"{index}.{name}": form for index in range(units) for name, form in unit.items()}
    return wanted | {f"end.{path}": Form(np.dtype(np.float64), (1,)) for path in session.states()}


def made_unit(media: MediaSpec | None, seed: int, index: int, takes: Mapping[str, Form] = NOTHING) -> Unit:
    """The user's made-up unit ``index``: noise for sound, a coarse noisy picture, a word now and then; and noise in the
    arrays that a program ``takes``."""
    noise = Noise(seed)
    samples = frames = None
    if media is not None and media.sound_in is not None:
        samples = np.empty(media.hears.unit_samples, np.float32)
        noise.normal(INPUTS, 2 * index, samples)
        samples = np.clip(samples * np.float32(0.1), -1, 1)
    if media is not None and media.pictures_in is not None:
        height, width = media.sees.size
        coarse = np.empty((media.sees.unit_frames, -(-height // 8), -(-width // 8), 3), np.float32)
        noise.normal(INPUTS, 2 * index + 1, coarse)
        picture = np.clip(coarse * 50 + 128, 0, 255).astype(np.uint8)
        frames = np.ascontiguousarray(picture.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width])
    text = "golden" if index == 0 and media is not None and media.text_in is not None else ""
    arrays = {
        name: _drawn(form, noise, ARRAYS + MOST_UNITS * number + index, 1.0)
        for number, (name, form) in enumerate(sorted(takes.items()))
    }
    return Unit(samples=samples, frames=frames, text=text, arrays=arrays)


def seed_state(session: Session, seed: int) -> None:
    """Put the session into the made-up starting state. Carries become standard normal times a half, all
    else standard normal."""
    session.reset(START_UNIT)
    noise = Noise(seed)
    for number, (path, buffer) in enumerate(sorted(session.states().items())):
        size = 0.5 if path.startswith("carry") else 1.0
        session.engine.write(buffer, _drawn(form_of(buffer), noise, number, size))
    rings = {state.ring: state for state in session.bundle.manifest.states if isinstance(state, RingSpec)}
    session.stand_at(math.prod(ring.window_units + 1 for ring in rings.values()) - UNITS_TO_WRAP)
    host = session.program.host()
    session.program.set_host({**host, "past": True} if "past" in host else host)


def _drawn(form: Form, noise: Noise, number: int, size: float) -> Array:
    """Normal numbers of deviation ``size``; integers get a quarter of the range of int8 for it, those without a sign
    around the middle of theirs, flags are as often on as off."""
    if form.dtype.kind != "f":
        drawn = np.empty(form.shape, np.float32)
        noise.normal(START, number, drawn)
        if form.dtype.kind == "b":
            flags: Array = drawn > 0
            return flags
        middle = 128 if form.dtype.kind == "u" else 0
        codes: Array = (np.clip(np.round(drawn * np.float32(32 * size)), -127, 127) + middle).astype(form.dtype)
        return codes
    values = np.empty(form.shape, np.float32)
    noise.normal(START, number, values)
    values *= np.float32(size)
    return values.astype(form.dtype, copy=False)


def shake(session: Session, draw: int) -> None:
    """Move every float of the state by about ``SHAKEN`` of itself, in the way number ``draw``."""
    noise = Noise(draw)
    for number, (_, buffer) in enumerate(sorted(session.states().items())):
        if buffer.dtype == "float32":
            moved = np.empty(buffer.shape, np.float32)
            noise.normal(START, number, moved)
            session.engine.write(buffer, session.engine.read(buffer) * (1 + np.float32(SHAKEN) * moved))


def replay(
    session: Session, seed: int, units: int, tokens: list[tuple[int, ...]] | None = None, shaken: int | None = None
) -> dict[str, Array]:
    """The answers of a session over golden units, started from the made-up state, or from one that is ``shaken``;
    ``tokens`` forces the slots."""
    seed_state(session, seed)
    if shaken is not None:
        shake(session, shaken)
    answers: dict[str, Array] = {}
    for index in range(units):
        unit = made_unit(session.bundle.manifest.media, seed, index, session.program.takes())
        response = session.step(unit, tokens[index] if tokens else None)
        given = session.probe() | {name: array.copy() for name, array in response.arrays.items()}
        if response.samples is not None:
            given["samples"] = response.samples.copy()
        if response.frames is not None:
            given["frames"] = block_means(response.frames)
        answers |= {f"{index}.{name}": array for name, array in given.items()}
    answers |= {f"end.{path}": array for path, array in state_norms(session).items()}
    return answers


def block_means(frames: Array) -> Array:
    """Pictures [F, H, W, 3] uint8 as means of BLOCK x BLOCK pixels [F, H', W', 3] float32 in 0..255, edges cut."""
    count, height, width, _ = frames.shape
    rows, columns = max(1, height // BLOCK), max(1, width // BLOCK)
    cut = frames[:, : rows * BLOCK, : columns * BLOCK].astype(np.float32)
    means: Array = cut.reshape(count, rows, -1, columns, cut.shape[2] // columns, 3).mean(axis=(2, 4))
    return means


def state_norms(session: Session) -> dict[str, Array]:
    """The length (L2) of every state, as one number each."""
    states = {path: session.engine.read(buffer).astype(np.float64) for path, buffer in session.states().items()}
    return {path: np.array([np.linalg.norm(array)]) for path, array in states.items()}


def relative_error(came: Array, wanted: Array) -> float:
    """||came - wanted|| / ||wanted||; infinite where a value is not finite or shapes differ."""
    if came.shape != wanted.shape or not np.isfinite(came).all():
        return float("inf")
    scale = float(np.linalg.norm(wanted.astype(np.float64)))
    return float(np.linalg.norm(came.astype(np.float64) - wanted.astype(np.float64))) / max(scale, 1e-12)
