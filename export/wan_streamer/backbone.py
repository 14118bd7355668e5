"""A Hugging Face Qwen2.5 checkpoint as the Transformer's start.

Receives a checkpoint folder (``checkpoint.py`` reads it, ``backbone_settings.py`` knows its settings; the tokenizer is
``tokenizer.py``'s business); fills the Transformer, the token table and the head of a model, and hands on nothing.
Everything else of the model (encoders, codecs, solver) keeps the weights it has.

The checkpoint's projections are [out, in]; ours are [in, out], with query, key and value side by side in one matrix,
and gate and up in another.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edge_streamer.export.wan_streamer.backbone_settings import check_settings
from edge_streamer.export.wan_streamer.checkpoint import Checkpoint
from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.export.wan_streamer.transformer import Layer
from edge_streamer.export.wan_streamer.weights import check_tensor, listed
from edge_streamer.runtime.errors import InputError

TABLE = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def open_backbone(folder: Path, config: Config) -> Checkpoint:
    """The checkpoint in ``folder``, known to be one for ``config`` but for the values of its weights.

    Raises InputError that names the setting, file or tensor at fault: another model type, a setting that is not the
    preset's or not known, a tensor that is missing, of another shape or type, or that nobody asks for, a file that is
    missing or damaged.
    """
    checkpoint = Checkpoint(folder)
    check_settings(checkpoint.settings, config, folder)
    checkpoint.check_types()
    wanted = tensor_shapes(config, own_head=not checkpoint.settings.get("tie_word_embeddings"))
    came = set(checkpoint.tensors)
    # A head that was saved beside a table that it is tied to says the same again: `Filler` looks whether it does.
    lacks, strange = set(wanted) - came, came - set(wanted) - {HEAD}
    if lacks or strange:
        # Both at once: a prefix before every name, or codes in a weight's place, show in what is there instead.
        faults = [f"{word} {listed(names, 2)}" for word, names in (("has no tensor", lacks), ("has", strange)) if names]
        tail = ", which no Qwen2.5 model has" if strange else ""
        raise InputError(f"{folder} {'; it '.join(faults)}{tail}; wanted the checkpoint of a plain Qwen2.5 model")
    wanted.setdefault(HEAD, wanted[TABLE])
    for name, (shape, _, path) in checkpoint.tensors.items():
        if shape != wanted[name]:
            raise InputError(f"{path}: {name} has shape {list(shape)}; wanted {list(wanted[name])}")
    return checkpoint


def tensor_shapes(config: Config, own_head: bool) -> dict[str, tuple[int, ...]]:
    """Every tensor of a Qwen2.5 checkpoint of ``config``'s size, projections as [out, in]."""
    t = config.transformer
    queries, keys = t.heads * t.head_size, t.kv_heads * t.head_size
    of_a_layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (t.width,), "post_attention_layernorm.weight": (t.width,),
        "self_attn.q_proj.weight": (queries, t.width), "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.weight": (keys, t.width), "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.weight": (keys, t.width), "self_attn.v_proj.bias": (keys,),
        "self_attn.o_proj.weight": (t.width, queries), "mlp.gate_proj.weight": (t.feed_forward, t.width),
        "mlp.up_proj.weight": (t.feed_forward, t.width), "mlp.down_proj.weight": (t.width, t.feed_forward),
    }  # fmt: skip
    shapes = {f"model.layers.{i}.{name}": shape for i in range(t.layers) for name, shape in of_a_layer.items()}
    shapes |= {TABLE: (config.vocabulary, t.width), "model.norm.weight": (t.width,)}
    return shapes | ({HEAD: (config.vocabulary, t.width)} if own_head else {})


def load_backbone(model: WanStreamer, folder: Path) -> None:
    """Fill ``model``'s Transformer, table and head from the checkpoint in ``folder``.

    Raises InputError as :func:`open_backbone` does, and where a weight is NaN or infinite, or a head that is tied to
    the table differs from it; then the model is partly filled: throw it away.
    """
    with torch.no_grad():
        Filler(model, open_backbone(folder, model.config)).fill()


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
        own_head = not self.checkpoint.settings.get("tie_word_embeddings")
        if not own_head and HEAD in self.checkpoint.tensors:
            self._check_tied()
        if self.model.embedding_columns is not None:
            self._put(self.model.embedding_columns, TABLE, turned=True)
            return
        assert self.model.embedding is not None
        assert self.model.head is not None
        self._put(self.model.embedding, TABLE)
        self._put(self.model.head.weight, HEAD if own_head else TABLE, turned=True)

    def _check_tied(self) -> None:
        """Which of two different heads is meant, readers of the layout do not agree on."""
        if not torch.equal(self.checkpoint.get(HEAD), self.checkpoint.get(TABLE)):
            raise InputError(
                f"{self.checkpoint.folder}: {HEAD} differs from {TABLE}, which config.json ties it to "
                "(tie_word_embeddings); save the model with one of them, or untied"
            )

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
