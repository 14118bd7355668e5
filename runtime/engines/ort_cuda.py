"""ONNX Runtime with CUDA as an engine: graphs on the device's own memory and stream.

Receives graph files; hands on runs that ONNX Runtime puts on our stream, between our kernels, and comes back from
without waiting.

ONNX Runtime likes to help, and none of that help is wanted here: where its CUDA library does not load it runs
everything on the CPU, and what it has no CUDA kernel for it runs there too, with copies that wait for the device.
Both are refused. The first is seen when a graph is opened; the second when it is first bound: it is run once, on the
buffers that it will read, and ONNX Runtime's own record of that run says where every node ran and what was copied. What
computes a shape from the length alone stays on the CPU, which costs no copy.

A tape that ONNX Runtime has a part in is played run by run: it promises nothing under somebody else's capture. It can
capture its own runs (``own_graphs``): one launch per run instead of one per node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from math import prod
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import perf_counter
from typing import Any, Literal
from weakref import WeakKeyDictionary, finalize

import numpy as np
import onnxruntime as ort

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.ending import underway
from edge_streamer.runtime.engines import ort_library
from edge_streamer.runtime.engines.buffers import check_buffers
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cpu import FLOATS_AT_LOAD, check_graph
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.engines.ort_library import PROVIDER
from edge_streamer.runtime.errors import BundleError, EngineError, one_line
from edge_streamer.runtime.timing import Tell, untold

Search = Literal["HEURISTIC", "EXHAUSTIVE"]
"""How cuDNN chooses among its convolutions: by its rules, or by trying each when a shape is first run. Its DEFAULT is
known from users' reports to take slow ones."""
UNSYNCHRONIZED = {"disable_synchronize_execution_providers": "1"}
"""A run comes back when it is on the stream: the tape waits once, at its end."""
PLAIN = "-1"
"""The ``gpu_graph_id`` of runs that are not captured."""
SHOWN = 6
"""Nodes that an error names."""
SHAPES = {"int64", "int32", "bool"}
LARGEST_SHAPE = 16
"""Numbers in a shape, at most."""


class Records:
    """A folder for what ONNX Runtime records, gone with the last who has this."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="edge-streamer-"))
        finalize(self, rmtree, self.folder, True)


class OrtCudaRun:
    """A graph bound to buffers. Keeps them alive; owns none of them."""

    capturable = False

    def __init__(
        self, graph: OrtCudaGraph, binding: Any, options: Any, inputs: Mapping[str, Buffer],
        outputs: Mapping[str, Buffer],
    ):  # fmt: skip
        self.graph = graph.spec.name
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self._stream, self._run = graph.stream, graph.session.run_with_iobinding
        self._binding, self._options = binding, options

    def enqueue(self, stream: int) -> None:
        """Put the run on the stream. Raises EngineError."""
        if stream != self._stream:
            raise EngineError(f"graph {self.graph!r} was opened for another stream; wanted its engine's own")
        try:
            self._run(self._binding, self._options)
        except Exception as error:  # the binding raises what ONNX Runtime says as classes of its own, bases vary
            raise EngineError(f"ONNX Runtime failed in graph {self.graph!r}: {one_line(error)}") from error


class OrtCudaGraph:
    """A graph that ONNX Runtime has loaded."""

    def __init__(self, session: Any, spec: GraphSpec, engine: OrtCudaEngine, own_graphs: bool, records: Records):
        self.spec, self.session, self.stream = spec, session, engine.cuda.stream
        self._engine, self._own_graphs = engine, own_graphs
        self._records: Records | None = records
        """Where the record of the first run goes; None once it was read."""

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> OrtCudaRun:
        """As the contract has it; the first time the graph is run once, into buffers that are given back."""
        check_buffers(self._engine, self.spec, inputs, outputs)
        if self._records is not None:
            aside = {name: self._engine.buffer(b.shape, b.dtype) for name, b in outputs.items()}
            self._prove(self._bound(inputs, aside, captured=False))
        return self._bound(inputs, outputs, self._own_graphs)

    def go_on_recording(self) -> Records | None:
        """Do not look where nodes run; the record goes on until ``session.end_profiling``. Returns what keeps it."""
        records, self._records = self._records, None
        return records

    def _bound(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer], captured: bool) -> OrtCudaRun:
        binding = self.session.io_binding()
        for tie, buffers in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, buffer in buffers.items():
                tie(name, "cuda", self._engine.ordinal, np.dtype(buffer.dtype), buffer.shape, buffer.address)
        options = self._engine.ort.RunOptions()
        for key, value in UNSYNCHRONIZED.items():
            options.add_run_config_entry(key, value)
        if self._own_graphs:
            options.add_run_config_entry("gpu_graph_id", self._engine.next_graph_id() if captured else PLAIN)
        return OrtCudaRun(self, binding, options, inputs, outputs)

    def _prove(self, run: OrtCudaRun) -> None:
        """Run once, and refuse what did not stay on the device. EngineError naming the nodes."""
        records, self._records = self._records, None
        assert records is not None
        run.enqueue(self.stream)
        self._engine.cuda.synchronize(f"the first run of graph {self.spec.name!r}")
        away = list(_away(Path(self.session.end_profiling())))
        if away:
            more = f" and {len(away) - SHOWN} more" if len(away) > SHOWN else ""
            raise EngineError(
                f"graph {self.spec.name!r} does not stay on the GPU with ONNX Runtime {self._engine.version}: "
                f"{', '.join(away[:SHOWN])}{more}; take --engine tensorrt or cpu, or export the graph without them"
            )


class OrtCudaEngine(CudaEngine):
    """ONNX Runtime's CUDA provider.

    ``search``: see :data:`Search`. ``own_graphs``: ONNX Runtime captures each bound run as a CUDA graph of its own;
    off, since where that helps has not been measured yet. ``tf32``: products of float32 on tensor cores, with 10 bits
    after the point instead of 23.
    """

    captures = False
    multiplies = ("float32", "fp16", "bf16")
    """Weights of 8 bits become floats before they are multiplied."""

    def __init__(
        self, ordinal: int = 0, api: Any = None, search: Search = "HEURISTIC", own_graphs: bool = False,
        tf32: bool = False, library: Any = ort,
    ):  # fmt: skip
        """``api``, ``library``: what stands for ``cuda.bindings.driver`` and for ``onnxruntime``. Raises EngineError
        where ONNX Runtime is the one for CPUs, or where there is no driver or device."""
        self.ort, self.version = library, str(library.__version__)
        if not ort_library.has_cuda(library):
            raise EngineError(
                f"ONNX Runtime {self.version} is the one for CPUs; 'edge-streamer engines' says what brings the other"
            )
        super().__init__(ordinal, api)
        self.ordinal, self.search, self._own_graphs, self.tf32 = ordinal, search, own_graphs, tf32
        self._graph_ids = count(1)
        self._weights = WeakKeyDictionary[OrtCudaGraph, int]()
        self.name = f"onnxruntime {self.version} cuda, {self.cuda.device_name}"
        ort_library.preload(library)

    def next_graph_id(self) -> str:
        """A number for a run that is captured: ONNX Runtime keeps a graph for each."""
        return str(next(self._graph_ids))

    def provider_options(self) -> dict[str, str]:
        """What the CUDA provider is told; numbers and truths as text, as it takes them."""
        return {
            "device_id": str(self.ordinal), "user_compute_stream": str(self.cuda.stream),
            "cudnn_conv_algo_search": self.search, "do_copy_in_default_stream": "1",
            "arena_extend_strategy": "kSameAsRequested", "use_tf32": str(int(self.tf32)),
            "enable_cuda_graph": str(int(self._own_graphs)),
        }  # fmt: skip

    def open(self, graph: GraphFile, tell: Tell = untold) -> OrtCudaGraph:
        """Load a graph. BundleError where it cannot be loaded or contradicts its spec, EngineError where the CUDA
        provider does not load, or has no code for this GPU."""
        self.check_open(graph)
        path, spec = graph.path, graph.spec
        file = graph.name_for("ONNX Runtime")
        tell(spec.name, 0, 1)
        records = Records()
        underway.begin(f"the loading of graph {spec.name!r}", perf_counter())
        try:
            options = self._options(spec, records.folder)
            providers = [(PROVIDER, self.provider_options()), "CPUExecutionProvider"]
            session = self.ort.InferenceSession(file, options, providers=providers)
        except Exception as error:
            raise self._refusal(path, one_line(error)) from error
        finally:
            underway.end()
        if PROVIDER not in session.get_providers():  # it went on without, on the CPU
            with suppress(Exception):  # only so that the file is closed; it matters no more
                session.end_profiling()
            raise EngineError(f"ONNX Runtime {self.version} did not load its CUDA provider: {self._why()}")
        session.disable_fallback()
        check_graph(session, spec)
        opened = OrtCudaGraph(session, spec, self, self._own_graphs, records)
        self._weights[opened] = spec.weight_bytes
        tell(spec.name, 1, 1)
        return opened

    def _refusal(self, path: Path, said: str) -> BundleError | EngineError:
        """What a failed opening means: no kernels for this GPU, or a graph that cannot be loaded."""
        if "no kernel image" in said or "NO_BINARY_FOR_GPU" in said:
            capability = ".".join(map(str, self.cuda.compute_capability))
            return EngineError(
                f"this ONNX Runtime {self.version} holds no code for {self.cuda.device_name}, which is of compute "
                f"capability {capability}; 'edge-streamer engines' says which does"
            )
        return BundleError(f"ONNX Runtime {self.version} cannot load {path.name} on the GPU: {said}")

    def _options(self, spec: GraphSpec, records: Path) -> Any:
        """The settings of one session; a record is kept until the first run is over."""
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling, options.profile_file_prefix = True, str(records / "run")
        if (spec.precision.weights, spec.precision.activations) == ("int8", "float32"):
            for key, value in FLOATS_AT_LOAD.items():
                options.add_session_config_entry(key, value)
        return options

    def _why(self) -> str:
        """Why the CUDA provider did not load, and what mends it."""
        said = ort_library.why_not_loaded(self.ort)
        for part, name in (("cudnn", "cuDNN 9"), ("libcublas", "CUDA"), ("libcudart", "CUDA"),
                           ("libcurand", "CUDA"), ("libcufft", "CUDA")):  # fmt: skip
            if part in said:
                return f"{name} is missing ({said}); 'edge-streamer doctor' says what installs it"
        return f"{said or 'it does not say why'}; look with 'edge-streamer doctor'"

    def memory(self) -> dict[str, int]:
        """Weights as the manifest counts them; what ONNX Runtime takes to compute with it does not tell."""
        return super().memory() | {"weights": sum(self._weights.values())}


def _away(record: Path) -> Iterator[str]:
    """The nodes that a record has elsewhere than on the GPU, and the copies to there and back. EngineError for a record
    that says nothing."""
    try:
        events = json.loads(record.read_text("utf-8"))
        nodes = [event for event in events if event.get("cat") == "Node" and "op_name" in event.get("args", {})]
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"ONNX Runtime's record of a run cannot be read: {one_line(error)}") from error
    if not nodes:
        raise EngineError("ONNX Runtime kept no record of a run: where its nodes ran is not known")
    for node in nodes:
        name = str(node.get("name", "")).removesuffix("_kernel_time")
        operator, provider = str(node["args"]["op_name"]), str(node["args"].get("provider", ""))
        if operator.startswith("Memcpy"):
            yield f"a copy {name} ({operator})"
        elif provider != PROVIDER and not _computes_a_shape(node["args"]):
            yield f"{name} ({operator}) on {provider.removesuffix('ExecutionProvider') or 'nothing that is told'}"


def _computes_a_shape(node: Mapping[str, Any]) -> bool:
    """A few whole numbers in, a few out: how long a tensor is, which the host knows. ONNX Runtime leaves these on the
    CPU on purpose; what they are made of would have to be copied, and is seen, if it were on the GPU."""
    tensors = [*(node.get("input_type_shape") or []), *(node.get("output_type_shape") or [])]
    return bool(tensors) and all(
        kind in SHAPES and prod(shape) <= LARGEST_SHAPE for tensor in tensors for kind, shape in tensor.items()
    )
