"""One run of one graph, checked: the smallest thing a program is made of.

Receives a bound graph and the outputs it fills; hands on :class:`Pass`, whose ``run`` measures the engine's time, looks
at every float output for NaN and infinity before anything is committed, and shows the tensors to whoever records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

import numpy as np
from numpy import add

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.ending import underway
from edge_streamer.runtime.engines.buffers import FLOATS, float_pieces
from edge_streamer.runtime.engines.contract import BoundRun, Buffer, Engine, OpenGraph, Shape, between_runs
from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.state.store import Carries

Recorder = Callable[[str, Mapping[str, Array], Mapping[str, Array]], None]
"""Called after each run with the pass's name, its inputs and its outputs (live buffers: copy what you keep)."""


class Meter:
    """What all passes of a session share: their engine, its time in this step, and who records."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.engine_seconds = 0.0
        self.recorder: Recorder | None = None


class Pass:
    """A graph bound to buffers, run by name.

    Outputs that are neighbours in memory are looked at in one piece. Quantized and integer ones cannot hold a NaN.
    Outputs of the graph that ``outputs`` lacks are there for recorders: each gets a buffer here.
    """

    def __init__(self, name: str, graph: OpenGraph, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer],
                 meter: Meter):  # fmt: skip
        self.name = name
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        more = [tensor for tensor in graph.spec.outputs if tensor.name not in outputs]
        for output, (shape, dtype) in sizes(more, _length(graph.spec, inputs)).items():
            self._outputs[output] = meter.engine.buffer(shape, dtype, "out")
        self._graph = graph.spec.name
        self._told = f"graph {self._graph!r}"
        self._bound: BoundRun = graph.bind(inputs, self._outputs)
        self._meter = meter
        self._pieces = float_pieces(outputs.values())

    def run(self, name: str | None = None) -> None:
        """Run the graph, as ``name`` for recorders and errors where a pass runs several times per unit.

        Raises StepError naming the output that is not finite, EngineError from the engine.
        """
        start = perf_counter()
        underway.begin(self._told, start)
        try:
            self._bound.run()
        finally:
            underway.end()
        self._meter.engine_seconds += perf_counter() - start
        if self._meter.recorder is not None:
            self._meter.recorder(name or self.name, _seen(self._inputs), _seen(self._outputs))
        # A sum is finite only if every addend is; one that overflows is settled by looking closer.
        total = 0.0
        for piece in self._pieces:
            total += add.reduce(piece)
        if not math.isfinite(total):
            self._look_closer(name or self.name)

    def _look_closer(self, run: str) -> None:
        for name, array in _seen(self._outputs).items():
            if array.dtype.name in FLOATS and not np.isfinite(array).all():
                bad = array[~np.isfinite(array)]
                raise StepError(
                    f"graph {self._graph!r} (pass {run}) gave {bad[0]} in output {name!r}, "
                    f"{bad.size} of {array.size} values; the unit was rolled back"
                )


def run_carried(carries: Carries, sides: Sequence[Pass]) -> None:
    """Run a graph with carries, bound once per side: the pass that reads what is committed. ValueError where it ran
    already in this unit."""
    carries.mark_run()
    sides[carries.front].run()


def _seen(buffers: Mapping[str, Buffer]) -> dict[str, Array]:
    return {name: between_runs(buffer) for name, buffer in buffers.items()}


def _length(spec: GraphSpec, inputs: Mapping[str, Buffer]) -> int | None:
    """What ``T`` stands for with these inputs; None where the graph has none."""
    lengths = (
        came
        for tensor in spec.inputs
        if tensor.name in inputs
        for came, wanted in zip(inputs[tensor.name].shape, tensor.shape, strict=False)
        if isinstance(wanted, str)
    )
    return next(lengths, None)


def sizes(specs: Sequence[TensorSpec], length: int | None = None) -> dict[str, tuple[Shape, str]]:
    """Name -> (shape, dtype) of tensors; a symbolic ``T`` becomes ``length``, ValueError where that is None."""

    def sized(n: int | str) -> int:
        if isinstance(n, int):
            return n
        if length is None:
            raise ValueError("a tensor with a symbolic length needs a length")
        return length

    return {spec.name: (tuple(map(sized, spec.shape)), spec.dtype) for spec in specs}


def free_inputs(spec: GraphSpec) -> list[TensorSpec]:
    """Inputs that are not state: what the host or another graph must fill."""
    return [t for t in spec.inputs if not t.name.startswith(("state.", "valid."))]


def free_outputs(spec: GraphSpec) -> list[TensorSpec]:
    """Outputs that are not state."""
    return [t for t in spec.outputs if not t.name.startswith(("state_next.", "append."))]
