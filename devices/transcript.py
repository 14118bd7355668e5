"""The agent's words as a text file.

Receives units and responses; hands on lines ``seconds<TAB>text``, one per unit that said something (seconds: the
unit's start, as in the film), then an empty line and the words as a whole. The file appears when it is complete.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from edge_streamer.devices.whole_file import WholeFile
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.unit import Response, Unit


class Transcript:
    """Raises InputError where the file cannot be made or the disk fills."""

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._unit = Fraction(media.unit_samples, media.sample_rate)
        self._index = 0
        self._words: list[str] = []
        self._whole = WholeFile(path)
        with self._whole.opening():
            self._file = self._whole.partial.open("w", encoding="utf-8", newline="\n")

    def write(self, unit: Unit, response: Response) -> None:
        """Note what the response says, under the time of the unit counted here from 0."""
        if response.text:
            self._words.append(response.text)
            line = " ".join(response.text.splitlines()) or " "
            with self._whole.writing():
                self._file.write(f"{float(self._index * self._unit):.2f}\t{line}\n")
        self._index += 1

    def finish(self) -> None:
        """Write the words as a whole; see ``runtime.media.Output``."""
        if self._file.closed:
            return
        with self._whole.writing():
            if self._words:
                self._file.write("\n" + "".join(self._words).strip() + "\n")
            self._file.close()

    def close(self) -> None:
        self.finish()
        self._whole.publish()

    def discard(self) -> None:
        with suppress(OSError):  # the disk may be full: nothing that is given up needs to reach it
            self._file.close()
        self._whole.discard()
