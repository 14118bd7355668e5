"""The whole sequence at once equals unit by unit; broken rules do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge_streamer.export.config import PRESETS, layout, with_attention
from edge_streamer.export.model import build
from edge_streamer.export.streamer import Recording, TorchStreamer, random_units
from edge_streamer.export.whole import TOLERANCE, Rules, errors, relative, rules_of, whole_sequence

TINY = PRESETS["tiny"]
SMALL_DEMO = replace(PRESETS["demo"], window_units=4, video_window_units=2, prefix_tokens=32)
"""The demo geometry with windows that wrap within a few units."""


def record(config: object, units: int, prefix: bool, early: bool | None, seed: int = 1) -> tuple[object, Recording]:
    """A recorded run; ``early`` None commits early now and then."""
    from edge_streamer.export.config import Config

    assert isinstance(config, Config)
    model = build(config, 0)
    streamer = TorchStreamer(model, record=True)
    if prefix:
        generator = torch.Generator().manual_seed(3)
        streamer.prefill_text([72, 101, 108])
        streamer.prefill_agent(
            torch.randn(config.video_latent, generator=generator), torch.randn(config.audio_latent, generator=generator)
        )
        streamer.prefill_text([33])
    for k, unit in enumerate(random_units(model, units, seed)):
        streamer.step(unit)
        if early or (early is None and k % 3 == 1):
            streamer.settle()
    assert streamer.recording is not None
    return model, streamer.recording
