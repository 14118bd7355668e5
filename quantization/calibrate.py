"""What the layers of a bundle get to see on real streams.

Receives a bundle and units of real recordings; hands on :class:`Observed`: for every layer how its inputs vary
together, and how large each of them gets, per pass (the solver's steps are passes of their own), and for every ring how
large keys and values get. The bundle runs through the project's own session, so that tails, rings and latents are where
they are in use; only the engine is another one, which opens the graphs with their layers' inputs as further outputs.

Raises InputError for a stream that shows nothing: no unit, or silence in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edge_streamer.quantization.graph import layers, load
from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.engines.cpu import OrtBoundRun, OrtEngine, OrtGraph
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit

Key = tuple[str, str]
"""(graph, layer)"""


SAMPLED = 256
"""Rows of each layer's inputs that are kept at least, where so many came; at most twice as many."""


@dataclass
class Seen:
    """The inputs [n, inputs] of one layer."""

    together: NDArray[np.float64]
    """Sum of x x^T, [inputs, inputs]."""
    largest: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Pass -> the largest magnitude of each input, [inputs]."""
    sample: list[NDArray[np.float32]] = field(default_factory=list)
    """Some of the rows, evenly spread over all."""
    _count: int = 0
    _stride: int = 1

    def add(self, name: str, rows: NDArray[np.float32]) -> None:
        """``rows`` came in pass ``name``."""
        first = -self._count % self._stride
        self.sample += [row.copy() for row in rows[first :: self._stride]]
        self._count += len(rows)
        while len(self.sample) > 2 * SAMPLED:
            self.sample, self._stride = self.sample[::2], 2 * self._stride
        self.together += rows.T @ rows
        peak = np.abs(rows).max(0)
        self.largest[name] = np.maximum(self.largest[name], peak) if name in self.largest else peak

    @property
    def largest_of_passes(self) -> dict[str, float]:
        """Pass -> the largest magnitude of any input."""
        return {name: round(float(peaks.max()), 5) for name, peaks in self.largest.items()}


@dataclass
class Observed:
    """What a stream showed."""

    layers: dict[Key, Seen] = field(default_factory=dict)
    appended: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Output of `core` that goes to rings -> the largest magnitude of each head, [heads]."""

    def append(self, name: str, array: Array) -> None:
        """``array`` [heads, T, size] was appended."""
        peak = np.abs(array).max((1, 2)).astype(np.float32)
        self.appended[name] = np.maximum(self.appended[name], peak) if name in self.appended else peak


class Watched(OrtBoundRun):
    """A bound run that leaves its layers' inputs with the engine: ``names``, the last outputs of ``binding``."""

    def __init__(self, session: ort.InferenceSession, binding: ort.IOBinding, graph: str, keep: tuple[Array, ...],
                 names: list[str], engine: WatchingEngine):  # fmt: skip
        super().__init__(session, binding, graph, keep)
        self._names, self._engine = names, engine

    def run(self) -> None:
        super().run()
        extra = self._binding.get_outputs()[-len(self._names) :] if self._names else []
        self._engine.came = (self._name, {n: v.numpy() for n, v in zip(self._names, extra, strict=True)})


class WatchedGraph(OrtGraph):
    """A graph with its layers' inputs as further outputs."""

    def __init__(self, session: ort.InferenceSession, spec: GraphSpec, names: list[str], engine: WatchingEngine):
        super().__init__(session, spec)
        self._names, self._engine = names, engine

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Watched:
        binding, keep = self._binding(inputs, outputs), (*inputs.values(), *outputs.values())
        for name in self._names:
            binding.bind_output(name, "cpu")
        return Watched(self._session, binding, self.spec.name, keep, self._names, self._engine)


class WatchingEngine(OrtEngine):
    """Opens graphs such that ``came`` holds what the layers of the last run got, by the value's name."""

    def __init__(self) -> None:
        super().__init__()
        self.came: tuple[str, dict[str, Array]] = ("", {})
        self.inputs: dict[str, dict[str, str]] = {}
        """Graph -> layer -> the name of its input."""

    def open(self, path: Path, spec: GraphSpec) -> OrtGraph:
        self.inputs[spec.name] = {
            layer.name: str(layer.input.name) for layer in layers(load(path)) if layer.operator == "MatMul"
        }
        proto = onnx.load(path, load_external_data=False)
        there = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        names = sorted(set(self.inputs[spec.name].values()))
        made = [name for name in names if name not in there]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        options = self.options_for(spec)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return WatchedGraph(session, spec, made, self)


def observe(bundle: Bundle, units: Iterable[Unit]) -> Observed:
    """Run ``units`` through ``bundle`` and sum up what every MatMul with a weight of its own was given, and what went
    to the rings."""
    engine = WatchingEngine()
    session = open_session(bundle, engine=engine, verify=False)
    observed = Observed()
    seen = observed.layers

    def record(name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        graph, came = engine.came
        for layer, value in engine.inputs[graph].items():
            array: Any = came.get(value, inputs.get(value))
            if array is None:
                continue
            rows = np.asarray(array, np.float32).reshape(-1, array.shape[-1])
            key = (graph, layer)
            if key not in seen:
                seen[key] = Seen(np.zeros((rows.shape[1],) * 2))
            seen[key].add(name, rows)
        for output in (o for o in outputs if o.startswith("append.")):
            observed.append(output, outputs[output])

    count, loudest = 0, 0.0
    with session.recording(record):
        for unit in units:
            if unit.samples is not None:
                loudest = max(loudest, float(np.abs(unit.samples).max(initial=0.0)))
            session.step(unit)
            count += 1
    if not count:
        raise InputError("the calibration holds no unit; wanted a recording of at least some seconds")
    if loudest == 0.0:
        raise InputError(
            f"the calibration is silent in all its {count} units; wanted a recording of somebody who speaks"
        )
    return observed
