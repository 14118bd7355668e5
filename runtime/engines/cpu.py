"""ONNX Runtime as an engine: on the CPU, the embedded default.

Receives graph files; hands on runs bound to host memory, which ONNX Runtime reads and writes in place.

Choices: ONNX Runtime's worker threads spin for a while after each run and so slow whatever runs next, above all on the
two to six cores of a board that also serve audio callbacks: ours never spin beyond a run. Weights are prepacked by ONNX
Runtime (one copy in memory; the file's pages are given back). Nothing is downloaded, and no telemetry is
sent: the package's first file turns it off.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from weakref import WeakKeyDictionary

import numpy as np
import onnxruntime as ort

from edge_streamer.runtime.bundle.manifest import EmbeddingSpec, GraphSpec
from edge_streamer.runtime.ending import deaf, underway
from edge_streamer.runtime.engines.buffers import HostMemory, check_buffers
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.fit import NOT_ON_A_CPU
from edge_streamer.runtime.engines.overflow import products_overflow
from edge_streamer.runtime.engines.tape import HostTable, HostTape
from edge_streamer.runtime.errors import BundleError, EngineError, one_line
from edge_streamer.runtime.machine import cores
from edge_streamer.runtime.timing import Tell, untold

ORT_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "bfloat16": "tensor(bfloat16)",
    "int8": "tensor(int8)",
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
    "bool": "tensor(bool)",
}
SIGNED = {"session.qdqisint8allowed": "1"}
"""Signed inputs (and rings) stay signed: turning them into unsigned ones fails to load at opset 21 (1.32)."""
EXACT = {"session.x64quantprecision": "1"}
"""For products whose inputs' range is taken in every run, on a processor where they overflow (overflow.py)."""
FLOATS_AT_LOAD = {"session.disable_quant_qdq": "1"}
"""Weights that are only stored in 8 bits become floats once, at load, not in every run."""
INTEGERS_TIMES_4_BITS = {"session.qdq_matmulnbits_accuracy_level": "4"}
"""Products of 4-bit weights take their inputs in 8 bits."""
HOLDS_PYTHON = [int(part) for part in ort.__version__.split(".")[:2]] < [1, 32]
"""Whether no other thread of Python runs while a graph is loaded: so on 1.23.2, not on 1.32."""
LONG_OPERATIONS = 2_000_000_000
"""A graph whose longest run takes more operations than this is long: it gets every core."""


class OrtBoundRun:
    """A graph bound to buffers. Keeps them alive; owns none of them."""

    def __init__(
        self, session: ort.InferenceSession, binding: ort.IOBinding, graph: str,
        inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer],
    ):  # fmt: skip
        self._run = session.run_with_iobinding
        self._binding = binding
        self.graph = graph
        self.inputs, self.outputs = dict(inputs), dict(outputs)

    def run(self) -> None:
        try:
            self._run(self._binding)
        except RuntimeError as error:  # the base of every exception that the binding raises
            raise EngineError(f"ONNX Runtime failed in graph {self.graph!r}: {one_line(error)}") from error


class OrtGraph:
    """A graph that ONNX Runtime has loaded."""

    def __init__(self, session: ort.InferenceSession, spec: GraphSpec, engine: OrtEngine):
        self.spec = spec
        self._session, self._memory = session, engine

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> OrtBoundRun:
        return OrtBoundRun(self._session, self._binding(inputs, outputs), self.spec.name, inputs, outputs)

    def _binding(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> ort.IOBinding:
        """The checked buffers, tied."""
        binding = self._session.io_binding()
        check_buffers(self._memory, self.spec, inputs, outputs)
        for tie, buffers in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, buffer in buffers.items():
                tie(name, "cpu", 0, np.dtype(buffer.dtype), buffer.shape, buffer.address)
        return binding


def session_options(threads: int, spin: bool) -> ort.SessionOptions:
    """The settings of one ONNX Runtime session. ``spin``: waiting threads spin inside a run, and stop when it ends."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if spin:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OrtEngine(HostMemory):
    """ONNX Runtime's CPU provider.

    ``threads``: how many cores one run may use; None decides per graph. Short graphs (see LONG_OPERATIONS) leave a core
    to microphone, camera and screen and run on the others, spinning inside the run; long ones take every core without
    spinning. Measured on two cores, demo, per unit: 33 ms on one thread; on two 37 without spinning, 23 to 30 with it
    on an idle machine, but 64 to 127 with it beside one busy process. More than two cores have not been measured.
    """

    captures = False

    def __init__(self, threads: int | None = None):
        super().__init__()
        self._threads = threads
        self._cores = cores()
        self._weights = WeakKeyDictionary[ort.InferenceSession, int]()
        """Bytes, of those that somebody still uses."""
        self._closed = False
        count = threads or self._cores
        some = f"{count} thread{'s' * (count > 1)}"
        self.name = f"onnxruntime {ort.__version__} cpu, {some if threads else 'up to ' + some}"

    def threads_for(self, spec: GraphSpec) -> int:
        """How many threads this graph runs on."""
        return self._threads or (self._cores if is_long(spec) else max(1, self._cores - 1))

    def options_for(self, spec: GraphSpec) -> ort.SessionOptions:
        """The settings that this graph is opened with."""
        options = session_options(self.threads_for(spec), spin=not is_long(spec))
        for key, value in entries_for(spec).items():
            options.add_session_config_entry(key, value)
        return options

    def table(self, path: Path, spec: EmbeddingSpec) -> HostTable:
        return HostTable(self, path, spec)

    def tape(self, name: str) -> HostTape:
        return HostTape(self, name)

    def memory(self) -> dict[str, int]:
        """Weights as the manifest counts them (ONNX Runtime's packed copies may be a little larger), and buffers. What
        ONNX Runtime takes to compute with it does not tell; tables are mapped files, whose pages the machine takes back
        when it wants."""
        return {"weights": sum(self._weights.values()), "state": self.held_bytes()}

    def close(self) -> None:
        self._closed = True  # the graphs' memory goes with the last who uses them

    def open(self, graph: GraphFile, tell: Tell = untold) -> OrtGraph:
        path, spec = graph.path, graph.spec
        if self._closed:
            raise EngineError(f"graph {spec.name!r} cannot be opened: the engine is closed")
        tell(spec.name, 0, 1)
        file = graph.name_for("ONNX Runtime")
        underway.begin(f"the loading of graph {spec.name!r}", perf_counter())
        try:
            with deaf() if HOLDS_PYTHON else nullcontext():
                session = ort.InferenceSession(file, self.options_for(spec), providers=["CPUExecutionProvider"])
        except Exception as error:
            precision = spec.precision
            lacking = {precision.weights, precision.activations} & NOT_ON_A_CPU
            why = (
                f"a CPU does not compute in {' or '.join(sorted(lacking))}: the bundle is for a board with TensorRT"
                if lacking
                else one_line(error)
            )
            raise BundleError(f"ONNX Runtime {ort.__version__} cannot load {path.name}: {why}") from error
        finally:
            underway.end()
        check_graph(session, spec)
        self._weights[session] = spec.weight_bytes
        tell(spec.name, 1, 1)
        return OrtGraph(session, spec, self)


def entries_for(spec: GraphSpec) -> dict[str, str]:
    """ONNX Runtime's settings by a graph's precision."""
    precision, entries = spec.precision, dict[str, str]()
    if precision.activations in ("int8", "mixed") or any(tensor.dtype == "int8" for tensor in spec.inputs):
        entries |= SIGNED
    if (precision.weights, precision.activations) == ("int8", "float32"):
        entries |= FLOATS_AT_LOAD
    if precision.weights in ("int4", "mixed"):
        entries |= INTEGERS_TIMES_4_BITS
    if precision.dynamic and products_overflow():
        entries |= EXACT
    return entries


def is_long(spec: GraphSpec) -> bool:
    """Whether a run takes long enough for waking threads to cost nothing beside it."""
    return max(spec.operations.values(), default=0) > LONG_OPERATIONS


def check_graph(session: ort.InferenceSession, spec: GraphSpec) -> None:
    """The file's inputs and outputs are the manifest's: names, types and shapes."""
    for kind, nodes, specs in (
        ("input", session.get_inputs(), spec.inputs),
        ("output", session.get_outputs(), spec.outputs),
    ):
        found = {node.name: (node.type, tuple(node.shape)) for node in nodes}
        wanted = {tensor.name: (ORT_TYPES[tensor.dtype], tensor.shape) for tensor in specs}
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise BundleError(
                    f"graph {spec.name!r}, {kind} {name!r}: the file has {found.get(name)}, the manifest says "
                    f"{wanted.get(name)}; export the bundle again"
                )
