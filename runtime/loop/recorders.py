"""Files that record a live conversation, none of which may end it.

Receives open outputs (`runtime/loop/media.py`); hands both sides of every unit to each. One that fails (the disk is
full) is finished as far as it goes and takes no more part; the conversation goes on, and the reason is kept and told.
One that cannot even be finished is given up: it must not take the others along at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.loop.media import Display, Output, Speaker, Watcher
from edge_streamer.runtime.unit import Response, Unit

Write = Callable[[Unit, Response], None]


class Recorders:
    """``watchers`` by name, beside the agent's ``voice`` and ``film``."""

    def __init__(
        self,
        voice: Speaker | None = None,
        film: Display | None = None,
        watchers: Mapping[str, Watcher] | None = None,
        tell: Callable[[str, str], None] = lambda what, why: None,
        give_up: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._tell, self._give_up = tell, give_up
        self.stopped: dict[str, str] = {}
        """Which ended before the conversation, and why."""
        self._running: dict[str, tuple[Output, Write]] = {}
        if voice:
            self._running["voice"] = (voice, lambda unit, response: voice.write(response.both()[0]))
        if film:
            self._running["film"] = (film, lambda unit, response: _film(film, response))
        for name, watcher in (watchers or {}).items():
            self._running[name] = (watcher, watcher.write)

    def write(self, unit: Unit, response: Response) -> None:
        """Unit k and its answer to every file that still records."""
        for name, (output, write) in list(self._running.items()):
            try:
                write(unit, response)
            except (EdgeStreamerError, OSError) as error:
                del self._running[name]
                self.stopped[name] = str(error)
                self._tell(f"{name} ended", str(error))
                self._finish(name, output)

    def _finish(self, name: str, output: Output) -> None:
        """Its beginning may be whole all the same."""
        try:
            output.finish()
        except (EdgeStreamerError, OSError) as error:
            self.stopped[name] += "; none of it is kept"
            self._tell(f"{name} given up", str(error))
            self._give_up(name)


def _film(film: Display, response: Response) -> None:
    samples, frames = response.both()
    film.write(frames, samples)
