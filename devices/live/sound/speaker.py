"""A live speaker: takes the agent's voice for later and knows when it will be heard.

Receives samples of one channel at the model's rate; hands them, resampled, to the sound worker, and everything that was
actually played to the echo canceller. Positions count the model's samples from the first one written.

What waits is known from two numbers that never meet: how many device samples were sent, and how many the worker's
callback has taken, told with the time of the call. Nothing here waits: what the worker's queue refuses is dropped and
counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from edge_streamer.devices.live.process.supervisor import Supervisor
from edge_streamer.devices.live.process.wire import OPENED, PACKET_BYTES, Message
from edge_streamer.devices.live.sound.echo.canceller import Echo
from edge_streamer.devices.live.sound.names import explained
from edge_streamer.devices.live.sound.resample import Resampler
from edge_streamer.devices.live.sound.worker import PLAYED, QUEUE, STATS, unpack_played
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Samples
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.loop.sample_clock import SampleClock
from edge_streamer.runtime.timing import Clock, MonotonicClock

WORKER = "edge_streamer.devices.live.sound.worker"
SILENT_SECONDS = 3.0
"""A worker that plays nothing, not even silence, for so long hangs; its own watch over the stream is faster."""

LATENCY_SMOOTHING = 0.01
"""Weight of the newest callback: a second; drivers' times jump by a block."""

STANDSTILL_SECONDS = 0.25
"""Callbacks are 5 to 100 ms apart. Where none came for longer nothing is played (a server that has just started may
take the first block and then none for a second): what waits goes on waiting."""

MARKS = 64
"""Writes whose places are remembered: 10 s."""


class _Mark(NamedTuple):
    """Model sample ``position`` becomes device sample ``sample``, played ``ratio`` times as fast."""

    position: int
    sample: float
    ratio: float


class _Opening:
    """One opening of the device."""

    def __init__(self, rate: int, model_rate: int, latency: float) -> None:
        self.rate = rate
        self.resampler = Resampler(model_rate, rate)
        self.clock = SampleClock(rate)
        """Of the stream's positions, the silence put in included, at the membrane."""
        self.sent = 0
        """Device samples handed to the worker."""
        self.written = 0.0
        """Device samples that what was written makes, those included that the resampler still holds."""
        self.real = self.concealed = self.dry = 0
        """As the newest callback told them."""
        self.called: float | None = None
        """When it was called."""
        self.silent = 0
        """Places of the stream that were not ours so far: what lies between our count and its position."""
        self.latency = latency
        """From a call to its first sample at the membrane, smoothed; as the driver told it before the first call."""
        self.flags = 0


class Speaker:
    """A speaker by name."""

    def __init__(self, name: str, media: MediaSpec, echo: Echo, clock: Clock | None = None) -> None:
        self._name, self._media, self._echo = name, media, echo
        self._clock = clock or MonotonicClock()
        self._opening: _Opening | None = None
        self._lock = threading.Lock()
        """Of what a callback's message changes together. Held for microseconds."""
        self._marks: deque[_Mark] = deque(maxlen=MARKS)
        self._position = 0
        self._ratio = 1.0
        self._stats: dict[str, float] = {}
        self._dropped = self._past_dry = self._past_concealed = self._past_flags = 0
        self._supervisor = Supervisor(
            "speaker", WORKER, {"direction": "out", "name": name}, self._hear, silent_seconds=SILENT_SECONDS
        )
        self._supervisor.start()

    # -- opening and closing

    def wait(self) -> str:
        """Until it was opened, or could not be; returns why not, or nothing."""
        return explained(self._supervisor.wait(), "out")

    def state(self) -> DeviceState:
        supervisor, facts = self._supervisor, self._supervisor.facts
        name = f"{facts['name']}, {facts['rate']} Hz, {facts['channels']} channels" if facts else self._name
        is_open = supervisor.state == "open"
        return DeviceState(
            name, is_open, "" if is_open else supervisor.error, max(supervisor.counts.opened - 1, 0),
            supervisor.counts.lost, self._output_latency(), self._counts(), self._stats,
        )  # fmt: skip

    def reopen(self) -> None:
        self._supervisor.reopen()

    def close(self) -> None:
        self._supervisor.close()

    # -- in the supervisor's thread

    def _hear(self, message: Message) -> None:
        if message.kind == OPENED:
            self._begin(message.facts())
        elif message.kind == STATS:
            self._stats = message.facts()
        elif message.kind == PLAYED and self._opening is not None:
            head, block = unpack_played(message.payload)
            opening, at = self._opening, message.time_ns * 1e-9
            with self._lock:
                opening.clock.add(message.one, at)
                opening.real, opening.concealed, opening.dry = head.real, head.concealed, head.dry
                opening.silent = message.one + len(block) - head.real
                called = head.called_ns * 1e-9
                opening.latency += (1.0 if opening.called is None else LATENCY_SMOOTHING) * (
                    at - called - opening.latency
                )
                opening.called = called
                opening.flags += head.flags != 0
            self._echo.played(at, block, opening.rate)

    def _begin(self, facts: Mapping[str, Any]) -> None:
        old = self._opening
        if old is not None:
            self._past_dry += old.dry
            self._past_concealed += old.concealed
            self._past_flags += old.flags
            self._dropped += old.sent - old.real
        opening = _Opening(int(facts["rate"]), self._media.says.sample_rate, float(facts.get("latency", 0.0)))
        opening.resampler.turn(self._ratio)
        self._marks.clear()
        self._opening = opening

    # -- in the loop's thread

    def write(self, samples: Samples) -> None:
        """See `ports.LiveSpeaker`."""
        opening = self._opening
        if opening is None or self._supervisor.state != "open":
            self._dropped += len(samples)
            self._position += len(samples)
            return
        self._marks.append(_Mark(self._position, opening.written, self._ratio))
        self._position += len(samples)
        opening.written += len(samples) * opening.rate / self._media.says.sample_rate / self._ratio
        block = opening.resampler(np.clip(samples, -1.0, 1.0))
        most = PACKET_BYTES // 4
        for begin in range(0, len(block), most):
            part = block[begin : begin + most]
            if self._supervisor.offer(QUEUE, payload=part.tobytes()):
                opening.sent += len(part)
            else:
                self._dropped += len(part)

    def waiting(self) -> float:
        opening = self._opening
        if opening is None:
            return 0.0
        with self._lock:
            real, called = opening.real, opening.called
        waits = (opening.sent - real) / opening.rate
        if called is not None and real:
            waits -= min(self._clock.now() - called, STANDSTILL_SECONDS)
        return max(waits, 0.0)

    def pace(self, ratio: float) -> None:
        self._ratio = ratio
        if self._opening is not None:
            self._opening.resampler.turn(ratio)

    def heard_at(self, position: int) -> float:
        """See `ports.LiveSpeaker`. Now, where nothing is open."""
        opening, now = self._opening, self._clock.now()
        if opening is None or not self._marks or self._supervisor.state != "open":
            return now
        mark = next((mark for mark in reversed(self._marks) if mark.position <= position), self._marks[0])
        sample = mark.sample + (position - mark.position) * opening.rate / self._media.says.sample_rate / mark.ratio
        with self._lock:
            called, waits = opening.called, sample - opening.real
            if waits >= 0 and (called is None or now - called > STANDSTILL_SECONDS):  # at the earliest
                return now + opening.latency + waits / opening.rate
            return opening.clock.time_of(round(sample) + opening.silent)

    def dry(self) -> int:
        opening = self._opening
        return self._past_dry + (opening.dry if opening else 0)

    def _output_latency(self) -> float:
        return self._opening.latency if self._opening else 0.0

    def _counts(self) -> dict[str, int]:
        opening = self._opening
        now = (opening.dry, opening.concealed, opening.flags) if opening else (0, 0, 0)
        return {
            "underruns": self._past_dry + now[0], "concealed_samples": self._past_concealed + now[1],
            "driver_flags": self._past_flags + now[2], "dropped_samples": self._dropped,
        }  # fmt: skip
