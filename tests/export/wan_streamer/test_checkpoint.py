"""What strangers' checkpoints hold: what changes what the numbers mean is known, or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edge_streamer.export.wan_streamer.backbone import HEAD, TABLE, load_backbone, open_backbone, tensor_shapes
from edge_streamer.export.wan_streamer.backbone_settings import HARMLESS, NEUTRAL
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.runtime.errors import InputError

TINY = PRESETS["tiny"]
UNTIED = replace(TINY, tied=False)
UP = "model.layers.1.mlp.up_proj.weight"
SETTINGS = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151645,
    "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02, "intermediate_size": 128,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 2,
    "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
    "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.40.1",
    "use_cache": True, "use_mrope": False, "use_sliding_window": False, "vocab_size": 320,
}  # fmt: skip
"""As Qwen2.5's own files have them, at the size of preset tiny."""
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

Tensors = dict[str, Tensor]


def tensors_of(tied: bool = True) -> Tensors:
    generator = torch.Generator().manual_seed(3)
    shapes = tensor_shapes(TINY, own_head=not tied)
    return {name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}


def write(folder: Path, tensors: Tensors | None = None, **settings: object) -> Path:
    """A checkpoint with some settings changed; None leaves one out."""
    folder.mkdir(exist_ok=True)
    found = {name: value for name, value in (SETTINGS | settings).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(found))
    save_file(tensors_of() if tensors is None else tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"torch_dtype": None, "dtype": "float32"},
        {"rope_theta": None, "rope_parameters": DEFAULT_ROPE},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": {"rope_type": "default", "factor": None, "partial_rotary_factor": 1.0}},
        {"layer_types": ["full_attention"] * 2, "head_dim": 32, "attention_bias": True, "mlp_bias": False},
        {"_name_or_path": "/data", "temperature": 0.7, "unsloth_fixed": True, "id2label": {"0": "LABEL_0"}},
        dict.fromkeys(HARMLESS, 1),
        NEUTRAL,
    ],
)
def test_what_changes_no_number_is_taken(tmp_path: Path, settings: dict[str, object]) -> None:
    open_backbone(write(tmp_path, **settings), TINY)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"quantization_config \(gptq\)"),
        ({"quantization_config": {"load_in_4bit": True}}, "has quantization_config: its weights are codes"),
        ({"compression_config": {"format": "pack-quantized"}}, "has compression_config"),
        ({"quantization": {"bits": 4, "group_size": 64}}, "has quantization"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling_mine.Mine"}}, "has auto_map: it is computed by code"),
        ({"rope_scaling": {"factor": 4.0, "type": "yarn"}}, "rope type is 'yarn'"),
        ({"rope_scaling": {"factor": 4.0, "rope_type": "yarn"}}, "rope type is 'yarn'"),
        ({"rope_scaling": {"type": "default", "rope_type": "dynamic"}}, "rope type is 'dynamic'"),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [4, 4, 8]}}, "rope type is 'mrope'"),
        ({"rope_scaling": {"factor": 4.0}}, r"factor of rope_scaling is 4\.0"),
        ({"rope_scaling": [4.0]}, r"rope_scaling is \[4\.0\]"),
        ({"rope_parameters": DEFAULT_ROPE, "rope_scaling": {"type": "linear"}}, "rope type is 'linear'"),
        ({"rope_parameters": DEFAULT_ROPE | {"rope_theta": 1e6}}, r"rope_theta is 1000000\.0"),
        ({"rope_parameters": DEFAULT_ROPE, "rope_theta": 5e5}, r"rope_theta is 500000\.0"),
        ({"rope_parameters": DEFAULT_ROPE | {"partial_rotary_factor": 0.5}}, r"partial_rotary_factor of .* is 0\.5"),
        ({"rope_parameters": {"full_attention": DEFAULT_ROPE}}, "full_attention of rope_parameters"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor is 0\.5"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types is"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"head_dim": 64}, "head_dim is 64"),
        ({"attention_bias": False}, "attention_bias is False"),
        ({"is_causal": False}, "is_causal is False"),
        ({"hidden_act": None, "hidden_activation": "gelu"}, "hidden_activation is 'gelu', a setting that is not known"),
        ({"logit_scale": 0.0625}, r"logit_scale is 0\.0625, a setting that is not known"),
        ({"dual_chunk_attention_config": {"chunk_size": 262144}}, "dual_chunk_attention_config is"),
        ({"text_config": SETTINGS}, "text_config is"),
        ({"dtype": "float8_e4m3fn"}, "dtype is 'float8_e4m3fn'"),
        ({"torch_dtype": ["bfloat16"]}, r"torch_dtype is \['bfloat16'\]"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, "architectures is"),
        ({"model_type": "qwen2_5_vl", "text_config": SETTINGS}, "model type 'qwen2_5_vl'"),
        ({"model_type": "qwen3"}, "model type 'qwen3'"),
        ({"rms_norm_eps": None}, "rms_norm_eps is missing"),
        ({"num_attention_heads": "2"}, "num_attention_heads is '2'"),
        ({"num_key_value_heads": True}, "num_key_value_heads is True"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
        ({"vocab_size": 323}, "vocab_size is 323; preset tiny wants 320"),
    ],
)
def test_a_setting_that_may_change_the_numbers_is_named(tmp_path: Path, settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_backbone(write(tmp_path, **settings), TINY)


def as_int8(tensors: Tensors) -> Any:
    return {UP: (tensors[UP] * 30).to(torch.int8), f"{UP}_scale": torch.ones(128, 1)}


def prefixed(tensors: Tensors) -> Any:
    whole = {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}
    tensors.clear()
    return whole


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (as_int8, f"{UP} is I8; wanted float32, float16, bfloat16"),
        (lambda t: {UP: t[UP].to(torch.float8_e4m3fn)}, f"{UP} is F8_E4M3"),
        (lambda t: {UP: t[UP].double()}, f"{UP} is F64"),
        (lambda t: {f"{UP}_scale": torch.ones(128, 1)}, f"has {UP}_scale, which no Qwen2.5 model has"),
        (lambda t: {UP.replace("weight", "qweight"): t.pop(UP)}, f"has no tensor {UP}; it has {UP[:-6]}qweight"),
        (lambda t: {UP.replace("weight", "absmax"): torch.ones(4, dtype=torch.uint8)}, "absmax is U8"),
        (lambda t: {"model.layers.0.self_attn.q_norm.weight": torch.ones(32)}, r"has .*q_norm\.weight, which no"),
        (lambda t: {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 64)}, r"has .*lora_A\.weight"),
        (lambda t: {"score.weight": torch.ones(2, 64)}, r"has score\.weight"),
        (lambda t: {"model.layers.2.input_layernorm.weight": torch.ones(64)}, r"has model\.layers\.2\."),
        (lambda t: {"visual.patch_embed.proj.weight": torch.ones(2)}, r"has visual\.patch_embed"),
        (prefixed, r"has no tensor model.embed_tokens.*and 24 more; it has base_model\.model\.model\.embed_tokens"),
        (lambda t: {TABLE: torch.ones(323, 64)}, r"embed_tokens.weight has shape \[323, 64\]; wanted \[320, 64\]"),
        (lambda t: {UP: t[UP].T.contiguous()}, r"up_proj.weight has shape \[64, 128\]"),
    ],
)
def test_a_tensor_that_nobody_asks_for_or_of_another_kind_is_named(
    tmp_path: Path, changed: Callable[[Tensors], Any], said: str
) -> None:
    tensors = tensors_of()
    tensors |= changed(tensors)
    with pytest.raises(InputError, match=said):
        open_backbone(write(tmp_path, tensors), TINY)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, bad: float) -> None:
    tensors = tensors_of()
    tensors[UP][3, 5] = bad
    with pytest.raises(InputError, match=f"{UP} holds NaN or infinity"):
        load_backbone(build(TINY, 0), write(tmp_path, tensors))


def test_a_head_beside_the_table_that_it_is_tied_to_must_be_the_same(tmp_path: Path) -> None:
    tensors = tensors_of()
    tensors[HEAD] = tensors[TABLE].clone()
    load_backbone(build(TINY, 0), write(tmp_path, tensors))
    tensors[HEAD][7] += 1
    with pytest.raises(InputError, match=f"{HEAD} differs from {TABLE}"):
        load_backbone(build(TINY, 0), write(tmp_path, tensors))


def test_a_head_of_its_own_is_the_models_head_or_missed(tmp_path: Path) -> None:
    tensors, model = tensors_of(tied=False), build(UNTIED, 0)
    load_backbone(model, write(tmp_path, tensors, tie_word_embeddings=False))
    assert model.head is not None
    assert torch.equal(model.head.weight, tensors[HEAD].float().T)
    load_backbone(model, write(tmp_path, tensors_of()))  # tied: the table serves a model that does not tie it
    assert torch.equal(model.head.weight, tensors_of()[TABLE].float().T)
    with pytest.raises(InputError, match=r"has no tensor lm_head\.weight"):
        load_backbone(model, write(tmp_path, tensors_of(), tie_word_embeddings=False))


def sharded(folder: Path) -> tuple[dict[str, str], Path]:
    """Two shards and what the index says of them."""
    tensors = tensors_of()
    write(folder)
    (folder / "model.safetensors").unlink()
    where = {name: f"model-0000{1 + (i > 9)}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(where.values()):
        save_file({name: t for name, t in tensors.items() if where[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where, index


def test_shards_hold_what_the_index_says(tmp_path: Path) -> None:
    where, index = sharded(tmp_path)
    assert len(open_backbone(tmp_path, TINY).tensors) == len(where)
    for change, said in (
        ({UP: "../model-00001-of-00002.safetensors"}, "a file name beside it"),
        ({UP: ".."}, "a file name beside it"),
        ({UP: ""}, "a file name beside it"),
        ({UP: 3}, "a file name beside it"),
        ({UP: "gone.safetensors"}, "gone.safetensors is missing from"),
        ({UP: "a\0b"}, "missing from"),
        ({UP: "model-00001-of-00002.safetensors"}, f"lacks {UP}, other than"),
        ({"another": where[UP]}, "lacks another, other than"),
    ):
        index.write_text(json.dumps({"weight_map": where | change}))
        with pytest.raises(InputError, match=said):
            open_backbone(tmp_path, TINY)
    index.write_text(json.dumps({"weight_map": {name: shard for name, shard in where.items() if name != UP}}))
    with pytest.raises(InputError, match=f"has {UP}, other than"):
        open_backbone(tmp_path, TINY)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter_config.json", "adapter_config.json, an adapter, which changes the weights"),
        ("quantize_config.json", "quantize_config.json, the settings of a quantized model"),
        ("hf_quant_config.json", "hf_quant_config.json, the settings of a quantized model"),
    ],
)
def test_files_that_change_the_weights_are_named(tmp_path: Path, name: str, said: str) -> None:
    (write(tmp_path) / name).write_text("{}")
    with pytest.raises(InputError, match=said):
        open_backbone(tmp_path, TINY)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "qwen2.5-0.5b-q4_k_m.gguf", "consolidated.safetensors"])
def test_weights_in_another_file_are_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / "model.safetensors").rename(tmp_path / name)
    with pytest.raises(InputError, match=f"neither model.safetensors nor .*; it has {name}, which is not read"):
        open_backbone(tmp_path, TINY)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_pointers_of_git_lfs_are_no_files(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 988097824\n")
    with pytest.raises(InputError, match=f"{name} is a pointer of Git LFS"):
        open_backbone(tmp_path, TINY)


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for name, said in (("model.gguf", "is a file"), ("none", "is not there")):
        with pytest.raises(InputError, match=said):
            open_backbone(tmp_path / name, TINY)


@pytest.mark.parametrize("text", ["[" * 100_000, "\ud800".encode("utf-8", "surrogatepass"), "{}"[:1]])
def test_settings_that_are_no_json_are_one_line(tmp_path: Path, text: str | bytes) -> None:
    path = write(tmp_path) / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match="is not JSON"):
        open_backbone(tmp_path, TINY)
