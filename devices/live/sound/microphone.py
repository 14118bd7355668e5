"""A live microphone: what the loop reads units from.

Receives blocks of the sound worker; hands on clean samples of one channel at the model's rate, and when they were in
the world. The supervisor's thread only copies blocks into a ring; mixing, cleaning, resampling and the echo canceller
run when the loop asks what there is, so that little is left to do when a unit is full.

Choices: one channel is the mean of all, because none is known to hold the voice. Values that are no numbers become
silence, values beyond full scale are clipped; both are counted. The ring holds ``RING_SECONDS``: a loop that stalls
for less loses nothing that it could still want.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.devices.live.process.supervisor import Supervisor
from edge_streamer.devices.live.process.wire import OPENED, Message
from edge_streamer.devices.live.sound.echo.canceller import Echo
from edge_streamer.devices.live.sound.names import explained
from edge_streamer.devices.live.sound.resample import Resampler
from edge_streamer.devices.live.sound.rings import SampleRing
from edge_streamer.devices.live.sound.worker import BLOCK, STATS
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.media import Samples
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.loop.report import faults_text
from edge_streamer.runtime.loop.sample_clock import SampleClock
from edge_streamer.runtime.timing import Clock, MonotonicClock

RING_SECONDS = 5.0

WORKER = "edge_streamer.devices.live.sound.worker"
SILENT_SECONDS = 3.0
"""A worker that sends nothing for so long hangs; its own watch over the stream is faster."""

MUTED_SECONDS = 5.0
"""Exact zeros for so long: no converter is so quiet, somebody has muted it."""

MOST_GAPS = 32
"""Places at which samples were lost that are remembered: the ring holds no more than 5 s."""

AT_ONCE_SECONDS = 0.1
"""Of what has piled up is worked on at once. The canceller's reference takes 500 bytes a sample meanwhile: 16 MB for
the two seconds that a process was stopped, which the allocator does not always give back."""

FRAMES_A_SECOND = 100
"""The canceller's frames: only whole ones are worked on."""


class _Pipeline:
    """One opening of the device: from its samples to the model's."""

    def __init__(self, rate: int, channels: int, model_rate: int) -> None:
        self.rate, self.channels = rate, channels
        self.ring = SampleRing(round(RING_SECONDS * rate), channels)
        self.clock = SampleClock(rate)
        self.resampler = Resampler(rate, model_rate)
        self._taken = 0
        """Device samples that went into the ring."""
        self._gaps: tuple[tuple[int, int], ...] = ((0, 0),)
        """(samples taken, samples lost before them so far) wherever some were lost; replaced whole, for the loop's
        thread reads it."""

    def put(self, block: Samples, position: int, time: float) -> None:
        """A block that the device counted as its ``position`` on, captured from ``time`` on."""
        lost = position - self._taken
        if lost != self._gaps[-1][1]:
            self._gaps = (*self._gaps[-MOST_GAPS:], (self._taken, lost))
        if self.ring.write(block):
            self._taken += len(block)
            self.clock.add(position, time)

    def time_of(self, taken: int) -> float:
        """When the last of the first ``taken`` samples ended; what was lost before it took time as well."""
        lost = next((lost for before, lost in reversed(self._gaps) if before < taken), 0)
        return self.clock.time_of(taken + lost)


class Microphone:
    """A microphone by name. ``echo`` cleans what it hears."""

    def __init__(self, name: str, media: MediaSpec, echo: Echo) -> None:
        self._name, self._media, self._echo = name, media, echo
        self._frame = media.hears.sample_rate // FRAMES_A_SECOND
        self._pipeline: _Pipeline | None = None
        self._rest: Samples = np.empty(0, np.float32)
        """At the model's rate, less than a frame."""
        self._ready = SampleRing(round(RING_SECONDS * media.hears.sample_rate))
        self._captured: float | None = None
        self._stats: dict[str, float] = {}
        self._garbage = self._clipped = self._flags = self._refused = self._zeros = self._muted = 0
        self._past_refused = self._past_lost = 0
        self._supervisor = Supervisor(
            "mic", WORKER, {"direction": "in", "name": name}, self._hear, silent_seconds=SILENT_SECONDS
        )
        self._supervisor.start()

    # -- opening and closing

    def wait(self) -> str:
        """Until it was opened, or could not be; returns why not, or nothing."""
        return explained(self._supervisor.wait(), "in")

    def state(self) -> DeviceState:
        supervisor, facts = self._supervisor, self._supervisor.facts
        name = f"{facts['name']}, {facts['rate']} Hz, {facts['channels']} channels" if facts else self._name
        is_open = supervisor.state == "open"
        return DeviceState(
            name, is_open, "" if is_open else supervisor.error, max(supervisor.counts.opened - 1, 0),
            supervisor.counts.lost, float(facts.get("latency", 0.0)), self._counts(), self._stats,
        )  # fmt: skip

    def reopen(self) -> None:
        self._supervisor.reopen()

    def close(self) -> None:
        self._supervisor.close()

    # -- in the supervisor's thread

    def _hear(self, message: Message) -> None:
        if message.kind == OPENED:
            facts = message.facts()
            self._keep_counts()
            self._pipeline = _Pipeline(facts["rate"], facts["channels"], self._media.hears.sample_rate)
        elif message.kind == STATS:
            self._stats = message.facts()
        elif message.kind == BLOCK and self._pipeline is not None:
            pipeline = self._pipeline
            self._flags += message.two & 0xFF != 0
            self._refused = message.two >> 8
            block = np.frombuffer(message.payload, "<f4").reshape(-1, pipeline.channels)
            pipeline.put(block, message.one, message.time_ns * 1e-9)

    def _keep_counts(self) -> None:
        """Of the pipeline that ends: its counters begin anew."""
        if self._pipeline is not None:
            self._past_lost += self._pipeline.ring.lost
        self._past_refused += self._refused
        self._refused = 0

    # -- in the loop's thread

    def available(self) -> int:
        """See `ports.LiveMicrophone`."""
        self._pull()
        return len(self._ready)

    def captured(self) -> float | None:
        return self._captured

    def read(self, out: Samples) -> int:
        return self._ready.read(out)

    def skip(self, samples: int) -> int:
        return self._ready.skip(samples)

    def _pull(self) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        most = round(AT_ONCE_SECONDS * pipeline.rate)
        while count := min(len(pipeline.ring), most):
            self._pull_from(pipeline, count)

    def _pull_from(self, pipeline: _Pipeline, count: int) -> None:
        block = np.empty((count, pipeline.channels), np.float32)
        pipeline.ring.read(block)
        mono = self._clean(block).mean(axis=1, dtype=np.float32)
        resampled = pipeline.resampler(mono)
        waiting = np.concatenate((self._rest, resampled))
        whole = len(waiting) // self._frame * self._frame
        self._rest = waiting[whole:]
        if whole and pipeline.clock.known:
            self._work_on(pipeline, waiting[:whole])

    def _work_on(self, pipeline: _Pipeline, samples: Samples) -> None:
        """Whole frames, the canceller's and the ring's."""
        rates = pipeline.rate / self._media.hears.sample_rate
        end = pipeline.time_of(round((pipeline.resampler.given - len(self._rest)) * rates))
        begin = end - len(samples) / self._media.hears.sample_rate
        self._ready.write(self._echo.clean(samples, begin))
        self._captured = end - self._echo.latency

    def _clean(self, block: Samples) -> Samples:
        bad = ~np.isfinite(block)
        if bad.any():
            self._garbage += int(np.count_nonzero(bad))
            block = np.where(bad, np.float32(0), block)
        beyond = np.count_nonzero((block > 1) | (block < -1))
        if beyond:
            self._clipped += int(beyond)
            block = np.clip(block, -1.0, 1.0)
        self._count_zeros(block)
        return block

    def _count_zeros(self, block: Samples) -> None:
        if block.any():
            self._zeros = 0
            return
        assert self._pipeline is not None
        before, limit = self._zeros, MUTED_SECONDS * self._pipeline.rate
        self._zeros += len(block)
        self._muted += before < limit <= self._zeros

    def _counts(self) -> dict[str, int]:
        lost = self._past_lost + (self._pipeline.ring.lost if self._pipeline else 0) + self._ready.lost
        return {
            "overflows": self._flags, "blocks_refused": self._past_refused + self._refused, "samples_lost": lost,
            "garbage_samples": self._garbage, "clipped_samples": self._clipped, "zeros_for_long": self._muted,
        }  # fmt: skip


class SoundFile:
    """A sound file as a live microphone: its samples become available as time passes, from the first question on."""

    def __init__(
        self, path: Path, media: MediaSpec, echo: Echo, clock: Clock | None = None, channel: int | None = None
    ) -> None:
        self._path, self._media, self._echo = path, media, echo
        self._clock = clock or MonotonicClock()
        self._file = AudioFile(path, media, channel)
        self._units: deque[Samples] = deque()
        self._begun: float | None = None
        self._taken = self._fetched = 0
        self.ended = False
        """Everything was read."""

    def wait(self) -> str:
        return ""

    def state(self) -> DeviceState:
        figures = self._file.figures()
        numbers = {name: value for name, value in figures.items() if isinstance(value, (int, float))}
        return DeviceState(str(self._path), open=True, figures=numbers, told=faults_text(figures))

    def reopen(self) -> None: ...

    def close(self) -> None:
        self._file.close()

    @property
    def _start(self) -> float:
        if self._begun is None:
            self._begun = self._clock.now()
        return self._begun

    def available(self) -> int:
        passed = int((self._clock.now() - self._start) * self._media.hears.sample_rate) - self._taken
        while not self.ended and self._fetched - self._taken < passed:
            self._fetch()
        return min(passed, self._fetched - self._taken)

    def captured(self) -> float | None:
        return self._start + (self._taken + self.available()) / self._media.hears.sample_rate

    def read(self, out: Samples) -> int:
        count = got = min(len(out), self.available())
        while count:
            head = self._units[0]
            part = min(count, len(head))
            out[got - count : got - count + part] = head[:part]
            self._shift(part)
            count -= part
        return got

    def skip(self, samples: int) -> int:
        return self.read(np.empty(samples, np.float32))

    def _shift(self, count: int) -> None:
        head = self._units.popleft()
        if count < len(head):
            self._units.appendleft(head[count:])
        self._taken += count

    def _fetch(self) -> None:
        unit = np.empty(self._media.hears.unit_samples, np.float32)
        if not self._file.read(unit):
            self.ended = True
            return
        begin = self._start + self._fetched / self._media.hears.sample_rate
        self._units.append(self._echo.clean(unit, begin))
        self._fetched += len(unit)
