"""Sound: the encoder of what the user says, and the codec of the agent's voice.

Receives samples [B, units * unit_samples] (full scale -1..1) and tails; hands on user tokens, agent latents or
samples. Strictly causal, no look-ahead: the output of a unit depends on samples up to the end of that unit.

Our choices (the papers give no rates or widths): log-mel front end with a window of 30 ms every 10 ms; 25 latents a
second; a codec that goes from samples to 1.25 ms steps to 10 ms steps to latents and back; its encoder gives a mean
without a variance, and training adds noise of a fixed size to the normalised latents.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.layers import CausalConv1d, CausalConvTranspose1d, Linear, RMSNorm, Stateful, Tails
from edge_streamer.export.wan_streamer.config import UNIT_HOPS, AudioVaeConfig, UserAudioConfig

BIN_HZ = 62.5
"""Distance of the front end's frequencies: about what a 30 ms Hann window can tell apart."""
FLOOR = 1e-6
"""Power below which all is silence; about -60 dB under a full-scale sine in one band."""
SUBHOPS = 8
"""Codec steps of 1.25 ms per hop of 10 ms."""


def mel_weights(bins: int, mels: int) -> Tensor:
    """Triangles of equal width on the mel scale over the frequencies BIN_HZ, 2 BIN_HZ, ...: [bins, mels].

    A band narrower than the raster would catch no frequency at all; each triangle is at least one bin wide.
    """
    hertz = torch.arange(1, bins + 1, dtype=torch.float64) * BIN_HZ
    top = 2595.0 * math.log10(1.0 + float(hertz[-1]) / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, top, mels + 2, dtype=torch.float64) / 2595.0) - 1.0)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (hertz[:, None] - left) / (centre - left).clamp(min=BIN_HZ)
    fall = (right - hertz[:, None]) / (right - centre).clamp(min=BIN_HZ)
    return torch.minimum(rise, fall).clamp(min=0.0).float()


class LogMel(Stateful):
    """Samples to log-mel power every hop, as a convolution with fixed weights. Tail: the last two hops of samples."""

    kernels: Tensor
    mel: Tensor

    def __init__(self, hop: int, mels: int) -> None:
        super().__init__()
        self.hop = hop
        bins = round(50 * hop / BIN_HZ)  # up to half the sample rate, which is 100 hops a second
        time = torch.arange(3 * hop, dtype=torch.float64)
        angle = 2 * math.pi * BIN_HZ / (100 * hop) * torch.arange(1, bins + 1, dtype=torch.float64)[:, None] * time
        window = torch.hann_window(3 * hop, dtype=torch.float64) / (0.75 * hop)  # a full-scale sine has power 1
        kernels = torch.cat([angle.cos() * window, angle.sin() * window]).float()[:, None, :]
        self.register_buffer("kernels", kernels, persistent=False)  # [2 * bins, 1, 3 * hop]
        self.register_buffer("mel", mel_weights(bins, mels), persistent=False)
        self.tail_shape = (1, 1, 2 * hop)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, hops * hop] -> [B, mels, hops], about -1..1."""
        x = torch.cat([tail, x], 2)
        waves = F.conv1d(x, self.kernels, stride=self.hop)
        bins = waves.shape[1] // 2
        power = waves[:, :bins] * waves[:, :bins] + waves[:, bins:] * waves[:, bins:]
        mels = torch.matmul(power.transpose(1, 2), self.mel).transpose(1, 2)
        return (torch.log(mels + FLOOR) + 7.0) / 7.0, x[:, :, x.shape[2] - 2 * self.hop :]


class AudioBlock(nn.Module):
    """x + a small causal network of x: norm, SiLU, causal convolution over 3 steps, SiLU, mix of channels."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, axis=1, axes=2)
        self.conv = CausalConv1d(channels, channels, 3, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """[B, channels, steps], the same shape out."""
        y = tails.through(self.conv, F.silu(self.norm(x)))
        return x + self.mix(F.silu(y))


class UserAudio(nn.Module):
    """The encoder of what the user says: log-mel, causal convolutions, tokens."""

    def __init__(self, config: UserAudioConfig, hop: int, width: int) -> None:
        super().__init__()
        channels, halvings = config.channels, int(math.log2(UNIT_HOPS // config.tokens))
        self.mel = LogMel(hop, config.mels)
        self.enter = CausalConv1d(config.mels, channels, 3)
        self.down = nn.ModuleList(CausalConv1d(channels, channels, 4, stride=2) for _ in range(halvings))
        self.blocks = nn.ModuleList(AudioBlock(channels) for _ in range(halvings + 1))
        self.norm = RMSNorm(channels)
        self.out = Linear(channels, width)

    def forward(self, samples: Tensor, tails: Tails) -> Tensor:
        """[B, units * unit_samples] -> [B, units * tokens, width]."""
        return self.read(tails.through(self.mel, samples[:, None]), tails)

    def read(self, mels: Tensor, tails: Tails) -> Tensor:
        """[B, mels, hops] -> [B, tokens, width]."""
        x = self.blocks[0](tails.through(self.enter, mels), tails)
        for down, block in zip(self.down, list(self.blocks)[1:], strict=True):
            assert isinstance(down, CausalConv1d)
            x = block(tails.through(down, x), tails)
        tokens: Tensor = self.out(self.norm(x.transpose(1, 2)))
        return tokens


class AudioEncoder(nn.Module):
    """The agent's samples to its latents."""

    def __init__(self, config: AudioVaeConfig, hop: int) -> None:
        super().__init__()
        (channels, fine), edge, stride = config.channels, hop // SUBHOPS, UNIT_HOPS // config.tokens
        self.enter = CausalConv1d(1, fine, 2 * edge, stride=edge, gain=2.0)
        self.fine = AudioBlock(fine)
        self.hops = CausalConv1d(fine, channels, 2 * SUBHOPS, stride=SUBHOPS)
        self.middle = AudioBlock(channels)
        self.tokens = CausalConv1d(channels, channels, 2 * stride, stride=stride)
        self.coarse = AudioBlock(channels)
        self.norm = RMSNorm(channels)
        self.out = Linear(channels, config.values)

    def forward(self, samples: Tensor, tails: Tails) -> Tensor:
        """[B, units * unit_samples] -> [B, units * tokens, values], not yet normalised."""
        x = self.fine(tails.through(self.enter, samples[:, None]), tails)
        x = self.middle(tails.through(self.hops, x), tails)
        x = self.coarse(tails.through(self.tokens, x), tails)
        latents: Tensor = self.out(self.norm(x.transpose(1, 2)))
        return latents


class AudioDecoder(nn.Module):
    """The agent's latents to its samples."""

    def __init__(self, config: AudioVaeConfig, hop: int) -> None:
        super().__init__()
        (channels, fine), edge, stride = config.channels, hop // SUBHOPS, UNIT_HOPS // config.tokens
        self.enter = CausalConv1d(config.values, channels, 3)
        self.coarse = AudioBlock(channels)
        self.hops = CausalConvTranspose1d(channels, channels, 2 * stride, stride)
        self.middle = nn.ModuleList(AudioBlock(channels, dilation) for dilation in (1, 3))
        self.subhops = CausalConvTranspose1d(channels, fine, 2 * SUBHOPS, SUBHOPS)
        self.fine = nn.ModuleList(AudioBlock(fine, dilation) for dilation in (1, 3))
        self.norm = RMSNorm(fine, axis=1, axes=2)
        self.out = CausalConvTranspose1d(fine, 1, 2 * edge, edge, gain=0.15)

    def forward(self, latents: Tensor, tails: Tails) -> Tensor:
        """[B, units * tokens, values] -> [B, units * unit_samples], -1..1."""
        x = self.coarse(tails.through(self.enter, latents.transpose(1, 2)), tails)
        x = tails.through(self.hops, x)
        for block in self.middle:
            x = block(x, tails)
        x = tails.through(self.subhops, x)
        for block in self.fine:
            x = block(x, tails)
        return torch.tanh(tails.through(self.out, F.silu(self.norm(x)))).squeeze(1)


class AudioVae(nn.Module):
    """The codec of the agent's voice. Its latents are normalised: mean 0, deviation 1 over the training data."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: AudioVaeConfig, hop: int) -> None:
        super().__init__()
        self.encoder = AudioEncoder(config, hop)
        self.decoder = AudioDecoder(config, hop)
        self.register_buffer("latent_mean", torch.zeros(config.values))
        self.register_buffer("latent_std", torch.ones(config.values))

    def encode(self, samples: Tensor, tails: Tails) -> Tensor:
        """[B, units * unit_samples] -> [B, units * tokens, values]."""
        latents: Tensor = (self.encoder(samples, tails) - self.latent_mean) / self.latent_std
        return latents

    def decode(self, latents: Tensor, tails: Tails) -> Tensor:
        """[B, units * tokens, values] -> [B, units * unit_samples], -1..1."""
        samples: Tensor = self.decoder(latents * self.latent_std + self.latent_mean, tails)
        return samples
