"""A recording under a temporary name that takes its own name at the end.

Receives the path that the user gave; hands on the path to write to. ``runtime.files.replacing`` as an object, for
recordings that live longer than one block of code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import FULL, replacing


class _Discarded(Exception):
    """Thrown into ``replacing`` to make it clean up."""


class WholeFile:
    """A file that is whole or absent. Raises InputError where ``path`` cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = True
        self._context = replacing(path)
        self.partial = self._context.__enter__()
        """Where to write until ``publish``."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a full disk inside the block into an InputError that names the file the user asked for."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise InputError(
                f"cannot write {self.path}: {FULL[error.errno]}; make room or name another place"
            ) from error

    @contextmanager
    def opening(self) -> Iterator[None]:
        """``writing`` for a constructor: on any exception the file goes at once, because nobody is there to discard
        it (otherwise it stays until the exception, which holds the half-made object, is forgotten)."""
        try:
            with self.writing():
                yield
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Give the file its name, once."""
        if self._open:
            self._open = False
            self._context.__exit__(None, None, None)

    def discard(self) -> None:
        """Remove what was written; harmless after ``publish``."""
        if self._open:
            self._open = False
            given_up = _Discarded()
            try:
                self._context.__exit__(_Discarded, given_up, None)
            except _Discarded:
                return
