"""Sound files as microphone and speaker.

Receives paths and the bundle's media contract; hands on :class:`AudioFile` (any file that PyAV reads: mixed to one
channel, resampled, cut into units), :class:`Silence`, and :class:`WavSpeaker` (16-bit PCM WAV). Memory stays flat.

Choices: one channel is the mean of all channels, because no channel is known to hold the voice. The resampler (soxr,
HQ) is free of delay: a click at second t lands at sample t * rate. The number of units is counted in whole samples of
the file, ceil(samples / file rate / unit seconds) in integers. Values beyond full scale are clipped.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from edge_streamer.devices.container import Stream
from edge_streamer.devices.whole_file import WholeFile
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.media import Samples

LARGEST_RIFF = 0xFFFFFFFF - 8
"""A WAV beyond 4 GiB (a day of 24 kHz speech) is closed as RF64, for which room is kept in the header."""

_LEAD_BLOCK = 65536
"""Samples of silence per block before a sound that starts later than its film."""


class AudioFile:
    """A sound file (or a film's sound) as a microphone.

    Raises MediaError, from the constructor where possible, for a file that is missing, empty, truncated, damaged, not
    media, or holds no samples.
    """

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._media = media
        self._stream = Stream(path, "audio")
        self._blocks = _MonoBlocks(self._stream)
        self._resampled = _resample(self._blocks, media.sample_rate)
        self._pending: Samples = np.empty(0, np.float32)
        self._given = 0
        self._total: int | None = None

    @property
    def units(self) -> int | None:
        """ceil(seconds / unit seconds): by the header until the end was read, then by the samples that were there."""
        seconds = self._stream.seconds
        if self._total is not None or seconds is None:
            return self._total
        return self._units_in(self._blocks.lead + seconds)

    def read(self, out: Samples) -> bool:
        """Fill ``out`` [unit_samples] with the next unit, the last one padded with silence; False at the end."""
        self._fetch(len(out))
        if self._total is not None and self._given >= self._total:
            return False
        ready = min(len(out), len(self._pending))
        np.clip(self._pending[:ready], -1.0, 1.0, out=out[:ready])
        out[ready:] = 0.0
        self._pending = self._pending[ready:]
        self._given += 1
        return True

    def close(self) -> None:
        self._stream.close()

    def _fetch(self, wanted: int) -> None:
        """Hold ``wanted`` samples at the model's rate, or know that the file has ended."""
        while len(self._pending) < wanted and self._total is None:
            block = next(self._resampled, None)
            if block is None:
                self._total = self._units_in(Fraction(self._blocks.count, self._blocks.rate))
            else:
                self._pending = np.concatenate((self._pending, block))

    def _units_in(self, seconds: Fraction) -> int:
        return math.ceil(seconds * self._media.sample_rate / self._media.unit_samples)


class _MonoBlocks:
    """The file's samples at the file's rate, one channel, counted; the first block is read at once."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._frames = stream, stream.frames()
        self._first = self._next_with_samples()
        if self._first is None:
            stream.close()
            raise MediaError(f"{stream.path} holds 0 samples of sound; wanted at least one")
        self.rate: int = self._first.sample_rate
        self.lead = max(stream.time(self._first) or Fraction(0), Fraction(0))
        """Seconds of silence before the sound starts: a film's sound may start later than its picture."""
        self.count = 0
        """Samples handed on so far, the silence before the sound included."""

    def __iter__(self) -> Iterator[Samples]:
        silent = round(self.lead * self.rate)
        while self.count < silent:
            yield self._counted(np.zeros(min(_LEAD_BLOCK, silent - self.count), np.float32))
        frame, self._first = self._first, None
        while frame is not None:
            yield self._counted(self._mono(frame))
            frame = self._next_with_samples()
        self._check_length(silent)

    def _counted(self, block: Samples) -> Samples:
        self.count += len(block)
        return block

    def _next_with_samples(self) -> Any:
        return next((frame for frame in self._frames if frame.samples), None)

    def _mono(self, frame: Any) -> Samples:
        if frame.sample_rate != self.rate:
            raise MediaError(
                f"{self._stream.path} changes its rate from {self.rate} to {frame.sample_rate} samples per second "
                f"after {self.count / self.rate:.2f} s; wanted one rate"
            )
        mono = mix(full_scale(frame.to_ndarray()), frame.format.is_planar, len(frame.layout.channels))
        if not np.isfinite(mono).all():
            raise MediaError(
                f"{self._stream.path} holds values that are not numbers after {self.count / self.rate:.2f} s; "
                "wanted finite samples"
            )
        return mono

    def _check_length(self, silent: int) -> None:
        """FLAC says in its header how many samples it has, and its structure does not show where it was cut."""
        seconds = self._stream.seconds
        if self._stream.stream.codec_context.name != "flac" or seconds is None:
            return
        present = Fraction(self.count - silent, self.rate)
        if present < seconds:
            raise MediaError(
                f"{self._stream.path} is truncated: it promises {float(seconds):.2f} s of sound, "
                f"{float(present):.2f} s are there; copy or record it again"
            )


def full_scale(values: NDArray[Any]) -> Samples:
    """Samples of any format as float32 -1..1: unsigned 8 bit, signed 16, 32 and 64 bit, floating point."""
    scale, zero = 1.0, 0.0
    if values.dtype == np.uint8:
        scale, zero = 128.0, 128.0
    elif np.issubdtype(values.dtype, np.integer):
        scale = -float(np.iinfo(values.dtype).min)
    return np.asarray((values - zero) / scale, np.float32)


def mix(values: Samples, planar: bool, channels: int) -> Samples:
    """[channels, n] (planar) or [1, n * channels] to the mean of the channels, [n]."""
    by_channel = values if planar else values.reshape(-1, channels).T
    mono: Samples = by_channel.mean(axis=0, dtype=np.float32)
    return mono


def _resample(blocks: _MonoBlocks, rate: int) -> Iterator[Samples]:
    """``blocks`` at ``rate``, flushed at the end: round(samples * rate / file rate) samples in all."""
    if blocks.rate == rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(blocks.rate, rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


class Silence:
    """A microphone that is off, for ``units`` units."""

    def __init__(self, media: MediaSpec, units: int) -> None:
        self._given, self._units = 0, units

    @property
    def units(self) -> int:
        """How many units it gives."""
        return self._units

    def read(self, out: Samples) -> bool:
        """Fill ``out`` with silence; False after the last unit."""
        if self._given >= self._units:
            return False
        self._given += 1
        out[:] = 0.0
        return True

    def close(self) -> None: ...


class WavSpeaker:
    """A 16-bit PCM WAV of one channel, written unit by unit under a temporary name.

    A header that says the length so far is written only at the end: until then the file is no one's to read. Raises
    InputError where the file cannot be made or the disk fills.
    """

    def __init__(self, path: Path, media: MediaSpec) -> None:
        self._rate = media.sample_rate
        self.samples = 0
        """Samples written."""
        self.clipped = 0
        """How many of them were beyond full scale."""
        self.whole = WholeFile(path)
        """The file under its temporary name."""
        with self.whole.opening():
            # Unbuffered: a disk that fills leaves nothing that could not be written, and the header goes in place.
            self._file = self.whole.partial.open("r+b", buffering=0)
            self._write(wav_header(self._rate, 0))

    def write(self, samples: Samples) -> None:
        """[n] float32, full scale -1..1."""
        # 32768 would wrap: full scale is +32767/32768, as in every 16-bit file.
        scaled = np.rint(samples * np.float32(32768))
        self.clipped += int(np.count_nonzero((samples > 1) | (samples < -1)))
        with self.whole.writing():
            self._write(np.clip(scaled, -32768, 32767).astype("<i2").tobytes())
        self.samples += len(samples)

    def finish(self) -> None:
        """Write the header; see ``runtime.media.Output``."""
        if self._file.closed:
            return
        with self.whole.writing():
            header = wav_header(self._rate, self.samples * 2)
            self._file.truncate(len(header) + self.samples * 2)  # half a unit may be there, of a disk that filled
            self._file.seek(0)
            self._write(header)
            self._file.close()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        self.finish()
        self.whole.publish()

    def discard(self) -> None:
        with suppress(OSError):  # the disk may be full: nothing that is given up needs to reach it
            self._file.close()
        self.whole.discard()


def wav_header(rate: int, data_bytes: int, largest: int = LARGEST_RIFF) -> bytes:
    """80 bytes: RIFF with an unused chunk, or RF64 with the true lengths in its place where ``largest`` is passed."""
    whole = 72 + data_bytes
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    if whole <= largest:
        spare = struct.pack("<4sI28x", b"JUNK", 28)
        return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + spare + form + struct.pack("<4sI", b"data", data_bytes)
    true = struct.pack("<4sIQQQI", b"ds64", 28, whole, data_bytes, data_bytes // 2, 0)
    return struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE") + true + form + struct.pack("<4sI", b"data", 0xFFFFFFFF)
