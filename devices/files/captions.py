"""Captions: what the user says, for those who watch the film.

Receives a SubRip file (.srt); hands on a :class:`Caption` for each of its entries, and which of them are seen at a
time. The model never reads them. Strict: every fault names its line.

    7                                   a number; players do not need it in order, nor does this
    00:00:13,000 --> 00:00:15,000       from when to when, hours:minutes:seconds,milliseconds
    [shows a red card]                  one line or more, then an empty one

Choices: entries may overlap and stand in any order, as in players; a point may stand in for the comma; marks of type
(``<i>``, ``{\\an8}``) and the places that may follow the times are left out. Where the empty line is missing, a number
with times under it begins the next entry.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from edge_streamer.devices.files.text_file import quoted, read_lines
from edge_streamer.runtime.errors import MediaError

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_TIME = r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])[,.]([0-9]{3})"
_TIMES = re.compile(rf"{_TIME} *--> *{_TIME}( +[XY][12]:.*)?", re.ASCII)
_LIKE_TIMES = re.compile(r"[0-9]+:[0-9]+.*-->", re.ASCII)
_MARKS = re.compile(r"</?(?:[biu]|font)(?: [^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)
_EXAMPLE = "e.g. 00:00:01,000 --> 00:00:02,500"


@dataclass(frozen=True)
class Caption:
    """One entry."""

    start: Fraction
    """Seconds."""
    end: Fraction
    """Seconds; at this moment it is gone."""
    text: str
    """One line or more."""


class Captions:
    """Which captions are seen, for times that go forward."""

    def __init__(self, captions: Iterable[Caption]) -> None:
        self._coming = deque(sorted(captions, key=lambda caption: caption.start))
        self._seen: list[Caption] = []

    def at(self, seconds: Fraction) -> str:
        """What is seen at ``seconds``, the earlier caption above; empty where there is none."""
        while self._coming and self._coming[0].start <= seconds:
            self._seen.append(self._coming.popleft())
        self._seen = [caption for caption in self._seen if seconds < caption.end]
        return "\n".join(caption.text for caption in self._seen)


def read_captions(path: Path) -> list[Caption]:
    """The captions in ``path``, as they stand there. Raises MediaError that names the line."""
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(path, "a SubRip file (.srt)"), start=1)]
    captions = [_caption(path, entry) for entry in _entries(lines)]
    if not captions:
        raise MediaError(f"{path} is empty; wanted captions: a number, times, text, an empty line")
    return captions


def _entries(lines: list[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """The lines of each entry, none of them empty."""
    entry = list[tuple[int, str]]()
    for number, line in [*lines, (len(lines), "")]:
        if line and not (len(entry) > 2 and _LIKE_TIMES.match(line) and _NUMBER.fullmatch(entry[-1][1])):
            entry.append((number, line))
        elif entry:
            following = [entry.pop(), (number, line)] if line else []
            yield entry
            entry = following


def _caption(path: Path, entry: list[tuple[int, str]]) -> Caption:
    """One entry from its lines, none of them empty, each with its number in the file."""
    first, last = entry[0], entry[-1]
    if not _NUMBER.fullmatch(first[1]):
        raise MediaError(f"{path} line {first[0]}: {quoted(first[1])}; wanted the number of a caption, e.g. 1")
    if len(entry) == 1:
        raise MediaError(f"{path} line {last[0]}: nothing follows the number; wanted its times, {_EXAMPLE}")
    number, line = entry[1]
    match = _TIMES.fullmatch(line)
    if not match:
        raise MediaError(f"{path} line {number}: {quoted(line)}; wanted from when to when, {_EXAMPLE}")
    start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:8])
    if end <= start:
        raise MediaError(
            f"{path} line {number}: ends at {float(end):g} s, begins at {float(start):g} s; wanted an end after it"
        )
    for number, line in entry[2:]:
        if _LIKE_TIMES.match(line):
            raise MediaError(f"{path} line {number}: {quoted(line)}; wanted an empty line and a number before times")
    text = "\n".join(filter(None, (_MARKS.sub("", words).strip() for _, words in entry[2:])))
    if not text:
        raise MediaError(f"{path} line {last[0]}: no words follow; wanted them on the next line")
    return Caption(start, end, text)


def _seconds(parts: tuple[str, ...]) -> Fraction:
    hours, minutes, seconds, milliseconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds + Fraction(milliseconds, 1000)
