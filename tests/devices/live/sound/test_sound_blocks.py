"""How long a block of sound is: as the environment wants it, or one clear line."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edge_streamer.devices.live.process.wire import PACKET_BYTES, Wire
from edge_streamer.devices.live.process.worker import Unopened
from edge_streamer.devices.live.sound.worker import (
    BLOCK_MS,
    BLOCK_VARIABLE,
    PlayedHead,
    _Playing,
    _Recording,
    block_seconds,
)


def test_a_block_is_as_long_as_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BLOCK_VARIABLE, raising=False)
    assert block_seconds() == BLOCK_MS / 1000
    monkeypatch.setenv(BLOCK_VARIABLE, "100")
    assert block_seconds() == 0.1


@pytest.mark.parametrize("wanted", ["long", "0", "-5", "nan", "60000"])
def test_what_is_no_time_is_told(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv(BLOCK_VARIABLE, wanted)
    with pytest.raises(Unopened, match=f"{BLOCK_VARIABLE} is '{wanted}'; wanted milliseconds") as caught:
        block_seconds()
    assert caught.value.hopeless


@pytest.fixture
def wire() -> Iterator[Wire]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Wire(ours)


@pytest.mark.parametrize(
    ("kind", "channels", "rate", "most"),
    [(_Recording, 2, 48000, 85), (_Recording, 1, 48000, 170), (_Recording, 8, 48000, 21), (_Playing, 2, 48000, 170),
     (_Playing, 1, 44100, 185)],
)  # fmt: skip
def test_a_block_fits_into_a_packet_or_the_longest_is_named(
    kind: type[_Recording | _Playing], channels: int, rate: int, most: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BLOCK_VARIABLE, str(most))
    block = kind(wire, rate, channels).block
    assert block == round(most / 1000 * rate)
    head = PlayedHead(0, 0, 0, 0, 0).pack() if kind is _Playing else b""
    assert wire.offer(16, payload=head + bytes(4 * block * (1 if kind is _Playing else channels)))
    for wanted in (str(most + 1), "500"):
        monkeypatch.setenv(BLOCK_VARIABLE, wanted)
        with pytest.raises(
            Unopened, match=f"is '{wanted}'; .* {channels} channels at {rate} Hz takes at most {most}$"
        ) as caught:
            kind(wire, rate, channels)
        assert caught.value.hopeless


def test_many_channels_have_shorter_blocks_where_nothing_is_wanted(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BLOCK_VARIABLE, raising=False)
    assert 4 * 32 * _Recording(wire, 96000, 32).block == PACKET_BYTES
