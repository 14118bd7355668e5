"""A Hugging Face Qwen2.5 checkpoint as the Transformer's start.

Receives a checkpoint folder (``config.json`` and ``model.safetensors`` or its shards with their index; the tokenizer
is ``tokenizer.py``'s business); fills the Transformer, the token table and the head of a model, and hands on nothing.
Everything else of the model (encoders, codecs, solver) keeps the weights it has. The folder is read, never run: no
pickle, no code.

The checkpoint's projections are [out, in]; ours are [in, out], with query, key and value side by side in one matrix,
and gate and up in another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from edge_streamer.export.config import Config
from edge_streamer.export.model import WanStreamer
from edge_streamer.export.transformer import Layer
from edge_streamer.export.weights import check_tensor
from edge_streamer.runtime.errors import InputError

MODEL_TYPE = "qwen2"
"""``model_type`` of Qwen2 and Qwen2.5."""
DEFAULT_ROPE_BASE = 10000.0
"""What the layout means where it names no base."""


def load_backbone(model: WanStreamer, folder: Path) -> None:
    """Fill ``model``'s Transformer, table and head from the checkpoint in ``folder``.

    Raises InputError that names the setting or tensor at fault: another model type, a setting that differs from the
    preset's, a missing or misshapen tensor, a file that is missing or damaged. The shapes of all tensors are checked
    as they are read, so on an error the model is partly filled: throw it away.
    """
    check_config(read_json(folder / "config.json"), model.config, folder)
    with torch.no_grad():
        Filler(model, Checkpoint(folder)).fill()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); wanted a Qwen2.5 checkpoint folder") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds {type(value).__name__}; wanted an object")
    return value


def check_config(found: dict[str, Any], config: Config, folder: Path) -> None:
    """Raise InputError where the checkpoint is of another kind or size than ``config``."""
    if found.get("model_type") != MODEL_TYPE:
        raise InputError(f"{folder} holds model type {found.get('model_type')!r}; wanted {MODEL_TYPE!r} (Qwen2.5)")
    t = config.transformer
    rope = found.get("rope_parameters") or found.get("rope_scaling") or {}
    heads = found.get("num_attention_heads")
    size = found.get("head_dim") or (found["hidden_size"] // heads if heads and "hidden_size" in found else None)
    wanted: dict[str, tuple[object, object]] = {
        "hidden_size": (found.get("hidden_size"), t.width),
        "num_hidden_layers": (found.get("num_hidden_layers"), t.layers),
        "num_attention_heads": (heads, t.heads),
        "num_key_value_heads": (found.get("num_key_value_heads"), t.kv_heads),
        "head_dim": (size, t.head_size),
        "intermediate_size": (found.get("intermediate_size"), t.feed_forward),
        "vocab_size": (found.get("vocab_size"), config.vocabulary),
        "rms_norm_eps": (found.get("rms_norm_eps"), t.norm_epsilon),
        "rope_theta": (rope.get("rope_theta") or found.get("rope_theta", DEFAULT_ROPE_BASE), t.rope_base),
        "rope type": (rope.get("rope_type", "default"), "default"),
        "hidden_act": (found.get("hidden_act", "silu"), "silu"),
        "use_sliding_window": (bool(found.get("use_sliding_window", False)), False),
    }
    for name, (came, want) in wanted.items():
        if came != want:
            raise InputError(f"{folder}/config.json: {name} is {came!r}; preset {config.preset} wants {want!r}")
    if config.tied and not found.get("tie_word_embeddings", False):
        raise InputError(f"{folder} has a head of its own; preset {config.preset} ties it to the token table")


class Checkpoint:
    """The tensors of a folder, read one at a time from whichever file holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = self._files()

    def _files(self) -> dict[str, Path]:
        """Tensor name -> file."""
        whole, index = self.folder / "model.safetensors", self.folder / "model.safetensors.index.json"
        if whole.is_file():
            return dict.fromkeys(self._names(whole), whole)
        if not index.is_file():
            raise InputError(f"{self.folder} has neither {whole.name} nor {index.name}")
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(s, str) and Path(s).name == s for s in shards.values()):
            raise InputError(f"{index}: weight_map must give a file name beside it for each tensor")
        return {name: self.folder / shard for name, shard in shards.items()}

    def _names(self, path: Path) -> list[str]:
        return reading(path, lambda file: list(file.keys()))

    def get(self, name: str) -> Tensor:
        """A tensor in float32. Raises InputError where the checkpoint has none."""
        if name not in self.files:
            raise InputError(f"{self.folder} has no tensor {name}")
        tensor: Tensor = reading(self.files[name], lambda file: file.get_tensor(name))
        return tensor.float()


def reading(path: Path, take: Callable[[Any], Any]) -> Any:
    """What ``take`` gets from an opened file; the library's errors as InputError."""
    try:
        with safe_open(path, framework="pt") as file:
            return take(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is missing, damaged or cut short ({error})") from None


class Filler:
    """Copies a checkpoint into a model."""

    def __init__(self, model: WanStreamer, checkpoint: Checkpoint) -> None:
        self.model, self.checkpoint = model, checkpoint

    def fill(self) -> None:
        """Everything that the checkpoint has."""
        for i, layer in enumerate(self.model.transformer.layers):
            assert isinstance(layer, Layer)
            self._layer(layer, f"model.layers.{i}.")
        self._put(self.model.transformer.norm.weight, "model.norm.weight")
        table = "model.embed_tokens.weight"
        if self.model.embedding_columns is not None:
            self._put(self.model.embedding_columns, table, turned=True)
            return
        assert self.model.embedding is not None
        assert self.model.head is not None
        self._put(self.model.embedding, table)
        own = "lm_head.weight" in self.checkpoint.files
        self._put(self.model.head.weight, "lm_head.weight" if own else table, turned=True)

    def _layer(self, layer: Layer, name: str) -> None:
        attention, forward = layer.attention, layer.feed_forward
        assert attention.qkv.bias is not None
        self._put(layer.attention_norm.weight, f"{name}input_layernorm.weight")
        self._put(layer.feed_forward_norm.weight, f"{name}post_attention_layernorm.weight")
        size = attention.size
        sizes = [attention.heads * size, attention.kv_heads * size, attention.kv_heads * size]
        for part, weight, bias in zip(
            "qkv", attention.qkv.weight.split(sizes, 1), attention.qkv.bias.split(sizes), strict=True
        ):
            self._put(weight, f"{name}self_attn.{part}_proj.weight", turned=True)
            self._put(bias, f"{name}self_attn.{part}_proj.bias")
        self._put(attention.out.weight, f"{name}self_attn.o_proj.weight", turned=True)
        for part, weight in zip(("gate", "up"), forward.gate_up.weight.chunk(2, 1), strict=True):
            self._put(weight, f"{name}mlp.{part}_proj.weight", turned=True)
        self._put(forward.down.weight, f"{name}mlp.down_proj.weight", turned=True)

    def _put(self, place: Tensor | nn.Parameter, name: str, turned: bool = False) -> None:
        tensor = self.checkpoint.get(name)
        check_tensor(self.checkpoint.folder, name, tensor, place.T if turned else place)
        place.copy_(tensor.T if turned else tensor)
