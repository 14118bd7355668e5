"""Options of a command from a TOML file, as a service needs them.

Receives the words of the command line and the command's parser; hands on the words with those of ``--config FILE`` put
before them, so that argparse checks both alike and the command line has the last word.

Keys are the long options without their dashes (``mic = "USB Audio"``, ``no-aec = true``), and ``bundle``. Relative
paths are relative to the file's folder, because a service has no other place.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_streamer.runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPTION = "--config"


def with_config(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """``words`` with the file's before them. InputError that names the file and the key at fault."""
    path = _named(words)
    if path is None or not _knows_config(parser):
        return list(words)
    actions = _actions(parser)
    found: list[str] = []
    positional: list[str] = []
    for key, value in _read(path).items():
        if key not in actions:
            close = difflib.get_close_matches(key, actions, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(sorted(actions))}"
            raise InputError(f"{path}: there is no option {key!r}; {hint}")
        action = actions[key]
        if action.option_strings:
            found += _option_words(path, key, value, action)
        elif not _has_positional(parser, words):
            positional.append(_text(path, key, value, action))
    return [*found, *words, *positional]


def _named(words: Sequence[str]) -> Path | None:
    for index, word in enumerate(words):
        if word == "--":
            break
        if word.startswith(f"{OPTION}="):
            return Path(word.partition("=")[2])
        if word == OPTION and index + 1 < len(words):
            return Path(words[index + 1])
    return None


def _knows_config(parser: argparse.ArgumentParser) -> bool:
    return any(OPTION in action.option_strings for action in parser._actions)


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Key -> what argparse knows of it."""
    found: dict[str, argparse.Action] = {}
    for action in parser._actions:
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


def _option_words(path: Path, key: str, value: Any, action: argparse.Action) -> list[str]:
    """An option as a word of the command line; checked by argparse here, where the file can still be named."""
    if action.nargs == 0:  # a switch
        if not isinstance(value, bool):
            raise InputError(f"{path}: {key} is {value!r}; wanted true or false")
        return [f"--{key}"] if value else []
    return [f"--{key}={_text(path, key, value, action)}"]


def _text(path: Path, key: str, value: Any, action: argparse.Action) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{path}: {key} is {value!r}; wanted a text or a number")
    text = _placed(path, str(value), action)
    try:
        checked = action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {key}: {error}") from error
    if action.choices is not None and checked not in action.choices:
        raise InputError(f"{path}: {key} is {value!r}; wanted one of {', '.join(map(str, action.choices))}")
    return text


def _placed(path: Path, text: str, action: argparse.Action) -> str:
    """A relative path from the file's folder; anything else as it is."""
    if text == "none" or not callable(action.type):
        return text
    is_path = action.type is Path or getattr(action.type, "gives_path", False)
    if not is_path and not (getattr(action.type, "may_be_path", False) and (path.parent / text).is_file()):
        return text
    return str(path.parent / text)


def _has_positional(parser: argparse.ArgumentParser, words: Sequence[str]) -> bool:
    """Whether the command line already names what the file names (the bundle)."""
    takes_value = {name for action in parser._actions if action.nargs != 0 for name in action.option_strings}
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in takes_value:
            skip = True
        elif not word.startswith("-"):
            return True
    return False
