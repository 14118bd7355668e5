"""Streams of words: what is asked for is in them, in the unit where an answer would start, and nothing looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_streamer.export.demo_model import listening, sequence
from edge_streamer.export.demo_model.speech import Bank
from edge_streamer.export.demo_model.words import HELD_OUT, MADE_UP, TRAIN, apart, made_up
from edge_streamer.export.layers import Tails, start_state
from edge_streamer.export.wan_streamer.config import DEMO
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.runtime.evaluation.world.script import UNIT, start_after
from tests.export.demo_model.made_up import TABLE, unknown

COMMANDS, OTHERS = ("one", "two"), ("else",)


def tones() -> Bank:
    """Words that are tones of half a second: 500 Hz, 1000 Hz, and 2000 Hz for anything else."""
    time = np.arange(8000) / 16000
    return Bank({word: [np.sin(2 * np.pi * 500 * 2**n * time).astype(np.float32)]
                 for n, word in enumerate((*COMMANDS, *OTHERS))})  # fmt: skip


def test_a_label_stands_where_the_answer_would_start() -> None:
    bank, found, wanted = tones(), 0, 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        backdrops = listening.Backdrops(bank, OTHERS, 0)
        samples, labels = listening.word_stream(rng, bank, COMMANDS, OTHERS, backdrops)
        assert samples.shape == (listening.UNITS * UNIT,)
        assert np.abs(samples).max() <= 1.0
        for unit in np.flatnonzero(labels):
            # A word that starts an answer in this unit ended one unit before: look at its last quarter of a second.
            heard = samples[unit * UNIT - UNIT - 4000 : unit * UNIT - UNIT]
            power = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
            hertz = np.fft.rfftfreq(len(heard), 1 / 16000)
            loudest = hertz[np.argmax(power * ((hertz > 350) & (hertz < 2600)))]
            wanted += 1
            found += round(np.log2(loudest / 500)) == labels[unit] - 1  # a word may be played a little faster
    assert start_after(0) == UNIT
    assert wanted > 30
    assert found > 0.8 * wanted


def test_two_halves_of_commands_are_nearly_as_long_as_a_word() -> None:
    rng = np.random.default_rng(0)
    lengths = [len(tones().splice(COMMANDS, rng)) for _ in range(20)]
    assert min(lengths) > 2000
    assert max(lengths) < 8000


def test_nothing_looks_ahead() -> None:
    model = build(DEMO, 1)
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(0.1 * rng.standard_normal((1, 14 * UNIT)).astype(np.float32))
    changed = samples.clone()
    changed[:, 9 * UNIT :] = 0.0
    with torch.no_grad():
        one, other = (sequence.listen(model, exact(model, x)) for x in (samples, changed))
    assert float((one[:, :9] - other[:, :9]).abs().max()) < 1e-5
    assert float((one[:, 9:] - other[:, 9:]).abs().max()) > 1e-3


def test_heard_equals_the_encoder_up_to_bfloat16() -> None:
    model = build(DEMO, 1)
    samples = 0.1 * torch.randn(2, 6 * UNIT)
    with torch.no_grad():
        one, other = sequence.heard(model, samples).float(), exact(model, samples)
    assert float((one - other).abs().max()) < 0.1 * float(other.abs().max())


def exact(model, samples: torch.Tensor) -> torch.Tensor:
    tokens = model.user_audio(samples, Tails(start_state(model.user_audio, samples.shape[0])))
    return tokens.reshape(samples.shape[0], samples.shape[1] // UNIT, -1, tokens.shape[-1])


def test_made_up_words_are_new_and_always_the_same() -> None:
    words = made_up(TABLE)
    assert len(set(words)) == len(words) == MADE_UP
    assert not set(words) & {*TRAIN, *HELD_OUT, *TABLE.words}
    assert words == list(unknown()[-MADE_UP:])


def test_no_training_word_sounds_like_a_command() -> None:
    taught = set(unknown())
    assert not taught & {"whether", "wether", "winner", "inner", "diner", "a gain", "stock", "store"}
    assert taught >= {"summer", "together", "yellow", "good"}


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [("dIn3", "dIn3", 0), ("dIn3", "wIn3", 1), ("dIn3", "dIm3", 1), ("In3", "dIn3", 1), ("dIn3s", "dIn3", 1),
     ("dIn3", "dInt3", 1), ("dIn3", "wIm3", 2), ("dIn3", "In3s", 2), ("dI", "dIn3", 2)],
)  # fmt: skip
def test_phonemes_that_two_words_are_apart(one: str, other: str, wanted: int) -> None:
    assert apart(tuple(one), tuple(other)) == apart(tuple(other), tuple(one)) == wanted


def test_the_voice_alone_looks_at_words_and_the_past_only() -> None:
    model = build(DEMO, 1)
    units, c = 5, DEMO
    slots = torch.randint(0, 256, (1, units, 1 + c.text_slots))
    past, noisy = torch.randn(2, 1, units, *c.audio_latent)
    pinned = (torch.randn(1, 2, *c.video_latent), torch.randn(1, 2, *c.audio_latent))
    t = torch.ones(1, units, 1)

    def came(slots: torch.Tensor, past: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return sequence.speak(model, slots, past, pinned, noisy, t, t)[0]

    whole = came(slots, past, noisy)
    for number, changed in enumerate([slots, past, noisy] for _ in range(3)):
        changed[number] = changed[number].clone()
        changed[number][:, 3] = changed[number][:, 3].flip(-1)
        other = came(*changed)
        same = [float((whole[:, k] - other[:, k]).abs().max()) < 1e-5 for k in range(units)]
        # Words and noise of unit 3 are its own; the sound of unit 3 is the past of unit 4. Noise leaves no trace after.
        assert same == [[True] * 3 + [False] * 2, [True] * 4 + [False], [True] * 3 + [False, True]][number]
