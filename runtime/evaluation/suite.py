"""The scenarios of the evaluation, as data.

Receives minutes and a seed, or a suite's JSON file; hands on :class:`Case` s, each a conversation of about twelve
seconds, and their scenes. The kinds follow Full-Duplex-Bench v1 and v1.5; ``drafts.py`` writes them. Seeds and
backgrounds never occur in training: training's scenes have seeds below 2**31 and other backgrounds.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
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
from edge_streamer.runtime.scenes.camera import HAIRS, SHIRTS, SKINS, View, random_view
from edge_streamer.runtime.scenes.scene import Scene, World
from edge_streamer.runtime.scenes.script import RATE, UNIT, Script
from edge_streamer.runtime.scenes.sound import NOISES, Room, Sound
from edge_streamer.runtime.scenes.table import Table

FORMAT = 1
FIRST_SEED = 2**31
"""Training draws its scenes' seeds below it."""
MOST_UNITS = 4000
"""Of a case: it is drawn as a whole."""


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


def read_suite(path: Path, world: World, held_out: HeldOut) -> Suite:
    """A suite from a file, all of whose cases can be played. InputError that names what is wrong with it."""
    try:
        suite = msgspec.json.decode(path.read_bytes(), type=Suite)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted 'duplex' or a suite's file") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a suite: {error}; see docs/evaluation.md") from None
    if suite.format != FORMAT:
        raise InputError(f"{path} has format {suite.format}; this edge-streamer reads format {FORMAT}")
    for case in suite.cases:
        for has, wanted in _faults(case, world.table, held_out):
            raise InputError(f"{path}: case {case.number} has {has}; wanted {wanted}")
        for file in filter(None, case.recordings):
            read_wav(path.parent / file)  # now, and not after an hour of other cases
    return suite


def _faults(case: Case, table: Table, held_out: HeldOut) -> Iterator[tuple[str, str]]:
    """(what the case has, what was wanted), for all that it cannot be played with."""
    script, room, view = case.script, case.room, case.view
    yield from _beyond("number", case.number, 0)
    yield from _beyond("identity", case.identity, 0, IDENTITIES - 1)
    yield from _beyond("seed", case.seed, 0)
    yield from _beyond("units", script.units, 1, MOST_UNITS)
    if len(case.recordings) not in (0, len(script.said)):
        yield f"{len(case.recordings)} recordings of {len(script.said)} words", "none, or one for each word"
    for said, file in zip(script.said, case.recordings or ("",) * len(script.said), strict=False):
        yield from _beyond(f"the end of {said.word!r} at", said.end, 1, script.units * UNIT)
        if said.kind == "command":
            yield from _unknown(said.word, table)
        if not file and said.word not in held_out.by_word:
            yield f"no recording of {said.word!r}", "a WAV file of it, for no recording of this word ships"
    for typed in script.typed:
        yield from _unknown(typed.word, table)
        yield from _beyond(f"{typed.word!r} typed in unit", typed.unit, 0, script.units - 1)
    for shown in script.shown:
        yield from _beyond("card", shown.card, 1, table.cards)
        if not 0 <= shown.start < shown.end:
            yield f"a card from frame {shown.start} to {shown.end}", "a start from 0 on and an end after it"
    if room.noise not in NOISES:
        yield f"noise {room.noise!r}", f"one of {', '.join(NOISES)}"
    yield from _beyond("echo_delay", room.echo_delay, 0)
    for name, value, low, high in (
        ("background", view.background, 0, None), ("skin", view.skin, 0, SKINS - 1), ("hair", view.hair, 0, HAIRS - 1),
        ("shirt", view.shirt, 0, SHIRTS - 1), ("brightness", view.brightness, 0.6, 1.3), ("size", view.size, 0.8, 1.25),
        ("camera noise", view.noise, 0, 8), *(("tint", tint, 0.85, 1.15) for tint in view.tint),
    ):  # fmt: skip
        yield from _beyond(name, value, low, high)


def _beyond(name: str, value: float, low: float, high: float | None = None) -> Iterator[tuple[str, str]]:
    if value < low or (high is not None and value > high):
        yield f"{name} {value}", f"{low} or more" if high is None else f"{low} to {high}"


def _unknown(word: str, table: Table) -> Iterator[tuple[str, str]]:
    if word not in table.words:
        yield f"the command {word!r}", f"one of the table's: {', '.join(table.words)}"


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
    if not frames or len(frames) % (width * channels):
        raise InputError(f"{path} is empty or cut short; wanted a word as a WAV file")
    samples = np.frombuffer(frames, np.int16)[::channels].astype(np.float32) / 32768
    return np.asarray(samples if rate == RATE else soxr.resample(samples, rate, RATE), np.float32)
