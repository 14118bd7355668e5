"""A Qwen2.5 checkpoint in the Hugging Face layout computes what `transformers` computes; a bad one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from edge_streamer.export.wan_streamer.backbone import load_backbone
from edge_streamer.export.wan_streamer.config import PRESETS, Config, TransformerConfig
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.transformer import KeyValue, rotary
from edge_streamer.runtime.bundle.manifest import MASKED
from edge_streamer.runtime.errors import InputError

LOGITS = 1e-4
"""Largest difference of logits of about 1 from transformers' float32. Measured: 2e-6."""
SHAPE = TransformerConfig(
    width=128, layers=3, heads=8, kv_heads=2, head_size=16, feed_forward=160, rope_base=1e6, norm_epsilon=1e-6
)
LENGTH = 40


def config_of(tied: bool) -> Config:
    return replace(PRESETS["tiny"], transformer=SHAPE, tied=tied)


def checkpoint(folder: Path, tied: bool, shard_bytes: str = "1GB") -> Qwen2ForCausalLM:
    """Save a random checkpoint, biases and norms not at their trivial starts."""
    torch.manual_seed(11)
    reference = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=320, hidden_size=SHAPE.width, num_hidden_layers=SHAPE.layers, num_attention_heads=SHAPE.heads,
            num_key_value_heads=SHAPE.kv_heads, intermediate_size=SHAPE.feed_forward, rms_norm_eps=SHAPE.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": SHAPE.rope_base}, tie_word_embeddings=tied,
            max_position_embeddings=512,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif "proj" in name:
                parameter.mul_(5.0)
    reference.save_pretrained(folder, max_shard_size=shard_bytes)
    return reference


def angles(positions: range) -> list[Tensor]:
    pair = rotary(torch.tensor(list(positions)).double().numpy(), SHAPE.head_size, SHAPE.rope_base)
    return [*pair, *pair]


@torch.no_grad()
def at_once(model: WanStreamer, ids: Tensor) -> Tensor:
    """Logits of a causal text in one pass: every token a group of its own, no rings."""
    rings: list[dict[str, KeyValue]] = [{} for _ in range(SHAPE.layers)]
    groups = torch.arange(len(ids)).float()
    hidden, _ = model.transformer(model.rows(ids)[None], *angles(range(len(ids))), groups, {}, rings)
    return model.logits(hidden[0])


@torch.no_grad()
def one_by_one(model: WanStreamer, ids: Tensor) -> Tensor:
    """Logits of a causal text token by token through a ring."""
    shape = (SHAPE.kv_heads, len(ids), SHAPE.head_size)
    rings = [{"main": (torch.zeros(shape), torch.zeros(shape))} for _ in range(SHAPE.layers)]
    valid = {"main": torch.full((1, len(ids)), MASKED)}
    out = []
    for i, row in enumerate(model.rows(ids)):
        hidden, new = model.transformer(row[None, None], *angles(range(i, i + 1)), torch.zeros(1), valid, rings)
        for ring, pair in zip(rings, new, strict=True):
            for held, fresh in zip(ring["main"], pair, strict=True):
                held[:, i : i + 1] = fresh
        valid["main"][0, i] = 0.0
        out.append(model.logits(hidden[0]))
    return torch.cat(out)


@torch.no_grad()
@pytest.mark.parametrize("shard_bytes", ["1GB", "100KB"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_transformers(tmp_path: Path, tied: bool, shard_bytes: str) -> None:
    reference = checkpoint(tmp_path, tied, shard_bytes)
    assert (tmp_path / "model.safetensors").exists() is (shard_bytes == "1GB")
    model = build(config_of(tied), seed=99)
    load_backbone(model, tmp_path)
    ids = torch.randint(0, 320, (LENGTH,), generator=torch.Generator().manual_seed(1))
    wanted = reference(ids[None]).logits[0]
    assert float(wanted.std()) > 0.1  # the comparison is about something
    torch.testing.assert_close(at_once(model, ids), wanted, atol=LOGITS, rtol=0)
    torch.testing.assert_close(one_by_one(model, ids), wanted, atol=LOGITS, rtol=0)


@torch.no_grad()
def test_half_precision_checkpoints_are_widened(tmp_path: Path) -> None:
    checkpoint(tmp_path, tied=True).to(torch.bfloat16).save_pretrained(tmp_path)
    reference = Qwen2ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    model = build(config_of(True), seed=99)
    load_backbone(model, tmp_path)
    ids = torch.arange(LENGTH)
    torch.testing.assert_close(at_once(model, ids), reference(ids[None]).logits[0], atol=LOGITS, rtol=0)


def spoil(folder: Path, **changes: object) -> None:
    """Change keys of config.json; None removes one."""
    path = folder / "config.json"
    found: dict[str, Any] = json.loads(path.read_text())
    found |= changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def spoil_tensor(folder: Path, name: str, change: Callable[[Tensor], Tensor | None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors.pop(name))
    if changed is not None:
        tensors[name] = changed.contiguous()
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "llama"}, "model type 'llama'"),
        ({"hidden_size": 192, "head_dim": None}, "hidden_size is 192"),
        ({"num_hidden_layers": 4}, "num_hidden_layers is 4"),
        ({"num_key_value_heads": 3}, "num_key_value_heads is 3"),
        ({"vocab_size": 321}, "vocab_size is 321"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_theta is 10000"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope type is 'yarn'"),
        ({"rope_parameters": None}, "rope_theta is 10000"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"tie_word_embeddings": False}, "head of its own"),
    ],
)
def test_another_model_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    checkpoint(tmp_path, tied=True)
    spoil(tmp_path, **changes)
    with pytest.raises(InputError, match=said):
        load_backbone(build(config_of(True), 0), tmp_path)


def test_older_layouts_name_the_rope_base_at_the_top(tmp_path: Path) -> None:
    checkpoint(tmp_path, tied=True)
    spoil(tmp_path, rope_parameters=None, rope_theta=1e6)
    load_backbone(build(config_of(True), 0), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensor: None, "has no tensor model.layers.1.self_attn.k_proj.weight"),
        (lambda tensor: tensor[:, :-1], r"k_proj.weight has shape \[32, 127\]|k_proj.weight has shape \[127, 32\]"),
        (lambda tensor: tensor * float("nan"), "k_proj.weight holds NaN"),
    ],
)
def test_a_bad_tensor_is_named(tmp_path: Path, change: Callable[[Tensor], Tensor | None], said: str) -> None:
    checkpoint(tmp_path, tied=True)
    spoil_tensor(tmp_path, "model.layers.1.self_attn.k_proj.weight", change)
    with pytest.raises(InputError, match=said):
        load_backbone(build(config_of(True), 0), tmp_path)


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    model = build(config_of(True), 0)
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        load_backbone(model, tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_backbone(model, tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="wanted an object"):
        load_backbone(model, tmp_path)
    checkpoint(tmp_path, tied=True)
    whole = tmp_path / "model.safetensors"
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        load_backbone(model, tmp_path)
    whole.unlink()
    with pytest.raises(InputError, match=r"neither model\.safetensors nor"):
        load_backbone(model, tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}))
    with pytest.raises(InputError, match="a file name beside it"):
        load_backbone(model, tmp_path)
    index.write_text(json.dumps({"weight_map": {"model.layers.0.input_layernorm.weight": "gone.safetensors"}}))
    with pytest.raises(InputError, match=r"gone.safetensors is missing"):
        load_backbone(model, tmp_path)
