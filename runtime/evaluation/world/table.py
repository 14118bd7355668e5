"""Commands and answers of the toy world, read from a table that a user can edit.

Receives a JSON file (``runtime/embedded/scenes/commands.json`` is the shipped one); hands on :class:`Table`: which
words are commands, and the phrases that answer them, numbered. Training, the scenes and the evaluation all read the
same table, so a changed one needs nothing but a new training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from edge_streamer.runtime.errors import InputError

SHIPPED = Path(__file__).parents[2] / "embedded" / "scenes" / "commands.json"
LONGEST_TEXT = 32
"""Bytes of an answer: three a unit while it is spoken."""

Word = Annotated[str, msgspec.Meta(pattern="^[a-z]+( [a-z]+)*$", max_length=24)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TEXT)]


class Recall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question about what the camera saw."""

    word: Word
    answers: dict[str, Text]
    """Colour of the card that was shown -> answer; red, green, blue, yellow."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the agent understands and says."""

    answers: dict[Word, Text]
    recall: Recall
    again: Word
    """Repeats the last answer."""
    stop: Word
    """Ends an answer."""
    nothing: Text
    """Said when there is nothing to repeat or to recall."""

    @property
    def words(self) -> tuple[str, ...]:
        """All commands, in a fixed order."""
        return (*self.answers, self.recall.word, self.again, self.stop)

    @property
    def phrases(self) -> tuple[str, ...]:
        """All that the agent can say, in a fixed order: answers, colours, nothing."""
        return (*self.answers.values(), *self.recall.answers.values(), self.nothing)

    def phrase_of(self, word: str) -> int | None:
        """The number of the phrase that always answers ``word``; None where history decides."""
        return list(self.answers).index(word) if word in self.answers else None

    def phrase_of_card(self, card: int) -> int:
        """The phrase that names card 1, 2, ...; 0 is no card."""
        return len(self.phrases) - 1 if card == 0 else len(self.answers) + card - 1

    @property
    def cards(self) -> int:
        """How many colours there are."""
        return len(self.recall.answers)

    def shown(self) -> dict[str, str]:
        """word -> what it is answered with, for people."""
        colours = " / ".join(self.recall.answers.values())
        special = {self.recall.word: colours, self.again: "(the last answer once more)", self.stop: ""}
        return {**self.answers, **special}


def read_table(path: Path = SHIPPED) -> Table:
    """The table in ``path``. InputError that names what is wrong with it."""
    try:
        table = msgspec.json.decode(path.read_bytes(), type=Table)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted a table of commands") from None
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a table of commands ({error}); start from {SHIPPED}") from None
    doubled = {word for word in table.words if table.words.count(word) > 1}
    if doubled or len(set(table.phrases)) < len(table.phrases):
        raise InputError(f"{path}: every command and every answer must occur once ({', '.join(sorted(doubled))})")
    if tuple(table.recall.answers) != ("red", "green", "blue", "yellow"):
        raise InputError(f"{path}: recall names {', '.join(table.recall.answers)}; wanted red, green, blue, yellow")
    if not 1 <= len(table.answers) <= 9:
        raise InputError(f"{path}: {len(table.answers)} answers; wanted 1 to 9, as many as there are pictures")
    return table
