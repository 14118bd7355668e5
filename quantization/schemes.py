"""Which layer becomes what, by scheme and target.

Receives the names of a scheme and a target; hands on a :class:`Plan` per layer:

    int8   the Transformer, the solver and the head multiply integers. On a CPU the range of their inputs is taken anew
           in each run, which is exact where a solver's steps differ; an engine of TensorRT wants it as a constant
    int4   weights of the Transformer and the head in blocks of 32, products in float or as the engine has them; the
           solver's ends, and what does not divide into blocks, in 8 bits
    fp16   every product in half precision; norms, softmax and what is added up between layers stay in float, so that
           nothing overflows between them

and :class:`Mixture`, which has a plan of its own for every layer (auto.py).

In integers the codecs keep their products in float: their layers are convolutions with few outputs, and what they get
wrong is heard and seen as it is. Their weights are stored in 8 bits, but for the voice's last layers, which stay in
float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from edge_streamer.quantization.graph import Layer
from edge_streamer.quantization.numbers import FP16, INT4, INT8, Format, fits
from edge_streamer.quantization.observe import Key

SchemeName = Literal["int8", "int4", "fp16"]
Target = Literal["cpu", "orin", "thor"]
Way = Literal["stored", "bound", "computed", "cast"]
"""How a layer computes with its integers; see graph.py."""
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)
TARGETS: tuple[Target, ...] = get_args(Target)
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

    def plan(self, graph: str, layer: Layer) -> Plan | None:
        """What becomes of ``layer``; None where it stays as it is."""
        if self.name == "fp16":
            return Plan(FP16, "cast")
        if layer.name.startswith(FLOAT):
            return None
        if graph in CODECS or layer.operator != "MatMul":
            return Plan(INT8, "stored")
        if self.name == "int4":
            return Plan(INT4 if graph not in ENDS and fits(layer.shape[0], INT4) else INT8, "stored")
        return Plan(INT8, "computed" if self.target == "cpu" else "bound")

    def precision(self, graph: str) -> str:
        """What the manifest says of ``graph``; engines and `check` go by it."""
        if self.name == "fp16":
            return "fp16"
        if graph in CODECS:
            return "int8 weights"
        return "int4 weights" if self.name == "int4" else "int8"


@dataclass(frozen=True)
class Mixture:
    """A plan of its own for every layer; layers without one stay as they are."""

    plans: Mapping[Key, Plan | None]
    target: Target = "cpu"
    name: str = "auto"

    def plan(self, graph: str, layer: Layer) -> Plan | None:
        """As :meth:`Scheme.plan`."""
        return self.plans.get((graph, layer.name))

    def precision(self, graph: str) -> str:
        """As :meth:`Scheme.precision`: what all its plans have in common, or ``mixed``."""
        found = {(p.format.name, p.way) for (name, _), p in self.plans.items() if name == graph and p is not None}
        if not found:
            return "float32"
        if found == {("fp16", "cast")}:
            return "fp16"
        if {way for _, way in found} == {"stored"}:
            return "int4 weights" if ("int4", "stored") in found else "int8 weights"
        return "mixed" if ("int4", "stored") in found or ("fp16", "cast") in found else "int8"
