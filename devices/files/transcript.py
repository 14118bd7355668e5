"""The agent's words as a text file.

Receives units and responses; hands on lines ``seconds<TAB>text``, one per answer (seconds: when the unit that holds
its first word starts, as in the film). The file appears when it is complete.

Choices: an answer ends with a line end in the agent's words, or, for agents that write none, where it was quiet for
two seconds; the text is then what stands between, without spaces at its ends.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.report import printable
from edge_streamer.runtime.unit import Response, Unit

PAUSE_SECONDS = 2
"""So long without a word ends an answer that no line end has ended."""


class Transcript:
    """Raises InputError where the file cannot be made or the disk fills."""

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._unit = media.unit
        self._index = 0
        self._answer = ""
        """The words since the last line end."""
        self._start = self._last = 0
        """The units that hold the answer's first and newest words."""
        self.whole = WholeFile(path)
        """The file under its temporary name."""
        with self.whole.opening():
            self._file = self.whole.partial.open("w", encoding="utf-8", newline="\n")

    def write(self, unit: Unit, response: Response) -> None:
        """Take what the response says, as unit number 0, 1, 2 ... counted here."""
        if response.text:
            if (self._index - self._last) * self._unit > PAUSE_SECONDS:
                self._end_answer()
            *ended, begun = response.text.split("\n")
            for words in ended:
                self._add(words)
                self._end_answer()
            self._add(begun)
        self._index += 1

    def _add(self, words: str) -> None:
        if not self._answer:
            words, self._start = words.lstrip(), self._index
        if words:
            self._last = self._index
        self._answer += words

    def _end_answer(self) -> None:
        """Write the line of the answer, where there is one."""
        if words := printable(self._answer).strip():
            with self.whole.writing():
                self._file.write(f"{float(self._start * self._unit):.2f}\t{words}\n")
        self._answer = ""

    def finish(self) -> None:
        """Write the answer that nothing has ended; see ``runtime.media.Output``."""
        if self._file.closed:
            return
        self._end_answer()
        with self.whole.writing():
            self._file.close()

    def close(self) -> None:
        self.finish()
        self.whole.publish()

    def discard(self) -> None:
        with suppress(OSError):  # the disk may be full: nothing that is given up needs to reach it
            self._file.close()
        self.whole.discard()
