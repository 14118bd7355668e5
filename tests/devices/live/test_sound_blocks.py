"""How long a block of sound is: as the environment wants it, or one clear line."""

from __future__ import annotations

import pytest

from edge_streamer.devices.live.sound_worker import BLOCK_MS, BLOCK_VARIABLE, block_seconds
from edge_streamer.devices.live.worker import Unopened


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
