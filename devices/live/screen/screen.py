"""A live screen: pictures are shown when the sound that belongs to them is heard.

Receives the agent's pictures with their times; hands them to the screen's worker, and hands on what the user presses
there. Sending may wait (a unit of pictures is larger than a socket's buffer), so it has a thread of its own, to which
the loop gives the newest unit; one that was not taken yet is replaced, and counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge_streamer.devices.live.process.supervisor import Supervisor
from edge_streamer.devices.live.process.wire import OPENED, Message
from edge_streamer.devices.live.screen.worker import KEY, PICTURES, SEEN, TYPED
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Frames
from edge_streamer.runtime.loop.ports import DeviceState

WORKER = "edge_streamer.devices.live.screen.worker"
SILENT_SECONDS = 5.0
"""The worker says that it lives every second; a driver that hangs does not."""

TITLE = "edge-streamer"


class Screen:
    """A window or the whole screen; see `names.py`. ``on_key`` and ``on_text`` are called in another thread."""

    def __init__(
        self, where: str, media: MediaSpec, on_key: Callable[[str], None], on_text: Callable[[str], None]
    ) -> None:
        self._where, self._media, self._on_key, self._on_text = where, media, on_key, on_text
        height, width = media.shows.size
        self._late: list[float] = []
        self._skipped = self._past_skipped = self._replaced = self._shown = 0
        self._next: tuple[bytes, int, int, int] | None = None
        self._there, self._ending = threading.Condition(), False
        options = {"where": where, "height": height, "width": width, "title": TITLE}
        self._supervisor = Supervisor("display", WORKER, options, self._hear, silent_seconds=SILENT_SECONDS)
        self._supervisor.start()
        self._sender = threading.Thread(target=self._send, name="pictures", daemon=True)
        self._sender.start()

    def wait(self) -> str:
        """Until it was opened, or could not be; returns why not, or nothing."""
        return self._supervisor.wait()

    def show(self, frames: Frames, due: Sequence[float]) -> None:
        """See `ports.LiveScreen`. Pictures are evenly spaced: the first and the last tell all times."""
        count = len(frames)
        apart = (due[-1] - due[0]) / (count - 1) if count > 1 else 0.0
        with self._there:
            self._replaced += count if self._next is not None else 0
            self._next = (frames.tobytes(), int(1e9 * due[0]), count, int(1e9 * apart))
            self._there.notify()

    def lateness(self) -> Sequence[float]:
        late, self._late = self._late, []
        return late

    def state(self) -> DeviceState:
        supervisor, facts = self._supervisor, self._supervisor.facts
        is_open = supervisor.state == "open"
        return DeviceState(
            str(facts.get("name", self._where)), is_open, "" if is_open else supervisor.error,
            max(supervisor.counts.opened - 1, 0), supervisor.counts.lost,
            counts={"pictures_skipped": self._past_skipped + self._skipped + self._replaced},
            figures={"pictures_shown": self._shown},
        )  # fmt: skip

    def reopen(self) -> None:
        self._supervisor.reopen()

    def close(self) -> None:
        with self._there:
            self._ending = True
            self._there.notify()
        self._supervisor.close()
        self._sender.join()

    def _send(self) -> None:
        """In its own thread."""
        while True:
            with self._there:
                self._there.wait_for(lambda: self._ending or self._next is not None)
                if self._ending:
                    return
                assert self._next is not None
                (payload, due, count, apart), self._next = self._next, None
            self._supervisor.send(PICTURES, due, count, apart, payload)

    def _hear(self, message: Message) -> None:
        """In the supervisor's thread."""
        if message.kind == OPENED:
            self._past_skipped += self._skipped
            self._skipped = 0
        elif message.kind == SEEN:
            self._late.append(1e-9 * (message.one - message.time_ns))
            self._shown += 1
            self._skipped = message.two
        elif message.kind == KEY:
            self._on_key(message.payload.decode())
        elif message.kind == TYPED:
            self._on_text(message.payload.decode())
