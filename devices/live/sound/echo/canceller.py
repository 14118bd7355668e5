"""Takes the agent's own voice out of what the microphone heard.

Receives blocks of the speaker with their times, from the speaker's thread, and blocks of the microphone with theirs,
from the loop's; hands on the cleaned ones, through one of four :class:`Echo` s that :func:`open_echo` makes:

- ``full``: WebRTC's canceller (AEC3) by the package pywebrtc-audio. Both sides may speak at once.
- ``half``: the microphone is silent while the agent is heard, and a moment longer: for rooms in which cancelling
  fails. Nobody can interrupt the agent.
- ``system``: the sound server cancels; that it does was checked (:mod:`~edge_streamer.devices.live.sound.echo.system`).
- ``off``: nothing is done: for headphones.

Choices. The canceller finds an echo that comes up to 450 ms after its reference, and none that comes before it; the
latencies that drivers tell are wrong by up to 100 ms, either way. So the reference is given ahead of time by
``MOST_AHEAD``, where that much is known: sound is known from the moment it is handed to the device, and no echo can be
heard before that, whatever drivers say. No gain control and no noise suppression: the model knows noise. AEC3 brings a
high-pass (80 Hz) along.

AEC3 ends with a suppressor that presses down whatever may be echo still, by 26 to 51 dB, and the words that are said
over it with it. So a small share of what the microphone heard is mixed in again (``FLOOR``). The echo stays 20 dB
weaker, and of commands said over its own voice the demo understands twice as many where the echo is 6 dB below it (0.50
for 0.25), and 0.90 for 0.70 where it is 18 dB below (``tests/bench/echo_ears.py``).

The canceller works in frames of 10 ms and takes 8 to 11 ms itself. Where calls are whole frames nothing is added; from
the first other call on, sound waits for one frame less a sample, always.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, Protocol, get_args

import numpy as np

from edge_streamer.devices.live.sound.echo.meter import EchoMeter, coarse_enough
from edge_streamer.devices.live.sound.echo.system import check_system_canceller
from edge_streamer.devices.live.sound.played import Played
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.extras import needed
from edge_streamer.runtime.loop.media import Samples

Mode = Literal["full", "half", "system", "off"]

MOST_AHEAD = 0.12
"""Seconds. Errors of 100 ms either way and rooms of 200 ms then lie within 0 and 420 ms, which AEC3 finds."""

LEAST_AHEAD = -0.1
"""Seconds. A reference later than that is no delay of messages: the speaker is not playing."""

GUARD_SECONDS = 0.01
"""Left between what is asked for and what is known; one block of most devices."""

LEADS = 500
"""Of calls; what is ahead is taken from the worst twentieth of them, so that one hiccup moves nothing."""

LEAD_SHARE = 0.05

REGAIN_SECONDS = 0.03
"""Less than that is not worth the second in which the canceller learns the new delay."""

REGAIN_CALLS = 100
"""Calls between two looks whether more is known again."""

FLOOR_DB = -22.0
FLOOR = 10 ** (FLOOR_DB / 20)
"""Of what the microphone heard, so much is left in: 20 dB of echo return loss are enough, more costs words."""

FRAMES_A_SECOND = 100

HEARD_PEAK = 0.005
"""46 dB below full scale: what a speaker plays more softly is not heard by a microphone in the same box."""

TAIL_SECONDS = 0.35
"""Half-duplex: a room of 250 ms, and 100 ms by which the speaker's latency may be longer than told."""

EDGE_SECONDS = 0.01
"""Of the fade to silence and back; a faster one clicks."""

DIRECT_RATE = 16000
"""The rate at which AEC3 itself works and nothing is resampled or split in bands: the plainer of the package's two
classes is a tenth faster there."""

PROBE_SECONDS = 0.3
"""Of noise through a new canceller, to see how late it comes out: 30 frames, 4 ms of work."""

NO_AEC = "or run with --no-aec"


class Echo(Protocol):
    """One way to deal with the echo. ``played`` from the speaker's thread, all else from the loop's."""

    mode: Mode

    @property
    def latency(self) -> float:
        """Seconds by which sound comes out of ``clean`` later than it went in. Grows once, by less than 10 ms, in the
        first call that is no whole number of such frames."""

    def played(self, time: float, samples: Samples, rate: int) -> None:
        """``samples`` at ``rate`` begin to leave the speaker at ``time``, as far as told. Tell silence too."""

    def clean(self, near: Samples, time: float) -> Samples:
        """What the microphone captured from ``time`` on, without the echo; as many samples, ``latency`` later."""

    def loss_db(self) -> float | None:
        """By how much the echo is weaker than it came, over the last ten seconds of talk in which nobody else spoke;
        None where that cannot be told."""

    def measured_delay_ms(self) -> float | None:
        """From the told time of leaving the speaker to the told time of arrival: the room, and what the drivers'
        latencies lack. None where no echo was found."""

    def counts(self) -> Mapping[str, int]: ...


def open_echo(mode: Mode, rate: int, *, microphone: str = "default", speaker: str = "default") -> Echo:
    """The way ``mode`` for sound at the model's ``rate``. InputError where it cannot start; ``microphone`` and
    ``speaker`` are what the user chose, for ``system``."""
    if mode == "full":
        return EchoCanceller(rate)
    if mode == "half":
        return HalfDuplex(rate)
    if mode == "system":
        return Untouched(mode, check_system_canceller(microphone, speaker))
    if mode == "off":
        return Untouched(mode)
    raise InputError(f"echo cancellation {mode!r} is unknown; wanted one of {', '.join(get_args(Mode))}")


class Untouched:
    """``off`` and ``system``: what came is handed on."""

    latency = 0.0

    def __init__(self, mode: Mode, facts: str = "") -> None:
        self.mode: Mode = mode
        self.facts = facts
        """What the sound server cancels with; empty for ``off``."""

    def played(self, time: float, samples: Samples, rate: int) -> None:
        pass

    def clean(self, near: Samples, time: float) -> Samples:
        return near

    def loss_db(self) -> float | None:
        return None

    def measured_delay_ms(self) -> float | None:
        return None

    def counts(self) -> Mapping[str, int]:
        return {}


class Reference:
    """What was played, beside what is captured, as far ahead of it as can be."""

    def __init__(self, rate: int) -> None:
        self.ahead = MOST_AHEAD
        self.moved = 0
        """Times that ``ahead`` changed; the first one is only its beginning."""
        self._played, self._rate = Played(), rate
        self._leads: deque[float] = deque(maxlen=LEADS)
        self._calls = self._restarts = 0

    def add(self, time: float, samples: Samples, rate: int) -> None:
        self._played.add(time, samples, rate)

    def beside(self, count: int, time: float) -> Samples:
        """For the next ``count`` captured samples, the first of them at ``time``."""
        self._look_ahead(time + count / self._rate)
        return self._played.at(time, count, self._rate, self.ahead)

    def counts(self) -> dict[str, int]:
        seen = self._played.counts
        return {
            "reference moved": self.moved, "reference unknown": seen.unknown, "reference steps": seen.steps,
            "speaker holes": seen.holes, "speaker restarts": seen.restarts,
        }  # fmt: skip

    def _look_ahead(self, end: float) -> None:
        """Move ``ahead`` to what is known beyond ``end``, seldom."""
        if self._restarts != self._played.counts.restarts:  # another opening may have another latency
            self._restarts = self._played.counts.restarts
            self._leads.clear()
        lead = self._played.lead(end)
        if lead is None or lead < LEAST_AHEAD:
            return
        self._leads.append(lead)
        self._calls += 1
        if lead < self.ahead or self._calls % REGAIN_CALLS == 0:
            low = sorted(self._leads)[int(LEAD_SHARE * len(self._leads))]
            wanted = min(max(low - GUARD_SECONDS, LEAST_AHEAD), MOST_AHEAD)
            if low < self.ahead or wanted > self.ahead + REGAIN_SECONDS:
                self.ahead = wanted
                self.moved += 1


class EchoCanceller:
    """``full``: WebRTC's AEC3. InputError where it cannot start or does not know the rate."""

    mode: Mode = "full"

    def __init__(self, rate: int) -> None:
        if not coarse_enough(rate):
            raise InputError(
                f"echo cancellation works at 8000, 16000, 24000, 32000 or 48000 samples a second and the bundle has "
                f"{rate}: choose --aec half, {NO_AEC}"
            )
        self._processor = _start(rate)
        self._frame = rate // FRAMES_A_SECOND
        self._rate = rate
        self._reference = Reference(rate)
        self._near, self._far, self._out = _Queue(), _Queue(), _Queue()
        self._filter_samples = _delay_of(_start(rate), rate)
        self._late = _Queue()
        """What the microphone heard, as late as what comes out of the canceller."""
        self._late.put(np.zeros(self._filter_samples, np.float32))
        self._waiting_samples = 0
        self._meter = EchoMeter(rate, self._filter_samples)
        self._moved = self._garbage = 0

    @property
    def latency(self) -> float:
        return (self._filter_samples + self._waiting_samples) / self._rate

    def played(self, time: float, samples: Samples, rate: int) -> None:
        self._reference.add(time, samples, rate)

    def clean(self, near: Samples, time: float) -> Samples:
        if not len(near):
            return near
        if len(near) % self._frame and not self._waiting_samples:
            self._waiting_samples = self._frame - 1
            self._out.put(np.zeros(self._frame - 1, np.float32))
        self._near.put(self._sound(near))
        self._far.put(self._reference.beside(len(near), time))
        if self._moved != self._reference.moved:
            self._moved = self._reference.moved
            self._meter.forget_lag()
            self._processor.stream_delay_ms = max(round(1000 * self._reference.ahead), 0)
        whole = len(self._near) // self._frame * self._frame
        if whole:
            ours, theirs = self._near.take(whole), self._far.take(whole)
            self._late.put(ours)
            cleaned = (1 - FLOOR) * self._processor.process(ours, theirs) + FLOOR * self._late.take(whole)
            self._meter.add(ours, theirs, cleaned)
            self._out.put(cleaned)
        return self._out.take(len(near))

    def loss_db(self) -> float | None:
        return self._meter.loss_db()

    def measured_delay_ms(self) -> float | None:
        lag = self._meter.lag()
        return None if lag is None else 1000 * (lag - self._reference.ahead)

    def counts(self) -> Mapping[str, int]:
        return {**self._reference.counts(), "garbage": self._garbage}

    def _sound(self, near: Samples) -> Samples:
        """One NaN in its filters would make the canceller deaf for good."""
        bad = ~np.isfinite(near)
        if not bad.any():
            return near
        self._garbage += int(bad.sum())
        return np.where(bad, np.float32(0), near)


class HalfDuplex:
    """``half``: silence while the agent is heard."""

    mode: Mode = "half"
    latency = 0.0

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._reference = Reference(rate)
        self._since = 1 << 40
        """Samples since the last one that is heard."""
        self._gain = 1.0
        self._silenced = 0

    def played(self, time: float, samples: Samples, rate: int) -> None:
        self._reference.add(time, samples, rate)

    def clean(self, near: Samples, time: float) -> Samples:
        if not len(near):
            return near
        heard = np.abs(self._reference.beside(len(near), time)) > HEARD_PEAK
        index = np.arange(len(near))
        last = np.maximum.accumulate(np.where(heard, index, -self._since))
        self._since = len(near) - int(last[-1])
        tail = round((TAIL_SECONDS + self._reference.ahead) * self._rate)
        gains = self._fade(index - last > tail)
        self._silenced += int(np.count_nonzero(gains == 0))
        return near * gains

    def loss_db(self) -> float | None:
        return None

    def measured_delay_ms(self) -> float | None:
        return None

    def counts(self) -> Mapping[str, int]:
        return {**self._reference.counts(), "silenced": self._silenced}

    def _fade(self, is_open: np.typing.NDArray[np.bool_]) -> Samples:
        """Towards 1 where open and 0 where not, in straight lines."""
        step = 1.0 / (EDGE_SECONDS * self._rate)
        gains = np.empty(len(is_open), np.float32)
        edges = np.flatnonzero(np.diff(is_open)) + 1
        for part in np.split(np.arange(len(is_open)), edges):
            slope = step if is_open[part[0]] else -step
            gains[part] = np.clip(self._gain + slope * (part - part[0] + 1), 0.0, 1.0)
            self._gain = float(gains[part[-1]])
        return gains


class _Queue:
    """Samples in order."""

    def __init__(self) -> None:
        self._samples: Samples = np.empty(0, np.float32)

    def __len__(self) -> int:
        return len(self._samples)

    def put(self, samples: Samples) -> None:
        self._samples = np.concatenate((self._samples, samples))  # a copy: the caller's array is its own

    def take(self, count: int) -> Samples:
        taken, self._samples = self._samples[:count], self._samples[count:]
        return taken


def _start(rate: int) -> Any:
    """AEC3 and nothing else."""
    try:
        import pywebrtc_audio as library
    except ModuleNotFoundError:
        raise InputError(f"{needed('echo cancellation', 'live', ['pywebrtc_audio'])}, {NO_AEC}") from None
    except ImportError as error:
        raise InputError(f"pywebrtc-audio is installed and cannot be imported ({error}); {NO_AEC}") from None
    try:
        if rate == DIRECT_RATE:
            return library.EchoCanceller(rate)
        return library.AudioProcessor(rate, echo_cancellation=True)
    except Exception as error:  # whatever a binding raises
        raise InputError(
            f"the echo canceller cannot start at {rate} samples a second ({error}); choose --aec half, {NO_AEC}"
        ) from None


def _delay_of(processor: Any, rate: int) -> int:
    """Samples by which sound comes out late while nothing is played."""
    noise = (0.1 * np.random.default_rng(0).standard_normal(round(PROBE_SECONDS * rate))).astype(np.float32)
    out = processor.process(noise, np.zeros_like(noise))
    size = 2 * len(noise)
    alike = np.fft.irfft(np.fft.rfft(out, size) * np.conj(np.fft.rfft(noise, size)))
    return int(alike[: rate // 20].argmax())
