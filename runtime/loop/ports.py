"""What the real-time loop wants of live devices.

Receives nothing; hands on small contracts that `devices/live/` fulfils and tests fake. No call here ever waits for a
device: what is not there yet is not there, and says since when.

Times are seconds of the loop's clock (`runtime/timing.py`; live, the machine's monotonic clock, which the devices' own
processes share). Sound is float32, full scale -1..1, one channel at the model's rate; pictures are RGB uint8 in the
media contract's size. A device that is lost is brought back by its own side; the loop only sees that nothing comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_streamer.runtime.loop.media import Frames, Samples


@dataclass(frozen=True)
class DeviceState:
    """How a device stands."""

    name: str
    """What is open, as a person knows it: "USB Audio, 48000 Hz, 2 channels"; the wish where nothing is open."""
    open: bool
    """Also where it is switched off: then it cannot be lost."""
    error: str = ""
    """Why it is not open."""
    reopened: int = 0
    """Times it was opened again after it was lost."""
    lost: int = 0
    latency: float = 0.0
    """Seconds between the world and us, as the driver tells them: in for a microphone, out for a speaker."""
    counts: Mapping[str, int] | None = None
    """The device's own counters by name: overflows of the driver, overruns of our rings, garbage cleaned away."""
    figures: Mapping[str, float] | None = None
    """What the device measures of itself: how long its callbacks take, what slack they leave."""
    told: str = ""
    """What was wrong with the file that stands for it, in one line."""
    off: bool = False
    """Switched off: there is no mouth, no ear, no eye, and nothing to be measured with."""


class LiveDevice(Protocol):
    """Every device."""

    def state(self) -> DeviceState: ...

    def reopen(self) -> None:
        """Close and open again, in the background."""

    def close(self) -> None: ...


class LiveMicrophone(LiveDevice, Protocol):
    """Sound as it comes. Its clock is the loop's."""

    def available(self) -> int:
        """Samples that ``read`` can give now. Also does the work on what came in (mixing, resampling, echo)."""

    def captured(self) -> float | None:
        """When the newest of the available samples was at the microphone; None before the first one."""

    def read(self, out: Samples) -> int:
        """The oldest samples into ``out``; returns how many there were (the rest of ``out`` is untouched)."""

    def skip(self, samples: int) -> int:
        """Forget the oldest; returns how many."""


class LiveSpeaker(LiveDevice, Protocol):
    """Takes sound for later. Positions count model samples that were written, from 0."""

    def write(self, samples: Samples) -> None:
        """Queue samples behind those that wait. Never waits; what does not fit is dropped and counted by the device."""

    def waiting(self) -> float:
        """Seconds of sound that were written and not yet handed to the device: how long until it runs dry."""

    def pace(self, ratio: float) -> None:
        """Play what is written from now on this much faster than it was made (1.0001: 100 ppm)."""

    def heard_at(self, position: int) -> float:
        """When sample ``position`` is (or was) at the speaker's membrane, as far as can be told now: what waits before
        it, and the device's own latency."""

    def dry(self) -> int:
        """Times so far that the device wanted sound and none was there, without our having meant it to."""


class LiveCamera(LiveDevice, Protocol):
    """The newest pictures, never a queue."""

    def read(self, out: Frames, until: float) -> float | None:
        """Fill ``out`` [unit_frames, height, width, 3] with the pictures that were newest at the end of each of its
        frames, the last one at ``until``. Returns the age in seconds of the last one at ``until``; None (and grey)
        where there was never a picture."""


class LiveScreen(LiveDevice, Protocol):
    """Shows pictures at their time."""

    def show(self, frames: Frames, due: Sequence[float]) -> None:
        """Picture i is to be seen at ``due[i]``. Never waits; copies."""

    def lateness(self) -> Sequence[float]:
        """Seconds between being due and being seen, of the pictures shown since the last call."""


class Keys(Protocol):
    """What the user types and presses."""

    def text(self) -> str:
        """What was typed since the last call; empty for nothing."""

    def muted(self) -> bool:
        """Whether the microphone is to be silent now (the mute key, or push-to-talk that is not held)."""

    def leaving(self) -> bool:
        """Whether the user wants to end."""

    def close(self) -> None: ...
