"""The shape of a decoder, as a file of numbers, and the work of one pass through it.

Receives JSON: either our own keys (:class:`Shape`) or a Hugging Face ``config.json``, whose keys are turned into ours;
hands on a :class:`~edge_streamer.runtime.profile.work.Work`. With it a model can be planned for that nobody exported
yet, and the predictor held against figures that others published.

A pass of T tokens over a cache of C positions, in a decoder of L layers of width w with h heads of d values, of which
g hold keys and values, and an inner width f::

    weights       L * (2*w*h*d + 2*w*g*d + 3*w*f), and w*vocabulary of the head
    operations    2 * weights * T, the head's for the last token alone; attention 4*L*h*d * T * (C + (T + 1) / 2)
    bytes         weights as stored; the cache, 2*L*g*d * (C + T) values of 2 bytes, each once
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.profile.boards import Numbers
from edge_streamer.runtime.profile.work import Runtime, Work

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]

CONTEXT = 1024
"""Positions in the cache where none are named: half of the 2048 that published figures are mostly taken at."""
BITS: dict[Numbers, float] = {
    "float32": 32, "fp16": 16, "bf16": 16, "int8": 8, "fp8": 8, "nvfp4": 4.5, "int4": 4.125,
}  # fmt: skip
"""Stored per weight, scales counted: NVFP4 has one of 8 bits for 16 weights, 4-bit integers (AWQ, GPTQ) one of 16 for
128."""
OTHER_BITS: dict[tuple[Runtime, Numbers], float] = {("mlc", "int4"): 4, ("llama.cpp", "int4"): 4.5}
"""Where a runtime's own format differs: MLC's for Jetson (q4f16_ft) has a scale for a column, llama.cpp's Q4_0 one of
16 bits for 32 weights."""
WHOLE: dict[Runtime, float] = {"mlc": 4.5, "llama.cpp": 4.5}
"""Bits of the output head, of runtimes that store it in few, too; the others keep it in 16."""
EXPERTS_LAYERS = 2
"""What a layer with experts counts for: their choice, sorting and grouped products are as many kernels again."""
HALF_BYTES = 2
"""Of a value of the cache."""
MOST_FILE = 1 << 20
"""Bytes of a shape's file; real ones have one or two thousand."""

_HUGGING_FACE = {
    "num_hidden_layers": "layers", "hidden_size": "width", "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads", "head_dim": "head_size", "intermediate_size": "feed_forward",
    "vocab_size": "vocabulary", "tie_word_embeddings": "tied", "num_experts": "experts",
    "num_experts_per_tok": "active_experts", "moe_intermediate_size": "feed_forward",
}  # fmt: skip
"""Key of a ``config.json`` -> ours; a later one wins."""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A decoder and a pass through it."""

    layers: Positive
    width: Positive
    heads: Natural = 0
    """Of queries; 0: ``width / head_size``, or ``width / 128`` where that is not there either."""
    kv_heads: Natural = 0
    """Of keys and values; 0: as many as ``heads``."""
    head_size: Natural = 0
    """0: ``width / heads``."""
    feed_forward: Natural = 0
    """Inner width of the gated layer (of one expert); 0: ``8/3 * width``, up to the next multiple of 256."""
    vocabulary: Natural = 0
    """0: no output head, as in a core that words do not come out of."""
    tied: bool = False
    """The head is the embedding table: it counts once in memory."""
    experts: Positive = 1
    active_experts: Positive = 1
    """Experts that a token goes through."""
    tokens: Positive = 1
    """Of the pass: 1 decodes, more fill."""
    context: Natural | None = None
    """Positions in the cache before the pass; none: 1024 where one token is decoded, else 0."""
    precision: Numbers = "fp16"
    """What the weights are stored in."""
    head_precision: Numbers | None = None
    """Of the output head; none: what the runtime usually does."""
    bits: Annotated[float, Meta(gt=0, le=64)] | None = None
    """Stored per weight, where the format has other than the usual ones."""
    runtime: Runtime = "tensorrt"
    name: str = ""

    @property
    def full(self) -> Shape:
        """The same with every number that was left out."""
        heads = self.heads or max(1, self.width // (self.head_size or 128))
        context = (CONTEXT if self.tokens == 1 else 0) if self.context is None else self.context
        return msgspec.structs.replace(
            self, heads=heads, kv_heads=self.kv_heads or heads, head_size=self.head_size or max(1, self.width // heads),
            feed_forward=self.feed_forward or -(-8 * self.width // 768) * 256, context=context,
        )  # fmt: skip

    @property
    def weight_bits(self) -> float:
        """Of a weight of the layers."""
        return self.bits or OTHER_BITS.get((self.runtime, self.precision), BITS[self.precision])

    @property
    def head_bits(self) -> float:
        """Of a weight of the output head."""
        if self.head_precision:
            return BITS[self.head_precision]
        few = self.precision == "int4" and self.runtime in WHOLE
        return self.bits or WHOLE[self.runtime] if few else max(self.weight_bits, BITS["fp16"])

    @property
    def layer_weights(self) -> int:
        """Of one layer, of the experts that a token goes through."""
        s = self.full
        return s._attention + s.active_experts * 3 * s.width * s.feed_forward

    @property
    def _attention(self) -> int:
        return 2 * self.width * self.heads * self.head_size + 2 * self.width * self.kv_heads * self.head_size

    @property
    def memory_bytes(self) -> float:
        """Weights, embedding table and cache: what the board must hold."""
        s = self.full
        layers = s.layers * (s._attention + s.experts * 3 * s.width * s.feed_forward) * s.weight_bits / 8
        table = s.vocabulary * s.width
        return layers + table * s.head_bits / 8 + (0 if s.tied else table * HALF_BYTES) + s._cache(s.tokens)

    def _cache(self, more: int) -> float:
        return 2.0 * self.layers * self.kv_heads * self.head_size * ((self.context or 0) + more) * HALF_BYTES


def read_shape(path: Path) -> Shape:
    """The shape in a file. InputError that names the key."""
    try:
        text = path.read_bytes()[: MOST_FILE + 1]
    except OSError as error:
        raise InputError(f"--model {path}: {error.strerror}; wanted a file of JSON") from None
    if len(text) > MOST_FILE:
        raise InputError(f"--model {path} is larger than 1 MB; wanted a shape: a few numbers as JSON")
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"--model {path} is not JSON ({error}); see docs/plan.md for what a shape is") from None
    if not isinstance(found, dict):
        raise InputError(f'--model {path} holds no object; wanted one like {{"layers": 28, "width": 1024}}')
    keys = _ours(found) if "num_hidden_layers" in found else found
    for key in {"precision", "head_precision"} & keys.keys():
        keys[key] = _WORDS.get(str(keys[key]).lower(), keys[key])
    try:
        return msgspec.convert(keys, Shape)
    except msgspec.ValidationError as error:
        words = ", ".join(Shape.__struct_fields__)
        raise InputError(f"--model {path}: {error}; a shape has the keys {words}") from None


_WORDS: dict[str, Numbers] = {
    "fp32": "float32", "float16": "fp16", "w16a16": "fp16", "bfloat16": "bf16", "w8a8": "int8", "w8a16": "int8",
    "w4a16": "int4", "int4 awq": "int4", "int4-awq": "int4", "awq": "int4", "gptq": "int4", "fp4": "nvfp4",
}  # fmt: skip
"""What others call the numbers -> our word."""


def _ours(config: dict[str, Any]) -> dict[str, Any]:
    """Our keys of a ``config.json``, and those of ours that stand in it already."""
    known: dict[str, Any] = {
        ours: config[theirs] for theirs, ours in _HUGGING_FACE.items() if config.get(theirs) is not None
    }
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored in ("float32", "float16", "bfloat16") and not config.get("quantization_config"):
        known["precision"] = stored
    return known | {key: value for key, value in config.items() if key in Shape.__struct_fields__}


def work_of(shape: Shape) -> Work:
    """One pass."""
    s = shape.full
    tokens, context = s.tokens, s.context or 0
    head = s.vocabulary * s.width
    touched = s._attention + min(s.experts, s.active_experts * tokens) * 3 * s.width * s.feed_forward
    return Work(
        name=s.name or "pass",
        numbers=s.precision,
        operations=2.0 * (s.layers * s.layer_weights * tokens + head),
        attention=4.0 * s.layers * s.heads * s.head_size * tokens * (context + (tokens + 1) / 2),
        moved_bytes=s.layers * touched * s.weight_bits / 8 + head * s.head_bits / 8 + s._cache(tokens),
        layers=s.layers * (EXPERTS_LAYERS if s.experts > 1 else 1),
        tokens=tokens,
    )
