"""Finds out whether files may be written before anything is opened.

Receives what will be written and what will be read, by option; hands on nothing, or an InputError that names the
options at fault.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

from edge_streamer.runtime.claims import sweep
from edge_streamer.runtime.errors import InputError

SUFFIXES = {"--speaker": ".wav", "--display": ".mp4", "--side-by-side": ".mp4"}
"""Players choose by the name, so a name that promises another format is refused."""


BUNDLE = "BUNDLE"
"""The input that has no option, and may be a folder."""


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Every output is a file in a folder that exists, no two are the same, and none is (or lies in) an input.

    Only a bundle may be a folder: any other input that is one is refused here, where its option is known. What a killed
    run left in the outputs' folders goes, or is completed: its files may be inputs of this one.
    """
    sweep(*{path.parent for path in outputs.values()})
    for option, source in inputs.items():
        if option != BUNDLE and os.path.isdir(source):
            raise InputError(f"{option} {source} is a folder; name a file")
    for option, path in outputs.items():
        _check_place(option, path)
        for other, source in inputs.items():
            if _same(path, source):
                raise InputError(f"{option} and {other} are the same file, {path}; name another output")
            check_outside(option, path, other, source)
    check_distinct(outputs)


def check_distinct(outputs: Mapping[str, Path]) -> None:
    """No two of ``outputs`` are the same."""
    for (first, path), (second, other_path) in combinations(outputs.items(), 2):
        if _same(path, other_path):
            raise InputError(f"{first} and {second} are the same file, {path}; name two")


def check_outside(option: str, path: Path, other: str, source: Path) -> None:
    """``path`` does not lie in the folder ``source``: a bundle with a file more than it lists is refused by everything
    that opens it."""
    if os.path.isdir(source) and path.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{option} {path} lies inside {other} {source}, which must not change; name another")


def _check_place(option: str, path: Path) -> None:
    wanted = SUFFIXES.get(option)
    if wanted and path.suffix.lower() != wanted:
        raise InputError(f"{option} {path}: wanted a name that ends in {wanted}")
    if not os.path.isdir(path.parent):
        raise InputError(f"{option} {path}: the folder {path.parent} does not exist; make it first")
    mode = _mode(option, path)
    if stat.S_ISDIR(mode):
        raise InputError(f"{option} {path} is a folder; name a file")
    if not stat.S_ISREG(mode):
        raise InputError(f"{option} {path} is not a regular file (a device or a pipe); name a file")
    if not os.access(path.resolve().parent, os.W_OK):
        raise InputError(f"{option} {path}: the folder {path.parent} cannot be written to; name another place")


def _mode(option: str, path: Path) -> int:
    """What ``path`` is; a regular file where there is nothing yet. InputError for a name that no file can have."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return stat.S_IFREG
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}; name another file") from error


def _same(one: Path, other: Path) -> bool:
    if os.path.exists(one) and os.path.exists(other):
        return one.samefile(other)
    return one.resolve() == other.resolve()
