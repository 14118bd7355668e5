"""Sound files as microphone and speaker.

Receives paths and the bundle's media contract; hands on :class:`AudioFile` (any file that PyAV reads: mixed to one
channel, resampled, cut into units), :class:`Silence`, and :class:`WavSpeaker` (16-bit PCM WAV). Memory stays flat.

Choices: one channel is the mean of all channels, because no channel is known to hold the voice; where the mean loses
it, that is told (`channels.py`). Sound lies where its own times say (`even_sound.py`). The resampler (soxr,
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

import numpy as np
import soxr

from edge_streamer.devices.files.channels import Mixer
from edge_streamer.devices.files.container import Stream
from edge_streamer.devices.files.even_sound import EvenSound, by_channel
from edge_streamer.devices.files.whole_file import WholeFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.loop.media import Samples

LARGEST_RIFF = 0xFFFFFFFF - 8
"""A WAV beyond 4 GiB (a day of 24 kHz speech) is closed as RF64, for which room is kept in the header."""


class AudioFile:
    """A sound file (or a film's sound) as a microphone.

    Raises MediaError, from the constructor where possible, for a file that is missing, empty, truncated, damaged, not
    media, or holds no samples.
    """

    def __init__(self, path: Path, media: MediaSpec, channel: int | None = None) -> None:
        """``channel``: the one that is heard, from 1; None: the mean of all."""
        self._media = media
        self._stream = Stream(path, "audio")
        self._blocks = _MonoBlocks(self._stream, channel)
        self._resampled = _resample(self._blocks, media.hears.sample_rate)
        self._pending: Samples = np.empty(0, np.float32)
        self._given = 0
        self._total: int | None = None

    @property
    def units(self) -> int | None:
        """ceil(seconds / unit seconds): by the header until the end was read, then by the samples that were there."""
        seconds = self._stream.seconds
        if self._total is not None or seconds is None:
            return self._total
        return self._units_in(self._blocks.sound.lead + seconds)

    def read(self, out: Samples) -> bool:
        """Fill ``out`` [unit_samples] with the next unit, the last one padded with silence; False at the end."""
        self._fetch(len(out))
        if self._total is not None and self._given >= self._total:
            return False
        ready = min(len(out), len(self._pending))
        np.clip(self._pending[:ready], -1.0, 1.0, out=out[:ready])
        np.nan_to_num(out[:ready], copy=False, nan=0.0)  # of a damaged file of floats
        out[ready:] = 0.0
        self._pending = self._pending[ready:]
        self._given += 1
        return True

    def figures(self) -> dict[str, object]:
        """What was filled, joined, lost and left out up to here; see ``runtime.media.Told``."""
        stream = self._stream
        return {
            "joins": stream.joins, "lost_packets": stream.lost, "broken_off": stream.broken_off,
            **self._blocks.figures(),
        }  # fmt: skip

    def close(self) -> None:
        self._stream.close()

    def _fetch(self, wanted: int) -> None:
        """Hold ``wanted`` samples at the model's rate, or know that the file has ended."""
        while len(self._pending) < wanted and self._total is None:
            block = next(self._resampled, None)
            if block is None:
                self._total = self._units_in(self._blocks.sound.seconds)
            else:
                self._pending = np.concatenate((self._pending, block))

    def _units_in(self, seconds: Fraction) -> int:
        return math.ceil(seconds / self._media.unit)


class _MonoBlocks:
    """The file's samples at the file's rates, one channel; the first frame is read at once."""

    def __init__(self, stream: Stream, channel: int | None) -> None:
        self.sound = EvenSound(stream)
        self._mixer = Mixer(channel)
        self.not_numbers = 0
        """Samples that were no numbers and became silence."""
        first = by_channel(self.sound.first)
        if channel is not None and channel > len(first):
            stream.close()
            raise MediaError(
                f"{stream.path} has {len(first)} {'channel' if len(first) == 1 else 'channels'}; "
                f"--channel {channel} is not there"
            )
        if not np.isfinite(first).all():
            stream.close()
            raise MediaError(f"{stream.path} holds values that are not numbers; wanted finite samples")

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        """(samples, rate)."""
        for block in self.sound:
            samples, finite = block.samples, np.isfinite(block.samples)
            if not finite.all():
                self.not_numbers += int(finite.size - np.count_nonzero(finite))
                samples = np.where(finite, samples, np.float32(0))
            yield self._mixer.mix(samples, block.rate), block.rate

    def figures(self) -> dict[str, object]:
        """What was done to it."""
        return {
            "filled_seconds": round(self.sound.filled, 3), "gaps": self.sound.gaps,
            "dropped_seconds": round(self.sound.dropped, 3),
            "not_numbers": self.not_numbers, **self._mixer.figures(),
        }  # fmt: skip


def _resample(blocks: _MonoBlocks, rate: int) -> Iterator[Samples]:
    """``blocks`` at ``rate``, flushed where their rate changes and at the end: round(samples * rate / file rate) of
    each stretch."""
    stream, current = None, rate
    for block, own in blocks:
        if own != current:
            if stream:
                yield stream.resample_chunk(np.empty(0, np.float32), last=True)
            stream = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ") if own != rate else None
            current = own
        yield stream.resample_chunk(block) if stream else block
    if stream:
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
        self._rate = media.says.sample_rate
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
