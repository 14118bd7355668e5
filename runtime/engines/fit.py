"""Which bundles are for which engine, by what their manifest says of every graph's precision.

Receives a manifest; hands on why it is not for an engine, as ``takes no ...``, empty where it is. Nothing here needs a
library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_streamer.runtime.bundle.manifest import Manifest, Precision

NOT_ON_A_CPU = {"bf16", "nvfp4"}
"""Numbers without kernels in ONNX Runtime's CPU provider (1.32)."""
ON_CUDA = {("float32", "float32"), ("fp16", "fp16"), ("int8", "float32")}
"""Weights and activations that the CUDA provider multiplies, 8-bit weights as floats; others are TensorRT's."""
SHOWN = 6


def for_cpus(manifest: Manifest) -> str:
    """Why a bundle is for CPUs alone: ranges that are taken anew in every run are of operators (DynamicQuantizeLinear,
    MatMulInteger) that TensorRT has not, and ONNX Runtime not on a GPU."""
    return _told(manifest, "bundle for CPUs, which this one is", lambda precision: not precision.dynamic)


def not_for_cuda(manifest: Manifest) -> str:
    """Why it is not for ONNX Runtime's CUDA provider."""
    own = _told(
        manifest, "numbers but float32, fp16 and 8-bit weights", lambda p: (p.weights, p.activations) in ON_CUDA
    )
    return for_cpus(manifest) or own


def not_for_cpu(manifest: Manifest) -> str:
    """Why it is not for a CPU."""
    return _told(
        manifest, f"{' or '.join(sorted(NOT_ON_A_CPU))}", lambda p: not {p.weights, p.activations} & NOT_ON_A_CPU
    )


def _told(manifest: Manifest, what: str, fits: Callable[[Precision], bool]) -> str:
    graphs = sorted(graph.name for graph in manifest.graphs if not fits(graph.precision))
    if not graphs:
        return ""
    words = sorted({graph.precision.words for graph in manifest.graphs if graph.name in graphs})
    return f"takes no {what} ({', '.join(graphs[:SHOWN])} in {', '.join(words)})"
