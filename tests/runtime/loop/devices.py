"""Live devices on a fake clock, each with a clock of its own that runs a little fast or slow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.loop.ports import DeviceState
from edge_streamer.runtime.timing import FakeClock
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA

RATE = MEDIA.hears.sample_rate
UNIT = MEDIA.hears.unit_samples
SECONDS = UNIT / RATE


class Device:
    """What all have in common."""

    def __init__(self) -> None:
        self.open, self.error, self.reopens, self.counts = True, "", 0, dict[str, int]()
        self.latency = 0.0

    def state(self) -> DeviceState:
        return DeviceState("fake", self.open, self.error, self.reopens, latency=self.latency, counts=self.counts)

    def reopen(self) -> None:
        self.reopens += 1

    def close(self) -> None: ...


class Microphone(Device):
    """Sample i is i modulo 2**20, in millionths. ``silent``: [begin, end) of outages in which nothing is recorded;
    ``held``: [begin, end) in which what is recorded is not handed out."""

    def __init__(
        self,
        clock: FakeClock,
        ppm: float = 0.0,
        silent: Sequence[tuple[float, float]] = (),
        held: Sequence[tuple[float, float]] = (),
    ) -> None:
        super().__init__()
        self._clock, self._rate = clock, RATE * (1 + ppm * 1e-6)
        self._silent, self._held = silent, held
        self.taken = 0
        self.skipped = 0

    def available(self) -> int:
        now = self._clock.now()
        for begin, end in self._held:
            now = begin if begin <= now < end else now
        recorded = now - sum(min(max(now - begin, 0.0), end - begin) for begin, end in self._silent)
        return int(recorded * self._rate + 1e-6) - self.taken

    def captured(self) -> float:
        return self._clock.now()

    def read(self, out: np.ndarray) -> int:
        count = min(len(out), self.available())
        out[:count] = (np.arange(self.taken, self.taken + count) % 2**20) * 1e-6
        self.taken += count
        return count

    def skip(self, samples: int) -> int:
        self.taken += samples
        self.skipped += samples
        return samples


class Speaker(Device):
    """Plays what was written at its own pace; ``dry`` grows when it had to wait."""

    def __init__(self, clock: FakeClock, ppm: float = 0.0) -> None:
        super().__init__()
        self._clock, self._speed = clock, 1 + ppm * 1e-6
        self._ratio, self._ends, self._written, self._dry = 1.0, 0.0, 0, 0
        self.heard: list[np.ndarray] = []
        self.keep = True

    def write(self, samples: np.ndarray) -> None:
        now = self._clock.now()
        self._dry += bool(self._written) and now > self._ends
        self._ends = max(self._ends, now) + len(samples) / RATE / self._ratio / self._speed
        self._written += len(samples)
        if self.keep:
            self.heard.append(np.array(samples))

    def waiting(self) -> float:
        return max(self._ends - self._clock.now(), 0.0)

    def pace(self, ratio: float) -> None:
        self._ratio = ratio

    def heard_at(self, position: int) -> float:
        return self._ends - (self._written - position) / RATE + self.latency

    def dry(self) -> int:
        return self._dry


class Camera(Device):
    def __init__(self, age: float | None = 0.02) -> None:
        super().__init__()
        self.age = age
        self.until: list[float] = []

    def read(self, out: np.ndarray, until: float) -> float | None:
        out[:] = 7
        self.until.append(until)
        return self.age


class Screen(Device):
    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[int, list[float]]] = []

    def show(self, frames: np.ndarray, due: Sequence[float]) -> None:
        self.shown.append((int(frames[0, 0, 0, 0]), list(due)))

    def lateness(self) -> Sequence[float]:
        return (0.004,)


class Keys:
    def __init__(
        self, texts: dict[int, str] | None = None, muted: Sequence[int] = (), leave_at: int | None = None
    ) -> None:
        self._texts, self._muted, self._leave_at = texts or {}, muted, leave_at
        self.asked = 0

    def text(self) -> str:
        self.asked += 1
        return self._texts.get(self.asked - 1, "")

    def muted(self) -> bool:
        return self.asked - 1 in self._muted

    def leaving(self) -> bool:
        return self._leave_at is not None and self.asked >= self._leave_at

    def close(self) -> None: ...


class Model:
    """A session whose step takes ``seconds(step, solver steps)`` of the fake clock and answers with loud noise, picture
    k being grey k; ``raises`` gives the exception of a step, or None."""

    def __init__(
        self,
        clock: FakeClock,
        seconds: Callable[[int, int], float] = lambda step, steps: 0.02,
        raises: Callable[[int], Exception | None] = lambda step: None,
        media: MediaSpec = MEDIA,
    ) -> None:
        self.media, self._clock, self._seconds, self._raises = media, clock, seconds, raises
        self.steps, self.solver_steps = 0, 4
        self.turned: list[int] = []
        self.first: list[float] = []
        """The first sample of every unit that was answered."""
        self.texts: list[str] = []
        self.quiet = False
        self._noise = np.random.default_rng(1).uniform(-0.5, 0.5, media.hears.unit_samples).astype(np.float32)
        self._frames = np.zeros((media.sees.unit_frames, *media.shows.size, 3), np.uint8)

    def turn(self, knobs: object) -> None:
        self.solver_steps = knobs.steps  # type: ignore[attr-defined]
        self.turned.append(self.solver_steps)

    def step(self, unit: Unit) -> Response:
        step, self.steps = self.steps, self.steps + 1
        taken = self._seconds(step, self.solver_steps)
        self._clock.advance(taken)
        error = self._raises(step)
        if error:
            raise error
        assert unit.samples is not None
        self.first.append(float(unit.samples[0]))
        self.texts.append(unit.text)
        self._frames[:] = step % 256
        samples = np.zeros_like(self._noise) if self.quiet else self._noise
        return Response(step, samples, self._frames, f"w{step}", (), taken, taken * 0.9)
