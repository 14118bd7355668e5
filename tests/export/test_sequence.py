"""Training's batched forward equals the streaming model, token by token."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from edge_streamer.export.demo_model import sequence
from edge_streamer.export.layers import Tails, start_state
from edge_streamer.export.wan_streamer.config import TINY, Config, Join, with_attention
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.streamer import Recording, TorchStreamer, UnitInput

TOLERANCE = 2e-4
"""Largest difference relative to the root mean square; measured 1e-5."""
UNITS = 14  # past the wrap of both of tiny's rings


def converse(model: WanStreamer, prefix: int) -> Recording:
    """A recorded run of the streaming model on noise."""
    config, rng = model.config, np.random.default_rng(1)
    streamer = TorchStreamer(model, steps=1, record=True)
    for _ in range(prefix):
        streamer.prefill_agent(torch.randn(config.video_latent), torch.randn(config.audio_latent))
    for _ in range(UNITS):
        streamer.step(UnitInput(
            samples=torch.from_numpy(0.1 * rng.standard_normal(config.unit_samples).astype(np.float32)),
            frames=torch.from_numpy(rng.integers(0, 256, (4, *config.user_size, 3), dtype=np.uint8)),
            video_noise=torch.randn(config.video_latent), audio_noise=torch.randn(config.audio_latent),
            text=(65,), tokens=tuple(rng.integers(0, 260, 1 + config.text_slots).tolist()),
        ))  # fmt: skip
    assert streamer.recording is not None
    return streamer.recording


def gathered(recording: Recording, name: str, tensor: str) -> torch.Tensor:
    """A tensor of a pass of all units, [1, U, ...]."""
    return torch.stack([unit.passes[name][tensor] for unit in recording.units])[None]


def batched(model: WanStreamer, recording: Recording, prefix: int) -> sequence.Hidden:
    """The same run through training's forward."""
    samples = gathered(recording, "encode", "samples").flatten(1)
    frames = gathered(recording, "encode", "frames").flatten(1, 2)
    audio = model.user_audio(samples, Tails(start_state(model.user_audio)))
    video = model.user_video(frames, Tails(start_state(model.user_video)))
    pinned = None
    if prefix:
        units = [unit for unit in recording.prefix if isinstance(unit[0], torch.Tensor)]
        pinned = (torch.stack([u[0] for u in units])[None], torch.stack([u[1] for u in units])[None])
    tokens = sequence.Tokens(
        user_video=video, user_audio=audio.reshape(1, UNITS, -1, audio.shape[-1]),
        text=torch.tensor([[unit.text for unit in recording.units]]),
        slots=torch.tensor([[unit.tokens for unit in recording.units]]),
        past=(gathered(recording, "decode", "latents.video"), gathered(recording, "decode", "latents.audio")),
        pinned=pinned,
    )  # fmt: skip
    given = {n: gathered(recording, "solve.0.in", n) for n in ("latents.video", "latents.audio", "t", "dt")}
    noisy = sequence.Noisy((given["latents.video"], given["latents.audio"]), given["t"], given["dt"])
    return sequence.forward(model, tokens, noisy)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("config", [with_attention(TINY, way) for way in get_args(Join)], ids=get_args(Join))
def test_equals_the_streaming_model(config: Config, prefix: int) -> None:
    model = build(config, 3)
    torch.manual_seed(0)
    # A prefix is held at the main window's distance; training's clips end before that matters, so this one has to be
    # compared only up to there.
    units = config.window_units + 1 if prefix else UNITS
    with torch.no_grad():
        recording = converse(model, prefix)
        hidden = batched(model, recording, prefix)
    assert hidden.noisy is not None
    for unit in range(units):
        passes = recording.units[unit].passes
        before = torch.cat(
            [passes["block"]["hidden"][0, -1:], *(passes[f"slot.{s}"]["hidden"][0] for s in range(config.text_slots))]
        )
        for mine, theirs in (
            (hidden.before_slots[0, unit], before),
            (hidden.noisy[0, unit], passes["solve.0"]["hidden"][0]),
        ):
            assert float((mine - theirs).abs().max()) < TOLERANCE * float(theirs.pow(2).mean().sqrt())
