"""The files that a run leaves, opened together and kept together.

Receives the :class:`~edge_streamer.runtime.loop.request.Outputs` of a plan; hands on the open outputs, each under a
temporary name, and at the end all of them under their own or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_streamer.devices.files.audio_file import WavSpeaker
from edge_streamer.devices.files.captions import Caption
from edge_streamer.devices.files.side_by_side import SideBySide
from edge_streamer.devices.files.transcript import Transcript
from edge_streamer.devices.files.video_file import FilmDisplay
from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.files import publish, to_json
from edge_streamer.runtime.loop.media import Display, Speaker, Watcher
from edge_streamer.runtime.loop.request import Outputs

WATCHERS = ("side by side", "transcript")
"""Outputs that see both sides of a unit."""


class Recorded:
    """The open outputs of one run."""

    def __init__(self) -> None:
        self.outputs: dict[str, Any] = {}
        self.files: dict[str, Path] = {}
        self._report: WholeFile | None = None

    def open(self, plan: Outputs, media: MediaSpec, captions: Sequence[Caption]) -> None:
        """Open what the plan wants, each under a temporary name. InputError where one cannot be made."""
        wanted: tuple[tuple[str, Path | None, Callable[[Path], Any]], ...] = (
            ("voice", plan.voice, lambda path: WavSpeaker(path, media)),
            ("film", plan.film, lambda path: FilmDisplay(path, media)),
            ("side by side", plan.side_by_side, lambda path: SideBySide(path, media, captions)),
            ("transcript", plan.transcript, lambda path: Transcript(path, media)),
        )
        for name, path, opened in wanted:
            if path:
                self.outputs[name] = opened(path)
                self.files[name] = path
        if plan.json:  # last, so that the films are named first at the end
            self._report = WholeFile(plan.json)
            self.files["report"] = plan.json

    @property
    def voice(self) -> Speaker | None:
        return self.outputs.get("voice")

    @property
    def film(self) -> Display | None:
        return self.outputs.get("film")

    @property
    def watchers(self) -> dict[str, Watcher]:
        """Outputs that see both sides of a unit, by name."""
        return {name: self.outputs[name] for name in WATCHERS if name in self.outputs}

    @property
    def clipped(self) -> int:
        """Samples of the voice beyond full scale."""
        return int(self.outputs["voice"].clipped) if "voice" in self.outputs else 0

    def keep(self, figures: Mapping[str, object]) -> None:
        """Complete every file under its temporary name, then give all their names. ``figures``: of the report."""
        files = list(self.outputs.values())
        for file in files:
            file.finish()
        if self._report:
            with self._report.writing():
                self._report.partial.write_bytes(to_json(figures))
        # Last: who looks for the report finds the films.
        publish([*(file.whole for file in files), *([self._report] if self._report else [])])

    def give_up(self, name: str) -> None:
        """Remove one file: it cannot be completed."""
        if name in self.outputs:
            self.outputs.pop(name).discard()
            del self.files[name]

    def discard(self) -> None:
        """Remove what was not kept."""
        for file in self.outputs.values():
            file.discard()
        if self._report:
            self._report.discard()


@contextmanager
def recording(plan: Outputs, media: MediaSpec, captions: Sequence[Caption] = ()) -> Iterator[Recorded]:
    """The outputs of ``plan``, open inside the block; what was not kept in it is gone after it."""
    recorded = Recorded()
    try:
        recorded.open(plan, media, captions)
        yield recorded
    finally:
        recorded.discard()  # harmless to what was kept
