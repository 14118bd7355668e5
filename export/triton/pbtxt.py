"""Protobuf's text format, as Triton's config.pbtxt is written in it, without protobuf.

Receives fields in their order; hands on text. Whether the names are Triton's own is for tests to say, which read what
is written here with Triton's schema: what exports needs no protobuf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias


class Word(str):
    """A value of an enumeration, which stands bare: ``TYPE_FP32``."""


Value: TypeAlias = "str | int | bool | Sequence[int] | Message"


class Message(tuple[tuple[str, "Value"], ...]):
    """Fields and their values, in order; one that is repeated is named again."""


def render(message: Message, depth: int = 0) -> str:
    """The fields of ``message``, one a line, each message in it indented below its name."""
    return "".join(_field(name, value, "  " * depth, depth) for name, value in message)


def _field(name: str, value: Value, indent: str, depth: int) -> str:
    if isinstance(value, Message):
        return f"{indent}{name} {{\n{render(value, depth + 1)}{indent}}}\n"
    return f"{indent}{name}: {_text(value)}\n"


def _text(value: str | int | bool | Sequence[int]) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f"[{', '.join(map(str, value))}]"


def _quoted(text: str) -> str:
    """Printable ASCII as it is; every other byte of its UTF-8 by its octal number, which is never misread."""
    plain = {ord('"'): '\\"', ord("\\"): "\\\\"}
    return f'"{"".join(plain.get(b, chr(b) if 32 <= b < 127 else f"{chr(92)}{b:03o}") for b in text.encode())}"'
