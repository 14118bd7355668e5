"""Figures that others published of decoders on these boards: what the predictor is fitted on and held against.

Rows are (runtime, board, model, numbers, tokens, context, figure): of one token the figure is tokens a second, of more
the milliseconds of the pass. ``FIT`` of the fields says that the constants may look at it; at most half of the rows
have it. Where a table does not say how full the cache was, its prompts and answers are short: 256 positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from edge_streamer.runtime.profile.boards import Numbers
from edge_streamer.runtime.profile.shape import Shape
from edge_streamer.runtime.profile.work import Runtime

EDGE_LLM = (
    "https://github.com/NVIDIA/TensorRT-Edge-LLM/blob/main/docs/source/user_guide/performance/performance-benchmarks.md"
)
"""Versions 0.9.0 and 0.10.0: fixed-length runs (2048 positions) and runs on conversations."""
ISSUE = "https://github.com/NVIDIA/TensorRT-Edge-LLM/issues/60"
NANO = "https://developer.nvidia.com/blog/nvidia-jetson-orin-nano-developer-kit-gets-a-super-boost/"
LAB = "https://www.jetson-ai-lab.com/benchmarks.html"
HOLOHUB = "https://github.com/nvidia-holoscan/holohub/issues/170"
REALIZAR = "https://github.com/paiml/realizar/issues/120"

SHORT = 256
LONG = 2048

MODELS: dict[str, tuple[int, int, int, int, int, int, int, bool]] = {
    # layers, width, heads, heads of keys and values, head size, inner width, vocabulary, tied
    "Qwen3-0.6B": (28, 1024, 16, 8, 128, 3072, 151936, True),
    "Qwen3-1.7B": (28, 2048, 16, 8, 128, 6144, 151936, True),
    "Qwen3-4B": (36, 2560, 32, 8, 128, 9728, 151936, True),
    "Qwen3-8B": (36, 4096, 32, 8, 128, 12288, 151936, False),
    "Qwen2.5-3B": (36, 2048, 16, 2, 128, 11008, 151936, True),
    "Qwen2.5-7B": (28, 3584, 28, 4, 128, 18944, 152064, False),
    "Qwen2.5-1.5B": (28, 1536, 12, 2, 128, 8960, 151936, True),
    "Llama-3.1-8B": (32, 4096, 32, 8, 128, 14336, 128256, False),
    "Llama-3.2-3B": (28, 3072, 24, 8, 128, 8192, 128256, True),
    "Llama-2-7B": (32, 4096, 32, 32, 128, 11008, 32000, False),
    "SmolLM2-1.7B": (24, 2048, 32, 32, 64, 8192, 49152, True),
    "Phi-3.5-mini": (32, 3072, 32, 32, 96, 8192, 32064, False),
    "Gemma-2-2B": (26, 2304, 8, 4, 256, 9216, 256000, True),
    "Gemma-2-9B": (42, 3584, 16, 8, 256, 14336, 256000, True),
    "Qwen3-30B-A3B": (48, 2048, 32, 4, 128, 768, 151936, False),
}
"""From the models' own config.json. The language model of a vision model is the plain one of its size: Qwen3-VL-4B has
the shape of Qwen3-4B."""
EXPERTS = {"Qwen3-30B-A3B": {"experts": 128, "active_experts": 8}}


@dataclass(frozen=True)
class Row:
    """One published figure."""

    runtime: Runtime
    board: str
    model: str
    numbers: Numbers
    tokens: int
    context: int
    figure: float
    source: str
    fit: bool = False
    bits: float | None = None
    head: Numbers | None = None

    @property
    def shape(self) -> Shape:
        """What ran."""
        layers, width, heads, kv_heads, head_size, inner, vocabulary, tied = MODELS[self.model]
        return Shape(
            layers=layers, width=width, heads=heads, kv_heads=kv_heads, head_size=head_size, feed_forward=inner,
            vocabulary=vocabulary, tied=tied, tokens=self.tokens, context=self.context, precision=self.numbers,
            bits=self.bits, head_precision=self.head, runtime=self.runtime, name=self.model,
            **EXPERTS.get(self.model, {}),
        )  # fmt: skip

    @property
    def milliseconds(self) -> float:
        """Of the pass."""
        return 1e3 / self.figure if self.tokens == 1 else self.figure


def _rows(runtime: Runtime, board: str, source: str, text: str) -> list[Row]:
    """A row a line: model, numbers, tokens, context, figure, and ``fit`` where the constants may look at it."""
    made = []
    for line in text.split("\n"):
        if words := line.split():
            model, numbers, tokens, context, figure, *rest = words
            named = dict(word.split("=") for word in rest if "=" in word)
            made.append(Row(
                runtime, board, model, cast("Numbers", numbers), int(tokens), int(context), float(figure), source,
                "fit" in rest, float(named["bits"]) if "bits" in named else None,
                cast("Numbers | None", named.get("head")),
            ))  # fmt: skip
    return made


ROWS: list[Row] = [
    *_rows("tensorrt", "agx-orin-64gb", EDGE_LLM, """
        Qwen3-0.6B  int4  1     256   200.5
        Qwen3-1.7B  int4  1     256   99.8
        Qwen3-8B    int4  1     256   32.2
        Qwen3-4B    int4  1     256   53.1
        Qwen3-30B-A3B  int4  1  256   56.7   fit
        Qwen3-0.6B  int4  1     2048  162.5  fit
        Qwen3-1.7B  int4  1     2048  89.5
        Qwen3-4B    int4  1     2048  50.7
        Qwen3-8B    int4  1     2048  30.6   fit
        Qwen3-0.6B  int4  2048  0     118.5  fit
        Qwen3-1.7B  int4  2048  0     308.3  fit
        Qwen3-4B    int4  2048  0     761.9
        Qwen3-8B    int4  2048  0     1384.1 fit
    """),
    *_rows("tensorrt", "agx-orin-64gb", ISSUE, """
        Qwen3-4B    fp16  1     256   20.2
        Qwen3-4B    int8  1     256   35.5
        Qwen3-4B    int4  1     256   52.2
        Qwen2.5-3B  fp16  1     256   27.2
        Qwen2.5-3B  int8  1     256   45.2
        Qwen2.5-3B  int4  1     256   71.8
    """),
    *_rows("tensorrt", "orin-nx-16gb", EDGE_LLM, """
        Qwen3-0.6B  int4  1     256   117.4
        Qwen3-1.7B  int4  1     256   60.4
        Qwen3-4B    int4  1     256   31.6
        Qwen3-8B    int4  1     256   19.0
        Qwen3-0.6B  int4  1     2048  98.9   fit
        Qwen3-1.7B  int4  1     2048  52.2
        Qwen3-4B    int4  1     2048  29.2
        Qwen3-8B    int4  1     2048  17.5   fit
        Qwen3-0.6B  int4  2048  0     268.8
        Qwen3-1.7B  int4  2048  0     674.0  fit
        Qwen3-4B    int4  2048  0     1880.5
        Qwen3-8B    int4  2048  0     2944.1 fit
    """),
    *_rows("tensorrt", "orin-nano-8gb", EDGE_LLM, """
        Qwen3-0.6B  int4  1     256   77.0
        Qwen3-1.7B  int4  1     256   36.5
        Qwen3-0.6B  int4  1     2048  61.0   fit
        Qwen3-1.7B  int4  1     2048  32.3
        Qwen3-0.6B  int4  2048  0     445.2  fit
        Qwen3-1.7B  int4  2048  0     1021.0
    """),
    *_rows("tensorrt", "thor-t5000", EDGE_LLM, """
        Qwen3-0.6B  int4  1     2048  253.1  fit
        Qwen3-1.7B  int4  1     2048  135.1
        Qwen3-4B    int4  1     2048  76.5
        Qwen3-8B    int4  1     2048  46.4   fit
        Qwen3-30B-A3B  int4  1  2048  76.7
        Qwen3-30B-A3B  nvfp4 1  2048  84.1
        Qwen3-0.6B  nvfp4 1     2048  244.3
        Qwen3-1.7B  nvfp4 1     2048  135.5
        Qwen3-4B    nvfp4 1     2048  73.4
        Qwen3-8B    nvfp4 1     2048  44.6
        Qwen2.5-7B  nvfp4 1     2048  59.2   head=nvfp4
        Qwen3-0.6B  int4  2048  0     54.8   fit
        Qwen3-1.7B  int4  2048  0     145.4
        Qwen3-4B    int4  2048  0     364.6
        Qwen3-8B    int4  2048  0     663.4  fit
        Qwen3-0.6B  nvfp4 2048  0     17.9   fit
        Qwen3-1.7B  nvfp4 2048  0     27.7   fit
        Qwen3-4B    nvfp4 2048  0     62.0
        Qwen3-8B    nvfp4 2048  0     104.9  fit
        Qwen2.5-7B  nvfp4 2048  0     83.1   head=nvfp4
    """),
    *_rows("mlc", "orin-nano-8gb", NANO, """
        Llama-3.1-8B  int4  1  256  14.0   fit
        Llama-3.2-3B  int4  1  256  27.7
        Qwen2.5-7B    int4  1  256  14.2
        Gemma-2-2B    int4  1  256  21.5
        Gemma-2-9B    int4  1  256  7.2
        Phi-3.5-mini  int4  1  256  24.7
        SmolLM2-1.7B  int4  1  256  41.0   fit
    """),
    *_rows("mlc", "orin-nano-8gb-super", NANO, """
        Llama-3.1-8B  int4  1  256  19.14
        Llama-3.2-3B  int4  1  256  43.07  fit
        Qwen2.5-7B    int4  1  256  21.75  fit
        Gemma-2-2B    int4  1  256  34.97
        Gemma-2-9B    int4  1  256  9.21
        Phi-3.5-mini  int4  1  256  38.1   fit
        SmolLM2-1.7B  int4  1  256  64.5   fit
    """),
    *_rows("vllm", "agx-orin-64gb", LAB, """
        Llama-3.2-3B  int4  1  2048  52.6
        Llama-3.1-8B  int4  1  2048  28.1  fit
    """),
    *_rows("vllm", "thor-t5000", LAB, """
        Llama-3.2-3B  int4  1  2048  65.8  fit
        Llama-3.1-8B  int4  1  2048  44.0
    """),
    *_rows("llama.cpp", "agx-orin-64gb", HOLOHUB, "Llama-2-7B    int4  1  256  22.5  fit"),
    *_rows("llama.cpp", "orin-nano-8gb", REALIZAR, "Qwen2.5-1.5B  int4  1  256  32.1  bits=4.85"),
]  # fmt: skip
"""The NVIDIA rows of Orin Nano are of the module before "Super" where that is not said: 68 GB/s, 625 MHz. At the
figures of "Super" they would reach half of the bandwidth where Orin NX, of the same chip, reaches nine tenths."""
