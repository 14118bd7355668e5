"""Pictures: the encoder of what the user shows, and the codec of the agent's face.

Receives frames [B, units * 4, height, width, 3] (0..255, RGB) and tails; hands on user tokens, agent latents or
frames. Causal in time: a frame sees itself and frames before it; inside one picture all is visible.

Our choices: time is mixed by handing each picture layer the frame before (as TAEHV does; Conv3d is slow on a CPU);
four frames become one latent picture by a convolution over them and the two frames before; the finest layer stands
at a quarter of the pixels, and pixels are unfolded only at the end. Normalisation is per place, over channels: any
other kind would look ahead or need state.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.layers import FrameMix, FrameSplit, FrameStack, Linear, RMSNorm, Tails, conv2d
from edge_streamer.export.wan_streamer.config import UNIT_FRAMES, UserVideoConfig, VideoVaeConfig

EDGE = 4
"""Pixels per side of the finest layer's places."""


def sizes(size: tuple[int, int], levels: int) -> list[tuple[int, int]]:
    """(rows, columns) of each level, finest first."""
    return [(size[0] // (EDGE << level), size[1] // (EDGE << level)) for level in range(levels)]


class VideoBlock(nn.Module):
    """x + a small causal network of x: norm, SiLU, FrameMix, SiLU, mix of channels."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, axis=1, axes=3)
        self.conv = FrameMix(channels, channels, size)
        self.mix = conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """[B * frames, channels, rows, columns], the same shape out."""
        y = tails.through(self.conv, F.silu(self.norm(x)))
        return x + self.mix(F.silu(y))


class Trunk(nn.Module):
    """Frames to one feature picture per unit, at the coarsest level."""

    def __init__(self, channels: tuple[int, ...], size: tuple[int, int]) -> None:
        super().__init__()
        grids = sizes(size, len(channels))
        self.enter = conv2d(3, channels[0], EDGE, stride=EDGE)
        self.down = nn.ModuleList(conv2d(fine, coarse, 3, stride=2) for fine, coarse in pairwise(channels))
        self.blocks = nn.ModuleList(VideoBlock(c, grid) for c, grid in zip(channels[1:], grids[1:], strict=True))
        self.stack = FrameStack(channels[-1], channels[-1], grids[-1], frames=UNIT_FRAMES)
        self.norm = RMSNorm(channels[-1], axis=1, axes=3)

    def forward(self, frames: Tensor, tails: Tails) -> Tensor:
        """[B, units * 4, height, width, 3] -> [B * units, channels, rows, columns]."""
        x = frames.to(torch.float32).flatten(0, 1).permute(0, 3, 1, 2) * (1 / 127.5) - 1.0
        x = F.silu(self.enter(x))
        for down, block in zip(self.down, self.blocks, strict=True):
            x = block(down(x), tails)
        return F.silu(self.norm(tails.through(self.stack, x)))


def patches(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Pictures as tokens: [N, channels, rows, columns] -> [N, tokens, channels * patch rows * patch columns]."""
    (count, channels, rows, columns), (high, wide) = x.shape, patch
    x = x.reshape(count, channels, rows // high, high, columns // wide, wide).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(count, rows // high * (columns // wide), channels * high * wide)


def picture(tokens: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patches`; ``grid`` is (rows, columns) of tokens."""
    (count, _, values), (rows, columns), (high, wide) = tokens.shape, grid, patch
    x = tokens.reshape(count, rows, columns, values // (high * wide), high, wide).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(count, values // (high * wide), rows * high, columns * wide)


class UserVideo(nn.Module):
    """The encoder of what the user shows: one token per picture patch and unit."""

    def __init__(self, config: UserVideoConfig, size: tuple[int, int], width: int) -> None:
        super().__init__()
        self.trunk, self.patch = Trunk(config.channels, size), config.patch
        (rows, columns), (high, wide) = sizes(size, len(config.channels))[-1], config.patch
        self.out = Linear(config.channels[-1] * high * wide, width)
        self.place = nn.Parameter(torch.randn(rows // high * (columns // wide), width) * 0.3)

    def forward(self, frames: Tensor, tails: Tails) -> Tensor:
        """[B, units * 4, height, width, 3] -> [B, units, tokens, width]."""
        x = patches(self.trunk(frames, tails), self.patch)  # [B * units, tokens, channels * patch]
        tokens: Tensor = self.out(x) + self.place
        return tokens.reshape(frames.shape[0], -1, *tokens.shape[1:])


class VideoEncoder(nn.Module):
    """The agent's frames to its latent picture."""

    def __init__(self, config: VideoVaeConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = Trunk(config.channels, size)
        self.out = conv2d(config.channels[-1], config.latent_channels, 1)

    def forward(self, frames: Tensor, tails: Tails) -> Tensor:
        """[B, units * 4, height, width, 3] -> [B * units, latent channels, rows, columns]."""
        latents: Tensor = self.out(self.trunk(frames, tails))
        return latents


class VideoDecoder(nn.Module):
    """The agent's latent picture to its frames."""

    def __init__(self, config: VideoVaeConfig, size: tuple[int, int]) -> None:
        super().__init__()
        channels, grids = config.channels, sizes(size, len(config.channels))
        self.enter = conv2d(config.latent_channels, channels[-1], 3)
        self.unit = VideoBlock(channels[-1], grids[-1])  # its "frame before" is the latent picture before
        self.split = FrameSplit(channels[-1], channels[-1], grids[-1], frames=UNIT_FRAMES)
        fine_to_coarse = range(len(channels) - 1)
        self.up = nn.ModuleList(conv2d(channels[i + 1], 4 * channels[i], 1) for i in reversed(fine_to_coarse))
        self.blocks = nn.ModuleList(VideoBlock(channels[i], grids[i]) for i in reversed(fine_to_coarse))
        self.norm = RMSNorm(channels[0], axis=1, axes=3)
        self.out = conv2d(channels[0], 3 * EDGE**2, 3, gain=0.4)

    def forward(self, latents: Tensor, tails: Tails) -> Tensor:
        """[B * units, latent channels, rows, columns] -> [B * units * 4, height, width, 3], 0..255, not rounded."""
        x = self.unit(self.enter(latents), tails)
        x = tails.through(self.split, x)
        for up, block in zip(self.up, self.blocks, strict=True):
            x = block(F.pixel_shuffle(up(x), 2), tails)
        x = F.pixel_shuffle(self.out(F.silu(self.norm(x))), EDGE)
        return x.permute(0, 2, 3, 1) * 127.5 + 127.5


class VideoVae(nn.Module):
    """The codec of the agent's picture. Its latents are normalised: mean 0, deviation 1 over the training data."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VideoVaeConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.patch, self.latent_channels = config.patch, config.latent_channels
        rows, columns = config.token_size
        self.grid = (size[0] // rows, size[1] // columns)
        self.encoder = VideoEncoder(config, size)
        self.decoder = VideoDecoder(config, size)
        self.register_buffer("latent_mean", torch.zeros(config.values))
        self.register_buffer("latent_std", torch.ones(config.values))

    def encode(self, frames: Tensor, tails: Tails) -> Tensor:
        """[B, units * 4, height, width, 3] -> [B, units, tokens, values]."""
        latents = (patches(self.encoder(frames, tails), self.patch) - self.latent_mean) / self.latent_std
        return latents.reshape(frames.shape[0], -1, *latents.shape[1:])

    def decode(self, latents: Tensor, tails: Tails) -> Tensor:
        """[B, units, tokens, values] -> [B, units * 4, height, width, 3], 0..255, neither rounded nor clamped."""
        x = (latents * self.latent_std + self.latent_mean).flatten(0, 1)
        frames: Tensor = self.decoder(picture(x, self.grid, self.patch), tails)
        return frames.reshape(latents.shape[0], -1, *frames.shape[1:])
