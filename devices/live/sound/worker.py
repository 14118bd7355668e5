"""The process that drives a microphone or a speaker through PortAudio.

Receives {"direction": "in" or "out", "name": ...}; hands on BLOCK messages (what was recorded) or takes QUEUE messages
(what is to be played) and tells PLAYED (what was). One stream, one direction, 10 ms blocks at the device's own rate.

The callback only copies and counts. How long it takes is measured from the moment at which PortAudio calls it, waiting
for this process's interpreter lock included, and told as STATS together with the slack that was left to the device's
deadline.

    BLOCK    time: when its first sample was at the microphone; one: its position; two: PortAudio's flags, and blocks
             refused by the socket so far (<< 8); payload: float32, interleaved
    QUEUE    payload: float32, one channel, at the rate of the device
    PLAYED   time: when the block's first sample is at the speaker; one: its position in the stream; payload: a
             PlayedHead, then the block, one channel
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from edge_streamer.devices.live.process.wire import CLOSE, OPENED, PACKET_BYTES, Wire, WireClosed
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.devices.live.sound import names as sound_names
from edge_streamer.devices.live.sound.rings import SampleRing

BLOCK, QUEUE, PLAYED, STATS = 16, 17, 18, 19

BLOCK_MS, LONGEST_BLOCK_MS = 10.0, 500.0
"""Shorter ones cost more wake-ups and save nothing: drivers deliver in 5 to 20 ms. Where a driver overflows all the
same, because the machine is too slow (an emulated one is), longer ones trade delay for it."""
BLOCK_VARIABLE = "EDGE_STREAMER_SOUND_BLOCK_MS"
"""Wants another length. No block is longer than what one packet of the wire holds, with all channels recorded."""

QUEUE_SECONDS = 2.0
"""What may wait to be played: more than any play-out target."""

FADE_SECONDS = 0.005
"""Sound that breaks off decays over this, and comes back over it: no click."""

SILENT_SECONDS = 2.5
"""A stream without a callback for so long is lost. A sound server that slept takes 2 s to begin to play."""

START_SECONDS = 4.0
"""A stream that calls back nothing within this does not work: a sound server that slept takes 2 s."""

STATS_SECONDS = 2.0
RECENT = 2000
"""Callbacks that the statistics look back: 20 s."""

PRIORITY = 5
"""Real time, round robin, where permitted: above the loop's thread (1), below drivers and the kernel (50)."""

PRIMING = 0x10
"""PortAudio's flag for the first blocks of a speaker: no fault."""

LONGEST_LATENCY = 2.0
"""Times that a driver tells beyond this are nonsense; the stream's own latency is taken instead."""

PLAIN_RATES = (48000, 44100, 32000, 16000)

_HEAD = struct.Struct("<qqqqI")


class PlayedHead(NamedTuple):
    """What a speaker's callback did."""

    real: int
    """Samples of ours that were taken, up to and with this block."""
    concealed: int
    """Samples put in because none of ours were there, so far."""
    dry: int
    """Times that it ran dry so far."""
    called_ns: int
    """When the callback was called."""
    flags: int

    def pack(self) -> bytes:
        return _HEAD.pack(*self)


def unpack_played(payload: bytes) -> tuple[PlayedHead, np.ndarray[Any, np.dtype[np.float32]]]:
    """The head and the block."""
    return PlayedHead(*_HEAD.unpack_from(payload)), np.frombuffer(payload, "<f4", offset=_HEAD.size)


class Timing:
    """How long callbacks took and what slack they left: the newest :data:`RECENT`."""

    def __init__(self) -> None:
        self._took_us = np.zeros(RECENT, np.float32)
        self._slack_ms = np.zeros(RECENT, np.float32)
        self._count = 0

    def add(self, took: float, slack: float) -> None:
        """Seconds."""
        place = self._count % RECENT
        self._took_us[place], self._slack_ms[place] = 1e6 * took, 1e3 * slack
        self._count += 1

    def figures(self) -> dict[str, float]:
        took, slack = np.sort(self._took_us[: self._count]), self._slack_ms[: self._count]
        if not self._count:
            return {"callbacks": 0}
        at = [round(float(took[min(int(share * len(took)), len(took) - 1)]), 1) for share in (0.5, 0.99)]
        return {
            "callbacks": self._count, "callback_us_p50": at[0], "callback_us_p99": at[1],
            "callback_us_max": round(float(took[-1]), 1), "slack_ms_min": round(float(slack.min()), 2),
        }  # fmt: skip


def work(wire: Wire, options: Mapping[str, Any]) -> None:
    """Drive one device until the loop wants no more. Raises Unopened."""
    try:
        import pyaudio
    except ModuleNotFoundError:
        raise Unopened(sound_names.MISSING, hopeless=True) from None
    except ImportError as error:
        raise Unopened(f"PyAudio is installed and cannot be imported ({error})", hopeless=True) from None
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    audio = pyaudio.PyAudio()
    direction: sound_names.Direction = options["direction"]
    try:
        device = sound_names.choose(options["name"], direction, sound_names.listed(audio), sound_names.read_cards())
    except sound_names.NoSuchDevice as error:
        raise Unopened(str(error), hopeless=True) from None
    stream = _opened(wire, audio, pyaudio, device, direction)
    wire.tell(OPENED, name=device.name, host=device.host, rate=stream.rate, channels=stream.channels,
              latency=stream.latency)  # fmt: skip
    stream.announced = True
    stream.run()


def block_seconds() -> float:
    """Of sound in a callback, as the environment wants it. Raises Unopened where it wants what is no such time."""
    wanted = os.environ.get(BLOCK_VARIABLE) or str(BLOCK_MS)
    try:
        block = float(wanted)
    except ValueError:
        block = 0.0
    if not 1.0 <= block <= LONGEST_BLOCK_MS:
        raise Unopened(f"{BLOCK_VARIABLE} is {wanted!r}; wanted milliseconds, 1 to {LONGEST_BLOCK_MS:.0f} (without it: "
                       f"{BLOCK_MS:.0f})", hopeless=True)  # fmt: skip
    return block / 1000


def _opened(
    wire: Wire, audio: Any, pyaudio: Any, device: sound_names.SoundDevice, direction: sound_names.Direction
) -> _Stream:
    """An open stream. Tried twice, with a format picked anew: the other direction of the same device may have been
    opened meanwhile, and have fixed another. Raises Unopened."""
    why = ""
    for _ in range(2):
        rate, channels = pick_format(audio, pyaudio, device, direction)
        stream = (_Recording if direction == "in" else _Playing)(wire, rate, channels)
        try:
            stream.open(audio, pyaudio, device)
            return stream
        except OSError as error:
            why = str(error.args[-1])
    raise Unopened(f"{device.name!r} cannot be opened: {why}; is another program using it?")


def pick_format(audio: Any, pyaudio: Any, device: sound_names.SoundDevice, direction: str) -> tuple[int, int]:
    """A rate and a number of channels that the device takes: its own rate, few channels."""
    own = [sound_names.PREFERRED_RATE, device.rate] if device.is_plugin else [device.rate]
    most = device.channels("in" if direction == "in" else "out")
    counts = [count for count in ((1, 2, most) if direction == "in" else (2, 1, most)) if count <= most]
    for rate in dict.fromkeys([*own, *PLAIN_RATES]):
        for count in dict.fromkeys(counts):
            if _takes(audio, pyaudio, device, direction, rate, count):
                return rate, count
    raise Unopened(
        f"{device.name!r} takes none of the rates {', '.join(map(str, PLAIN_RATES))} Hz with up to {most} channels, or "
        "is in use by another program; close that, or use the sound server's device"
    )


def _takes(audio: Any, pyaudio: Any, device: sound_names.SoundDevice, direction: str, rate: int, channels: int) -> bool:
    word = "input" if direction == "in" else "output"
    wanted = {f"{word}_device": device.index, f"{word}_channels": channels, f"{word}_format": pyaudio.paFloat32}
    try:
        return bool(audio.is_format_supported(rate, **wanted))
    except ValueError:
        return False


class _Stream:
    """What both directions share."""

    word = ""

    def __init__(self, wire: Wire, rate: int, channels: int) -> None:
        self.wire, self.rate, self.channels = wire, rate, channels
        self.block = self._block()
        self.latency = 0.0
        self.timing = Timing()
        self.position = 0
        self.called = 0.0
        """When the newest callback came."""
        self.gone = False
        """Nobody listens any more."""
        self.announced = False
        """The loop knows that the device is open: only then do its blocks mean anything to it."""
        self._told = 0.0
        self._stream: Any = None

    def most(self) -> int:
        """Samples of a block that one packet holds."""
        raise NotImplementedError

    def _block(self) -> int:
        """Samples of a block. Raises Unopened where more is wanted than a packet holds."""
        block, most = round(block_seconds() * self.rate), self.most()
        if block > most and os.environ.get(BLOCK_VARIABLE):
            raise Unopened(
                f"{BLOCK_VARIABLE} is {os.environ[BLOCK_VARIABLE]!r}; this {self.word} of {self.channels} channels at "
                f"{self.rate} Hz takes at most {1000 * most // self.rate}", hopeless=True
            )  # fmt: skip
        return min(block, most)

    def open(self, audio: Any, pyaudio: Any, device: sound_names.SoundDevice) -> None:
        """Until the first callback. Raises OSError where PortAudio refuses, Unopened where nothing comes."""
        self._continue = pyaudio.paContinue
        self._stream = audio.open(
            rate=self.rate, channels=self.channels, format=pyaudio.paFloat32,
            frames_per_buffer=self.block, stream_callback=self.called_back,
            **{self.word: True, f"{self.word}_device_index": device.index},
        )  # fmt: skip
        ends = time.monotonic() + START_SECONDS
        while not self.called:
            if time.monotonic() > ends:
                raise Unopened(f"{device.name!r} was opened and delivered nothing for {START_SECONDS:.0f} s")
            time.sleep(0.01)
        self.latency = float(getattr(self._stream, f"get_{self.word}_latency")())

    def run(self) -> None:
        """Until CLOSE, or the device or the loop has gone."""
        while not self.gone:
            message = self.wire.receive(0.1)
            if message is not None and message.kind == CLOSE:
                break
            if message is not None and message.kind == QUEUE:
                self.queue(message.payload)
            now = time.monotonic()
            if now - self.called > SILENT_SECONDS or not self._stream.is_active():
                raise Unopened(f"the device went away: it called back nothing for {SILENT_SECONDS:.1f} s")
            if now - self._told > STATS_SECONDS:
                self._told = now
                self.wire.tell(STATS, **self.timing.figures())
        self._stream.close()

    def queue(self, payload: bytes) -> None: ...

    def called_back(self, data: bytes | None, count: int, times: Mapping[str, float], flags: int) -> tuple[Any, int]:
        """PortAudio's callback."""
        self.called = time.monotonic()
        waited = _sane(time.time() - times["current_time"])
        try:
            out = self.copy(data, count, times, flags)
        except WireClosed:
            self.gone, out = True, bytes(4 * count * self.channels)
        took = time.monotonic() - self.called + (waited or 0.0)
        self.timing.add(took, (self.latency or self.block / self.rate) - took)
        return out, self._continue

    def copy(self, data: bytes | None, count: int, times: Mapping[str, float], flags: int) -> bytes | None:
        raise NotImplementedError


class _Recording(_Stream):
    """A microphone."""

    word = "input"

    def __init__(self, wire: Wire, rate: int, channels: int) -> None:
        super().__init__(wire, rate, channels)
        self._refused = 0

    def most(self) -> int:
        return PACKET_BYTES // (4 * self.channels)

    def copy(self, data: bytes | None, count: int, times: Mapping[str, float], flags: int) -> None:
        assert data is not None
        age = _sane(times["current_time"] - times["input_buffer_adc_time"])
        first = self.called - (self.latency if age is None else age)
        two = flags & 0xFF | self._refused << 8
        if self.announced and not self.wire.offer(BLOCK, int(1e9 * first), self.position, two, data):
            self._refused += 1
        self.position += count


class _Playing(_Stream):
    """A speaker. Before the first sample of ours it is silent on purpose; after it, silence is an underrun."""

    word = "output"

    def __init__(self, wire: Wire, rate: int, channels: int) -> None:
        super().__init__(wire, rate, channels)
        self._ring = SampleRing(round(QUEUE_SECONDS * rate))
        self._real = self._concealed = self._dry = 0
        self._last = 0.0
        self._sounding = False
        """The last block was whole."""
        fade = round(FADE_SECONDS * rate)
        self._rise = np.linspace(0.0, 1.0, fade, dtype=np.float32)
        self._fall = self._rise[::-1].copy()

    def most(self) -> int:
        return (PACKET_BYTES - _HEAD.size) // 4  # one channel, whatever the device has

    def queue(self, payload: bytes) -> None:
        self._ring.write(np.frombuffer(payload, "<f4"))

    def copy(self, data: bytes | None, count: int, times: Mapping[str, float], flags: int) -> bytes:
        block = np.zeros(count, np.float32)
        got = self._ring.read(block)
        if got and not self._sounding:
            fade = min(len(self._rise), got)
            block[:fade] *= self._rise[:fade]
        if got < count and self._real + got:
            self._conceal(block, got)
        self._sounding = got == count
        self._last = float(block[-1])
        self._real += got
        delay = _sane(times["output_buffer_dac_time"] - times["current_time"])
        delay = self.latency if delay is None else delay
        head = PlayedHead(self._real, self._concealed, self._dry, int(1e9 * self.called), flags & ~PRIMING)
        if self.announced:
            self.wire.offer(PLAYED, int(1e9 * (self.called + delay)), self.position, 0, head.pack() + block.tobytes())
        self.position += count
        return block.tobytes() if self.channels == 1 else block.repeat(self.channels).tobytes()

    def _conceal(self, block: np.ndarray[Any, np.dtype[np.float32]], got: int) -> None:
        """The sound breaks off after ``got`` samples: let the last one decay."""
        self._concealed += len(block) - got
        if not self._sounding and not got:
            return
        self._dry += 1
        last = float(block[got - 1]) if got else self._last
        fade = min(len(self._fall), len(block) - got)
        block[got : got + fade] = last * self._fall[:fade]


def _sane(seconds: float) -> float | None:
    """None for a time that no driver can mean."""
    return seconds if 0.0 <= seconds < LONGEST_LATENCY else None
