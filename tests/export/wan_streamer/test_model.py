"""Presets, sampling, the solver's arithmetic, reproducible and sane random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_streamer.export.layers import Tails
from edge_streamer.export.wan_streamer.config import PRESETS, Config, constants, layout, media
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.streamer import TorchStreamer
from tests.export.units import random_units

DEMO_LIMIT = 5_500_000
"""Parameters: 22 MB in float32, which is what a shipped bundle may weigh."""


@pytest.fixture(scope="module")
def tiny() -> WanStreamer:
    return build(PRESETS["tiny"], 0)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_describe_themselves(name: str) -> None:
    config = PRESETS[name]
    lay, c, m = layout(config), constants(config), media(config)
    assert m.hears.unit_samples == m.says.unit_samples == round(config.sample_rate * 0.16)
    assert c.video_latent[0] + c.audio_latent[0] == lay.agent
    assert config.vocabulary % 64 == 0
    offsets = lay.offsets("user.video", "user.audio", "user.text", "start", "slots", "agent.video", "agent.audio")
    assert (np.diff(offsets) >= 0).all()  # time runs inside the unit as it is computed
    assert offsets.max() < c.positions_per_unit


def test_the_real_geometry_is_the_papers() -> None:
    config = PRESETS["qwen2.5-0.5b"]
    assert config.video_latent == (252, 64)
    assert config.user_grid == (12, 21)
    t = config.transformer
    assert (t.layers, t.width, t.heads, t.kv_heads, t.head_size, t.feed_forward) == (24, 896, 14, 2, 64, 4864)
    assert (config.vocabulary, t.rope_base, config.tied) == (151936, 1e6, True)


def test_demo_remembers_enough_and_is_small() -> None:
    config = PRESETS["demo"]
    assert config.window_units >= 64
    assert config.video_window_units >= 8
    assert sum(p.numel() for p in build(config, 0).parameters()) <= DEMO_LIMIT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"window_units": 0}, "window_units is 0"),
        ({"video_window_units": 0}, "video_window_units is 0"),
        ({"prefix_tokens": -1}, "prefix_tokens is -1"),
        ({"candidates": 321}, "candidates 321"),
        ({"sample_rate": 44100}, "sample_rate 44100"),
        ({"user_size": (33, 48)}, "user_size"),
        ({"agent_size": (32, 50)}, "agent_size"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(PRESETS["tiny"], **change)  # type: ignore[arg-type]


RECTANGLES = replace(
    PRESETS["tiny"],
    user_size=(32, 96),
    user_video=replace(PRESETS["tiny"].user_video, patch=(1, 2)),
    agent_size=(48, 32),
    video_vae=replace(PRESETS["tiny"].video_vae, patch=(3, 1)),
)
"""No two sides alike: user tokens of 16x32 pixels, agent tokens of 24x8."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user_size": (24, 96)}, r"user_size \(24, 96\) must be multiples of \(16, 32\) pixels"),
        ({"user_size": (32, 48)}, r"user_size \(32, 48\) must be multiples of \(16, 32\) pixels"),
        ({"agent_size": (32, 32)}, r"agent_size \(32, 32\) must be multiples of \(24, 8\) pixels"),
        ({"agent_size": (48, 20)}, r"agent_size \(48, 20\) must be multiples of \(24, 8\) pixels"),
    ],
)
def test_a_picture_that_is_not_whole_tokens_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(RECTANGLES, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "user", "agent", "values"),
    [
        (PRESETS["tiny"], (2, 3), (2, 3), 16),
        (RECTANGLES, (2, 3), (2, 4), 12),
        (PRESETS["demo"], (1, 1), (1, 5), 24),
        (PRESETS["qwen2.5-0.5b"], (12, 21), (12, 21), 64),
    ],
    ids=["tiny", "rectangles", "demo", "qwen"],
)
def test_tokens_per_picture(config: Config, user: tuple[int, int], agent: tuple[int, int], values: int) -> None:
    assert (config.user_grid, config.agent_grid) == (user, agent)
    assert config.video_latent == (agent[0] * agent[1], values)


@torch.no_grad()
def test_rectangular_patches_run_through_a_unit() -> None:
    """Encoders, rings and decoder agree on the number of tokens, and pictures keep their size."""
    model = build(RECTANGLES, 0)
    streamer = TorchStreamer(model, record=True)
    for unit in random_units(model, 2, seed=1):
        out = streamer.step(unit)
    assert out.frames.shape == (4, 48, 32, 3)
    assert out.video.shape == (8, 12)
    assert streamer.recording is not None
    assert streamer.recording.units[0].passes["encode"]["user.video"].shape == (6, RECTANGLES.transformer.width)


def test_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = build(PRESETS["tiny"], 4).state_dict()
    before = torch.rand(1)
    torch.manual_seed(1)
    two = build(PRESETS["tiny"], 4).state_dict()
    assert torch.equal(before, torch.rand(1))  # the caller's generator is left alone
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = build(PRESETS["tiny"], 5).state_dict()
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_a_hundred_random_units_stay_sane(name: str) -> None:
    model = build(PRESETS[name], 0)
    streamer = TorchStreamer(model)
    count = 100 if name == "tiny" else 20  # demo in torch takes 70 ms a unit
    for unit in random_units(model, count, seed=1):
        out = streamer.step(unit)
        assert 0.3 < float(out.video.std()) < 10
        assert 0.3 < float(out.audio.std()) < 10
        assert float(out.samples.std()) > 0.01
        assert float(out.samples.abs().max()) < 0.9
        saturated = (out.frames == 0) | (out.frames == 255)
        assert float(saturated.float().mean()) < 0.01
        assert float(out.frames.float().std()) > 5


def choose(logits: Tensor, noise: Tensor, temperature: float, top_k: int, top_p: float) -> int:
    """Top-k, then nucleus, then Gumbel-max, written plainly."""
    order = sorted(range(len(logits)), key=lambda i: -float(logits[i]))[:top_k]
    scaled = np.array([float(logits[i]) / temperature for i in order])
    probability = np.exp(scaled - scaled.max())
    probability /= probability.sum()
    kept, total = [], 0.0
    for place, p in enumerate(probability):
        if total < top_p:
            kept.append(place)
        total += p
    best = max(kept, key=lambda place: scaled[place] + float(noise[place]))
    return order[best]


@torch.no_grad()
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [1, 3, 32])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
def test_slot_samples_as_written(tiny: WanStreamer, temperature: float, top_k: int, top_p: float) -> None:
    generator = torch.Generator().manual_seed(int(100 * temperature) + top_k)
    chosen = set()
    for _ in range(20):
        hidden = torch.randn(1, 64, generator=generator)
        noise = -torch.log(-torch.log(torch.rand(32, generator=generator).clamp(1e-6, 1 - 1e-6)))
        knobs = torch.tensor([temperature]), torch.tensor([top_k], dtype=torch.int32), torch.tensor([top_p])
        token, scores, candidates = tiny.slot(hidden, noise, *knobs)
        logits = tiny.logits(hidden)[0]
        assert int(token) == choose(logits, noise, temperature, top_k, top_p)
        assert token.dtype == candidates.dtype == torch.int32
        torch.testing.assert_close(scores, logits[candidates.long()])
        assert bool((scores.diff() <= 0).all())
        chosen.add(candidates.tolist().index(int(token)))
    if top_k == 32 and top_p == 1.0:
        assert len(chosen) > 5  # it does sample


@torch.no_grad()
def test_greedy_is_the_likeliest(tiny: WanStreamer) -> None:
    hidden = torch.randn(1, 64)
    knobs = torch.zeros(32), torch.ones(1), torch.ones(1, dtype=torch.int32), torch.ones(1)
    assert int(tiny.slot(hidden, *knobs)[0]) == int(tiny.logits(hidden).argmax())


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_rows_and_logits_use_one_table_where_tied(name: str) -> None:
    model = build(PRESETS[name], 0)
    ids = torch.tensor([[0, 259], [319, 7]])
    assert model.rows(ids).shape == (2, 2, model.config.transformer.width)
    if model.config.tied:
        assert model.embedding_columns is not None
        assert torch.equal(model.rows(ids)[1, 1], model.embedding_columns[:, 7])
        hidden = torch.randn(1, 64)
        torch.testing.assert_close(model.logits(hidden)[0, 7], (model.rows(torch.tensor(7)) * hidden).sum())
    else:
        assert model.embedding is not None
        assert torch.equal(model.rows(ids)[1, 1], model.embedding[7])


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny", "demo"])
def test_an_euler_step_goes_where_the_prediction_leads(name: str) -> None:
    """``tiny`` predicts the velocity, ``demo`` clean latents: both end at the latents that lie on the same path."""
    model = build(PRESETS[name], 0)
    config = model.config
    assert {"tiny": "velocity", "demo": "clean"}[name] == config.predicts
    given = (torch.randn(config.video_latent), torch.randn(config.audio_latent))
    t, dt = torch.tensor([0.75]), torch.tensor([0.25])
    hidden = torch.randn(layout(config).agent, config.transformer.width)
    said = model.predict(hidden, t, dt)
    for before, prediction, after in zip(given, said, model.solve_out(hidden, *given, t, dt), strict=True):
        velocity = prediction if name == "tiny" else (before - prediction) / 0.75
        torch.testing.assert_close(after, before - 0.25 * velocity)
    assert not torch.allclose(model.predict(hidden, t * 0.5, dt)[0], said[0])  # the time is heard
    assert not torch.allclose(model.predict(hidden, t, dt * 0.5)[0], said[0])
    if name == "demo":  # the last step ends at the prediction, whatever came before
        assert torch.equal(model.solve_out(hidden, *given, dt, dt)[1], model.predict(hidden, dt, dt)[1])


@torch.no_grad()
def test_noisy_and_clean_tokens_differ_by_their_time(tiny: WanStreamer) -> None:
    config = tiny.config
    video, audio = torch.randn(config.video_latent), torch.randn(config.audio_latent)
    zero, one = torch.zeros(1), torch.ones(1)
    clean, noisy = tiny.solve_in(video, audio, zero, zero), tiny.solve_in(video, audio, one, one)
    assert clean.shape == (layout(config).agent, config.transformer.width)
    torch.testing.assert_close((noisy - clean).std(0), torch.zeros(config.transformer.width), atol=1e-5, rtol=0)
    assert float((noisy - clean).abs().max()) > 0.01


def test_every_parameter_learns() -> None:
    """A gradient reaches all parameters from the outputs that training fits."""
    model = build(PRESETS["tiny"], 0)
    config = model.config
    unit = random_units(model, 2, 0)[1]  # the first is silent
    video, audio, _ = model.encode(unit.samples, unit.frames, model.start_state("encode"))
    picture, sound, _ = model.encode_agent(unit.samples, unit.frames, model.start_state("encode_agent"))
    time = torch.tensor([0.5])
    tokens = torch.cat([model.solve_in(picture, sound, time, time), video, audio, model.rows(torch.tensor([3]))])
    count = len(tokens)
    angles = [torch.ones(count, config.transformer.head_size // 2)] * 4
    rings: list[dict[str, tuple[Tensor, Tensor]]] = [{} for _ in range(config.transformer.layers)]
    hidden, _ = model.transformer(tokens[None], *angles, torch.arange(count).float(), {}, rings)
    said = model.predict(hidden[0, : layout(config).agent], time, time)
    tails = Tails(model.start_state("decode"))
    frames, samples = model.video_vae.decode(picture[None, None], tails), model.audio_vae.decode(sound[None], tails)
    parts = [*said, model.logits(hidden), frames, samples]
    sum(part.pow(2).sum() for part in parts).backward()  # type: ignore[union-attr]
    # The tails of a first unit are zero, so nothing is learned from them in one unit.
    silent = {name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())}
    assert {name for name in silent if not name.endswith("before.weight")} == set()
