"""The shipped scenarios, written from left to right, one function a kind.

Receives a generator, the table, held-out recordings and the lengths of the agent's phrases; hands on a script, a room
and a condition. In Full-Duplex-Bench's words: ``smooth`` and ``noisy`` are smooth turn-taking, ``pause`` is pause
handling, ``interruption`` and ``stop`` user interruption, then user ``backchannel``, talking to ``others``,
``background`` speech; our own are ``silence``, ``noise``, ``echo``, ``recall``, ``again`` and ``typed``.

Every scene explains itself: a repeat follows an answer of the same scene, a question for a colour follows a card. So
scenes can be played one after the other without a reset, and the intent stays right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from edge_streamer.runtime.evaluation.world.assets import HeldOut
from edge_streamer.runtime.evaluation.world.script import (
    FRAME,
    RATE,
    UNIT,
    Answer,
    Said,
    Script,
    Shown,
    Typed,
    plan_answers,
)
from edge_streamer.runtime.evaluation.world.sound import NOISES, Room
from edge_streamer.runtime.evaluation.world.table import Table

ORDER = (
    "smooth", "noisy", "recall", "pause", "interruption", "stop", "silence", "again", "recall", "background",
    "backchannel", "others", "echo", "noise", "noisy", "smooth", "recall", "again", "stop", "interruption",
    "typed",
)  # fmt: skip
DISTANCES = (4, 1, 8, 2, 6)
"""Seconds from a card's first frame to the end of the question for it."""
QUIET_UNITS = 70
"""Of scenes in which nothing is asked."""
TAIL = RATE
"""Samples after the last answer."""


@dataclass
class Draft:
    """A scene in the making."""

    rng: np.random.Generator
    table: Table
    held_out: HeldOut
    lengths: list[int]
    """Of the agent's phrases, in samples."""
    said: list[Said] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    typed: list[Typed] = field(default_factory=list)
    condition: str = "clean"
    face: bool = True

    def __post_init__(self) -> None:
        self.room = Room(
            gain=float(10 ** self.rng.uniform(-0.4, 0.3)),
            reverb_seconds=0.0 if self.rng.random() < 0.6 else float(self.rng.uniform(0.1, 0.4)),
            tilt=float(self.rng.uniform(-0.4, 0.4)),
        )

    def seconds(self, low: float, high: float) -> int:
        """So many seconds, in samples."""
        return int(self.rng.uniform(low, high) * RATE)

    def answers(self) -> list[Answer]:
        """What the agent should say so far."""
        so_far = Script(1, tuple(self.said), tuple(self.typed), tuple(self.shown))
        return plan_answers(so_far, self.table, self.lengths)

    @property
    def quiet(self) -> int:
        """The sample from which nobody says anything."""
        return max([0, *(s.end for s in self.said), *(a.end for a in self.answers())])

    def length(self, word: str) -> int:
        """Samples of the longest recording of ``word``."""
        return max(len(one.sound) for one in self.held_out.by_word[word])

    def say(self, word: str, end: int, gain: float = 1.0) -> int:
        """``word`` so that it ends at sample ``end``."""
        kind = self.held_out.unknown
        self.said.append(Said(word, end, "other" if word in kind else "command", gain))
        return end

    def ask(self, word: str, pause: float = 0.3) -> int:
        """``word`` when all is quiet, after ``pause`` seconds or some more."""
        return self.say(word, self.quiet + self.length(word) + self.seconds(pause, pause + 0.9))

    def command(self) -> str:
        """A command with one answer."""
        return str(self.rng.choice(list(self.table.answers)))

    def unknown(self, longest: float = 9.0) -> str:
        """A word that is no command, at most so many seconds long."""
        short = [word for word in self.held_out.unknown if self.length(word) <= longest * RATE]
        return str(self.rng.choice(short))

    def within(self, early: float, late: float) -> int:
        """A sample inside the last answer: so many seconds after its start, so many before its end."""
        last = self.answers()[-1]
        return int(self.rng.integers(last.start + int(early * RATE), last.end - int(late * RATE)))

    def card(self, start: int) -> int:
        """Show a card for 0.6 to 2 seconds from sample ``start`` on; returns its first sample."""
        first = start // FRAME
        self.shown.append(
            Shown(int(self.rng.integers(1, self.table.cards + 1)), first, first + int(self.rng.integers(15, 51)))
        )
        return first * FRAME

    def script(self) -> Script:
        """The whole scene."""
        units = -(-(self.quiet + TAIL) // UNIT) if self.said or self.typed else QUIET_UNITS
        said = tuple(sorted(self.said, key=lambda s: s.end))
        return Script(units, said, tuple(self.typed), tuple(self.shown))


def smooth(draft: Draft, turn: int) -> None:
    """A command, its answer, some silence; four times."""
    for _ in range(4):
        draft.ask(draft.command())


def noisy(draft: Draft, turn: int) -> None:
    """The same, with noise 10 dB below the words."""
    noise = NOISES[turn % len(NOISES)]
    draft.condition, draft.room = f"10 dB {noise}", replace(draft.room, snr_db=10.0, noise=noise)
    smooth(draft, turn)


def echo(draft: Draft, turn: int) -> None:
    """The same, with the agent's own voice in the microphone."""
    level = float(draft.rng.uniform(-30, -18))
    draft.condition = f"echo {level:.0f} dB"
    draft.room = replace(draft.room, echo_db=level, echo_delay=int(draft.rng.integers(80, 800)))
    smooth(draft, turn)


def pause(draft: Draft, turn: int) -> None:
    """A filler, a pause of 0.4 to 1 s, then the command; three times."""
    for _ in range(3):
        filler, word = draft.unknown(0.9), draft.command()
        end = draft.ask(filler)
        draft.say(word, end + draft.seconds(0.4, 1.0) + draft.length(word))


def interruption(draft: Draft, turn: int) -> None:
    """Another command during the answer; twice."""
    for _ in range(2):
        draft.ask(draft.command())
        draft.say(draft.command(), draft.within(0.6, 0.3))


def stop(draft: Draft, turn: int) -> None:
    """``stop`` during the answer; three times."""
    for _ in range(3):
        draft.ask(draft.command())
        draft.say(draft.table.stop, draft.within(0.5, 0.35))


def backchannel(draft: Draft, turn: int) -> None:
    """A short word that means nothing during the answer; three times."""
    for _ in range(3):
        draft.ask(draft.command())
        draft.say(draft.unknown(0.75), draft.within(0.45, 0.3), float(draft.rng.uniform(0.5, 1.0)))


def others(draft: Draft, turn: int) -> None:
    """Speech that is not meant for the agent, all the time."""
    end = 0
    while end < 10 * RATE:
        word = draft.unknown()
        end = draft.say(word, end + draft.length(word) + draft.seconds(0.15, 0.9), float(draft.rng.uniform(0.6, 1.2)))


def background(draft: Draft, turn: int) -> None:
    """Faint speech behind; alone every second time, else with commands before it."""
    draft.condition = ("under commands", "alone")[turn % 2]
    if turn % 2 == 0:
        for _ in range(3):
            draft.ask(draft.command())
    last, end = max(draft.quiet, 10 * RATE), 0
    while end < last:
        word = draft.unknown()
        end = draft.say(word, end + draft.length(word) + draft.seconds(0.1, 0.7), float(draft.rng.uniform(0.06, 0.18)))


def silence(draft: Draft, turn: int) -> None:
    """Nothing; every second time with nobody there."""
    draft.face = turn % 2 == 0
    draft.condition = "somebody there" if draft.face else "nobody there"


def noise(draft: Draft, turn: int) -> None:
    """Noise alone."""
    kind = NOISES[turn % len(NOISES)]
    draft.condition, draft.room = kind, replace(draft.room, snr_db=float(draft.rng.uniform(6, 20)), noise=kind)


def recall(draft: Draft, turn: int) -> None:
    """A card, and 1 to 8 s after its first frame the question for it; short ones come in pairs."""
    word, distance = draft.table.recall.word, DISTANCES[turn % len(DISTANCES)]
    draft.condition = f"{distance} s"
    for seconds in (distance, 1 if distance == 2 else 2) if distance <= 4 else (distance,):
        start = draft.card(draft.quiet + draft.seconds(0.3, 0.8))
        asked = max(start + seconds * RATE, draft.quiet + draft.length(word))
        if seconds >= 6:  # something is said in between, so that the question is no mere echo
            between = draft.command()
            draft.say(between, start + draft.length(between) + draft.seconds(0.2, 0.9))
        draft.say(word, asked)


def typed(draft: Draft, turn: int) -> None:
    """Commands that are typed; three times."""
    for _ in range(3):
        draft.typed.append(Typed(draft.command(), (draft.quiet + draft.seconds(0.3, 1.2)) // UNIT))


def again(draft: Draft, turn: int) -> None:
    """A command, and up to 8 s after its answer's start the wish to hear it once more."""
    draft.ask(draft.command())
    for _ in range(2):
        last = draft.answers()[-1]
        longest = 8.0 - (last.end - last.start + draft.length(draft.table.again)) / RATE
        draft.say(draft.table.again, draft.quiet + draft.length(draft.table.again) + draft.seconds(0.2, longest / 2))


DRAFTS: dict[str, Callable[[Draft, int], None]] = {
    "smooth": smooth, "noisy": noisy, "echo": echo, "pause": pause, "interruption": interruption, "stop": stop,
    "backchannel": backchannel, "others": others, "background": background, "silence": silence, "noise": noise,
    "recall": recall, "again": again, "typed": typed,
}  # fmt: skip
