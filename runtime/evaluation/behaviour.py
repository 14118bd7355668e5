"""What the agent did, against what it should have done: words, turns, stops.

Receives a scene and a recording; hands on one :class:`Question` for every command that wants an answer, one
:class:`Halt` for every ``stop``, and where it spoke unasked. Pure functions; the rules are in docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.ear import AUDIBLE, HOP, Ear, Reply, loudness
from edge_streamer.runtime.evaluation.runner import Recording
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import FRAME, RATE, UNIT, Answer

LATEST = 6
"""Units after the one in which a word ends: what begins later is no answer to it."""
PATIENCE = 2
"""Units without text after which an utterance is over, whether or not a line end came."""
HUSH = 10
"""Hops of silence, 100 ms, that count as having stopped."""
WORD = int(0.6 * RATE)
"""About the length of a word."""

Verdict = Literal["right", "wrong", "missed"]


@dataclass(frozen=True)
class Utterance:
    """A line of the agent's words."""

    unit: int
    """In which it begins."""
    text: str
    cut: bool
    """It ends with the mark of an answer that was cut."""


@dataclass(frozen=True)
class Question:
    """A command that wants an answer, and what became of it."""

    word: str
    unit: int
    wanted: str
    came: str
    verdict: Verdict
    cut: bool
    """Another command cuts its answer."""
    state_ms: float | None
    """From the word's end to the end of the first unit that speaks; None where it spoke already."""
    audible_ms: float | None
    """From the word's end to the first sound; None where something was still to be heard."""
    distance: float | None
    """Seconds since what must be remembered: a card's first frame, the start of the answer to be repeated."""
    reply: Reply | None
    """None where the answer was cut before half a second was said, or goes on beyond the scene."""
    phrase: int


@dataclass(frozen=True)
class Halt:
    """A ``stop`` during an answer."""

    spoke: bool
    """There was something to stop."""
    units: int
    """After the one in which the word ended that still speak."""
    audible_ms: float
    """From the word's end to the last sound."""


def utterances(text: list[str]) -> list[Utterance]:
    """The lines of the agent's words."""
    found: list[Utterance] = []
    line, begun, quiet = "", 0, 0
    for unit, words in enumerate(text):
        quiet = 0 if words else quiet + 1
        if line and quiet >= PATIENCE:
            found.append(_utterance(begun, line))
            line = ""
        for letter in words:
            if letter == "\n":
                if line:
                    found.append(_utterance(begun, line))
                line = ""
                continue
            begun = begun if line else unit
            line += letter
    return [*found, _utterance(begun, line)] if line else found


def _utterance(unit: int, line: str) -> Utterance:
    return Utterance(unit, line.removesuffix("-"), line.endswith("-"))


def active(recording: Recording) -> NDArray[np.bool_]:
    """[U] units in which it speaks or is heard; a pause of one unit does not end a turn."""
    loud = loudness(recording.samples).reshape(len(recording.text), -1).max(1) > 2 * AUDIBLE
    either = recording.speaking | loud
    either[1:-1] |= either[:-2] & either[2:]
    return np.asarray(either, np.bool_)


def unit_of(sample: int) -> int:
    """The unit in which a word ends that ends at ``sample``."""
    return (sample - 1) // UNIT


def unasked(scene: Scene, recording: Recording) -> list[int]:
    """Units in which it began to speak, or a line of words, with no command to explain it."""
    speaks = active(recording)
    starts = {int(k) for k in np.flatnonzero(speaks & ~np.concatenate([[False], speaks[:-1]]))}
    starts |= {said.unit for said in utterances(recording.text) if said.text}
    asked = [unit_of(answer.asked) for answer in scene.intent.answers]
    free = sorted(k for k in starts if not any(a <= k <= a + LATEST for a in asked))
    return [k for n, k in enumerate(free) if n == 0 or k - free[n - 1] > 3]


def questions(scene: Scene, recording: Recording, ear: Ear) -> list[Question]:
    """Every command that wants an answer."""
    lines, made = [u for u in utterances(recording.text) if u.text], []
    answers = scene.intent.answers
    for n, answer in enumerate(answers):
        asked = unit_of(answer.asked)
        after = unit_of(answers[n + 1].asked) if n + 1 < len(answers) else asked + LATEST + 1
        found = next((u for u in lines if asked <= u.unit <= min(asked + LATEST, after)), None)
        if found is not None:
            lines = lines[lines.index(found) + 1 :]
        made.append(_question(scene, recording, ear, answers, n, found))
    return made


def _question(
    scene: Scene, recording: Recording, ear: Ear, answers: list[Answer], n: int, found: Utterance | None
) -> Question:
    answer = answers[n]
    wanted = scene.world.table.phrases[answer.phrase]
    free = n == 0 or answers[n - 1].end <= answer.asked
    whole = answer.end <= len(recording.samples)
    reply = None
    if whole and answer.end - answer.start >= RATE // 2:
        length = answer.end - answer.start
        reply = ear.listen(recording.samples, scene.identity, answer.phrase, answer.start, length)
    return Question(
        word=answer.word, unit=unit_of(answer.asked), wanted=wanted, came=found.text if found else "",
        verdict=_verdict(wanted, answer.cut, found), cut=answer.cut,
        state_ms=_state_ms(recording, answer.asked) if free else None,
        audible_ms=_audible_ms(recording, answer.asked) if free else None,
        distance=_distance(scene, answers, n), reply=reply, phrase=answer.phrase,
    )  # fmt: skip


def _verdict(wanted: str, cut: bool, found: Utterance | None) -> Verdict:
    if found is None:
        return "missed"
    right = wanted.startswith(found.text) if cut else found.text == wanted
    return "right" if right else "wrong"


def _state_ms(recording: Recording, asked: int) -> float | None:
    first = unit_of(asked)
    if recording.speaking[max(first - 1, 0)]:
        return None
    speaks = np.flatnonzero(recording.speaking[first : first + LATEST + 1])
    return None if not len(speaks) else ((first + int(speaks[0]) + 1) * UNIT - asked) / RATE * 1000


def _audible_ms(recording: Recording, asked: int) -> float | None:
    first = -(-asked // HOP)
    heard = loudness(recording.samples) > AUDIBLE
    if heard[max(first - HUSH, 0) : first].any():
        return None
    loud = np.flatnonzero(heard[first : first + (LATEST + 1) * UNIT // HOP])
    return None if not len(loud) else ((first + int(loud[0])) * HOP - asked) / RATE * 1000


def _distance(scene: Scene, answers: list[Answer], n: int) -> float | None:
    answer, table = answers[n], scene.world.table
    if answer.word == table.again:
        return (answer.asked - answers[n - 1].start) / RATE if n else None
    if answer.word == table.recall.word:
        shown = [s.start * FRAME for s in scene.script.shown if s.start * FRAME < answer.asked]
        return (answer.asked - max(shown)) / RATE if shown else None
    return None


def halts(scene: Scene, recording: Recording) -> list[Halt]:
    """Every ``stop`` during an answer."""
    ends = [said.end for said in scene.script.said if said.word == scene.world.table.stop and said.kind == "command"]
    talking = [end for end in ends if any(a.start < end < a.end for a in scene.intent.answers)]
    return [_halt(recording, end) for end in talking]


def _halt(recording: Recording, end: int) -> Halt:
    unit = unit_of(end)
    silent = np.flatnonzero(~recording.speaking[unit:])
    still = int(silent[0]) if len(silent) else len(recording.speaking) - unit
    first = -(-end // HOP)
    quiet = loudness(recording.samples)[first:] < AUDIBLE
    enough = len(quiet) >= HUSH
    hushed = np.flatnonzero(np.convolve(quiet, np.ones(HUSH), "valid") >= HUSH - 0.5) if enough else quiet[:0]
    hops = int(hushed[0]) if len(hushed) else len(quiet)
    spoke = bool(recording.speaking[max(unit - 1, 0)])
    return Halt(spoke, max(still - 1, 0), ((first + hops) * HOP - end) / RATE * 1000)


def went_on(scene: Scene, recording: Recording) -> list[bool]:
    """For every word that means nothing during an answer: it spoke to the end of the answer, and began no other."""
    begun = [u.unit for u in utterances(recording.text)]
    found = []
    for said in scene.script.said:
        over = [a for a in scene.intent.answers if said.kind == "other" and a.start < said.end < a.end and not a.cut]
        for answer in over:
            heard, last = unit_of(said.end), answer.end // UNIT - 1
            new = any(max(heard, answer.start // UNIT + 1) < u <= last for u in begun)
            found.append(bool(recording.speaking[min(heard, last) : last + 1].all()) and not new)
    return found


def let_pass(scene: Scene, recording: Recording) -> list[bool]:
    """For every word that means nothing: no turn of the agent began in it or soon after."""
    free = unasked(scene, recording)
    others = [said.end for said in scene.script.said if said.kind == "other"]
    return [not any(unit_of(max(end - WORD, 1)) <= k <= unit_of(end) + LATEST for k in free) for end in others]
