"""What happens in a scene, and what the agent should make of it.

Receives a :class:`Script` (who says, shows and types what, and when); hands on the :class:`Intent` of the agent: what
it says and from which sample to which, and per unit and frame its state, words, picture and mouth. The rules here are
the whole behaviour of the toy world; training teaches them and the evaluation holds a model against them.

Time is counted in samples of 16 kHz from the scene's start, unit k from sample ``k * 2560``, four frames a unit::

    user      ...weather|                                 (the word ends at sample e)
    agent               |<- 160 ms ->|it is sunny and warm.|
                        e            s = e + 2560, rounded up to 40 ms: anywhere inside a unit
    state      L    L    L    S    S    S    S    S    L    speaking at the unit's end
    words                     i    t_i  s_s  unn  ...       three bytes a unit, fewer where the sound starts or is cut

A command cuts the answer that is being spoken at its own s; ``stop`` only cuts. The rules are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.evaluation.world.table import Table

RATE = 16000
UNIT = 2560
"""Samples in a unit."""
FRAME = 640
"""Samples in a frame."""
GRID = 640
"""Answers start on multiples of 40 ms, a frame and a token of the voice: on one of four places inside a unit. On 20 ms
the voice has twice as many forms to be learnt."""
FADE = 160
"""Samples over which an answer that is cut falls silent: 10 ms, so that it does not click."""
TEXT_SLOTS = 3
"""Bytes of text a unit."""
CUT_MARK = "-\n"
"""Follows the words of an answer that was cut short; a whole answer ends with a line end."""

Kind = Literal["command", "other"]


@dataclass(frozen=True)
class Said:
    """A word of the user, or of somebody near."""

    word: str
    end: int
    """Sample after its last one: where the word ends."""
    kind: Kind
    """``command``: the agent is meant and knows the word. ``other``: anything else, to be ignored."""
    gain: float = 1.0
    """Loudness against the scene's speech level; a voice in the background has less."""


@dataclass(frozen=True)
class Typed:
    """A command that is typed: its bytes and a line end go into the units from ``unit`` on, two a unit."""

    word: str
    unit: int

    @property
    def end(self) -> int:
        """The agent answers as if a word had ended at the start of the unit that holds the last byte."""
        return (self.unit + len(self.word) // 2) * UNIT


@dataclass(frozen=True)
class Shown:
    """A coloured card before the camera."""

    card: int
    """1, 2, ... as in the table's colours."""
    start: int
    """Frame."""
    end: int
    """Frame after the last one."""


@dataclass(frozen=True)
class Script:
    """All events of a scene."""

    units: int
    said: tuple[Said, ...] = ()
    typed: tuple[Typed, ...] = ()
    shown: tuple[Shown, ...] = ()

    def commands(self) -> list[tuple[int, str]]:
        """(sample at which it ends, word) of every command, said or typed, in order of time."""
        said = [(s.end, s.word) for s in self.said if s.kind == "command"]
        return sorted(said + [(t.end, t.word) for t in self.typed])


@dataclass(frozen=True)
class Answer:
    """One answer of the agent."""

    phrase: int
    start: int
    """Sample."""
    end: int
    """Sample after the last one; before the phrase's own end where it was cut."""
    word: str
    """The command it answers."""
    asked: int
    """Sample where that command ended."""
    cut: bool = False


@dataclass
class Intent:
    """What the agent should do."""

    answers: list[Answer]
    samples: NDArray[np.float32]
    """[units * 2560]"""
    speaking: NDArray[np.bool_]
    """[units]"""
    text: list[bytes]
    """Per unit, at most three bytes."""
    icon: NDArray[np.int64]
    """[units * 4]"""
    mouth: NDArray[np.float32]
    """[units * 4]"""
    turns: list[int] = field(default_factory=list)
    """Units in which an answer starts."""


def direct(script: Script, table: Table, phrases: list[NDArray[np.float32]]) -> Intent:
    """The agent's part of ``script``. ``phrases``: the recordings of ``table.phrases`` in the agent's voice."""
    answers = plan_answers(script, table, [len(p) for p in phrases])
    samples = np.zeros(script.units * UNIT, np.float32)
    for answer in answers:
        sound = phrases[answer.phrase][: answer.end - answer.start].copy()
        if answer.cut:
            fade = min(FADE, len(sound))
            sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        part = samples[answer.start : answer.start + len(sound)]
        part += sound[: len(part)]
    icon = np.zeros(script.units * 4, np.int64)
    for answer in answers:
        icon[answer.start // FRAME : -(-answer.end // FRAME)] = answer.phrase + 1
    ends = (np.arange(script.units) + 1) * UNIT
    speaking = np.zeros(script.units, np.bool_)
    for answer in answers:
        speaking |= (answer.start < ends) & (ends <= answer.end)
    return Intent(
        answers, samples, speaking, spell(script.units, answers, table), icon, mouth_of(samples),
        [a.start // UNIT for a in answers if a.start // UNIT < script.units],
    )  # fmt: skip


def start_after(end: int) -> int:
    """Where the answer to a word that ends at ``end`` starts: one unit later, on the grid."""
    return -(-(end + UNIT) // GRID) * GRID


def plan_answers(script: Script, table: Table, lengths: list[int]) -> list[Answer]:
    """All answers in order of time; ``lengths`` of the phrases in samples."""
    answers: list[Answer] = []
    for end, word in script.commands():
        start = start_after(end)
        if answers and answers[-1].end > start:
            last = answers[-1]
            answers[-1] = Answer(last.phrase, last.start, start, last.word, last.asked, cut=True)
        if word == table.stop:
            continue
        phrase = _phrase(word, start, table, script, answers)
        answers.append(Answer(phrase, start, start + lengths[phrase], word, end))
    return answers


def _phrase(word: str, start: int, table: Table, script: Script, answers: list[Answer]) -> int:
    """Which phrase answers ``word`` at ``start``."""
    known = table.phrase_of(word)
    if known is not None:
        return known
    if word == table.recall.word:
        seen = [s for s in script.shown if s.start * FRAME + 2 * UNIT < start]
        return table.phrase_of_card(max(seen, key=lambda s: s.start).card if seen else 0)
    return answers[-1].phrase if answers else len(table.phrases) - 1


def spell(units: int, answers: list[Answer], table: Table) -> list[bytes]:
    """What the text slots say, unit by unit.

    Words keep pace with the sound: an answer that starts late in a unit has less text in it, at the last of the four
    places none, and one that is cut early in a unit has less of its own before the mark. So the words, which are
    chosen before the sound is made, say where in the unit it starts or ends; a solver of few steps cannot choose
    between four voices by itself, it says all of them at once.
    """
    text, waiting = [], b""
    starts = {a.start // UNIT: a for a in answers}
    cuts = {a.end // UNIT: a for a in answers if a.cut}
    for unit in range(units):
        room, marked = TEXT_SLOTS, unit in cuts and bool(waiting)
        if marked:
            waiting = waiting[: TEXT_SLOTS - _room(cuts[unit].end)] + CUT_MARK.encode()
        if unit in starts:
            if not marked:
                waiting, room = b"", _room(starts[unit].start)
            waiting += (table.phrases[starts[unit].phrase] + "\n").encode()
        text.append(waiting[:room])
        waiting = waiting[room:]
    return text


def _room(sample: int) -> int:
    """Bytes that the rest of its unit has room for after ``sample``."""
    return TEXT_SLOTS * (UNIT - sample % UNIT) // UNIT


def mouth_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far the mouth opens per frame: the voice's loudness, 0..1."""
    rms = np.sqrt(np.mean(np.square(samples.reshape(-1, FRAME)), 1))
    opening: NDArray[np.float32] = np.clip(np.sqrt(rms / 0.2), 0.0, 1.0).astype(np.float32)
    return opening


def typed_text(script: Script) -> dict[int, str]:
    """Unit -> what is typed in it."""
    return {t.unit: f"{t.word}\n" for t in script.typed}
