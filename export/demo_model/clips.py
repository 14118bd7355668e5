"""Training scenes: conversations drawn at random.

Receives a generator, a table and words that are no commands; hands on scripts (`runtime/evaluation/world/script.py`) in
which everything that the demo model must learn happens: questions, answers, interruptions, words to be ignored, cards,
recall after up to nine seconds, repeats, typed commands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_streamer.runtime.evaluation.world.script import FRAME, RATE, UNIT, Said, Script, Shown, Typed, start_after
from edge_streamer.runtime.evaluation.world.table import Table

REACH = int(8.6 * RATE)
"""Samples after which nothing is asked back any more: a little less than the main ring's window allows."""


@dataclass
class Writer:
    """Writes one script from left to right."""

    rng: np.random.Generator
    table: Table
    others: tuple[str, ...]
    lengths: list[int]
    """Of the phrases, in samples."""
    units: int
    shown: tuple[Shown, ...] | None = None
    """The cards; None draws some."""
    spoken_into: float = 0.6
    """Share of long answers during which somebody says something."""

    def __post_init__(self) -> None:
        self.said: list[Said] = []
        self.typed: list[Typed] = []
        self.cards = self._cards() if self.shown is None else self.shown
        self.speaking_until = 0
        self.last: tuple[int, int] | None = None  # phrase and start of the last answer
        self.at = int(self.rng.uniform(0.7, 2.2) * RATE)  # where the next word ends

    def _cards(self) -> tuple[Shown, ...]:
        """One or two cards, in most clips."""
        cards: list[Shown] = []
        frames, start = self.units * 4, int(self.rng.integers(2, 60))
        while self.rng.random() < 0.75 and start < frames - 12 and len(cards) < 3:
            end = start + int(self.rng.integers(14, 60))
            cards.append(Shown(int(self.rng.integers(1, self.table.cards + 1)), start, min(end, frames)))
            start = end + int(self.rng.integers(20, 140))
        return tuple(cards)

    def write(self) -> Script:
        """The whole script."""
        while self.at < self.units * UNIT - RATE // 4:
            speaking = self.at < self.speaking_until
            self._ignored() if self.rng.random() < (0.4 if speaking else 0.28) else self._command(speaking)
            self.at += self._gap()
        return Script(self.units, tuple(self.said), tuple(self.typed), self.cards)

    def _gap(self) -> int:
        """Samples to the next word's end: during the answer, or some time after it."""
        left, soon = self.speaking_until - self.at, int(self.rng.uniform(0.75, 1.6) * RATE)
        if left > RATE and self.rng.random() < self.spoken_into:
            return soon
        return max(left, 0) + int((0.65 + self.rng.exponential(0.9)) * RATE)

    def _ignored(self) -> None:
        """Something that nobody should answer, maybe far away, maybe going on for a while."""
        gain = 1.0 if self.rng.random() < 0.6 else float(10 ** self.rng.uniform(-1.0, 0.2))
        for _ in range(1 + int(self.rng.random() < 0.3)):
            self.said.append(Said(str(self.rng.choice(self.others)), self.at, "other", gain))
            self.at += int(self.rng.uniform(0.6, 1.1) * RATE)

    def _command(self, speaking: bool) -> None:
        word = self._word(speaking)
        if not speaking and self.rng.random() < 0.06:
            typed = Typed(word, self.at // UNIT)
            self.typed.append(typed)
            self.at = end = typed.end
        else:
            self.said.append(Said(word, self.at, "command", float(10 ** self.rng.uniform(-0.25, 0.15))))
            end = self.at
        start = start_after(end)
        if word == self.table.stop:
            self.speaking_until = 0
            return
        phrase = self._phrase(word, start)
        self.last, self.speaking_until = (phrase, start), start + self.lengths[phrase]

    def _word(self, speaking: bool) -> str:
        """Any command that has one right answer now."""
        if self.rng.random() < (0.3 if speaking else 0.05):
            return self.table.stop
        draw = self.rng.random()
        if draw < 0.35 and self._recallable():
            return self.table.recall.word
        if 0.35 < draw < (0.6 if self.last else 0.4) and (self.last is None or self.at - self.last[1] < REACH):
            return self.table.again
        return str(self.rng.choice(list(self.table.answers)))

    def _recallable(self) -> bool:
        """Whether a question for the colour has an answer that no one could call wrong."""
        begun = [s.start * FRAME for s in self.cards if s.start * FRAME < self.at + 3 * UNIT]
        if not begun:
            return bool(self.rng.random() < 0.15)
        newest = max(begun)
        sure = self.at - newest > 3 * UNIT and self.at - newest < REACH
        return sure

    def _phrase(self, word: str, start: int) -> int:
        known = self.table.phrase_of(word)
        if known is not None:
            return known
        if word == self.table.again:
            return len(self.lengths) - 1 if self.last is None else self.last[0]
        seen = [s for s in self.cards if s.start * FRAME + 2 * UNIT < start]
        return self.table.phrase_of_card(seen[-1].card if seen else 0)
