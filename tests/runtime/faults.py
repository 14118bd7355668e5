"""An engine that breaks on purpose: ONNX Runtime, but one output of one graph gets a bad value at one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cpu import OrtBoundRun, OrtEngine, OrtGraph
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.timing import Tell, untold


class Faulty(OrtEngine):
    """``arm`` chooses what breaks next: a value written into an output, or an exception. Mixed into any engine that
    computes in the host's memory."""

    def __init__(self, threads: int | None = 1) -> None:
        super().__init__(threads)
        self.graph, self.output, self.value, self.runs_left = "", "", 0.0, -1

    def arm(self, graph: str, output: str, value: float, after_runs: int = 0) -> None:
        """The run after ``after_runs`` runs of ``graph`` gets ``value`` in ``output``; output "" raises instead."""
        self.graph, self.output, self.value, self.runs_left = graph, output, value, after_runs

    def open(self, graph: GraphFile, tell: Tell = untold) -> Any:
        return FaultyGraph(super().open(graph, tell), self)


class FaultyEngine(Faulty):
    """On the CPU."""


class FaultyGraph:
    def __init__(self, graph: OrtGraph, engine: Faulty) -> None:
        self.spec, self._graph, self._engine = graph.spec, graph, engine

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> FaultyRun:
        return FaultyRun(self._graph.bind(inputs, outputs), self._engine)


class FaultyRun:
    def __init__(self, run: OrtBoundRun, engine: Faulty) -> None:
        self.graph, self.inputs, self.outputs = run.graph, run.inputs, run.outputs
        self._run, self._engine = run, engine

    def run(self) -> None:
        engine = self._engine
        self._run.run()
        if engine.graph != self.graph or engine.runs_left < 0:
            return
        engine.runs_left -= 1
        if engine.runs_left < 0:
            if not engine.output:
                raise EngineError("the engine broke")
            self.outputs[engine.output].array.reshape(-1)[-1] = engine.value  # type: ignore[attr-defined]
