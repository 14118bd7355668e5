"""What stands where a device is switched off: silence, a grey picture, nobody who listens or watches.

Receives a clock; hands on the contracts of `ports.py`. They keep time as a device would, so that a conversation without
a microphone still has units and one without a speaker still has deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_streamer.runtime.loop.media import Frames, Samples
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.timing import Clock

GREY = 128
"""The picture of a camera that is off."""


class _Off:
    """A device that is switched off cannot be lost."""

    def __init__(self, name: str = "none") -> None:
        self._state = DeviceState(name, open=True, off=True)

    def state(self) -> DeviceState:
        return self._state

    def reopen(self) -> None: ...

    def close(self) -> None: ...


class NoMicrophone(_Off):
    """Silence at the clock's pace, from the first question on."""

    def __init__(self, rate: int, clock: Clock) -> None:
        super().__init__()
        self._rate, self._clock = rate, clock
        self._begun: float | None = None
        self._taken = 0

    def available(self) -> int:
        if self._begun is None:
            self._begun = self._clock.now()
        return int((self._clock.now() - self._begun) * self._rate + 1e-6) - self._taken

    def captured(self) -> float:
        return self._clock.now()

    def read(self, out: Samples) -> int:
        count = min(len(out), self.available())
        out[:count] = 0.0
        self._taken += count
        return count

    def skip(self, samples: int) -> int:
        count = min(samples, self.available())
        self._taken += count
        return count


class NoSpeaker(_Off):
    """Plays to nobody, at the clock's pace."""

    def __init__(self, rate: int, clock: Clock) -> None:
        super().__init__()
        self._rate, self._clock = rate, clock
        self._written = 0
        self._ends = clock.now()
        """When what was written is over."""
        self._dry = 0

    def write(self, samples: Samples) -> None:
        now = self._clock.now()
        if self._written and now > self._ends:
            self._dry += 1
        self._ends = max(self._ends, now) + len(samples) / self._rate
        self._written += len(samples)

    def waiting(self) -> float:
        return max(self._ends - self._clock.now(), 0.0)

    def pace(self, ratio: float) -> None: ...

    def heard_at(self, position: int) -> float:
        return self._ends - (self._written - position) / self._rate

    def dry(self) -> int:
        return self._dry


class NoCamera(_Off):
    """A still grey picture."""

    def read(self, out: Frames, until: float) -> float:
        out[:] = GREY
        return 0.0


class NoScreen(_Off):
    """Shows nothing."""

    def show(self, frames: Frames, due: Sequence[float]) -> None: ...

    def lateness(self) -> Sequence[float]:
        return ()


class NoKeys:
    """Nobody types."""

    def text(self) -> str:
        return ""

    def muted(self) -> bool:
        return False

    def leaving(self) -> bool:
        return False

    def close(self) -> None: ...
