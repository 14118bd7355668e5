"""The scenarios of the evaluation, as data.

Receives minutes and a seed, or a suite's JSON file; hands on :class:`Case` s, each a conversation of about twelve
seconds, and their scenes. The kinds follow Full-Duplex-Bench v1 and v1.5; ``drafts.py`` writes them. Seeds and
backgrounds never occur in training: training's scenes have seeds below 2**31 and other backgrounds.
"""

from __future__ import annotations

import wave
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import soxr

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.drafts import DRAFTS, ORDER, Draft
from edge_streamer.runtime.scenes.assets import HeldOut
from edge_streamer.runtime.scenes.avatar import IDENTITIES
from edge_streamer.runtime.scenes.backgrounds import HELD_OUT_BACKGROUNDS
from edge_streamer.runtime.scenes.camera import View, random_view
from edge_streamer.runtime.scenes.scene import Scene, World
from edge_streamer.runtime.scenes.script import RATE, UNIT, Script
from edge_streamer.runtime.scenes.sound import Room, Sound

FORMAT = 1
FIRST_SEED = 2**31
"""Training draws its scenes' seeds below it."""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One conversation. Times inside are samples of 16 kHz and frames of 25 a second, from its start."""

    number: int
    kind: str
    """What it tests, e.g. ``interruption``: scores are kept apart by it."""
    condition: str = "clean"
    """How, e.g. ``10 dB hum``."""
    identity: int
    """Of the agent, given by the pinned prefix."""
    seed: int
    """Of noise, motion and the choice of recordings."""
    script: Script
    room: Room
    view: View
    face: bool = True
    recordings: tuple[str, ...] = ()
    """WAV files of what is said, one for each of ``script.said`` ("" draws a held-out one); empty: all are drawn."""

    @property
    def seconds(self) -> float:
        return self.script.units * UNIT / RATE


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A suite's file; see docs/evaluation.md."""

    format: int
    name: str
    cases: tuple[Case, ...]


def scene_of(case: Case, world: World) -> Scene:
    """The case as pictures, sound and intent."""
    return Scene(world, case.script, case.identity, case.view, case.room, case.seed, case.face)


def duplex(minutes: float, seed: int, world: World, held_out: HeldOut, identity: int | None = None) -> Suite:
    """The shipped suite: every kind in turn until ``minutes`` are full. ``identity``: of all cases, not of each."""
    cases: list[Case] = []
    for number in count():
        cases.append(_draft(number, seed, world, held_out, identity))
        if sum(case.seconds for case in cases) >= 60 * minutes:
            break
    return Suite(format=FORMAT, name="duplex", cases=tuple(cases))


def _draft(number: int, seed: int, world: World, held_out: HeldOut, chosen: int | None) -> Case:
    rng = np.random.default_rng([FIRST_SEED + seed, number])
    identity = int(rng.integers(IDENTITIES)) if chosen is None else chosen
    kind = ORDER[number % len(ORDER)]
    turn = number // len(ORDER) * ORDER.count(kind) + ORDER[: number % len(ORDER)].count(kind)
    draft = Draft(rng, world.table, held_out, [len(p) for p in world.phrases[identity]])
    DRAFTS[kind](draft, turn)
    return Case(
        number=number, kind=kind, condition=draft.condition, identity=identity,
        seed=FIRST_SEED + seed * 1_000_000 + number, script=draft.script(), room=draft.room,
        view=random_view(rng, HELD_OUT_BACKGROUNDS), face=draft.face,
    )  # fmt: skip


def read_suite(path: Path) -> Suite:
    """A suite from a file. InputError that names what is wrong with it."""
    try:
        suite = msgspec.json.decode(path.read_bytes(), type=Suite)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted 'duplex' or a suite's file") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a suite: {error}; see docs/evaluation.md") from None
    if suite.format != FORMAT:
        raise InputError(f"{path} has format {suite.format}; this edge-streamer reads format {FORMAT}")
    for case in suite.cases:
        _check(path, case)
    return suite


def _check(path: Path, case: Case) -> None:
    wrong = {
        f"identity {case.identity}": not 0 <= case.identity < IDENTITIES,
        f"{case.script.units} units": not 1 <= case.script.units <= 4000,
        f"seed {case.seed}": case.seed < 0,
        f"{len(case.recordings)} recordings of {len(case.script.said)} words": len(case.recordings)
        not in (0, len(case.script.said)),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise InputError(f"{path}: case {case.number} has {what}; see docs/evaluation.md")


def read_wav(path: Path) -> Sound:
    """A 16-bit WAV file, its first channel, at 16 kHz. InputError where it is something else."""
    try:
        with wave.open(str(path)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            frames = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); wanted a WAV file") from None
    if width != 2:
        raise InputError(f"{path} has {8 * width} bits; wanted 16")
    samples = np.frombuffer(frames, np.int16)[::channels].astype(np.float32) / 32768
    return np.asarray(samples if rate == RATE else soxr.resample(samples, rate, RATE), np.float32)
