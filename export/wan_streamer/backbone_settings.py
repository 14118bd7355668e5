"""What a checkpoint's config.json may say: every setting is known here, or refused by name.

Receives the settings and the model's sizes; hands on nothing, or InputError. A setting is one of three kinds: a size
that must be the preset's; one that changes what the numbers mean, of which only the value is known that changes
nothing; or one that has no say in what the weights compute (how text was drawn, how the model was trained or saved).
What is in none of the lists may be anything, so it is refused: a scale of the logits is as silent as a comment.
``null`` is what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_streamer.export.wan_streamer.config import Config
from edge_streamer.runtime.errors import InputError

MODEL_TYPE = "qwen2"
"""``model_type`` of Qwen2 and Qwen2.5."""
ARCHITECTURE = "Qwen2ForCausalLM"
DEFAULT_ROPE_BASE = 10000.0
"""What the layout means where it names no base."""
ROPE = ("rope_scaling", "rope_parameters")
"""The rotary embedding's settings, before and since transformers 5."""
ROPE_TYPE = ("type", "rope_type")
"""What kind it is, in the older spelling and in the newer."""

NEUTRAL: dict[str, object] = {
    "add_cross_attention": False, "attention_bias": True, "hidden_act": "silu", "is_causal": True, "is_decoder": False,
    "is_encoder_decoder": False, "mlp_bias": False, "partial_rotary_factor": 1.0, "pruned_heads": {}, "qkv_bias": True,
    "qk_layernorm": False, "tie_encoder_decoder": False, "use_mrope": False, "use_qk_norm": False,
    "use_sliding_window": False,
}  # fmt: skip
"""Settings that change what the weights compute, and the value at which they are a Qwen2.5's."""
REFUSED = {
    "quantization_config": "its weights are codes and no numbers; take the model that it was made from",
    "compression_config": "its weights are codes and no numbers; take the model that it was made from",
    "quantization": "its weights are codes and no numbers; take the model that it was made from",
    "auto_map": "it is computed by code of its own, which is never run; take a plain Qwen2.5 checkpoint",
}
"""Settings that no value makes harmless, and why."""
HARMLESS = {
    # The checkpoint: who saved it, in what, and for what.
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "attn_implementation",
    "name_or_path", "tokenizer_class", "transformers_version", "unsloth_fixed", "unsloth_version", "use_bfloat16",
    "torchscript", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type", "task_specific_params",
    "prefix",
    # Training, and what a forward returns beside its result.
    "attention_dropout", "initializer_range", "output_attentions", "output_hidden_states", "return_dict", "use_cache",
    "chunk_size_feed_forward", "keys_to_ignore_at_inference",
    # Windows that use_sliding_window turns on, and the longest text, past which nothing changes.
    "max_position_embeddings", "max_window_layers", "sliding_window",
    # How text is drawn; here the session's knobs say that.
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores", "pad_token_id",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id", "suppress_tokens",
    "temperature", "top_k", "top_p", "typical_p",
}  # fmt: skip
SAVED_AS = ("dtype", "torch_dtype")
TYPES = ("float32", "float16", "bfloat16", "auto")
"""What weights may have been saved in. The tensors' own type counts; this only must not contradict it."""


def check_settings(found: dict[str, Any], config: Config, folder: Path) -> None:
    """Raise InputError where the checkpoint is of another kind or size than ``config``, or may be."""
    path = folder / "config.json"
    if found.get("model_type") != MODEL_TYPE:
        raise InputError(f"{folder} holds model type {found.get('model_type')!r}; wanted {MODEL_TYPE!r} (Qwen2.5)")
    given = {name: value for name, value in found.items() if value is not None}
    for name, why in REFUSED.items():
        if name in given:
            raise InputError(f"{path} has {name}{_method(given[name])}: {why}")
    for name, came, want in _compared(given, config):
        if not _same(came, want):
            what = "missing" if came is None else _short(came)
            raise InputError(
                f"{path}: {name} is {what}; preset {config.preset} wants {'none' if want is None else repr(want)}"
            )
    if config.tied and not given.get("tie_word_embeddings", False):
        raise InputError(f"{folder} has a head of its own; preset {config.preset} ties it to the token table")
    known = {"model_type", "rope_theta", *ROPE, *SAVED_AS, *(name for name, _, _ in _compared(given, config))}
    for name in given:
        if name not in HARMLESS and name not in known:
            raise InputError(
                f"{path}: {name} is {_short(given[name])}, a setting that is not known and may change what the weights "
                "compute; take it out of the file if it does not"
            )


def _compared(given: Mapping[str, Any], config: Config) -> Iterator[tuple[str, object, object]]:
    """(name, what the checkpoint has, what it must have) of every setting with a say in the numbers."""
    t = config.transformer
    wanted: dict[str, object] = {
        "hidden_size": t.width, "num_hidden_layers": t.layers, "num_attention_heads": t.heads,
        "num_key_value_heads": t.kv_heads, "intermediate_size": t.feed_forward, "vocab_size": config.vocabulary,
        "rms_norm_eps": t.norm_epsilon,
    }  # fmt: skip
    for name, want in wanted.items():
        yield name, given.get(name), want
    # Where it is not said it follows from the two sizes above, which are right.
    yield "head_dim", given.get("head_dim", t.width // t.heads), t.head_size
    for name, neutral in NEUTRAL.items():
        yield name, given.get(name, neutral), neutral
    tied = given.get("tie_word_embeddings", False)
    yield "tie_word_embeddings", tied, tied if isinstance(tied, bool) else config.tied
    yield "architectures", given.get("architectures") or [ARCHITECTURE], [ARCHITECTURE]
    yield "layer_types", given.get("layer_types", ["full_attention"] * t.layers), ["full_attention"] * t.layers
    for name in SAVED_AS:
        kind = given.get(name, TYPES[0])
        yield name, kind, kind if kind in TYPES else TYPES[0]
    yield from _rope(given, t.rope_base)


def _rope(given: Mapping[str, Any], base: float) -> Iterator[tuple[str, object, object]]:
    """Only the plain rotary embedding, in every place and spelling in which another could be asked for."""
    places: dict[str, Any] = {place: given.get(place, {}) for place in ROPE}
    for place, rope in places.items():
        yield place, rope, rope if isinstance(rope, dict) else {}
    said = [(place, *item) for place, rope in places.items() if isinstance(rope, dict) for item in rope.items()]
    said = [(place, name, value) for place, name, value in said if value is not None]
    for _, name, value in said:
        if name in ROPE_TYPE:
            yield "rope type", value, "default"
    bases = [value for _, name, value in said if name == "rope_theta"]
    bases += [given["rope_theta"]] if "rope_theta" in given else []
    for value in bases or [DEFAULT_ROPE_BASE]:
        yield "rope_theta", value, base
    for place, name, value in said:
        if name not in (*ROPE_TYPE, "rope_theta"):
            yield f"{name} of {place}", value, NEUTRAL.get(name)


def _same(came: object, want: object) -> bool:
    """Equal; ``true`` is no 1."""
    return isinstance(came, bool) == isinstance(want, bool) and came == want


def _method(value: object) -> str:
    """Whose quantization it is, where it says."""
    method = value.get("quant_method") if isinstance(value, dict) else None
    return f" ({method})" if isinstance(method, str) else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
