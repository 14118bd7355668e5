"""Writes once a second how a run stands, from a thread of its own.

Receives vitals and places; hands on :class:`Publisher`, a context around a whole run. Every file is whole at every
moment: it is written under another name and renamed. Nothing here ends a run, and none waits for it: a file that cannot
be written is told of once and tried again each second, and a disk that does not answer holds up this thread alone.

Choices: no file is forced onto the disk, which would wear out a card's flash; after a power cut it may be an old one,
which its stamp tells. The name that is written to ends in nothing that a collector looks for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from edge_streamer.runtime.claims import Claim
from edge_streamer.runtime.ending import HUNG, last_words
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import to_json
from edge_streamer.runtime.health import prometheus
from edge_streamer.runtime.health.places import Place
from edge_streamer.runtime.health.record import Health
from edge_streamer.runtime.health.unix_socket import Answerer
from edge_streamer.runtime.health.vitals import Vitals

EVERY_SECONDS = 1.0
LAST_SECONDS = 2.0
"""That the end of a run waits for the last writing: a disk that does not answer must not hold it up."""


class _File:
    """One file. Raises InputError where it cannot be written at the beginning."""

    def __init__(self, place: Place) -> None:
        self.path = place.path
        self._target = Path(os.path.realpath(place.path))  # a link stays, and its file is replaced
        self._format = prometheus.text if place.kind == "prometheus" else to_json
        self.told = False
        try:
            self._claim = Claim(self._target.parent)
        except OSError as error:
            raise self.refused(error) from error

    def write(self, health: Health) -> None:
        """Raises OSError."""
        partial = self._claim.partial
        try:
            partial.write_bytes(self._format(health))
            os.replace(partial, self._target)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def refused(self, error: OSError) -> InputError:
        return InputError(f"cannot write --health {self.path}: {error.strerror}; make room or name another place")

    def close(self) -> None:
        self._claim.release()


class Publisher:
    """A context: within it the places tell how ``vitals`` are, and at its end how the run ended.

    ``tell`` hears what goes wrong, from another thread. Raises InputError where a place cannot be used at the
    beginning.
    """

    def __init__(self, vitals: Vitals, places: Sequence[Place], tell: Callable[[str], object]) -> None:
        self._vitals, self._places, self._tell = vitals, places, tell
        self._files: list[_File] = []
        self._sockets: list[Answerer] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def __enter__(self) -> Publisher:
        if not self._places:
            return self
        with ExitStack() as stack:
            stack.callback(self._close)
            for place in self._places:
                if place.kind == "socket":
                    self._sockets.append(Answerer(place.path, lambda: to_json(self._vitals.look())))
                else:
                    self._files.append(_File(place))
            health = self._vitals.tick()
            for file in self._files:
                try:
                    file.write(health)
                except OSError as error:
                    raise file.refused(error) from error
            self._words = stack.enter_context(last_words(self._given_up, self._cut_off))
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._places:
            with self._stack:
                self.finish()

    def finish(self, seconds: float = LAST_SECONDS) -> None:
        """Write the end; harmless twice."""
        if self._places:
            self._ended.set()
            self._thread.join(seconds)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(EVERY_SECONDS)
            self.write()

    def write(self) -> None:
        """Every file, once."""
        health = self._vitals.tick()
        for file in self._files:
            try:
                file.write(health)
            except OSError as error:
                if not file.told:
                    file.told = True
                    self._tell(f"--health {file.path} is not written: {error.strerror}; tried again each second")

    def _given_up(self, why: str) -> None:
        """From the thread that ends the process."""
        self._vitals.stop(why, HUNG)
        self.finish()

    def _cut_off(self) -> None:
        self._vitals.stop("ended at once by a second signal", None)
        self.finish()
        self._close()

    def _close(self) -> None:
        for answerer in self._sockets:
            answerer.close()
        if not self._thread.is_alive():  # else a disk does not answer, and the next start removes what is left
            for file in self._files:
                file.close()
