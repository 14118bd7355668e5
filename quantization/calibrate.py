"""What the layers of a bundle get to see on real streams.

Receives a bundle and units of real recordings; hands on :class:`Observed`: for every layer how its inputs vary
together, and how large each of them gets, per pass (the solver's steps are passes of their own), how large its output
gets, and for every ring how large keys and values get. The bundle runs through the project's own session, so that
tails, rings and latents are where they are in use; only its graphs are opened from other files, which have all that is
looked at as further outputs.

Raises InputError for a stream that shows nothing: no unit, or silence in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edge_streamer.quantization.graph import constant, layers, load, save
from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import DType, TensorSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.claims import scratch
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.session.session import Session, open_session
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
class Peak:
    """The largest magnitudes that a layer, of any operator, was given and gave."""

    input: float = 0.0
    output: float = 0.0


@dataclass
class Observed:
    """What a stream showed."""

    layers: dict[Key, Seen] = field(default_factory=dict)
    peaks: dict[Key, Peak] = field(default_factory=dict)
    appended: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Output of `core` that goes to rings -> the largest magnitude of each head, [heads]."""

    def append(self, name: str, array: Array) -> None:
        """``array`` [heads, T, size] was appended; of other rings, the first axis stands for the heads."""
        peak = np.abs(array).max(tuple(range(1, array.ndim))).astype(np.float32)
        self.appended[name] = np.maximum(self.appended[name], peak) if name in self.appended else peak

    def peak(self, key: Key, side: str, largest: float) -> None:
        """A layer's ``side``, input or output, came to ``largest``; a NaN stays one."""
        peak = self.peaks.setdefault(key, Peak())
        setattr(peak, side, float(np.maximum(getattr(peak, side), largest)))


PEAK = "peak."
"""How outputs begin that are a layer's largest magnitude."""
Watched = dict[str, list[Key]]
"""Output of a watched graph -> the layers that it shows something of."""


def watched(file: GraphFile, folder: Path) -> tuple[GraphFile, Watched]:
    """The graph, written into ``folder``, with the inputs of every MatMul that has a weight of its own as further
    outputs, and the largest magnitudes of every such layer's input and output. BundleError where the file does not say
    what shape an input has."""
    model, name = load(file.path), file.spec.name
    found: Watched = {}
    values: dict[str, ir.Value] = {}
    peaks: dict[str, ir.Value] = {}
    for layer in layers(model):
        for side, value in (("input", layer.input), ("output", layer.node.outputs[0])):
            output = f"{PEAK}{side}.{name}.{value.name}"
            peaks[output] = value
            found.setdefault(output, []).append((name, layer.name))
        if layer.operator == "MatMul":
            output = f"seen.{name}.{layer.input.name}"  # of this graph alone: a recorder is not told which one ran
            values[output] = layer.input
            found.setdefault(output, []).append((name, layer.name))
    more = tuple(_shown(model, output, value) for output, value in values.items())
    more += tuple(_largest(model, output, value) for output, value in peaks.items())
    save(model, folder, name)
    spec = msgspec.structs.replace(file.spec, outputs=file.spec.outputs + more)
    return GraphFile(folder / f"{name}.onnx", spec), found


def _shown(model: ir.Model, output: str, value: ir.Value) -> TensorSpec:
    """``value`` becomes the graph's last output, as ``output``."""
    shape = [n if isinstance(n, int) else str(n.value) for n in value.shape or ()]
    if value.shape is None or value.dtype is None or not all(isinstance(n, int) or n == "T" for n in shape):
        raise BundleError(
            f"{output}: the graph does not say its shape ({value.shape}); wanted numbers and T alone; export the "
            "bundle again"
        )
    same = ir.node("Identity", [value], name=output)
    same.outputs[0].name, same.outputs[0].shape, same.outputs[0].type = output, value.shape, value.type
    model.graph.append(same)
    model.graph.outputs.append(same.outputs[0])
    dtype = msgspec.convert(value.dtype.numpy().name, DType)
    return TensorSpec(name=output, dtype=dtype, shape=tuple(shape), axes=("",) * len(shape))


def _largest(model: ir.Model, output: str, value: ir.Value) -> TensorSpec:
    """The largest magnitude of ``value`` becomes the graph's last output, as ``output``."""
    flat = constant(model, ir.Tensor(np.array([-1], np.int64), name=f"{PEAK}flat"))
    size = ir.node("Abs", [value], name=f"{output}.size")
    row = ir.node("Reshape", [size.outputs[0], flat], name=f"{output}.row")
    most = ir.node("ReduceMax", [row.outputs[0]], name=output)  # of all axes: so written, every opset has it
    for node in (size, row, most):
        node.outputs[0].name = str(node.name)
        model.graph.append(node)
    most.outputs[0].shape, most.outputs[0].type = ir.Shape([1]), ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.append(most.outputs[0])
    return TensorSpec(name=output, dtype="float32", shape=(1,), axes=("",))


def observe(bundle: Bundle, units: Iterable[Unit]) -> Observed:
    """Run ``units`` through ``bundle`` and sum up what every MatMul with a weight of its own was given, and what went
    to the rings."""
    observed = Observed()
    seen = observed.layers
    keys: Watched = {}

    def record(name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        for output, array in outputs.items():
            if output.startswith("append."):
                observed.append(output, array)
            if output.startswith(PEAK):
                side = output.removeprefix(PEAK).partition(".")[0]
                for key in keys[output]:
                    observed.peak(key, side, float(array[0]))
                continue
            for key in keys.get(output, ()):
                rows = np.asarray(array, np.float32).reshape(-1, array.shape[-1])
                if key not in seen:
                    seen[key] = Seen(np.zeros((rows.shape[1],) * 2))
                seen[key].add(name, rows)

    with scratch() as folder:
        graphs = {}
        for spec in bundle.manifest.graphs:
            graphs[spec.name], outputs = watched(GraphFile.of(bundle, spec.name), folder)
            keys |= outputs
        session = open_session(bundle, graphs=graphs, engine="cpu", verify=False)
        if takes := session.program.takes():
            raise InputError(
                f"the bundle takes arrays in every unit ({', '.join(sorted(takes))}); no recording has them"
            )
        with session.recording(record):
            count, loudest = _run(session, units)
    if not count:
        raise InputError("the calibration holds no unit; wanted a recording of at least some seconds")
    if loudest == 0.0:
        raise InputError(
            f"the calibration is silent in all its {count} units; wanted a recording of somebody who speaks"
        )
    return observed


def _run(session: Session, units: Iterable[Unit]) -> tuple[int, float | None]:
    """How many units there were, and the largest magnitude of their sound, if they had any."""
    count, loudest = 0, None
    for unit in units:
        if unit.samples is not None:
            loudest = max(loudest or 0.0, float(np.abs(unit.samples).max(initial=0.0)))
        session.step(unit)
        count += 1
    return count, loudest
