"""The Transformer's pass: the ways of joining agree, groups and validity hide what they should."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_streamer.export.wan_streamer.config import PRESETS, Config, Join, with_attention
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.transformer import KeyValue, rotary
from edge_streamer.runtime.bundle.manifest import MASKED

JOIN = 2e-6
"""Largest difference between the ways of joining, on hidden states of about 1. Measured: 1e-6."""
CAPACITY = {"prefix": 5, "main": 12, "video": 7}
LENGTH = 6


class Given:
    """A pass's inputs. ``turns``: how much nearer than they are the tokens of its two units meet the prefix."""

    def __init__(
        self,
        config: Config,
        rings: tuple[str, ...] = ("prefix", "main", "video"),
        length: int = LENGTH,
        turns: tuple[float, float] = (400.0, 416.0),
    ):
        generator = torch.Generator().manual_seed(5)
        t = config.transformer

        def noise(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.embeddings = noise(1, length, t.width)
        places = 1000.0 + 20.0 * np.random.default_rng(5).random(length)
        nearer = np.where(np.arange(length) < (length + 1) // 2, *turns)
        self.angles = [x for at in (places, places - nearer) for x in rotary(at, t.head_size, t.rope_base)]
        self.group = torch.zeros(length)
        self.valid = {ring: torch.zeros(1, CAPACITY[ring]) for ring in rings}
        self.rings: list[dict[str, KeyValue]] = [
            {
                r: (noise(t.kv_heads, CAPACITY[r], t.head_size), noise(t.kv_heads, CAPACITY[r], t.head_size))
                for r in rings
            }
            for _ in range(t.layers)
        ]

    @torch.no_grad()
    def run(self, model: WanStreamer) -> tuple[Tensor, list[KeyValue]]:
        hidden, new = model.transformer(self.embeddings, *self.angles, self.group, self.valid, self.rings)
        return hidden[0], new


@pytest.fixture(scope="module", params=["tiny", "demo"])
def config(request: pytest.FixtureRequest) -> Config:
    return PRESETS[request.param]


@pytest.mark.parametrize("turns", [(400.0, 416.0), (416.0, 416.0), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("rings", [("prefix", "main", "video"), ("main", "video")])
@pytest.mark.parametrize("attention", ["concat", "turned"])
def test_the_ways_of_joining_agree(
    config: Config, attention: Join, rings: tuple[str, ...], length: int, turns: tuple[float, float]
) -> None:
    given = Given(config, rings, length, turns)
    given.group[length // 2 :] = 1
    given.valid["main"][0, 3:5] = MASKED
    split, new = given.run(build(with_attention(config, "split"), 0))
    other, also = given.run(build(with_attention(config, attention), 0))
    torch.testing.assert_close(split, other, atol=JOIN, rtol=0)
    for (k, v), (k2, v2) in zip(new, also, strict=True):
        torch.testing.assert_close(k, k2, atol=JOIN, rtol=0)
        torch.testing.assert_close(v, v2, atol=JOIN, rtol=0)


@pytest.mark.parametrize("attention", get_args(Join))
@pytest.mark.parametrize("ring", ["prefix", "main", "video"])
def test_masked_places_are_not_seen_and_valid_ones_are(config: Config, ring: str, attention: Join) -> None:
    model = build(with_attention(config, attention), 0)
    given = Given(config)
    given.valid[ring][0, 2] = MASKED
    before, _ = given.run(model)
    for layer in given.rings:
        for tensor in layer[ring]:
            tensor[:, 2] += 1.0
    assert torch.equal(given.run(model)[0], before)
    given.valid[ring][0, 2] = 0.0
    assert not torch.allclose(given.run(model)[0], before, atol=1e-3)


@pytest.mark.parametrize("attention", get_args(Join))
def test_a_query_sees_its_own_and_lower_groups_only(config: Config, attention: Join) -> None:
    model = build(with_attention(config, attention), 0)
    given = Given(config)
    given.group = torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 1000.0])
    before, _ = given.run(model)
    for changed in range(LENGTH):
        given.embeddings[0, changed] += 1.0
        after, _ = given.run(model)
        given.embeddings[0, changed] -= 1.0
        moved = [(after[i] - before[i]).abs().max().item() > 1e-4 for i in range(LENGTH)]
        assert moved == [bool(given.group[changed] <= group) for group in given.group]


@pytest.mark.parametrize("attention", get_args(Join))
def test_prefix_angles_turn_queries_for_the_prefix_only(config: Config, attention: Join) -> None:
    model = build(with_attention(config, attention), 0)
    given = Given(config)
    before, keys = given.run(model)
    given.angles[2], given.angles[3] = torch.ones_like(given.angles[2]), torch.zeros_like(given.angles[3])
    after, also = given.run(model)
    assert not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(keys[0][0], also[0][0])
    alone = Given(config, ("main", "video"))
    one, _ = alone.run(model)
    alone.angles[2] = alone.angles[2] * 0
    assert torch.equal(one, alone.run(model)[0])
