"""What of the agent's picture people look at: gaze, mouth, lids, icon.

Receives clips; hands on the loss of a prediction's error along the lines on which these move. They are a small part of
a picture's energy and most of what people see. It is a projection of the same error, so the flow that is sought stays
the same; it is sought where it matters.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_streamer.export.demo_model.compute import full, tensor
from edge_streamer.export.demo_model.dataset import Clips
from edge_streamer.runtime.evaluation.world.avatar import Looks

RIDGE = 1e-3
"""Of the regression, in units of a unit's looks."""
LOOKS = 0.4
"""Weight of the error of the looks."""


class Sight:
    """How the agent looks, read off the latents of a unit's picture by linear regression."""

    def __init__(self, clips: Clips) -> None:
        looks = tensor(np.stack([_by_unit(scene.looks) for scene in clips.scenes])).flatten(0, 1)
        size = looks.std(0)
        looks = (looks - looks.mean(0)) / size
        latents = clips.video.flatten(2).flatten(0, 1)
        seen = latents - latents.mean(0)
        gram = seen.T @ seen + RIDGE * len(seen) * torch.eye(seen.shape[1])
        self.axes = torch.linalg.solve(gram, seen.T @ looks)
        """[tokens * values, looks]: from latents to looks in standard deviations."""

    def loss(self, error: Tensor) -> Tensor:
        """``error`` [B, U, tokens, values] of the predicted picture."""
        with full():
            return LOOKS * (error.float().flatten(2) @ self.axes).pow(2).mean()


def _by_unit(looks: Looks) -> NDArray[np.float32]:
    """[U, 20]: gaze, mouth, lids and whether there is an icon, of a unit's four frames."""
    icon = (looks.icon > 0).astype(np.float32)
    parts = (looks.gaze, looks.mouth, looks.eyes, icon)
    return np.concatenate([np.asarray(p, np.float32).reshape(len(icon) // 4, -1) for p in parts], 1)
