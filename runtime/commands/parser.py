"""A parser of words that refuses in one line: everything that is wrong at once, and the nearest right word.

Receives the words of the command line; hands on what argparse makes of them, or ends the program with status 2.

Choices: argparse stops at the first value that it cannot use. Two of its methods are wrapped so that it goes on and
every such value is told; where another version of it calls them no more, the first one is told, as it does itself.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NoReturn

INPUT_UNUSABLE = 2
NUMBERS = {"float": "no number", "int": "no whole number"}
"""What argparse calls by Python's types, in words."""
_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every other error of this project, and does so itself where it is a command's: argparse
    leaves unknown words to the parser above, which knows other options."""

    _words: Sequence[str] = ()
    _faults: tuple[str, ...] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        self._words, self._faults = list(sys.argv[1:] if args is None else args), ()
        known, unknown = super().parse_known_args(args, namespace)
        unknown = self._gathered(known, unknown)
        if unknown or self._faults:
            self._refuse(unknown, self._faults)
        return known, unknown

    def _gathered(self, known: argparse.Namespace, unknown: list[str]) -> list[str]:
        """Words of a list that came after an option too, which argparse leaves over; returns what is left."""
        lists = [action for action in actions_of(self) if action.nargs == "*" and not action.option_strings]
        if len(lists) != 1 or lists[0].type or lists[0].choices or any(word.startswith("-") for word in unknown):
            return unknown
        setattr(known, lists[0].dest, [*(getattr(known, lists[0].dest) or ()), *unknown])
        return []

    def error(self, message: str) -> NoReturn:
        self._refuse(self._unknown(), (*self._faults, message))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            self._faults += (str(error),)
            return None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if value is None or action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        close = nearest(str(value), choices)
        hint = f"; did you mean {close!r}?" if close else ""
        wrong = f"invalid choice: {value!r} (choose from {', '.join(choices)}{hint})"
        error = argparse.ArgumentError(action, wrong)
        if action.nargs == argparse.PARSER:  # a command, without which nothing can go on
            raise error
        self._faults += (str(error),)

    def _unknown(self) -> list[str]:
        """Words that look like options and are none; of a parser of commands those before the command."""
        actions = actions_of(self)
        names = [name for action in actions for name in action.option_strings]
        words: Iterable[str] = takewhile(lambda word: word != "--", self._words)
        if any(action.nargs == argparse.PARSER for action in actions):
            words = takewhile(lambda word: word.startswith("-"), words)
        heads = [(word, word.partition("=")[0]) for word in words if _OPTION.fullmatch(word)]
        return [word for word, head in heads if not any(name.startswith(head) for name in names)]

    def _hinted(self, word: str) -> str:
        """An unknown word, with the option that was meant."""
        names = {name.lstrip("-"): name for action in actions_of(self) for name in action.option_strings}
        close = nearest(word.partition("=")[0].lstrip("-"), names) if word.startswith("-") else None
        return word if close is None else f"{word} (did you mean {names[close]}?)"

    def _refuse(self, unknown: Sequence[str], faults: Sequence[str]) -> NoReturn:
        first = [f"unrecognized arguments: {' '.join(map(self._hinted, unknown))}"] if unknown else []
        said = "; ".join([*first, *map(_in_words, faults)])
        self.exit(INPUT_UNUSABLE, f"edge-streamer: {' '.join(said.split())}; see {self.prog} --help\n")


class Each(argparse.Action):
    """An option that may be given more than once: a list. The first one on the command line takes the place of what a
    file of options says."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, _Said([*(before if isinstance(before, _Said) else ()), values]))


class _Said(list[Any]):
    """What came from the command line."""


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """All that a parser takes; argparse has no public way to ask, and this is the one place that asks."""
    return parser._actions


def nearest(word: str, known: Iterable[str] | Mapping[str, object]) -> str | None:
    """The known word that ``word`` was probably meant to be."""
    import difflib  # only where something is wrong

    return next(iter(difflib.get_close_matches(word, list(known), 1)), None)


def _in_words(fault: str) -> str:
    return re.sub(r"invalid (float|int) value: (.*)", lambda found: f"{found[2]} is {NUMBERS[found[1]]}", fault)
