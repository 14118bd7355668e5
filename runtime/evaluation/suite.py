"""The scenarios of the evaluation, as data.

Receives minutes and a seed, or a suite's JSON file; hands on :class:`Case` s, each a conversation of about twelve
seconds, and their scenes. The kinds follow Full-Duplex-Bench v1 and v1.5; ``drafts.py`` writes them. Seeds and
backgrounds never occur in training: training's scenes have seeds below 2**31 and other backgrounds.
"""

from __future__ import annotations

import re
import wave
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soxr

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.drafts import DRAFTS, ORDER, TAIL, Draft
from edge_streamer.runtime.evaluation.world.assets import HeldOut
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES
from edge_streamer.runtime.evaluation.world.backgrounds import HELD_OUT_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.camera import VIEW_RANGES, View, random_view
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import FRAME, RATE, UNIT, Said, Script, Shown, Typed, plan_answers
from edge_streamer.runtime.evaluation.world.sound import NOISES, ROOM_RANGES, Room, Sound
from edge_streamer.runtime.evaluation.world.table import Table

FORMAT = 1
FIRST_SEED = 2**31
"""Training draws its scenes' seeds below it."""
MOST_UNITS = 4000
"""Of a case: it is drawn as a whole."""
MOST_NUMBER = 999_999
MOST_SEED = 2**53 - 1
"""Every reader of JSON keeps it exact."""
SAID_GAIN = (0.01, 10)
APART = 4000
"""Samples between the ends of two commands. Below 3840, a unit and a half, even an agent that does what is intended is
scored as wrong: its first answer is cut before it has words."""
RATES = (8000, 192_000)
"""Of recordings, in samples a second."""
SHORTEST = 0.1
"""Seconds of a recording; the shortest that ships has 0.2."""
SILENT = 0.002
"""From the lowest to the highest sample, full scale -1..1: what keeps within -60 dB."""
WAV = "a 16-bit PCM WAV file: ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav makes one"


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One conversation. Times inside are samples of 16 kHz and frames of 25 a second, from its start."""

    number: int
    kind: str
    """What it tests, e.g. ``interruption``: scores are kept apart by it, under any name."""
    condition: str = "clean"
    """How, e.g. ``10 dB hum``."""
    identity: int
    """Of the agent, given by the pinned prefix."""
    seed: int
    """Of noise, motion and the choice of recordings."""
    script: Script
    room: Room = Room()
    view: View = View()
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
    """A suite from a file, all of whose cases can be played and scored; recordings are named from the root, so that
    the suite can be written elsewhere. InputError that names what is wrong with it."""
    data = b""
    try:
        data = path.read_bytes()
        suite, raws = msgspec.json.decode(data, type=Suite), msgspec.json.decode(data)["cases"]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted 'duplex' or a suite's file") from None
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{path} is not a suite: {error}; see docs/evaluation.md") from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is no JSON: {_where(data, str(error))}") from None
    if suite.format != FORMAT:
        raise InputError(f"{path} has format {suite.format}; this edge-streamer reads format {FORMAT}")
    numbers = Counter(case.number for case in suite.cases)
    for case, raw in zip(suite.cases, raws, strict=True):
        for has, wanted in chain(_strangers(raw), _faults(case, world, held_out), _unheard(case, path.parent)):
            raise InputError(f"{path}: case {case.number} has {has}; wanted {wanted}")
        if (same := numbers[case.number]) > 1:  # they would share the solver's noise
            raise InputError(f"{path} has {same} cases of number {case.number}; wanted a number of its own for each")
    return msgspec.structs.replace(suite, cases=tuple(_from_root(case, path.parent) for case in suite.cases))


def _where(data: bytes, fault: str) -> str:
    """msgspec's complaint, with what stands at the byte that it names."""
    found = re.search(r"\(byte (\d+)\)$", fault)
    if found is None:
        return fault
    before, rest = (part.decode("utf-8", "replace") for part in (data[: int(found[1])], data[int(found[1]) :]))
    word = (re.match(r"[\w.+-]{1,20}", rest) or [rest[:1]])[0]
    hint = "; a number must be finite" if word in ("Infinity", "NaN") else ""
    return f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))} has {word!r}{hint}"


def _from_root(case: Case, folder: Path) -> Case:
    files = tuple(str((folder / file).resolve()) if file else "" for file in case.recordings)
    return msgspec.structs.replace(case, recordings=files)


# ---- what a case cannot be played or scored with: (what it has, what was wanted) ----

Faults = Iterator[tuple[str, str]]


def _strangers(raw: dict[str, Any]) -> Faults:
    """Keys that nobody reads; msgspec itself refuses them in structs, not in dataclasses."""
    parts: list[tuple[str, Any, type[Any]]]
    parts = [(name, raw.get(name, {}), kind) for name, kind in (("script", Script), ("room", Room), ("view", View))]
    for name, kind in (("said", Said), ("typed", Typed), ("shown", Shown)):
        parts += [(f"script.{name}[{n}]", event, kind) for n, event in enumerate(raw["script"].get(name, ()))]
    for where, part, kind in parts:
        known = [field.name for field in fields(kind)]
        for key in part:
            if key not in known:
                yield f"an unknown key {key!r} in {where}", f"only {', '.join(known)}"


def _faults(case: Case, world: World, held_out: HeldOut) -> Faults:
    """All but the recordings themselves."""
    script = case.script
    yield from _beyond("number", case.number, 0, MOST_NUMBER)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", case.kind):
        yield f"kind {case.kind!r}", "a word of letters, digits, - and _, at most 40"
    if not 1 <= len(case.condition) <= 60 or not case.condition.isprintable() or set("[]") & set(case.condition):
        yield f"condition {case.condition!r}", "one line of 1 to 60 characters, without [ and ]"
    yield from _beyond("identity", case.identity, 0, IDENTITIES - 1)
    yield from _beyond("seed", case.seed, 0, MOST_SEED)
    yield from _beyond("script.units", script.units, 1, MOST_UNITS)
    if len(case.recordings) not in (0, len(script.said)):
        yield f"{len(case.recordings)} recordings of {len(script.said)} words", "none, or one for each word"
    yield from _said(case, world.table, held_out)
    yield from _typed(script, world.table)
    yield from _shown(case, world.table)
    yield from _answered(script, world.table, [len(phrase) for phrase in world.phrases[case.identity]])
    yield from _room(case.room)
    for name, (low, high) in VIEW_RANGES.items():
        values = case.view.tint if name == "tint" else (getattr(case.view, name),)
        for value in values:
            yield from _beyond(f"view.{name}", value, low, high)


def _said(case: Case, table: Table, held_out: HeldOut) -> Faults:
    for n, said in enumerate(case.script.said):
        where, word = f"script.said[{n}]", said.word
        yield from _beyond(f"{where}.end", said.end, 1, case.script.units * UNIT)
        yield from _beyond(f"{where}.gain", said.gain, *SAID_GAIN)
        if said.kind == "command":
            yield from _unknown(where, word, table)
        elif word.strip().lower() in table.words:
            yield f"{where} of kind 'other' with the command {word!r}", "kind 'command', or a word that is none"
        if case.recordings and case.recordings[n]:
            continue
        if word not in held_out.by_word:
            yield f"no recording of {word!r}, {where}", "a WAV file of it, for no recording of this word ships"
        else:  # which one is drawn is the seed's affair
            longest = max(len(one.sound) for one in held_out.by_word[word])
            yield from _early(where, said, longest)


def _early(where: str, said: Said, length: int) -> Faults:
    if said.end < length:
        yield f"{where}.end {said.end}, but {said.word!r} lasts {length} samples", f"an end at {length} or later"


def _typed(script: Script, table: Table) -> Faults:
    for n, typed in enumerate(script.typed):
        yield from _unknown(f"script.typed[{n}]", typed.word, table)
        last = script.units - 1 - len(typed.word) // 2  # two bytes a unit, a line end among them
        yield from _beyond(f"script.typed[{n}].unit", typed.unit, 0, last)
    for one, other in pairwise(sorted(script.typed, key=lambda typed: typed.unit)):
        if other.unit <= one.end // UNIT:
            yield (f"{other.word!r} typed in unit {other.unit}, when {one.word!r} is not all in",
                   f"unit {one.end // UNIT + 1} or later: two bytes go into a unit")  # fmt: skip


def _shown(case: Case, table: Table) -> Faults:
    frames = case.script.units * UNIT // FRAME
    for n, shown in enumerate(case.script.shown):
        yield from _beyond(f"script.shown[{n}].card", shown.card, 1, table.cards)
        if not 0 <= shown.start < shown.end <= frames:
            yield (f"script.shown[{n}] from frame {shown.start} to {shown.end}",
                   f"a start from 0 on and an end after it, at most {frames}")  # fmt: skip
        if not case.face:
            yield f"script.shown[{n}], a card, but face false", "face true: nobody is there to hold it"
    for one, other in pairwise(sorted(case.script.shown, key=lambda shown: shown.start)):
        if other.start < one.end:
            yield f"a card from frame {other.start} on, before the one until {one.end} is gone", "one card at a time"


def _answered(script: Script, table: Table, lengths: list[int]) -> Faults:
    """Commands whose answers nobody could give, or that would be scored as wrong though they were right."""
    for (end, word), (later, other) in pairwise(script.commands()):
        if later - end < APART:
            yield (f"the commands {word!r} and {other!r}, which end at {end} and {later}",
                   f"{APART} samples or more between them, for the first to be answered at all")  # fmt: skip
    for answer in plan_answers(script, table, lengths):
        units = -(-(answer.end + TAIL) // UNIT)
        if units > script.units:
            yield (f"script.units {script.units}, too few for an answer to {answer.word!r}, which ends at "
                   f"{answer.asked}", f"{units} or more, so that an answer that comes late is heard out")  # fmt: skip


def _room(room: Room) -> Faults:
    if room.noise not in NOISES:
        yield f"room.noise {room.noise!r}", f"one of {', '.join(NOISES)}"
    for name, (low, high) in ROOM_RANGES.items():
        value = getattr(room, name)
        none = value is None or (name == "reverb_seconds" and value == 0)
        for has, wanted in () if none else _beyond(f"room.{name}", value, low, high):
            yield has, wanted + (", or 0 for none" if name == "reverb_seconds" else "")


def _beyond(name: str, value: float, low: float, high: float) -> Faults:
    if not low <= value <= high:
        yield f"{name} {value}", f"{low} to {high}"


def _unknown(where: str, word: str, table: Table) -> Faults:
    if word not in table.words:
        yield f"{where} with the command {word!r}", f"one of the table's: {', '.join(table.words)}"


# ---- recordings ----


def _unheard(case: Case, folder: Path) -> Faults:
    """Recordings that cannot be played where they should: found now, and not after an hour of other cases."""
    for n, file in enumerate(case.recordings):
        if file:
            said = case.script.said[n]
            try:
                sound = read_wav(folder / file)
            except InputError as error:
                has, _, wanted = str(error).partition("; wanted ")
                yield f"recordings[{n}], for {said.word!r}: {has}", wanted
                return
            yield from _early(f"script.said[{n}]", said, len(sound))


def read_wav(path: Path) -> Sound:
    """A word in a 16-bit PCM WAV file, its channels mixed to one, at 16 kHz. InputError where it is something else."""
    try:
        if not path.is_file():  # a pipe would be waited for
            raise InputError(f"{path} {'is no file' if path.exists() else 'does not exist'}; wanted {WAV}")
        with wave.open(str(path)) as file:
            rate, channels, width, count = (
                file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()
            )  # fmt: skip
            if width != 2:
                raise InputError(f"{path} has {8 * width} bits; wanted {WAV}")
            if not RATES[0] <= rate <= RATES[1]:
                raise InputError(f"{path} has {rate} samples a second; wanted {RATES[0]} to {RATES[1]}")
            if count > rate * MOST_UNITS * UNIT // RATE:  # before it is read: a header may say anything
                raise InputError(f"{path} says it lasts {count / rate:.0f} s, longer than any case; wanted {WAV}")
            frames = file.readframes(count)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted {WAV}") from None
    except (EOFError, wave.Error):
        with path.open("rb") as raw:
            head = raw.read(12)
        known = head[:4] == b"RIFF" and head[8:] == b"WAVE"
        kind = "a WAV file, but cut short or not 16-bit PCM" if known else "no WAV file"
        raise InputError(f"{path} is {kind}; wanted {WAV}") from None
    if len(frames) < count * width * channels:
        raise InputError(f"{path} is cut short: it says {count} samples; wanted {WAV}")
    if count < SHORTEST * rate:
        raise InputError(
            f"{path} lasts {1000 * count / rate:.0f} ms; wanted a word of {1000 * SHORTEST:.0f} ms or more"
        )
    samples = (np.frombuffer(frames, "<i2").reshape(-1, channels).mean(1) / 32768).astype(np.float32)
    if np.ptp(samples) < SILENT:
        raise InputError(f"{path} is silent; wanted a word that can be heard")
    return np.asarray(samples if rate == RATE else soxr.resample(samples, rate, RATE), np.float32)
