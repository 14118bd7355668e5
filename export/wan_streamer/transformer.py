"""The Qwen2.5-shaped Transformer that reads its past from rings.

Receives token embeddings, rotary angles, group numbers and rings; hands on hidden states and the new tokens' K/V.
One forward serves every pass of a unit; nothing is remembered here.

A query of group g sees every valid place of the rings and those new tokens whose group is at most g. Keys are stored
already rotated. The pinned prefix is met with angles of its own (it keeps its distance), hence a second rotation of
the query. Three ways of joining rings and new tokens, equal up to rounding:

    split     scores per part, joined before the softmax
    concat    keys and values are joined first, but for the prefix's, whose scores are joined as in ``split``
    turned    all keys and values are joined first. So that one query meets them all, the prefix's keys are turned
              instead of the query: a score depends on the difference of two angles alone. The tokens of a pass belong
              to two units at most, so two turns are enough, those of its first and its last token; a query sees the
              keys of its own turn and has the others masked. Joined are thousands of keys then, not millions of scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_streamer.export.layers import Linear, RMSNorm
from edge_streamer.export.wan_streamer.config import Join, TransformerConfig
from edge_streamer.runtime.bundle.manifest import MASKED

KeyValue = tuple[Tensor, Tensor]
Rings = Mapping[str, KeyValue]
RINGS = ("prefix", "main", "video")
"""The order in which a graph lists them."""


def rotary(positions: NDArray[np.float64], head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin [T, head_size / 2] of tokens at ``positions``: angles in float64, results in float32.

    In float32 the angle of hour 24 would be wrong by whole radians' fractions; float64 is exact to 1e-8 there.
    """
    frequencies = base ** (-np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    angles = np.asarray(positions, dtype=np.float64)[:, None] * frequencies
    return torch.from_numpy(np.cos(angles).astype(np.float32)), torch.from_numpy(np.sin(angles).astype(np.float32))


class Angles(NamedTuple):
    """Rotary rows of a pass, prepared once for all layers, to be met by x and x swapped."""

    cos: Tensor
    sin: Tensor
    """[T, 1, head_size]: of the new tokens."""
    prefix_cos: Tensor
    prefix_sin: Tensor
    """[T, 1, head_size], of the queries that meet the prefix; ``turned``: [2, 1, head_size], by which its keys are."""


def both_halves(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """[..., head_size / 2] -> [..., 1, head_size]: cos twice, and sin with the sign that :func:`rotate` wants."""
    return torch.cat([cos, cos], -1).unsqueeze(-2), torch.cat([-sin, sin], -1).unsqueeze(-2)


def swap(x: Tensor) -> Tensor:
    """The two halves of each head exchanged: value i pairs with value i + head_size / 2 (as in Qwen2.5)."""
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], -1)


def rotate(x: Tensor, swapped: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [..., T, heads, head_size]: (a, b) -> (a cos - b sin, b cos + a sin)."""
    return x * cos + swapped * sin


class Attention(nn.Module):
    """Grouped-query attention: ``heads`` queries share ``kv_heads`` keys and values."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = config.heads, config.kv_heads, config.head_size
        self.join: Join = config.attention
        columns = (config.heads + 2 * config.kv_heads) * config.head_size
        self.qkv = Linear(config.width, columns)  # query heads, key heads, value heads, side by side
        self.out = Linear(config.heads * config.head_size, config.width, bias=False, gain=(2 * config.layers) ** -0.5)

    def fold(self, query: Tensor) -> Tensor:
        """[T, heads, size] -> [kv_heads, group * T, size]: the queries that share a key head, as one matrix, scaled."""
        group = self.heads // self.kv_heads
        query = (query * self.size**-0.5).reshape(-1, self.kv_heads, group, self.size)
        return query.permute(1, 2, 0, 3).reshape(self.kv_heads, -1, self.size)

    def unfold(self, values: Tensor) -> Tensor:
        """[kv_heads, group * T, size] -> [T, heads * size]."""
        group = self.heads // self.kv_heads
        values = values.reshape(self.kv_heads, group, -1, self.size)
        return values.permute(2, 0, 1, 3).reshape(-1, self.heads * self.size)

    def forward(
        self, x: Tensor, angles: Angles, mask: Tensor, valid: Mapping[str, Tensor], rings: Rings
    ) -> tuple[Tensor, KeyValue]:
        """[1, T, width] -> [1, T, width] and the new keys and values [kv_heads, T, size]. ``mask``: what is added to
        the scores of the new tokens, [group * T, T]; ``turned``: of all keys, [T, C]."""
        heads = self.qkv(x.squeeze(0)).reshape(-1, self.heads + 2 * self.kv_heads, self.size)
        turned, value = torch.split(heads, [self.heads + self.kv_heads, self.kv_heads], 1)
        swapped = swap(turned)
        query, key = torch.split(rotate(turned, swapped, angles.cos, angles.sin), [self.heads, self.kv_heads], 1)
        near, new = self.fold(query), (key.transpose(0, 1), value.transpose(0, 1))
        if self.join == "turned":
            return self.out(self.unfold(self._turned(near, angles, mask, rings, new))).unsqueeze(0), new
        parts = [(near, *rings[name], valid[name]) for name in ("main", "video") if name in rings]
        parts.append((near, *new, mask))
        if self.join == "concat":
            parts = [joined(near, parts)]
        if "prefix" in rings:
            turned, swapped = turned[:, : self.heads], swapped[:, : self.heads]
            far = self.fold(rotate(turned, swapped, angles.prefix_cos, angles.prefix_sin))
            parts = [(far, *rings["prefix"], valid["prefix"]), *parts]
        return self.out(self.unfold(attend(parts))).unsqueeze(0), new

    def _turned(self, query: Tensor, angles: Angles, mask: Tensor, rings: Rings, new: KeyValue) -> Tensor:
        """One product with all keys (in RINGS' order, the prefix's twice) -> [kv_heads, group * T, size]."""
        parts = [rings[name] for name in ("main", "video") if name in rings]
        if "prefix" in rings:
            key, value = rings["prefix"]
            key = rotate(key[:, None], swap(key)[:, None], angles.prefix_cos, angles.prefix_sin).flatten(1, 2)
            parts = [(key, torch.cat([value, value], 1)), *parts]
        keys, values = (torch.cat(each, 1) for each in zip(*parts, new, strict=True))
        scores = torch.matmul(query, keys.transpose(1, 2)).unflatten(1, (self.heads // self.kv_heads, -1))
        return torch.matmul(torch.softmax(scores + mask, -1).flatten(1, 2), values)


Part = tuple[Tensor, Tensor, Tensor, Tensor]
"""Queries [heads, N, size], keys and values [heads, C, size], and what is added to the scores, [1 or N, C]."""


def joined(query: Tensor, parts: Sequence[Part]) -> Part:
    """Parts with the same queries as one part."""
    rows = parts[-1][3].shape[0]  # the new tokens' mask has a row per query; a ring's has one for all
    masks = [mask.expand(rows, mask.shape[1]) for _, _, _, mask in parts]
    keys, values = [k for _, k, _, _ in parts], [v for _, _, v, _ in parts]
    return query, torch.cat(keys, 1), torch.cat(values, 1), torch.cat(masks, 1)


def attend(parts: Sequence[Part]) -> Tensor:
    """One softmax over all parts -> [heads, N, size]."""
    scores = [torch.matmul(query, key.transpose(1, 2)) + mask for query, key, _, mask in parts]
    weights = torch.softmax(torch.cat(scores, 2), 2).split([key.shape[1] for _, key, _, _ in parts], 2)
    seen = torch.matmul(weights[0], parts[0][2])
    for weight, (_, _, value, _) in zip(weights[1:], parts[1:], strict=True):
        seen = seen + torch.matmul(weight, value)
    return seen


class Turns(NamedTuple):
    """By which the prefix's keys are turned, and who sees which."""

    cos: Tensor
    sin: Tensor
    """[2, head_size / 2]: of the first and of the last token."""
    mask: Tensor
    """[T, 2]: 0 where a query sees the keys of this turn, MASKED elsewhere."""


def turns(cos: Tensor, sin: Tensor, prefix_cos: Tensor, prefix_sin: Tensor) -> Turns:
    """From the tokens' angles and those that they meet the prefix with, [T, head_size / 2] each, to the difference of
    the two. Which of the two turns is a query's own is told by how alike they are; where both are, either is right."""
    turn_cos = cos * prefix_cos + sin * prefix_sin
    turn_sin = sin * prefix_cos - cos * prefix_sin
    first, last = ((turn_cos[at], turn_sin[at]) for at in (slice(None, 1), slice(-1, None)))
    like_first, like_last = ((turn_cos * c + turn_sin * s).mean(1, keepdim=True) for c, s in (first, last))
    is_first = like_last <= like_first
    mask = torch.cat([torch.where(is_first, 0.0, MASKED), torch.where(is_first, MASKED, 0.0)], 1)
    return Turns(torch.cat([first[0], last[0]], 0), torch.cat([first[1], last[1]], 0), mask)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_up = Linear(config.width, 2 * config.feed_forward, bias=False)  # gate, then up, side by side
        self.down = Linear(config.feed_forward, config.width, bias=False, gain=(2 * config.layers) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width], the same shape out."""
        gate, up = self.gate_up(x).chunk(2, -1)
        y: Tensor = self.down(F.silu(gate) * up)
        return y


class Layer(nn.Module):
    """Attention, then SwiGLU, each on the normalised stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Tensor, angles: Angles, mask: Tensor, valid: Mapping[str, Tensor], rings: Rings
    ) -> tuple[Tensor, KeyValue]:
        """As :meth:`Attention.forward`."""
        seen, new = self.attention(self.attention_norm(x), angles, mask, valid, rings)
        x = x + seen
        return x + self.feed_forward(self.feed_forward_norm(x)), new


class Transformer(nn.Module):
    """The decoder stack: ``core`` of a bundle."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, epsilon=config.norm_epsilon)

    def forward(
        self,
        embeddings: Tensor,
        cos: Tensor,
        sin: Tensor,
        prefix_cos: Tensor,
        prefix_sin: Tensor,
        group: Tensor,
        valid: Mapping[str, Tensor],
        rings: Sequence[Rings],
    ) -> tuple[Tensor, list[KeyValue]]:
        """One pass.

        embeddings [1, T, width]; cos, sin, prefix_cos, prefix_sin [T, head_size / 2]: the rotation of the tokens, and
        that of their queries when they meet the prefix (not read where there is no prefix ring); group [T] float32: a
        query sees the new tokens of its own and lower groups; valid: ring -> [1, C] float32, 0 where a place holds
        history, MASKED elsewhere; rings: per layer, ring -> (keys, values), each [kv_heads, C, head_size]. Rings are
        "main", "video" and, where prefix_tokens > 0, "prefix".

        Gives the hidden states [1, T, width] after the last norm, and per layer the new tokens' keys (rotated) and
        values, each [kv_heads, T, head_size].
        """
        mask = torch.where(group[None, :] <= group[:, None], 0.0, MASKED)
        if self.config.attention == "turned":
            columns = [valid[name].expand(mask.shape[0], -1) for name in ("main", "video") if name in rings[0]]
            if "prefix" in rings[0]:
                turn = turns(cos, sin, prefix_cos, prefix_sin)
                prefix_cos, prefix_sin = turn.cos, turn.sin
                columns = [valid["prefix"] + turn.mask[:, at, None] for at in (0, 1)] + columns
            mask = torch.cat([*columns, mask], 1)
        else:
            mask = torch.cat([mask] * (self.config.heads // self.config.kv_heads), 0)
        angles = Angles(*both_halves(cos, sin), *both_halves(prefix_cos, prefix_sin))
        x, appended = embeddings, []
        for layer, ring in zip(self.layers, rings, strict=True):
            x, new = layer(x, angles, mask, valid, ring)
            appended.append(new)
        return self.norm(x), appended
