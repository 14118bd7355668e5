"""Was it built as asked? The precision of every quantized layer, by the graph and by the engine.

Receives a parsed network and the inspector's JSON of what was built of it; hands on what each layer asked for, and a
:class:`Verdict`. TensorRT may build a layer in more bits than its graph says and tell nobody: the answers are right,
and the memory and the time are those of another model.

What a layer asks is read off the network, for there is no onnx on a device: a product or convolution whose inputs come
out of DequantizeLinear. What it became is read off the inspector. Its JSON, from NVIDIA's pages on the engine inspector
(10.16) and on its migration to 11.x, and from engines that others have published:

    {"Layers": [{"Name": ..., "LayerType": "CaskConvolution" | "gemm" | "kgen" | ..., "TacticName": ...,
                 "Metadata": "[ONNX Layer: a]\\x1e[ONNX Layer: b]", "Weights": {"Type": "Int8", "Count": 131072},
                 "Inputs": [{"Name": ..., "Dimensions": [...], "Format/Datatype": "Row major Int8 format"}], ...}],
     "Bindings": [...]}     of 11.x: "I/O Tensors": [{"Name": ..., "DataType": ...}]

"Metadata" lists the nodes of the graph that were fused into a layer; words for types differ from layer to layer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from edge_streamer.runtime.errors import EngineError

NARROW = {"INT8": "int8", "FP8": "fp8", "INT4": "int4", "FP4": "fp4"}
"""Members of ``DataType`` that ask for few bits -> our word."""
BITS = {"int4": 4, "fp4": 4, "int8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "float32": 32}
KEPT = ("int4", "fp4")
"""Weights that TensorRT multiplies as they are stored, by kernels of their own, beside wide inputs."""
MULTIPLIES = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM")
PASSES_ON = ("SHUFFLE", "IDENTITY", "SLICE", "CONCATENATION", "SQUEEZE", "UNSQUEEZE", "CAST", "SELECT", "GATHER")
"""Layers that change no value: what they are given, they hand on."""
WORDS = (
    ("bf16", r"bf16|bfloat16|bfloat"), ("fp16", r"fp16|half|float16"), ("fp8", r"fp8|e4m3"), ("fp4", r"fp4|e2m1"),
    ("int8", r"int8"), ("int4", r"int4"), ("float32", r"fp32|float32|float|tf32"),
)  # fmt: skip
"""How the inspector names types, the longer word before the one that is in it."""
TACTICS = {
    "int8": re.compile(r"i8i8|i8f32_i8|i8_i8|s8_?s8|int8_int8|_imma"),
    "fp8": re.compile(r"e4m3_?e4m3|fp8_?fp8|_qmma"),
    "fp4": re.compile(r"e2m1_?e2m1|fp4_?fp4|nvf4|nvfp4"),
}
"""Names of kernels whose products are of this type, where the layer also quantizes its own input."""
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


class Asked(NamedTuple):
    """What the graph wants of a layer."""

    name: str
    """The node's, of the graph."""
    precision: str
    product: bool
    """Whether both factors are of it; else what comes in is multiplied wide and only the other is kept narrow."""
    of: tuple[str, ...]
    """The nodes whose traces in the engine tell: itself, and those that (de)quantize for it."""


class Found(NamedTuple):
    """What one of them became."""

    asked: Asked
    built: str
    """Empty: the inspector does not tell."""

    @property
    def is_wider(self) -> bool:
        """Whether more bits were built than the graph counts on. Weights that a graph only stores in 8 bits are
        unpacked, since TensorRT has no kernel that reads them beside wide inputs; that is told, and no fault."""
        counts = self.asked.product or self.asked.precision in KEPT
        return counts and bool(self.built) and BITS[self.built] > BITS[self.asked.precision]


@dataclass(frozen=True)
class Verdict:
    """All layers that asked for few bits."""

    found: Sequence[Found]

    @property
    def wider(self) -> list[Found]:
        return [each for each in self.found if each.is_wider]

    @property
    def untold(self) -> int:
        return sum(not each.built for each in self.found)

    @property
    def precision(self) -> dict[str, int]:
        """What was built -> how many layers."""
        return dict(Counter(each.built for each in self.found if each.built))

    def check(self, graph: str, allowed: Iterable[str]) -> tuple[str, ...]:
        """The names of those that are wider and allowed to be (names may hold ``*``). EngineError for others."""
        names = still_wider([each.asked.name for each in self.wider], allowed)
        refused = [each for each in self.wider if each.asked.name in names]
        if refused:
            shown = ", ".join(
                f"{f.asked.name} ({f.asked.precision} was asked, {f.built} was built)" for f in refused[:5]
            )
            more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
            raise EngineError(
                f"TensorRT built {len(refused)} of {len(self.found)} quantized layers of graph {graph!r} in more bits "
                f"than the graph asks: {shown}{more}; allow them by name (edge-streamer build "
                "--allow-wider NAME; * for any), or quantize the bundle for this board"
            )
        return tuple(each.asked.name for each in self.wider)


def still_wider(names: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Those of ``names`` that no pattern allows."""
    patterns = tuple(allowed)
    return [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def asked_of(trt: Any, network: Any) -> list[Asked]:
    """What every quantized layer of a parsed network asks for."""
    layers = [network.get_layer(number) for number in range(network.num_layers)]
    made_by = {}
    for layer in layers:
        for number in range(layer.num_outputs):
            made_by[layer.get_output(number).name] = layer
    kinds = {getattr(trt.LayerType, kind) for kind in MULTIPLIES}
    found = (_asked(trt, layer, made_by) for layer in layers if layer.type in kinds)
    return [asked for asked in found if asked is not None]


def _asked(trt: Any, layer: Any, made_by: Mapping[str, Any]) -> Asked | None:
    sources = []
    for number in range(layer.num_inputs):
        tensor = layer.get_input(number)
        if tensor is not None:
            sources.append(_dequantized(trt, tensor, made_by))
    narrow = [source for source in sources[:2] if source]  # a third is the bias
    if not narrow:
        return None
    types = [precision for precision, _ in narrow]
    nodes = tuple(dict.fromkeys(name for _, names in narrow for name in names))
    # A convolution whose weights are constants has one input: then they are not quantized.
    product = len(narrow) == 2
    precision = max(types, key=BITS.__getitem__) if product else types[0]
    return Asked(_node(layer), precision, product, (_node(layer), *nodes))


def _dequantized(trt: Any, tensor: Any, made_by: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """The few bits that a tensor comes from, and the nodes between; None where it was never few."""
    names: list[str] = []
    layer = made_by.get(tensor.name)
    handed_on = {getattr(trt.LayerType, kind, None) for kind in PASSES_ON}
    while layer is not None and layer.type in handed_on and layer.num_inputs:
        layer = made_by.get(layer.get_input(0).name)
    if layer is None or layer.type != trt.LayerType.DEQUANTIZE:
        return None
    names.append(_node(layer))
    codes = layer.get_input(0)
    precision = NARROW.get(codes.dtype.name)
    before = made_by.get(codes.name)
    if before is not None and before.type == trt.LayerType.QUANTIZE:
        names.append(_node(before))
    return None if precision is None else (precision, tuple(names))


def _node(layer: Any) -> str:
    """The graph's node that a network's layer was made for."""
    named = _NODE.search(layer.metadata or "")
    return named[1] if named else str(layer.name)


def compare(asked: Sequence[Asked], inspected: str) -> Verdict:
    """What was asked against the inspector's JSON. EngineError where that is no such JSON."""
    try:
        layers = [layer for layer in json.loads(inspected)["Layers"] if isinstance(layer, dict)]
    except (ValueError, KeyError, TypeError):
        raise EngineError("TensorRT's inspector does not tell, as JSON, what was built") from None
    traces: dict[str, list[dict[str, Any]]] = {}
    for layer in layers:
        for node in _NODE.findall(str(layer.get("Metadata", ""))) or [str(layer.get("Name", ""))]:
            traces.setdefault(node, []).append(layer)
    return Verdict([Found(each, _built(each, traces)) for each in asked])


def _built(asked: Asked, traces: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    own = traces.get(asked.name, ())
    told: list[str] = []
    if asked.product:
        pattern = TACTICS.get(asked.precision)
        if pattern and any(pattern.search(str(layer.get("TacticName", "")).lower()) for layer in own):
            return asked.precision
        told = [type_of(layer["Inputs"][0]) for layer in own if layer.get("Inputs")]
    else:
        layers = [layer for node in asked.of for layer in traces.get(node, ())]
        for layer in layers:
            told += [type_of(tensor) for tensor in layer.get("Inputs", ())] + [type_of(layer.get("Weights"))]
    known = [kind for kind in told if kind]
    return min(known, key=BITS.__getitem__) if known else ""


def type_of(tensor: Any) -> str:
    """Our word for the type of a tensor, as the inspector tells it; empty where it does not, or of no number."""
    if not isinstance(tensor, dict):
        return ""
    keys = ("Format/Datatype", "DataType", "Datatype", "Type", "Format")
    said = next((str(tensor[key]) for key in keys if tensor.get(key)), "").lower()
    return next((ours for ours, words in WORDS if re.search(rf"(?<![a-z])(?:{words})(?![a-z0-9])", said)), "")
