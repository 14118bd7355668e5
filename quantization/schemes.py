"""Which layer becomes what, by scheme and target.

Receives the names of a scheme and a target; hands on a :class:`Plan` per layer:

    int8   the Transformer, the solver and the head multiply integers. On a CPU the range of their inputs is taken anew
           in each run, which is exact where a solver's steps differ; an engine of TensorRT wants it as a constant
    int4   weights of the Transformer and the head in blocks of 32, products in float or as the engine has them; the
           solver's ends, the first and the last of the Transformer's layers, and what does not divide into blocks, in 8
           bits
    fp16   every product in half precision; norms, softmax and what is added up between layers stay in float, so that
           nothing overflows between them; so does a product whose input or output came near fp16's range
    bf16   the same in bf16, whose range is a float's; but for ConvTranspose, which no builder of TensorRT takes in
           bf16: it stays in float (three layers of the demo's voice, 3 % of all its weights)
    fp8    as int8 with a constant range of inputs, in E4M3; what int8 only stores is in half precision
    nvfp4  weights of the Transformer and the head in NVFP4; the solver's ends as in fp8, codecs in half precision

and :class:`Mixture`, which has a plan of its own for every layer (auto.py).

In integers the codecs keep their products in float: their layers are convolutions with few outputs, and what they get
wrong is heard and seen as it is. Their weights are stored in 8 bits, but for the voice's last layers, which stay in
float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_streamer.quantization.calibrate import Key
from edge_streamer.quantization.formats import BF16, FP8, FP16, INT4, INT8, NVFP4, Format, fits
from edge_streamer.quantization.graph import Layer
from edge_streamer.quantization.vocabulary import ESTIMATOR, TARGETS, Estimator, SchemeName, Target
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.errors import InputError

Way = Literal["stored", "bound", "computed", "cast"]
"""How a layer computes with its integers; see qdq.py."""
BOARDS: dict[SchemeName, tuple[Target, ...]] = {"bf16": ("orin", "thor"), "fp8": ("thor",), "nvfp4": ("thor",)}
"""Targets that compute with a scheme's numbers, where not all do."""
MAKER = "quantize"
"""What the manifest says made the precision."""
HALVES: tuple[Literal["fp16", "bf16"], ...] = ("fp16", "bf16")
NOT_IN_BF16 = ("ConvTranspose",)
"""Operators that every builder of TensorRT refuses in bf16, tried up to its 11th version."""
CODECS = ("encode", "decode", "encode_agent")
ENDS = ("solve_in", "solve_out")
"""The solver's ends are small, and what they get wrong is in the latents as it is."""
FLOAT = ("audio_vae.decoder.fine.", "audio_vae.decoder.out")
"""Layers that stay in float: the voice after its last upsampling. Rounded to 8 bits they hum: silence of the demo rises
from -69 dB of full scale to -55, for 60 kB saved."""


@dataclass(frozen=True)
class Plan:
    """Of one layer."""

    format: Format
    way: Way

    @property
    def words(self) -> str:
        """For the report."""
        return self.format.name if self.way in ("stored", "cast") else f"{self.format.name}, {self.way}"


@dataclass(frozen=True)
class Scheme:
    """A scheme for a target."""

    name: SchemeName
    target: Target = "cpu"
    estimator: Estimator = ESTIMATOR
    """Of the inputs' ranges, where they are constants."""
    spared: bool = True
    """In ``int4`` the first and the last layer of a Transformer of four or more keep 8 bits. What they get wrong weighs
    most: of the demo's six they are worth 2.9 dB of the voice and 2.3 of the picture."""

    def __post_init__(self) -> None:
        boards = BOARDS.get(self.name, TARGETS)
        if self.target not in boards:
            wanted = " or ".join(f"--target {board}" for board in boards)
            raise InputError(f"{self.target} does not compute in {self.name}; wanted {wanted}, or another --scheme")

    def plan(self, graph: str, layer: Layer) -> Plan | None:
        """What becomes of ``layer``; None where it stays as it is."""
        if self.name == "fp16":
            return Plan(FP16, "cast")
        if self.name == "bf16":
            return None if layer.operator in NOT_IN_BF16 else Plan(BF16, "cast")
        if self.name in ("fp8", "nvfp4"):
            return self._small_float(graph, layer)
        if layer.name.startswith(FLOAT):
            return None
        if graph in CODECS or layer.operator != "MatMul":
            return Plan(INT8, "stored")
        if self.name == "int4":
            small = graph not in ENDS and not (self.spared and layer.at_end) and fits(layer.shape[0], INT4)
            return Plan(INT4 if small else INT8, "stored")
        return Plan(INT8, "computed" if self.target == "cpu" else "bound")

    def _small_float(self, graph: str, layer: Layer) -> Plan:
        if graph in CODECS or layer.operator != "MatMul":
            return Plan(FP16, "cast")
        if self.name == "nvfp4" and graph not in ENDS and fits(layer.shape[0], NVFP4):
            return Plan(NVFP4, "stored")
        return Plan(FP8, "bound")

    def precision(self, graph: str) -> Precision:
        """What the manifest says of ``graph``; engines and `check` go by it."""
        if self.name in ("fp16", "bf16"):
            return Precision(weights=self.name, activations=self.name, by=MAKER)
        if self.name in ("fp8", "nvfp4"):
            if graph in CODECS:
                return Precision(weights="fp16", activations="fp16", by=MAKER)
            return Precision(weights=self.name, activations="fp8" if self.name == "fp8" else "float32", by=MAKER)
        if graph in CODECS or self.name == "int4":
            return Precision(weights="int8" if graph in CODECS else "int4", by=MAKER)
        return Precision(weights="int8", activations="int8", dynamic=self.target == "cpu", by=MAKER)


@dataclass(frozen=True)
class Mixture:
    """A plan of its own for every layer; layers without one stay as they are."""

    plans: Mapping[Key, Plan | None]
    target: Target = "cpu"
    estimator: Estimator = ESTIMATOR
    name: str = "auto"

    def plan(self, graph: str, layer: Layer) -> Plan | None:
        """As :meth:`Scheme.plan`."""
        return self.plans.get((graph, layer.name))

    def precision(self, graph: str) -> Precision:
        """As :meth:`Scheme.precision`: what all its plans have in common, or ``mixed``."""
        found = {(p.format.name, p.way) for (name, _), p in self.plans.items() if name == graph and p is not None}
        if not found:
            return Precision()
        for half in HALVES:
            if found == {(half, "cast")}:
                return Precision(weights=half, activations=half, by=MAKER)
        if found <= {("int8", "stored"), ("int4", "stored")}:
            return Precision(weights="int4" if ("int4", "stored") in found else "int8", by=MAKER)
        numbers: Literal["int8", "mixed"] = "int8" if {name for name, _ in found} == {"int8"} else "mixed"
        dynamic = "computed" in {way for _, way in found}
        return Precision(weights=numbers, activations=numbers, dynamic=dynamic, by=MAKER)
