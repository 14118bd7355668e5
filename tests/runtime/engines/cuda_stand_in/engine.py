"""An engine over the stand-in of the driver: its graphs are computed by ONNX Runtime in the stand-in's memory.

Hands on :class:`StandInEngine`: all of ``runtime/engines/cuda`` as a device has it, and in the place of a library for
GPUs runs that compute when the stream reaches them. ``arm`` breaks one, as ``tests/runtime/faults.py`` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cpu import OrtBoundRun, OrtEngine, OrtGraph
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.timing import Tell, untold
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.kernels import at
from tests.runtime.engines.cuda_stand_in.space import Span, Violation


class StandInRun:
    """A bound run that ONNX Runtime computes when the stream reaches it."""

    capturable = True

    def __init__(self, run: OrtBoundRun, engine: StandInEngine):
        self.graph, self.inputs, self.outputs = run.graph, run.inputs, run.outputs
        self._run, self._engine = run, engine
        self._buffers: list[Any] = [*run.inputs.values(), *run.outputs.values()]

    def enqueue(self, stream: int) -> None:
        for buffer in self._buffers:
            if buffer.address % self._engine.alignment:
                raise Violation(f"graph {self.graph!r} is bound to {buffer.address:#x}: misaligned")
        spans = [Span(buffer.address, buffer.nbytes) for buffer in self._buffers]
        self._engine.driver.work(stream, f"graph {self.graph!r}", spans, self._compute)

    def _compute(self) -> None:
        engine = self._engine
        self._run.run()
        engine.ran.append(self.graph)
        if engine.graph != self.graph or engine.runs_left < 0:
            return
        engine.runs_left -= 1
        if engine.runs_left < 0:
            if not engine.output:
                raise EngineError("the engine broke")
            buffer = self.outputs[engine.output]
            at(buffer.address, buffer.shape, np.dtype(buffer.dtype)).reshape(-1)[-1] = engine.value


class StandInGraph:
    def __init__(self, graph: OrtGraph, engine: StandInEngine):
        self.spec: GraphSpec = graph.spec
        self._graph, self._engine = graph, engine

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> StandInRun:
        return StandInRun(self._graph.bind(inputs, outputs), self._engine)


class StandInEngine(CudaEngine):
    """See above. ``driver``: what stands for the driver."""

    def __init__(self, driver: StandIn | None = None):
        self.driver = driver or StandIn()
        super().__init__(api=self.driver)
        self.name = f"onnxruntime on {self.cuda.device_name}"
        self._library = OrtEngine(threads=1)
        self.ran: list[str] = []
        """The graphs that were run, in order."""
        self.graph, self.output, self.value, self.runs_left = "", "", 0.0, -1

    def arm(self, graph: str, output: str, value: float, after_runs: int = 0) -> None:
        """The run after ``after_runs`` runs of ``graph`` gets ``value`` in ``output``; output "" raises instead."""
        self.graph, self.output, self.value, self.runs_left = graph, output, value, after_runs

    def open(self, graph: GraphFile, tell: Tell = untold) -> StandInGraph:
        self.check_open(graph)
        opened = self._library.open(graph, tell)
        memory: Any = self  # as ONNX Runtime sees it, the device's memory is the host's
        return StandInGraph(OrtGraph(opened._session, opened.spec, memory), self)
