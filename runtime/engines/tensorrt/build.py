"""Builds a TensorRT engine from a graph: ONNX in, bytes out.

Receives a graph, the library and what is wanted; hands on :class:`Built`, or an error that names the graph, the node
and what the parser says of it. Nothing is written here.

    file ─► parser ─► network, strongly typed ─► one profile per length T (min = opt = max) ─► builder ─► bytes
                          │                                                                    ▲      │
                          └─► what precision each quantized layer asks for (verify.py)         └ tell, stop

The builder works in a thread of its own: it runs for minutes in C++, where Python answers no signal. The calling thread
waits, tells how far it is, and hears Ctrl-C; the builder is then told to stop at its next step, and nothing is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from edge_streamer.runtime.bundle.manifest import GraphSpec, TensorSpec
from edge_streamer.runtime.engines.contract import GraphFile, Shape
from edge_streamer.runtime.engines.memory_plan import WORKSPACE
from edge_streamer.runtime.engines.tensorrt.library import Library, Log, log_of
from edge_streamer.runtime.engines.tensorrt.verify import Asked, asked_of
from edge_streamer.runtime.errors import BundleError, EngineError
from edge_streamer.runtime.timing import Tell

DTYPES = {
    "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int8": "INT8", "uint8": "UINT8", "int32": "INT32",
    "int64": "INT64", "bool": "BOOL",
}  # fmt: skip
"""Ours -> the member of ``DataType``."""
STEPS = 1000
"""A graph's share of the bar: TensorRT's own steps are of very unequal length and number."""
LOOK_SECONDS = 0.1
SHOWN = 200
"""Letters of what the parser says of a node: it goes on with where in its own files it was when."""
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Options:
    """What is asked of a build."""

    workspace: int = WORKSPACE
    """Bytes, at most, that one layer may take to compute in; a board of 8 GB shares them with everything else."""
    tf32: bool = False
    """Products of float32 rounded to 10 bits: faster, and another answer than the graph's."""
    compute_capability: str = ""
    """Of TensorRT-RTX alone: build for this one (``SM86``), where there is no card to ask."""


@dataclass(frozen=True)
class Built:
    """What came of a build."""

    blob: bytes
    asked: Sequence[Asked]
    """What the graph's quantized layers asked for."""
    seconds: float
    timing: bytes
    """The timing cache: what was measured of kernels, for the next build; empty where there is none."""


def build(
    library: Library, graph: GraphFile, options: Options, tell: Tell, timing: bytes = b"",
    enter: Callable[[], object] = lambda: None,
) -> Built:  # fmt: skip
    """Build ``graph``, minutes on a board. ``timing``: a timing cache to start from; ``enter`` is called first in the
    builder's thread: it makes the device's context that thread's. Raises BundleError where TensorRT does not take the
    graph, or the file is not the manifest's; EngineError where the build fails; KeyboardInterrupt where somebody stops
    it."""
    began, name, log = perf_counter(), graph.spec.name, log_of(library)
    tell(name, 0, STEPS)
    trt = library.trt
    builder = made(library, "builder", log, lambda: trt.Builder(log.logger))
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log.logger)  # keeps the weights: it must live until the end
    _parse(library, parser, graph, log)
    _check_tensors(library, network, graph.spec)
    asked = asked_of(trt, network)
    config = _configure(library, builder, network, graph.spec, options, timing)
    monitor = _monitor(library)
    config.progress_monitor = monitor

    def work() -> Any:
        enter()
        return builder.build_serialized_network(network, config)

    memory = _in_a_thread(work, monitor, name, tell)
    if memory is None:
        raise EngineError(f"{library.name} could not build graph {name!r}: {log.why()}")
    kept = b"" if library.is_rtx else bytes(memoryview(config.get_timing_cache().serialize()))
    tell(name, STEPS, STEPS)
    return Built(bytes(memoryview(memory)), asked, perf_counter() - began, kept)


def made(library: Library, what: str, log: Log, make: Callable[[], Any]) -> Any:
    """What TensorRT makes. EngineError where it makes none, which its bindings answer with a TypeError."""
    try:
        return make()
    except TypeError as error:
        raise EngineError(f"{library.name} makes no {what}: {log.why()}") from error


def _parse(library: Library, parser: Any, graph: GraphFile, log: Log) -> None:
    if parser.parse_from_file(str(graph.path)):
        return
    told = []
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        node = repr(error.node_name()) if error.node_name() else error.node()  # its number; -1 where it is none's
        where = f"node {node} ({error.node_operator()}): " if node != -1 else ""
        told.append(where + " ".join(error.desc().split())[:SHOWN])
    why = "; ".join(told[:3]) or log.why()
    more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
    raise BundleError(
        f"{library.name} does not take graph {graph.spec.name!r} of {graph.path.name}: {why}{more}; export or quantize "
        "the bundle for this board ('edge-streamer lint' names every node)"
    )


def _check_tensors(library: Library, network: Any, spec: GraphSpec) -> None:
    """The network's inputs and outputs are the manifest's."""
    for kind, count, get, specs in (
        ("input", network.num_inputs, network.get_input, spec.inputs),
        ("output", network.num_outputs, network.get_output, spec.outputs),
    ):
        tensors = [get(number) for number in range(count)]
        found = {tensor.name: (tensor.dtype, tuple(tensor.shape)) for tensor in tensors}
        check_tensors(library, spec.name, kind, found, specs)


def check_tensors(
    library: Library, graph: str, kind: str, found: Mapping[str, tuple[Any, Shape]], specs: Sequence[TensorSpec]
) -> None:
    """What a network or an engine has of one ``kind`` is what the manifest says: names, types, and shapes, where -1
    stands for the length. BundleError otherwise."""
    types = library.trt.DataType
    wanted = {tensor.name: (getattr(types, DTYPES[tensor.dtype]), shape_at(tensor, -1)) for tensor in specs}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name) and not _is_alike(found.get(name), wanted.get(name)):
            raise BundleError(
                f"graph {graph!r}, {kind} {name!r}: {library.name} has {found.get(name)}, the manifest says "
                f"{wanted.get(name)}; export the bundle again"
            )


def _is_alike(found: tuple[Any, Shape] | None, wanted: tuple[Any, Shape] | None) -> bool:
    """Whether only sizes differ that the parser could not infer: an engine's outputs depend on the length in places
    where the manifest knows the number, and the other way round."""
    if not found or not wanted or found[0] != wanted[0] or len(found[1]) != len(wanted[1]):
        return False
    return all(came == size or -1 in (came, size) for came, size in zip(found[1], wanted[1], strict=True))


def _configure(
    library: Library, builder: Any, network: Any, spec: GraphSpec, options: Options, timing: bytes
) -> Any:  # fmt: skip
    trt = library.trt
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector tells names alone
    config.max_aux_streams = 0  # all that we do is on one stream
    (config.set_flag if options.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    if library.is_rtx:
        chosen = options.compute_capability or "CURRENT"
        known = trt.ComputeCapability.__members__
        if chosen not in known:
            raise EngineError(f"{library.name} builds for {', '.join(known)}; {chosen} was asked for")
        config.num_compute_capabilities = 1
        config.set_compute_capability(known[chosen], 0)
    else:
        cache = config.create_timing_cache(timing)
        # One that another card or version made is refused here, and done without.
        if cache is None or not config.set_timing_cache(cache, False):
            config.set_timing_cache(config.create_timing_cache(b""), False)
    for length in spec.lengths:
        profile = builder.create_optimization_profile()
        for tensor in spec.inputs:
            if any(isinstance(size, str) for size in tensor.shape):
                shape = shape_at(tensor, length)
                profile.set_shape(tensor.name, shape, shape, shape)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{library.name} refuses length {length} of graph {spec.name!r}")
    return config


def shape_at(tensor: TensorSpec, length: int) -> Shape:
    """A tensor's shape where T is ``length``."""
    return tuple(length if isinstance(size, str) else size for size in tensor.shape)


class _Progress:
    """How far a build is: phases within phases, each with a number of steps."""

    def __init__(self) -> None:
        self.stop = False
        self._phases: dict[str, tuple[str | None, int, int]] = {}
        """Name -> (the one around it, its steps, those that are done)."""
        self._furthest = 0.0
        self._lock = threading.Lock()  # the builder may call from several threads

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._phases[name] = (parent, max(1, steps), 0)

    def step(self, name: str, step: int) -> bool:
        """A step of a phase is done; returns whether to go on."""
        with self._lock:
            if name in self._phases:
                parent, steps, _ = self._phases[name]
                self._phases[name] = (parent, steps, min(step + 1, steps))
        return not self.stop

    def finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)

    def done(self) -> float:
        """0 to 1, and never less than before."""
        with self._lock:
            roots = [name for name, (parent, _, _) in self._phases.items() if parent not in self._phases]
            self._furthest = max(self._furthest, *(self._share(name) for name in roots), 0.0)
        return self._furthest

    def _share(self, name: str) -> float:
        _, steps, done = self._phases[name]
        inner = [self._share(other) for other, (parent, _, _) in self._phases.items() if parent == name]
        return min(1.0, (done + max(inner, default=0.0)) / steps)


def _monitor(library: Library) -> Any:
    """TensorRT's progress monitor with a :class:`_Progress` as ``.progress``."""

    class Monitor(library.trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # found when it is run
        def __init__(self) -> None:
            library.trt.IProgressMonitor.__init__(self)
            self.progress = _Progress()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self.progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            self.progress.finish(phase_name)

    return Monitor()


def _in_a_thread(work: Any, monitor: Any, name: str, tell: Tell) -> Any:
    """What ``work`` returns; meanwhile tell how far it is, and on Ctrl-C have it stop first."""
    came: list[Any] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:  # handed to the caller's thread, whatever it is
            failed.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name=f"builder of {name}", daemon=True).start()
    progress: _Progress = monitor.progress
    try:
        while not over.wait(LOOK_SECONDS):
            tell(name, min(int(progress.done() * STEPS), STEPS - 1), STEPS)
    except BaseException:
        progress.stop = True
        over.wait()  # at most one of its steps; a second signal ends the process
        raise
    if failed:
        error = failed[0]
        raise EngineError(f"TensorRT failed in the build of graph {name!r}: {error}") from error
    return came[0]
