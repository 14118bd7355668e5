"""A live run's own ends: what is told when, and what is told all the same. Without devices, in real time."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from edge_streamer.devices.live.sound.echo.canceller import Untouched
from edge_streamer.devices.live.sound.microphone import SoundFile
from edge_streamer.runtime.commands.signals import no_hangup
from edge_streamer.runtime.loop.stand_ins import NoMicrophone
from edge_streamer.runtime.timing import FakeClock
from tests.media_files import MEDIA, write_wav

FILE_LIMIT = 40_000
"""Bytes: a recording's sound reaches it within a second, no other file does."""


def live(bundle: Path, *more: str, limit: int = -1) -> subprocess.CompletedProcess[str]:
    """A run of two seconds in which everything is off but a test pattern."""
    words = ["--mic", "none", "--speaker", "none", "--camera", "pattern", "--display", "none", "--seconds", "2"]
    return subprocess.run(
        [sys.executable, "-m", "edge_streamer", "run", str(bundle), *words, *more], text=True,
        capture_output=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit > 0 else None,
    )  # fmt: skip


def test_a_recording_that_ends_early_is_told_when_it_does(tiny_bundle: Path, tmp_path: Path) -> None:
    done = live(tiny_bundle, "--record", str(tmp_path / "kept"), "--log", str(tmp_path / "log"), limit=FILE_LIMIT)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events.count("record ended") == 1
    assert events.index("record ended") < events.index("end")
    assert "record ended: " in done.stderr
    assert "recording ended" in done.stdout


def test_how_it_went_is_told_where_a_file_cannot_be_kept(tiny_bundle: Path, tmp_path: Path) -> None:
    done = live(tiny_bundle, "--json", str(tmp_path / "report"), limit=100)
    assert done.returncode == 2
    assert "answered" in done.stdout
    assert f"{tmp_path / 'report'}" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_off_is_not_measured(tiny_bundle: Path, tmp_path: Path) -> None:
    done = live(tiny_bundle, "--json", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report").read_text())
    assert report["mouth_to_ear_ms"] is None
    assert report["parts_ms"]["buffer"] is None
    assert report["unit_time_ms"]["p50"] > 0
    assert report["picture_age_ms"] is not None, "the test pattern is a camera"
    assert "mouth to ear" not in done.stdout
    assert "delay" not in done.stderr


def test_a_clock_begins_when_somebody_looks_at_it(tmp_path: Path) -> None:
    """What is opened first waits for the rest: its sound must not have passed meanwhile."""
    clock = FakeClock()
    file = write_wav(tmp_path / "sound.wav", np.full(MEDIA.hears.sample_rate, 0.5), MEDIA.hears.sample_rate)
    for microphone in (NoMicrophone(MEDIA.hears.sample_rate, clock), SoundFile(file, MEDIA, Untouched("off"), clock)):
        clock.advance(1.0)
        assert microphone.available() == 0
        clock.advance(0.25)
        assert microphone.available() == MEDIA.hears.sample_rate // 4


def test_a_hangup_before_the_devices_are_open_does_nothing() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with no_hangup():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is before
