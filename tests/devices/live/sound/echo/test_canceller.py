"""The four ways to deal with the echo: what each does to sound, what it costs in time, and what it says of itself."""

from __future__ import annotations

import sys
import types
from typing import Any, get_args

import numpy as np
import pytest

from edge_streamer.devices.live.sound.echo import canceller as under_test
from edge_streamer.devices.live.sound.echo.canceller import (
    EDGE_SECONDS,
    FLOOR,
    FLOOR_DB,
    LEADS,
    MOST_AHEAD,
    TAIL_SECONDS,
    Echo,
    EchoCanceller,
    HalfDuplex,
    Mode,
    Reference,
    Untouched,
    open_echo,
)
from edge_streamer.devices.live.sound.echo.meter import EchoMeter
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.loop.media import Samples
from tests.rooms import Devices, EchoRoom, agent_speech, converse, user_words

RATE = 16000
RATES = (8000, 16000, 24000, 32000, 48000)


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("pywebrtc_audio", reason="pywebrtc-audio is not installed")


def noise(count: int, level: float = 0.1, seed: int = 0) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def feed(echo: Echo, near: Samples, lengths: Any, rate: int = RATE) -> Samples:
    """``near`` in pieces of ``lengths``, in turn, while silence is played."""
    parts, begin, number = [], 0, 0
    while begin < len(near):
        piece = near[begin : begin + lengths[number % len(lengths)]]
        echo.played(100 + begin / rate, np.zeros(len(piece), np.float32), rate)
        parts.append(echo.clean(piece, 100 + begin / rate))
        assert len(parts[-1]) == len(piece)
        begin, number = begin + len(piece), number + 1
    return np.concatenate(parts)


# -- full: time


@pytest.mark.parametrize("rate", RATES)
def test_sound_comes_out_as_late_as_it_says(library: Any, rate: int) -> None:
    echo, near = EchoCanceller(rate), noise(rate)
    out = feed(echo, near, [rate // 100], rate)
    alike = np.fft.irfft(np.fft.rfft(out, 2 * rate) * np.conj(np.fft.rfft(near, 2 * rate)))
    assert abs(alike.argmax() - round(echo.latency * rate)) <= 1  # at 24 kHz it lies between two samples
    assert 0.008 <= echo.latency <= 0.0115
    assert 0.85 < np.linalg.norm(out) / np.linalg.norm(near) <= 1.0


@pytest.mark.parametrize("lengths", [[2560], [441], [1], [37, 400, 3], [160, 161]])
def test_calls_of_any_length_give_the_same_sound_less_than_a_frame_later(library: Any, lengths: list[int]) -> None:
    count = 16000 if lengths != [1] else 1920
    near, whole, pieces = noise(count), EchoCanceller(RATE), EchoCanceller(RATE)
    wanted, came = feed(whole, near, [160]), feed(pieces, near, lengths)
    later = round((pieces.latency - whole.latency) * RATE)
    assert 0 <= later < 160
    assert np.array_equal(came[160 + later :], wanted[160 : len(wanted) - later])  # 160: the last list's first call


def test_whole_frames_wait_for_nothing(library: Any) -> None:
    echo = EchoCanceller(RATE)
    feed(echo, noise(8000), [160, 320, 2560])
    assert echo.latency == 0.008


def test_a_call_keeps_nothing_of_the_callers_array(library: Any) -> None:
    near, given, kept = noise(3200), EchoCanceller(RATE), EchoCanceller(RATE)
    wanted, came = feed(given, near, [100]), []
    buffer = np.empty(100, np.float32)
    for begin in range(0, len(near), 100):
        buffer[:] = near[begin : begin + 100]
        kept.played(100 + begin / RATE, np.zeros(100, np.float32), RATE)
        came.append(kept.clean(buffer, 100 + begin / RATE).copy())
        buffer[:] = 1.0
    assert np.array_equal(np.concatenate(came), wanted)


def test_no_samples_are_no_samples(library: Any) -> None:
    assert len(EchoCanceller(RATE).clean(np.empty(0, np.float32), 0.0)) == 0


def test_garbage_is_counted_and_does_not_stay(library: Any) -> None:
    near = noise(32000)
    spoilt = near.copy()
    spoilt[5000:5003] = (np.nan, np.inf, -np.inf)
    echo, sound = EchoCanceller(RATE), EchoCanceller(RATE)
    came, wanted = feed(echo, spoilt, [160]), feed(sound, near, [160])
    assert echo.counts()["garbage"] == 3
    assert np.isfinite(came).all()
    assert np.abs(came[16000:] - wanted[16000:]).max() < 1e-3


# -- full: sound


@pytest.mark.parametrize("rate", RATES)
def test_the_echo_goes_and_is_measured_at_every_rate(library: Any, rate: int) -> None:
    echo = open_echo("full", rate)
    heard = converse(echo, agent_speech(8, 48000, 0.15), np.zeros(8 * rate, np.float32), EchoRoom(), Devices(), rate)
    assert heard.converged(20) < 1.0
    assert 20 < heard.loss_db(2, 8) < 1 - FLOOR_DB, "more than is needed costs words"
    measured = echo.loss_db()
    assert measured is not None
    assert abs(measured - heard.loss_db(1, 8)) < 5
    assert echo.measured_delay_ms() == pytest.approx(20, abs=0.6)


@pytest.mark.parametrize("rate", RATES)
def test_the_canceller_alone_takes_more_than_is_left_in(
    library: Any, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "FLOOR", 0.0)
    echo = open_echo("full", rate)
    heard = converse(echo, agent_speech(8, 48000, 0.15), np.zeros(8 * rate, np.float32), EchoRoom(), Devices(), rate)
    assert heard.loss_db(2, 8) > 30


def test_a_word_said_over_the_agent_stays(library: Any) -> None:
    voice, spans = user_words(8, RATE, ("weather", "story", "number"), (3.0, 4.6, 6.2))
    echo = open_echo("full", RATE)
    heard = converse(echo, agent_speech(8, 48000, 0.15), voice, EchoRoom(), Devices())
    assert np.mean([heard.voice_db(*span) for span in spans]) > -6
    assert np.mean([heard.likeness(*span) for span in spans]) > 0.7


def test_what_is_left_in_of_the_echo_saves_words(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words, starts = ("stop", "hello", "weather", "story"), (3.0, 4.8, 6.6, 8.4)
    voice, spans = user_words(10, RATE, words, starts)
    like = {}
    for floor in (FLOOR, 0.0):
        monkeypatch.setattr(under_test, "FLOOR", floor)
        heard = converse(open_echo("full", RATE), agent_speech(10, 48000, 0.15), voice, EchoRoom(), Devices())
        like[floor] = np.mean([heard.likeness(*span) for span in spans])
    assert like[FLOOR] > like[0.0] + 0.02


def test_the_loss_is_low_where_the_echo_stays(library: Any) -> None:
    """An echo 0.75 s after its reference is found by nobody, and nothing must say that it was taken away."""
    echo = open_echo("full", RATE)
    silence, devices = np.zeros(8 * RATE, np.float32), Devices(speaker_seconds=0.9, told_less=0.6)
    heard = converse(echo, agent_speech(8, 48000, 0.15), silence, EchoRoom(), devices)
    assert heard.loss_db(2, 8) < 12
    measured = echo.loss_db()
    assert measured is None or measured < 12
    assert echo.measured_delay_ms() is None


def test_nothing_is_measured_where_nothing_is_heard(library: Any) -> None:
    echo = open_echo("full", RATE)
    assert (echo.loss_db(), echo.measured_delay_ms()) == (None, None)
    far = agent_speech(6, 48000)
    converse(echo, far, np.zeros(6 * RATE, np.float32), EchoRoom(echo_db=-100), Devices())  # headphones
    assert (echo.loss_db(), echo.measured_delay_ms()) == (None, None)
    echo = open_echo("full", RATE)
    voice, _ = user_words(6, RATE, ("weather", "story", "number"), (1.0, 2.5, 4.0))
    converse(echo, np.zeros(6 * 48000, np.float32), voice, EchoRoom(), Devices())
    assert (echo.loss_db(), echo.measured_delay_ms()) == (None, None)


def test_the_meter_lets_words_of_the_user_out(library: Any) -> None:
    voice, _ = user_words(12, RATE, ("weather", "story", "number", "animal"), (3.0, 5.2, 7.4, 9.6))
    echo = open_echo("full", RATE)
    heard = converse(echo, agent_speech(12, 48000, 0.15), voice, EchoRoom(), Devices())
    measured = echo.loss_db()
    assert measured is not None
    assert abs(measured - heard.loss_db(2, 12)) < 9
    assert 10 * np.log10(np.square(heard.near).sum() / np.square(heard.clean).sum()) < 10  # what a plain ratio says


def test_the_meter_finds_the_delay_to_a_quarter_of_a_millisecond() -> None:
    far = noise(4 * RATE)
    for late in (-1600, 0, 320, 6400):
        meter = EchoMeter(RATE)
        near = np.roll(far, late) * np.float32(0.3)
        for begin in range(0, len(far), 2560):
            part = slice(begin, begin + 2560)
            meter.add(near[part], far[part], near[part])
        assert meter.lag() == pytest.approx(late / RATE, abs=0.00026)


# -- the reference


def test_the_reference_goes_ahead_by_what_is_known() -> None:
    for latency, wanted in ((0.2, MOST_AHEAD), (0.08, 0.07), (-0.03, -0.04)):
        reference = Reference(RATE)
        _run(reference, latency, 4)
        assert reference.ahead == pytest.approx(wanted, abs=1e-3)
        assert reference.moved <= 2


def test_a_hiccup_moves_nothing_and_more_is_taken_again() -> None:
    reference = Reference(RATE)
    _run(reference, 0.08, 5)
    moved = reference.moved
    _run(reference, 0.04, 0.1, 5.0)
    _run(reference, 0.08, 5, 5.1)
    assert (reference.moved, reference.ahead) == (moved, pytest.approx(0.07, abs=1e-3))
    _run(reference, 0.04, LEADS / 100, 10.1)
    assert 0.029 < reference.ahead < 0.041
    _run(reference, 0.1, LEADS / 100 + 2, 10.1 + LEADS / 100)
    assert reference.ahead == pytest.approx(0.09, abs=1e-3)


def test_a_speaker_that_is_gone_moves_nothing() -> None:
    reference = Reference(RATE)
    _run(reference, 0.08, 5)
    for call in range(1000):
        reference.beside(160, 105 + call / 100)
    assert reference.ahead > 0.0


def _run(reference: Reference, latency: float, seconds: float, begin: float = 0.0) -> None:
    """Calls of 10 ms while the speaker's blocks are known ``latency`` before they are due."""
    if not begin:
        reference.add(100.0, np.zeros(round(latency * RATE) if latency > 0 else 1, np.float32), RATE)
    played = reference._played
    for call in range(round(seconds * 100)):
        end = 100 + begin + (call + 1) / 100
        lead = played.lead(end)
        assert lead is not None
        while (lead := played.lead(end) or 0.0) < latency - 1e-6:
            known = end + lead
            count = min(160, round((latency - lead) * RATE))
            reference.add(known, np.zeros(count, np.float32), RATE)
        reference.beside(160, end - 0.01)


# -- half


def test_half_duplex_is_silent_while_the_agent_is_heard() -> None:
    echo, near = HalfDuplex(RATE), np.full(4 * RATE, 0.25, np.float32)
    far = np.zeros(4 * RATE, np.float32)
    far[RATE : 2 * RATE] = noise(RATE)
    came = []
    for begin in range(0, len(near), 160):
        if begin == 0:
            echo.played(100.0, far[:3200], RATE)
        echo.played(100 + (begin + 3200) / RATE, far[begin + 3200 : begin + 3360], RATE)
        came.append(echo.clean(near[begin : begin + 160], 100 + begin / RATE))
    out = np.concatenate(came)
    first, last = RATE - round(MOST_AHEAD * RATE), 2 * RATE + round(TAIL_SECONDS * RATE)
    edge = round(EDGE_SECONDS * RATE)
    assert np.array_equal(out[: first - 1], near[: first - 1])
    assert not out[first + edge : last - 1].any()
    assert np.array_equal(out[last + edge + 1 :], near[last + edge + 1 :])
    assert np.abs(np.diff(out)).max() <= 0.25 / edge + 1e-6
    assert echo.counts()["silenced"] == np.count_nonzero(out == 0)
    assert (echo.latency, echo.loss_db(), echo.measured_delay_ms()) == (0.0, None, None)


def test_half_duplex_keeps_the_echo_out_of_every_room() -> None:
    room, devices = EchoRoom(delay_ms=50, reverb_ms=200, echo_db=6, drive=5), Devices(told_less=0.05, jitter=0.003)
    far = np.concatenate([np.zeros(24000, np.float32), agent_speech(5, 48000)])
    heard = converse(open_echo("half", RATE), far, np.zeros(6 * RATE, np.float32), room, devices)
    assert np.abs(heard.echo).max() > 0.3
    assert np.abs(heard.clean).max() < 0.01  # the recordings' own hiss is played too softly to count


# -- the others, and the door


def test_off_hands_on_what_came() -> None:
    near = noise(160)
    echo = open_echo("off", 22050)
    echo.played(0.0, near, 48000)
    assert echo.clean(near, 0.0) is near
    assert (echo.latency, echo.loss_db(), echo.measured_delay_ms(), echo.counts()) == (0.0, None, None, {})


def test_every_mode_has_a_door(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "check_system_canceller", lambda microphone, speaker: f"{microphone}, {speaker}")
    made = {mode: open_echo(mode, RATE, microphone="a", speaker="b") for mode in get_args(Mode)}
    assert {mode: echo.mode for mode, echo in made.items()} == {mode: mode for mode in get_args(Mode)}
    assert isinstance(made["system"], Untouched)
    assert made["system"].facts == "a, b"


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(InputError, match="'loud' is unknown; wanted one of full, half, system, off"):
        open_echo("loud", RATE)  # type: ignore[arg-type]


def test_a_rate_that_it_does_not_know_is_named(library: Any) -> None:
    with pytest.raises(InputError, match="the bundle has 22050: choose --aec half, or run with --no-aec"):
        open_echo("full", 22050)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with pytest.raises(InputError, match=r"pip install '\.\[live\]'\), or run with --no-aec"):
        open_echo("full", RATE)


def test_a_canceller_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no AVX on this machine")

    module = types.ModuleType("pywebrtc_audio")
    module.EchoCanceller = broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", module)
    with pytest.raises(InputError, match=r"cannot start at 16000 .*no AVX on this machine.* --no-aec"):
        open_echo("full", RATE)
