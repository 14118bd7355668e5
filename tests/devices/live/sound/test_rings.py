"""A ring hands on every sample in order whatever the blocks' lengths, and never writes over what was not read."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from edge_streamer.devices.live.sound.rings import SampleRing


@pytest.mark.parametrize("channels", [1, 3])
def test_order_holds_over_many_turns_of_the_ring(channels: int) -> None:
    rng = np.random.default_rng(0)
    ring = SampleRing(100, channels)
    shape = (5000, channels) if channels > 1 else (5000,)
    wanted = rng.standard_normal(shape, np.float32)
    heard, written = [], 0
    while written < len(wanted):
        block = wanted[written : written + int(rng.integers(0, 60))]
        if ring.write(block):
            written += len(block)
        out = np.full((int(rng.integers(0, 60)), *shape[1:]), np.nan, np.float32)
        count = ring.read(out)
        assert np.isnan(out[count:]).all()  # what was not there is not made up
        heard.append(out[:count])
    heard.append(np.zeros((len(ring), *shape[1:]), np.float32))
    assert ring.read(heard[-1]) == len(heard[-1])
    assert np.array_equal(np.concatenate(heard), wanted)


def test_a_block_that_does_not_fit_is_refused_whole_and_counted() -> None:
    ring = SampleRing(10)
    assert ring.write(np.arange(8, dtype=np.float32))
    assert not ring.write(np.full(3, 99, np.float32))
    assert (ring.overruns, ring.lost, len(ring)) == (1, 3, 8)
    assert ring.write(np.arange(8, 10, dtype=np.float32))
    out = np.zeros(10, np.float32)
    assert ring.read(out) == 10
    assert np.array_equal(out, np.arange(10, dtype=np.float32))


def test_skip_forgets_the_oldest_and_no_more_than_there_is() -> None:
    ring = SampleRing(10)
    ring.write(np.arange(6, dtype=np.float32))
    assert ring.skip(4) == 4
    out = np.zeros(1, np.float32)
    ring.read(out)
    assert out[0] == 4
    assert ring.skip(9) == 1
    assert len(ring) == 0


def test_nothing_asked_and_nothing_there_are_no_errors() -> None:
    ring = SampleRing(4)
    assert ring.read(np.zeros(0, np.float32)) == 0
    assert ring.read(np.zeros(2, np.float32)) == 0
    assert ring.write(np.zeros(0, np.float32))


def test_one_thread_writes_and_another_reads() -> None:
    ring = SampleRing(997)
    wanted = np.arange(200_000, dtype=np.float32)

    def write() -> None:
        place = 0
        while place < len(wanted):
            if ring.write(wanted[place : place + 61]):
                place += 61

    writer = threading.Thread(target=write)
    writer.start()
    heard, out = list[np.ndarray](), np.zeros(53, np.float32)
    while sum(map(len, heard)) < len(wanted):
        count = ring.read(out)
        heard.append(out[:count].copy())
    writer.join()
    assert np.array_equal(np.concatenate(heard), wanted)
