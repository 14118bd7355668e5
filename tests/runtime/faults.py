"""An engine that breaks on purpose: ONNX Runtime, but one output of one graph gets a bad value at one run."""

from __future__ import annotations

from collections.abc import Mapping

from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cpu import OrtBoundRun, OrtEngine, OrtGraph
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.timing import Tell, untold


class FaultyEngine(OrtEngine):
    """``arm`` chooses what breaks next: a value written into an output, or an exception."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.graph, self.output, self.value, self.runs_left = "", "", 0.0, -1

    def arm(self, graph: str, output: str, value: float, after_runs: int = 0) -> None:
        """The run after ``after_runs`` runs of ``graph`` gets ``value`` in ``output``; output "" raises instead."""
        self.graph, self.output, self.value, self.runs_left = graph, output, value, after_runs

    def open(self, graph: GraphFile, tell: Tell = untold) -> FaultyGraph:
        return FaultyGraph(super().open(graph, tell), self)


class FaultyGraph:
    def __init__(self, graph: OrtGraph, engine: FaultyEngine) -> None:
        self.spec, self._graph, self._engine = graph.spec, graph, engine

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> FaultyRun:
        return FaultyRun(self._graph.bind(inputs, outputs), self.spec.name, outputs, self._engine)


class FaultyRun:
    def __init__(self, run: OrtBoundRun, graph: str, outputs: Mapping[str, Buffer], engine: FaultyEngine) -> None:
        self._run, self._graph, self._outputs, self._engine = run, graph, outputs, engine

    def run(self) -> None:
        engine = self._engine
        self._run.run()
        if engine.graph != self._graph or engine.runs_left < 0:
            return
        engine.runs_left -= 1
        if engine.runs_left < 0:
            if not engine.output:
                raise EngineError("the engine broke")
            self._outputs[engine.output].host.reshape(-1)[-1] = engine.value


class CopyingEngine(OrtEngine):
    """An engine whose buffers cannot be swapped, as with captured CUDA graphs: carries are committed by copy."""

    swaps = False
