"""A recording under a temporary name that takes its own name at the end.

Receives the path that the user gave; hands on the path to write to. ``runtime.files.replacing`` as an object, for
recordings that live longer than one block of code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import FULL, Whole, publish


class WholeFile(Whole):
    """A file that is whole or absent. Raises InputError where ``path`` cannot be written."""

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
        """Give the file its name; harmless twice."""
        publish([self])
