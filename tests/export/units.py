"""Made-up units for the tests of export.

Hands on :func:`random_units`: noise that swells and fades, coloured pictures, typed tokens, and all the chance that a
unit needs, from a seed.
"""

from __future__ import annotations

import numpy as np
import torch

from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.export.wan_streamer.streamer import Sampling, UnitInput


def random_units(model: WanStreamer, count: int, seed: int, text: bool = True, sampled: bool = True) -> list[UnitInput]:
    """``count`` units of coloured noise, drifting pictures and typed tokens: inputs on which every part moves."""
    config, made = model.config, []
    generator = torch.Generator().manual_seed(seed)
    slots = 1 + config.text_slots
    for k in range(count):
        loud = 0.3 * abs(np.sin(k / 3.0))
        base = torch.randint(0, 200, (1, *(n // 8 for n in config.user_size), 3), generator=generator)
        picture = base.repeat_interleave(8, 1).repeat_interleave(8, 2)
        frames = picture + torch.randint(0, 56, (4, *config.user_size, 3), generator=generator)
        uniform = torch.rand(slots, config.candidates, generator=generator).clamp(1e-6, 1 - 1e-6)
        sampling = Sampling(-torch.log(-torch.log(uniform)), temperature=1.0, top_k=config.candidates, top_p=0.9)
        made.append(
            UnitInput(
                samples=torch.randn(config.unit_samples, generator=generator) * loud,
                frames=frames.to(torch.uint8),
                video_noise=torch.randn(config.video_latent, generator=generator),
                audio_noise=torch.randn(config.audio_latent, generator=generator),
                text=(65 + k % 26,) if text and k % 3 == 0 else (),
                sampling=sampling if sampled else Sampling(),
            )
        )
    return made
