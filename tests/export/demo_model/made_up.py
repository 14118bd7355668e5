"""Conversations of the demo's world without a codec: what tests of its training share."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from edge_streamer.export.demo_model.dataset import Clips, random_scene, told
from edge_streamer.export.demo_model.words import others
from edge_streamer.export.wan_streamer.config import DEMO
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.table import read_table

TABLE, UNITS = read_table(), 72
PHRASES = [np.full(16000 + 300 * i, 0.1, np.float32) for i in range(len(TABLE.phrases))]


@cache
def unknown() -> tuple[str, ...]:
    """The words that are no commands; espeak-ng says each in every accent to find them (half a minute)."""
    return others(TABLE)


@cache
def scenes() -> list[Scene]:
    world = World(TABLE, [PHRASES] * 3)
    return [random_scene(0, number, world, unknown(), UNITS) for number in range(30)]


def clips(video: torch.Tensor | None = None) -> Clips:
    """Of ``scenes``; ``video``: the latents of the agent's picture, random where nothing is said."""
    count = len(scenes())
    latents = torch.randn(count, UNITS, *DEMO.video_latent) if video is None else video
    sound, camera = torch.zeros(count, UNITS, 4, 1), torch.zeros(count, UNITS, 1, 1)
    return Clips(scenes(), latents, sound, camera, told(scenes(), DEMO))
