"""One run of one graph, and tapes of them, checked: the smallest things a program is made of.

Receives a graph, and the buffers it reads and fills; hands on :class:`Pass`, a graph bound to them, and
:class:`Script`, a tape whose runs are passes: it counts the engine's time, shows the tensors to whoever records, and
raises where an output is NaN or infinite, before anything is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.engines.contract import Buffer, Engine, OpenGraph, Played, Shape, Stack
from edge_streamer.runtime.engines.contract import Recorder as Recorder
from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.state.store import Carries, Ring
from edge_streamer.runtime.timing import Sections


class Meter:
    """What all scripts of a session share: their engine, its time in this step, and who records."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.engine_seconds = 0.0
        self.recorder: Recorder | None = None
        self.timed = False
        """Whether the next plays tell how long each run took, in ``last.runs``. Also where sections are heard, unless
        the engine captures: there it would be another play than that of a unit to which nobody listens."""
        self.sections = Sections()
        """What a step's time is spent on, for whoever listens."""
        self.last = Played(0.0)
        """What came of the last play."""


class Pass:
    """A graph bound to buffers. ``carries``: its own, where it has some.

    Outputs of the graph that ``outputs`` lacks are there for recorders: each gets a buffer here.
    """

    def __init__(self, graph: OpenGraph, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer], engine: Engine,
                 carries: Carries | None = None):  # fmt: skip
        if carries is not None:
            inputs, outputs = {**inputs, **carries.reads()}, {**outputs, **carries.writes()}
        more = [tensor for tensor in graph.spec.outputs if tensor.name not in outputs]
        unasked = {
            name: engine.buffer(shape, dtype, "out")
            for name, (shape, dtype) in sizes(more, _length(graph.spec, inputs)).items()
        }
        self.label = label_of(graph.spec.name, _length(graph.spec, inputs))
        self.carries, self.finite = carries, tuple(outputs.values())
        self.bound = graph.bind(inputs, {**outputs, **unasked})


class Script:
    """A tape of passes, each run under a name of its own."""

    def __init__(self, name: str, meter: Meter):
        self.tape = meter.engine.tape(name)
        self._meter = meter
        self._passes: dict[str, Pass] = {}
        self._rings: list[Ring] = []

    def run(self, name: str, one: Pass) -> None:
        """Run a pass."""
        self._passes[name] = one
        self.tape.run(name, one.bound, one.finite)

    def store(self, ring: Ring, appended: Stack, rows: slice, place: int) -> None:
        """Put rows of what a pass appended into a ring, from ``place`` of the unit in progress on (see
        :meth:`Ring.aim`)."""
        self._rings.append(ring)
        self.tape.store(ring.stack, appended, rows, ring.first, place)

    def play(self) -> None:
        """Do it all. Raises StepError naming the output that is not finite, EngineError from the engine, ValueError
        where a graph with carries ran already in this unit."""
        for one in self._passes.values():
            if one.carries is not None:
                one.carries.mark_run()
        for ring in self._rings:
            ring.written = True
        meter = self._meter
        with meter.sections("play", "transfer"):
            begin = perf_counter()
            timed = meter.timed or (meter.sections.heard and not meter.engine.captures)
            meter.last = played = self.tape.play(meter.recorder, timed)
            if meter.sections.heard:
                self._tell(played, begin)
        meter.engine_seconds += played.seconds
        if played.not_finite is not None:
            raise StepError(f"{self._look_closer(played.not_finite)}; the unit was rolled back")

    def _tell(self, played: Played, begin: float) -> None:
        """Every run as a section under its graph."""
        tell, last = self._meter.sections.tell, 0.0
        for name, seconds in played.runs.items():
            start = played.begins.get(name, last)
            tell(f"{self._passes[name].label}/{name}", "graph", begin + start, seconds)
            last = start + seconds

    def _look_closer(self, name: str) -> str:
        """What is wrong with the outputs of a run, as far as a later run has not written over them."""
        bound, read = self._passes[name].bound, self._meter.engine.read
        for output, buffer in bound.outputs.items():
            array = read(buffer)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                bad = array[~np.isfinite(array)]
                return (
                    f"graph {bound.graph!r} (pass {name}) gave {bad[0]} in output {output!r}, {bad.size} of "
                    f"{array.size} values"
                )
        return f"graph {bound.graph!r} (pass {name}) gave a NaN or an infinity"


def label_of(graph: str, length: int | str | None) -> str:
    """Of a graph at a length, for people: ``core at 9``."""
    return graph if length is None else f"{graph} at {length}"


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
