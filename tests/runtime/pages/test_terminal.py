"""What is shown while a bundle opens: nothing where nobody waits or watches, else a bar per graph."""

from __future__ import annotations

import io
import sys

import pytest

from edge_streamer.runtime.pages.terminal import PATIENT_SECONDS, opening
from edge_streamer.runtime.timing import FakeClock


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, seconds: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What an opening writes whose second graph begins after ``seconds``."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    clock = FakeClock()
    with opening(clock) as tell:
        tell("encode", 0, 1)
        clock.advance(seconds)
        tell("core", 3, 12)
    return stream.getvalue()


def test_an_opening_that_takes_seconds_shows_how_far_each_graph_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(Screen(), PATIENT_SECONDS, monkeypatch)
    assert "opening encode" in said
    assert "opening core" in said
    assert "3/12" in said


def test_a_short_one_and_one_that_nobody_watches_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Screen(), PATIENT_SECONDS / 2, monkeypatch) == ""
    assert shown(io.StringIO(), 10 * PATIENT_SECONDS, monkeypatch) == ""
