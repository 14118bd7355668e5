"""What a word for ``--health`` names: a file of JSON, one for Prometheus, or a socket.

Receives the word; hands on a :class:`Place`. A name that ends in ``.prom`` is Prometheus text, ``unix:NAME`` and a name
that ends in ``.sock`` a Unix socket, anything else JSON.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

SOCKET = "unix:"
NONE = "none"
LONGEST_SOCKET = 107
"""Bytes that a socket's name may have on Linux."""


@dataclass(frozen=True)
class Place:
    path: Path
    kind: Literal["json", "prometheus", "socket"]

    @classmethod
    def of(cls, word: str) -> Place:
        """Raises argparse.ArgumentTypeError for a word that names nothing."""
        name = word.removeprefix(SOCKET)
        if not name or "\0" in name:
            raise argparse.ArgumentTypeError(f"{word!r} names nothing; wanted a file, unix:SOCKET, or none")
        path, ending = Path(name), Path(name).suffix.lower()
        if word.startswith(SOCKET) or ending == ".sock":
            return cls(path, "socket")
        return cls(path, "prometheus" if ending == ".prom" else "json")

    def placed(self, folder: Path) -> Place:
        """The same, sought in ``folder``."""
        return replace(self, path=folder / self.path)


def place_or_none(word: str) -> Place | None:
    """``none``, on a command line, undoes what a file of options says."""
    return None if word == NONE else Place.of(word)


def by_option(places: tuple[Place, ...], socket: bool) -> dict[str, Path]:
    """The option of each, told apart where there are several -> its path; of sockets, or of files."""
    named = {f"--health ({number})" if number > 1 else "--health": place for number, place in enumerate(places, 1)}
    return {option: place.path for option, place in named.items() if (place.kind == "socket") == socket}
