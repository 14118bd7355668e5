"""Standard output and error that cannot end a command: closed, full, or without a reader.

Receives the interpreter's streams; hands on streams that fall silent where they cannot be written to, so that a command
finishes its work and keeps its files, and the exit status that tells of it.

Choices: where one of the three standard descriptors is closed it is opened on nothing, before a file of ours gets its
number and with it what libraries print. Names that are not text in the stream's encoding are written as they came.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

BROKEN_PIPE = 141
"""What a shell reports for a program whose reader has gone: 128 + SIGPIPE."""
AS_IT_CAME = "edge-streamer-as-it-came"
"""The error handler that is registered here: bytes of a name come out as they went in, all else is escaped."""


class Unheard:
    """A stream of text that falls silent when it cannot be written to (a pipe that was closed, a full disk, a terminal
    whose connection dropped): a run does not end because nobody watches it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None
        """Why it is silent."""

    @property
    def gone(self) -> bool:
        """Whether it is silent."""
        return self.error is not None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, do: Callable[[], object]) -> None:
        if self.gone:
            return
        try:
            do()
        except OSError as error:
            self.error = error


@contextmanager
def unheard_streams() -> Iterator[Callable[[int], int]]:
    """``sys.stdout`` and ``sys.stderr`` that cannot end a command. Yields a function that takes a command's exit status
    and, where standard output was not written to its end, tells it and returns the status that says so."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    out, err = (Unheard(_stream(stream)) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)

    def ended(status: int) -> int:
        out.flush()
        if status or not out.error:
            return status
        if isinstance(out.error, BrokenPipeError):
            return BROKEN_PIPE
        print(f"edge-streamer: standard output cannot be written to: {out.error.strerror}; the command is done, "
              "but what it had to say is lost", file=err)  # fmt: skip
        return 1

    try:
        yield ended
    finally:
        for stream in (out, err):
            stream.flush()
            if stream.gone:
                _forget(stream)
        sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def _stream(stream: TextIO | None) -> TextIO:
    """``stream``, or one to nowhere where the interpreter has none because it was closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="replace")
    if stream.errors != "backslashreplace" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=AS_IT_CAME)
    return stream


def _forget(stream: Any) -> None:
    """What is still in its buffer goes nowhere, so that the interpreter's end is quiet too."""
    with suppress(OSError, ValueError):  # ValueError: it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _as_it_came(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    came = b""
    for letter in error.object[error.start : error.end]:
        is_byte = 0xDC80 <= ord(letter) <= 0xDCFF
        came += letter.encode("ascii", "surrogateescape" if is_byte else "backslashreplace")
    return came, error.end


codecs.register_error(AS_IT_CAME, _as_it_came)


def as_text(name: str) -> str:
    """``name`` as Unicode text: bytes of it that are not UTF-8 become ``\\xff``."""
    return name.encode("utf-8", AS_IT_CAME).decode("utf-8", "backslashreplace")
