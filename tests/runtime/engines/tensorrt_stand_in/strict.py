"""Objects that have what the real bindings of one version have, and nothing else.

Hands on ``Surface``, what was read off the bindings (``surface.py``), ``Strict``, the base of the stand-in's classes:
whatever is asked of one, or set, or given by keyword, must be there in that version; and ``VERSIONS``.
"""

from __future__ import annotations

import enum
import json
from functools import cached_property
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().with_name("surfaces")
VERSIONS = tuple(path.stem for path in sorted(FOLDER.glob("*.json")))
"""``tensorrt-10.3.0`` and such."""


class Surface:
    """The names of one version."""

    def __init__(self, version: str):
        found = json.loads((FOLDER / f"{version}.json").read_text())
        self.version: str = found["version"]
        self.is_rtx = version.startswith("tensorrt_rtx")
        self.names: frozenset[str] = frozenset(found["names"])
        self.classes: dict[str, dict[str, list[list[str]] | None]] = found["classes"]
        self._enums: dict[str, list[str]] = found["enums"]
        self.asked: set[tuple[str, str]] = set()
        """(class or "", name) of all that was asked for."""

    @cached_property
    def enums(self) -> dict[str, Any]:
        """Name -> an enumeration with these members; the numbers are the stand-in's own."""
        made = {name: enum.IntEnum(name.split(".")[-1], members, start=0) for name, members in self._enums.items()}
        return made

    def check(self, kind: str, name: str) -> None:
        """AttributeError where class ``kind`` has no such member in this version."""
        self.asked.add((kind, name))
        if name not in self.classes[kind]:
            raise AttributeError(f"{kind} has no {name!r} in TensorRT {self.version}")

    def check_call(self, kind: str, name: str, count: int, keywords: dict[str, Any]) -> None:
        """TypeError where the method takes no such arguments in this version; not told are those of constructors that
        an application inherits from."""
        ways = self.classes[kind][name] or []
        fits = [way for way in ways if count + len(keywords) <= len(way) and set(keywords) <= set(way[count:])]
        if ways and not fits:
            raise TypeError(f"{kind}.{name} takes {ways} in TensorRT {self.version}; came {count} and {list(keywords)}")


class Strict:
    """Of a class that the bindings have; private names, and those in ``own``, are the stand-in's own."""

    kind = ""
    """Its name in the bindings."""

    def __init__(self, surface: Surface):
        object.__setattr__(self, "_surface", surface)

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name.startswith("_") or name == "kind":
            return value
        surface: Surface = object.__getattribute__(self, "_surface")
        kind = object.__getattribute__(self, "kind")
        surface.check(kind, name)
        if not callable(value):
            return value

        def called(*arguments: Any, **keywords: Any) -> Any:
            surface.check_call(kind, name, len(arguments), keywords)
            return value(*arguments, **keywords)

        return called

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            surface: Surface = object.__getattribute__(self, "_surface")
            surface.check(self.kind, name)
        object.__setattr__(self, name, value)
