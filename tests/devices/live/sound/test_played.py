"""What was played is found beside what was captured: exactly where the clocks agree, smoothly where they do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge_streamer.devices.live.sound.played import KEPT_SECONDS, Played, _Track
from edge_streamer.runtime.loop.media import Samples

RATE = 16000
TONE = 100.0
"""Hz: 20 ms of it are two whole periods, whose phase tells the time to some microseconds."""


def noise(count: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def play(played: Played, samples: Samples, rate: int, block: int, start: float = 50.0) -> None:
    for begin in range(0, len(samples), block):
        played.add(start + begin / rate, samples[begin : begin + block], rate)


def read(played: Played, count: int, block: int, start: float = 50.0, ahead: float = 0.0) -> Samples:
    """``count`` samples from ``start`` on, ``block`` at a time."""
    parts = [
        played.at(start + begin / RATE, min(block, count - begin), RATE, ahead) for begin in range(0, count, block)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize(("theirs", "ours"), [(160, 160), (441, 37), (37, 2560), (1024, 16000)])
def test_the_same_rate_gives_the_very_samples(theirs: int, ours: int) -> None:
    played, samples = Played(), noise(2 * RATE)
    play(played, samples, RATE, theirs)
    assert np.array_equal(read(played, RATE, ours, 50.5), samples[8000:24000])


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000, 96000])
def test_another_rate_gives_the_same_sound(rate: int) -> None:
    played, times = Played(), np.arange(2 * rate) / rate
    play(played, np.sin(2 * np.pi * 1000 * times).astype(np.float32), rate, 480)
    wanted = np.sin(2 * np.pi * 1000 * (0.5 + np.arange(RATE) / RATE))
    assert np.abs(read(played, RATE, 160, 50.5) - wanted).max() < 1e-3


def test_what_the_microphone_cannot_have_heard_is_filtered_out() -> None:
    played, times = Played(), np.arange(2 * 48000) / 48000
    play(played, np.sin(2 * np.pi * 11000 * times).astype(np.float32), 48000, 480)  # would alias to 5 kHz
    assert np.sqrt(np.mean(np.square(read(played, RATE, 160, 50.5)))) < 1e-3 * np.sqrt(0.5)


def test_ahead_gives_what_is_played_later() -> None:
    played, samples = Played(), noise(2 * RATE)
    play(played, samples, RATE, 160)
    assert np.array_equal(read(played, 8000, 160, 50.5, ahead=0.1), samples[9600:17600])


def test_where_nothing_was_played_or_nothing_is_known_is_silence() -> None:
    played = Played()
    assert not read(played, 1600, 160).any()
    assert played.lead(50.0) is None
    samples = noise(1600)
    play(played, samples, RATE, 160, 50.05)
    assert played.lead(50.1) == pytest.approx(0.05)
    came = read(played, 4800, 160, 50.1)
    assert np.array_equal(came[:800], samples[800:])
    assert not came[800:].any()
    assert played.counts.unknown == 4000


def test_silence_before_the_first_sample() -> None:
    played, samples = Played(), noise(1600)
    play(played, samples, RATE, 160, 50.1)
    came = read(played, 3200, 160, 50.0)
    assert not came[:1600].any()
    assert np.array_equal(came[1600:], samples)


def test_garbage_is_played_as_silence() -> None:
    played, samples = Played(), noise(1600)
    samples[[3, 700, 701]] = (np.nan, np.inf, -np.inf)
    play(played, samples.copy(), RATE, 160)
    samples[[3, 700, 701]] = 0.0
    assert np.array_equal(read(played, 1600, 160), samples)


def test_it_forgets_what_is_older_than_it_keeps() -> None:
    played, samples = Played(), noise(int((KEPT_SECONDS + 2) * RATE))
    play(played, samples, RATE, 160)
    came = read(played, 3 * RATE, 160)
    forgotten = 2 * RATE
    assert not came[: forgotten - 160].any()
    assert np.array_equal(came[forgotten + 160 :], samples[forgotten + 160 : 3 * RATE])


def test_a_block_longer_than_the_memory_keeps_its_end_in_place() -> None:
    played, samples = Played(), noise(int((KEPT_SECONDS + 2) * RATE))
    played.add(50.0, samples, RATE)
    at = int((KEPT_SECONDS + 1) * RATE)
    assert np.array_equal(read(played, 1600, 160, 50.0 + at / RATE), samples[at : at + 1600])


def test_the_reader_never_sees_a_half_written_ring() -> None:
    """A writer as fast as it can be, a reader at the edge where old samples are written over."""
    track, ending = _Track(400), threading.Event()
    wrong = 0

    def write() -> None:
        while not ending.is_set():
            track.write((np.arange(track.end, track.end + 160) % 1009 + 1).astype(np.float32))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3000):
            begin = track.end - 2400 - 80
            came = track.read(begin, 800)
            known = came != 0
            wrong += int(np.count_nonzero(came[known] != (np.arange(begin, begin + 800) % 1009 + 1)[known]))
    finally:
        ending.set()
        writer.join()
    assert track.end > 10_000
    assert wrong == 0


class Pair:
    """A speaker and a microphone with clocks of their own, playing a tone; how late the reference is."""

    def __init__(self, speaker_ppm: float = 0.0, microphone_ppm: float = 0.0, jitter: float = 0.0) -> None:
        self.played = Played()
        self.speaker, self.microphone = 48000 * (1 + 1e-6 * speaker_ppm), RATE * (1 + 1e-6 * microphone_ppm)
        self._rng, self._jitter = np.random.default_rng(3), jitter
        self.handed = self.captured = 0
        self.lost = 0
        """Samples of the microphone that never came."""

    def run(self, seconds: float) -> Iterator[tuple[float, Samples]]:
        """(true time, reference) of every 20 ms for so many more seconds."""
        last = self.captured + round(seconds * RATE)
        while self.captured < last:
            now = (self.captured + self.lost + 320) / self.microphone
            while self.handed / self.speaker < now + 0.1:
                self.hand()
            begun = (self.captured + self.lost) / self.microphone
            yield begun, self.played.at(70 + begun + self._wobble(), 320, RATE)
            self.captured += 320

    def hand(self) -> None:
        times = (self.handed + np.arange(480)) / self.speaker
        tone = np.sin(2 * np.pi * TONE * times).astype(np.float32)
        self.played.add(70 + self.handed / self.speaker + self._wobble(), tone, 48000)
        self.handed += 480

    def late(self, seconds: float) -> list[float]:
        """Milliseconds by which the reference is late, modulo 10, every 20 ms."""
        return [_late(begun, reference, self.microphone) for begun, reference in self.run(seconds)]

    def _wobble(self) -> float:
        return float(self._rng.uniform(-1, 1)) * self._jitter


def _late(begun: float, reference: Samples, rate: float) -> float:
    turned = np.exp(-2j * np.pi * TONE * (begun + np.arange(len(reference)) / rate))
    return float(-np.angle(1j * (reference @ turned)) / (2 * np.pi * TONE) * 1000)


@pytest.mark.parametrize(("speaker", "microphone"), [(300, -300), (-300, 300), (300, 300)])
def test_drift_is_followed(speaker: float, microphone: float) -> None:
    pair = Pair(speaker, microphone)
    begin = pair.late(20)
    assert max(map(abs, begin)) < 1.0
    assert max(map(abs, pair.late(5))) < 0.1
    assert pair.played.counts.steps == 0


def test_jitter_of_5_ms_moves_the_reference_by_a_sample_in_half_a_second_at_most() -> None:
    pair = Pair(300, -300, 0.005)
    pair.late(30)
    late = np.array(pair.late(20))
    assert np.abs(late).max() < 2.0
    assert np.abs(late[25:] - late[:-25]).max() < 1000 / RATE
    assert pair.played.counts.holes == 0


def test_the_reference_has_no_jump_within_or_between_blocks() -> None:
    pair = Pair(300, -300, 0.002)
    pair.late(10)
    whole = np.concatenate([reference for _, reference in pair.run(10)])
    bend = np.abs(np.diff(whole, 2))
    wanted = (2 * np.pi * TONE / RATE) ** 2  # of a pure tone; one sample of 16 kHz skipped bends it 25 times more
    assert bend.max() < 2 * wanted


def test_a_block_that_the_microphone_lost_is_stepped_over_within_a_second() -> None:
    pair = Pair(jitter=0.001)
    pair.late(10)
    pair.lost += 80  # 5 ms
    assert abs(pair.late(0.1)[-1]) == pytest.approx(5.0, abs=0.5)
    pair.late(0.9)
    assert max(map(abs, pair.late(1))) < 1.5  # what the line had followed meanwhile
    assert pair.played.counts.steps == 1


def test_a_block_that_the_speaker_lost_is_filled_with_silence() -> None:
    pair = Pair(jitter=0.001)
    pair.late(10)
    pair.handed += 240  # 5 ms that nobody told of
    pair.late(1)
    assert max(map(abs, pair.late(1))) < 1.5
    assert pair.played.counts.holes == 1
    assert pair.played.counts.restarts == 0


def test_a_speaker_that_stood_still_was_silent() -> None:
    pair = Pair()
    pair.late(5)
    known = pair.handed / 48000
    pair.handed += 96000  # two seconds
    pair.hand()
    came = list(pair.run(3))
    silent = [begun for begun, reference in came if not reference.any()]
    assert min(silent) == pytest.approx(known, abs=0.021)
    assert max(silent) == pytest.approx(known + 2 - 0.02, abs=0.021)
    assert max(abs(_late(begun, reference, RATE)) for begun, reference in came[-20:]) < 0.01
    assert pair.played.counts.holes == 1


def test_a_speaker_opened_again_begins_anew() -> None:
    pair = Pair()
    pair.late(5)
    spectrum = np.fft.rfft(noise(48000))
    spectrum[12000:] = 0.0  # 6 kHz
    now = pair.captured / RATE
    play(pair.played, np.fft.irfft(spectrum).astype(np.float32), 24000, 240, 70 + now)
    assert pair.played.counts.restarts == 1
    came = np.concatenate([pair.played.at(70 + now + k * 0.02, 320, RATE) for k in range(95)])
    wanted = np.fft.irfft(spectrum[:16001], 32000) * 2 / 3
    assert came[160:30000] == pytest.approx(wanted[160:30000], abs=0.01)
