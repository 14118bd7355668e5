"""A thread that watches the machine beside a run, and takes next to nothing from it.

Receives a :class:`Watch`; hands it back filled. It looks once a second, at power ten times, and less often where a look
costs more than its share of a core: so what it takes is bounded on every machine, slow ones too. A thread suffices: it
waits almost always, and reading files lets the others go on.
"""

from __future__ import annotations

import threading
from time import perf_counter, thread_time

from edge_streamer.devices.board.watch import Watch

LOOK_SECONDS, POWER_SECONDS = 1.0, 0.1
MOST_SECONDS = 5.0
"""Between looks, however much one costs: throttling must not be missed."""
LOOK_SHARE, POWER_SHARE = 0.003, 0.002
"""Of one core, at most, together below 1 % of a unit that uses a single one."""


class Monitor:
    """As a context: from entering it to leaving it the machine is watched."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.seconds = 0.0
        """That were watched: from the first look to the last."""
        self.looks = 0
        self.look_seconds = 0.0
        """Of a core, of all looks at everything."""
        self.core_seconds = 0.0
        """Of a core, of those at power alone too."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="board", daemon=True)

    def __enter__(self) -> Monitor:
        try:
            self.watch.begin()
            self._begun = perf_counter()
            self._look(0.0)
            self._thread.start()
        except BaseException:
            self.watch.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        try:
            self._thread.join()
            self.seconds = self._now()
            self._look(self.seconds)
        finally:
            self.watch.close()

    def _now(self) -> float:
        return perf_counter() - self._begun

    def _work(self) -> None:
        pause, next_look = POWER_SECONDS, LOOK_SECONDS
        while not self._stop.wait(pause if self.watch.counts_power else max(next_look - self._now(), 0.0)):
            if self._now() >= next_look:
                self._look(self._now())
                mean = self.look_seconds / self.looks
                next_look = self._now() + min(max(LOOK_SECONDS, mean / LOOK_SHARE), MOST_SECONDS)
            elif self.watch.counts_power:
                begun = thread_time()
                self.watch.power(self._now())
                cost = thread_time() - begun
                self.core_seconds += cost
                pause = min(max(POWER_SECONDS, cost / POWER_SHARE), LOOK_SECONDS)

    def _look(self, now: float) -> None:
        begun = thread_time()
        self.watch.look(now)
        cost = thread_time() - begun
        self.looks += 1
        self.core_seconds += cost
        self.look_seconds += cost
