"""Options of a command from a TOML file, as a service needs them.

Receives the words of the command line and the command's parser; hands on the words, and to the parser what the file of
``--config FILE`` says in place of its defaults, checked as argparse would: the command line has the last word.

Keys are the long options without their dashes (``mic = "USB Audio"``, ``no-aec = true``), and ``bundle``. Relative
paths are relative to the file's folder, because a service has no other place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_streamer.runtime.commands.ends import End
from edge_streamer.runtime.commands.parser import Each, actions_of, nearest
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health.places import Place

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPTION = "--config"


def with_config(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """``words``, having put the file's values into ``parser``. InputError that names the file and the key at fault."""
    path, actions = _named(words), _by_key(parser)
    if path is None or not any(OPTION in action.option_strings for action in actions_of(parser)):
        return list(words)
    values: dict[str, Any] = {}
    for key, value in _read(path).items():
        if key not in actions:
            close = nearest(key, actions)
            hint = f"did you mean {close}?" if close else f"there are: {', '.join(sorted(actions))}"
            raise InputError(f"{path}: there is no option {key!r}; {hint}")
        action = actions[key]
        if action.nargs != 0:
            values[action.dest] = _values(path, key, value, action)
        elif not isinstance(value, bool):
            raise InputError(f"{path}: {key} is {value!r}; wanted true or false")
        elif value:
            values[action.dest] = action.const
        action.required = action.required and action.dest not in values
    parser.set_defaults(**values)
    return list(words)


def _named(words: Sequence[str]) -> Path | None:
    for index, word in enumerate(words):
        if word == "--":
            break
        if word.startswith(f"{OPTION}="):
            return Path(word.partition("=")[2])
        if word == OPTION and index + 1 < len(words):
            return Path(words[index + 1])
    return None


def _by_key(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Key -> what argparse knows of it."""
    found: dict[str, argparse.Action] = {}
    for action in actions_of(parser):
        names = [name.removeprefix("--") for name in action.option_strings if name.startswith("--")]
        for name in names or [action.dest]:
            if name not in ("help", "config", "debug"):
                found[name] = action
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found: dict[str, Any] = tomllib.load(file)
            return found
    except OSError as error:
        raise InputError(f"{OPTION} {path}: {error.strerror}; name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML: {error}") from error


def _values(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    """What the option becomes: a list where it takes several words, or may be given several times."""
    if action.nargs not in ("+", "*") and not isinstance(action, Each):
        return _value(path, key, value, action)
    return [_value(path, key, one, action) for one in (value if isinstance(value, list) else [value])]


def _value(path: Path, key: str, value: Any, action: argparse.Action) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{path}: {key} is {value!r}; wanted a text or a number")
    try:
        found = action.type(str(value)) if callable(action.type) else str(value)
    except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {key}: {error}") from error
    if action.choices is not None and found not in action.choices:
        raise InputError(f"{path}: {key} is {value!r}; wanted one of {', '.join(map(str, action.choices))}")
    if isinstance(found, Path):
        return path.parent / found
    return found.placed(path.parent) if isinstance(found, End | Place) else found
