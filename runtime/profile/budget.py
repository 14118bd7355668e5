"""Bounds that a profile must keep, from a file: what makes a run fail where it got slower.

Receives a TOML file whose tables are those of ``profile.json``, each number the most that is allowed; hands on
:class:`Bound`, and the lines of those that are broken::

    [unit]
    p99 = 120
    [misses]
    count = 0
    [memory]
    peak_resident_mb = 900
    [sections."unit/camera".ms]
    p95 = 5
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import read_small
from edge_streamer.runtime.profile.report import Profile

MOST_BYTES = 1_000_000


class Bound(NamedTuple):
    """The most that a number may be."""

    keys: tuple[str, ...]
    most: float

    def __str__(self) -> str:
        return ".".join(f'"{key}"' if "/" in key or " " in key else key for key in self.keys)


def read_budget(path: Path) -> list[Bound]:
    """The bounds of a file. InputError where it cannot be read or holds none, or something else than numbers."""
    try:
        text = read_small(path, MOST_BYTES)
    except OSError as error:
        raise InputError(f"--budget {path} cannot be read ({error.strerror or error})") from error
    try:
        value = msgspec.toml.decode(text)
    except ValueError as error:
        raise InputError(f"--budget {path} is no TOML file ({error})") from error
    bounds = list(_bounds(value, (), path))
    if not bounds:
        raise InputError(f"--budget {path} holds no bound; wanted e.g. [unit] and below it p99 = 120")
    for bound in bounds:
        _check(bound)
    return bounds


def _check(bound: Bound) -> None:
    """What can be known before anything is measured: names of parts that every profile has. InputError."""
    at: Any = Profile
    for n, key in enumerate(bound.keys):
        if get_origin(at) is dict:
            at = get_args(at)[1]  # names differ from profile to profile
        elif isinstance(at, type) and issubclass(at, msgspec.Struct):
            types = get_type_hints(at)
            if key not in types:
                raise _unknown(bound, n, list(types))
            at = types[key]
        elif at is Any:
            return
        else:
            raise InputError(f"the budget bounds {bound}, but {'.'.join(bound.keys[:n])} has no parts")
        if isinstance(at, UnionType):
            at = next(one for one in get_args(at) if one is not NoneType)
    if at not in (int, float, Any):
        raise InputError(f"the budget bounds {bound}, which is no number")


def _unknown(bound: Bound, n: int, known: list[str]) -> InputError:
    """That the ``n``-th key of ``bound`` names nothing."""
    close = difflib.get_close_matches(bound.keys[n], known, 1, 0.4)
    there = ".".join(bound.keys[:n]) or "a profile"
    hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known[:12]) or 'none'}"
    return InputError(f"the budget bounds {bound}, but {there} has no {bound.keys[n]!r}{hint}")


def _bounds(value: Any, keys: tuple[str, ...], path: Path) -> Iterator[Bound]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _bounds(inner, (*keys, key), path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield Bound(keys, float(value))
    else:
        raise InputError(f"--budget {path}: {'.'.join(keys)} is {value!r}; wanted a number, the most that is allowed")


def broken(profile: Profile, bounds: list[Bound]) -> list[str]:
    """A line for every bound that the profile breaks; what it does not have breaks its bound."""
    facts = msgspec.to_builtins(profile)
    lines = []
    for bound in bounds:
        came = _look(facts, bound)
        if isinstance(came, str):
            lines.append(f"{bound} was not measured{came}; at most {bound.most:g} is allowed")
        elif came > bound.most:
            lines.append(f"{bound} is {came:g}; at most {bound.most:g} is allowed")
    return lines


def _look(facts: Any, bound: Bound) -> float | str:
    """The number that ``bound`` names; where there is none, words that say what there is in its place."""
    at = facts
    for key in bound.keys:
        if not isinstance(at, dict) or key not in at:
            known = list(at) if isinstance(at, dict) else []
            close = difflib.get_close_matches(key, known, 1, 0.4)
            return f" (did you mean {close[0]}?)" if close else f" (there are {', '.join(known[:12])})" if known else ""
        at = at[key]
    return at if isinstance(at, (int, float)) and not isinstance(at, bool) else ""
