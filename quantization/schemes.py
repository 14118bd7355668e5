"""Which layer becomes what, by scheme and target.

Receives the names of a scheme and a target; hands on a :class:`Plan` per layer:

    int8   the Transformer, the solver and the head multiply integers. On a CPU the range of their inputs is taken anew
           in each run, which is exact where a solver's steps differ; an engine of TensorRT wants it as a constant
    int4   weights of the Transformer, the solver and the head in blocks of 32, products in float or as the engine
           has them; what does not divide into blocks in 8 bits

The codecs keep their products in float: their layers are convolutions with few outputs, and what they get wrong is
heard and seen as it is. Their weights are stored in 8 bits, but for the voice's last layers, which stay in float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edge_streamer.quantization.graph import Layer
from edge_streamer.quantization.numbers import INT4, INT8, Format, fits

SchemeName = Literal["int8", "int4"]
Target = Literal["cpu", "orin", "thor"]
Way = Literal["stored", "bound", "computed"]
"""How a layer computes with its integers; see graph.py."""
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)
TARGETS: tuple[Target, ...] = get_args(Target)
CODECS = ("encode", "decode", "encode_agent")
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
        return self.format.name if self.way == "stored" else f"{self.format.name}, {self.way}"


@dataclass(frozen=True)
class Scheme:
    """A scheme for a target."""

    name: SchemeName
    target: Target = "cpu"

    def plan(self, graph: str, layer: Layer) -> Plan | None:
        """What becomes of ``layer``; None where it stays as it is."""
        if layer.name.startswith(FLOAT):
            return None
        if graph in CODECS or layer.operator != "MatMul":
            return Plan(INT8, "stored")
        if self.name == "int4":
            return Plan(INT4 if fits(layer.shape[0], INT4) else INT8, "stored")
        return Plan(INT8, "computed" if self.target == "cpu" else "bound")

    def precision(self, graph: str) -> str:
        """What the manifest says of ``graph``; engines and `check` go by it."""
        if graph in CODECS:
            return "int8 weights"
        return "int4 weights" if self.name == "int4" else "int8"
