"""TensorRT as an engine: on the device, built there, whole units in one captured graph.

Receives graph files; hands on runs bound to device memory. What there is of each::

    engine ── scratch, the largest that any pass needs, once: passes run one after another on one stream
      └─ graph ── ICudaEngine, its weights once
           └─ bound run ── execution context: profile of its length, shapes, addresses, the shared scratch; set once

A context for every bound run, and not for every length alone: what was captured into a CUDA graph belongs to the
addresses that its context had then, and TensorRT wants a context of its own for each capture. Without its scratch,
which is shared, a context holds little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, finalize

from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.bundle.memory import free_bytes
from edge_streamer.runtime.engines.buffers import check_buffers
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cuda.driver import Cuda
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.engines.tensorrt.build import STEPS, Options, build, check_tensors, made, shape_at
from edge_streamer.runtime.engines.tensorrt.cache import Cache, Kept, Key, Told
from edge_streamer.runtime.engines.tensorrt.estimate import check_room
from edge_streamer.runtime.engines.tensorrt.layers import LayerTimes
from edge_streamer.runtime.engines.tensorrt.library import Library, find, log_of
from edge_streamer.runtime.engines.tensorrt.verify import compare, still_wider
from edge_streamer.runtime.errors import EngineError
from edge_streamer.runtime.timing import Tell, untold


class Scratch:
    """Device memory that contexts compute in, one at a time. Given back with the last of them."""

    def __init__(self, cuda: Cuda, nbytes: int):
        self.nbytes = max(nbytes, 1)
        self.address = cuda.allocate(self.nbytes, "TensorRT's scratch")
        finalize(self, cuda.free, self.address).atexit = False


class TensorRTRun:
    """A graph bound to buffers, with a context of its own. Keeps them alive; owns no memory."""

    def __init__(
        self, graph: TensorRTGraph, context: Any, scratch: Scratch, inputs: Mapping[str, Buffer],
        outputs: Mapping[str, Buffer], profiler: object = None,
    ):  # fmt: skip
        self.graph = graph.spec.name
        self.capturable = profiler is None
        self._profiler = profiler
        self.inputs, self.outputs = dict(inputs), dict(outputs)
        self._of, self._scratch = graph, scratch
        self._context = context
        self._execute = context.execute_async_v3

    def enqueue(self, stream: int) -> None:
        """Put the run on the stream. Raises EngineError."""
        if not self._execute(stream):
            raise EngineError(f"TensorRT failed in graph {self.graph!r}: {self._of.why()}")


class TensorRTGraph:
    """A graph that TensorRT has loaded."""

    def __init__(self, spec: GraphSpec, engine: Any, of: TensorRTEngine):
        self.spec = spec
        self.engine, self._of = engine, of

    def why(self) -> str:
        """What the library said last."""
        return self._of.log.why()

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> TensorRTRun:
        length = check_buffers(self._of, self.spec, inputs, outputs)
        context, scratch = self._of.context(self.engine, self.spec, length), self._of.scratch()
        context.set_device_memory(scratch.address, scratch.nbytes)
        for name, buffer in (*inputs.items(), *outputs.items()):
            if not context.set_tensor_address(name, buffer.address):
                raise self._of.refuses(self.spec, f"an address for {name!r}")
        lacking = context.infer_shapes()
        if lacking:
            raise EngineError(f"TensorRT wants more of graph {self.spec.name!r}: {', '.join(lacking)}")
        for name, buffer in outputs.items():
            came = list(context.get_tensor_shape(name))
            if came != list(buffer.shape):
                raise EngineError(
                    f"graph {self.spec.name!r}, output {name!r}: TensorRT gives {came}; wanted {list(buffer.shape)}; "
                    "export the bundle again"
                )
        return TensorRTRun(self, context, scratch, inputs, outputs, self._of.told_of(self, length, context))


class TensorRTEngine(CudaEngine):
    """TensorRT on one device. ``cache``: where engines are kept; ``allow_wider``: names of layers that may be built in
    more bits than the graph asks; ``anyway``: build whatever memory is free."""

    captures = True
    multiplies = ("float32", "fp16", "bf16", "int8", "fp8", "nvfp4")

    def __init__(
        self, library: Library, cache: Cache | None = None, options: Options | None = None,
        allow_wider: Sequence[str] = (), anyway: bool = False, ordinal: int = 0, api: Any = None,
    ):  # fmt: skip
        """``ordinal``, ``api``: the device's, as :class:`CudaEngine` takes them. EngineError where there is none."""
        super().__init__(ordinal, api)
        self.library, self.cache, self.options = library, cache or Cache(), options or Options()
        self.tf32 = self.options.tf32
        self.log = log_of(library)
        self.name = f"{library.name} {self.cuda.device_name}"
        self._allow_wider, self._anyway = tuple(allow_wider), anyway
        try:
            self._runtime = made(library, "runtime", self.log, lambda: library.trt.Runtime(self.log.logger))
        except EngineError:
            self.cuda.close()
            raise
        self._weights = WeakKeyDictionary[TensorRTGraph, int]()
        self._scratches = WeakSet[Scratch]()
        self._scratch: Scratch | None = None
        self._scratch_bytes = 0
        """The most that a graph opened so far needs."""
        self._told: LayerTimes | None = None

    def key(self, graph: GraphFile) -> Key:
        """What the engine of ``graph`` belongs to, here. How much workspace its build had is no part: it changes no
        answer, and what was built with little on a small board is what its sessions shall find."""
        return Key(
            graph=graph.spec.name, graph_sha256=graph.sha256, lengths=graph.spec.lengths, library=self.library.name,
            compute_capability=self.cuda.compute_capability, device=self.cuda.device_name,
            driver=self.cuda.driver_version, options={"tf32": self.options.tf32},
        )  # fmt: skip

    def prepare(self, graph: GraphFile, tell: Tell = untold) -> Kept:
        """Have the engine of ``graph`` in the cache: built, read back and compared with what the graph asks. Built anew
        where the one that is there had another workspace, or layers in it are wider that may not be so now."""

        def fits(kept: Kept) -> bool:
            wider = still_wider(kept.told.wider, self._allow_wider)
            return kept.told.workspace == self.options.workspace and not wider

        return self._kept(graph, tell, fits)

    def open(self, graph: GraphFile, tell: Tell = untold) -> TensorRTGraph:
        self.check_open(graph)
        kept = self._kept(graph, tell)
        engine = self._runtime.deserialize_cuda_engine(kept.blob)
        if engine is None:  # whole, and of this card and library, and refused: its reasons are its own
            self.log.why()
            kept = self._kept(graph, tell, lambda other: other.blob != kept.blob)
            engine = self._loaded(graph.spec, kept.blob)
        self._check(graph.spec, engine)
        opened = TensorRTGraph(graph.spec, engine, self)
        self._weights[opened] = len(kept.blob)
        self._scratch_bytes = max(self._scratch_bytes, engine.device_memory_size_v2)
        tell(graph.spec.name, STEPS, STEPS)
        return opened

    def _kept(self, graph: GraphFile, tell: Tell, fits: Callable[[Kept], bool] = lambda kept: True) -> Kept:
        """The engine of ``graph``: out of the cache where it ``fits``, else built."""
        graph.name_for("TensorRT")
        key = self.key(graph)
        kept = self.cache.load(key)
        if kept is None or not fits(kept):
            with self.cache.one_builds():
                kept = self.cache.load(key)  # another process may have built it meanwhile
                if kept is None or not fits(kept):
                    kept = self._made(graph, key, tell)
        return kept

    def _made(self, graph: GraphFile, key: Key, tell: Tell) -> Kept:
        if not self._anyway:
            check_room(graph, self.options, self._free())
        built = build(self.library, graph, self.options, tell, self.cache.timing(key), self.cuda.free_memory)
        engine = self._loaded(graph.spec, built.blob)
        # With the sizes of the first profile: without, the inspector tells no types.
        context = self.context(engine, graph.spec, graph.spec.lengths[0] if graph.spec.lengths else None)
        verdict = compare(built.asked, self._inspected(engine, context))
        wider = verdict.check(graph.spec.name, self._allow_wider)
        if built.timing:
            self.cache.keep_timing(key, built.timing)
        told = Told(
            seconds=built.seconds, workspace=self.options.workspace, precision=verdict.precision, wider=wider,
            untold=verdict.untold,
        )  # fmt: skip
        return self.cache.keep(key, built.blob, told)

    def _free(self) -> dict[str, int]:
        if self.cuda.integrated:
            return {"the board's memory": self.free_bytes()}
        host = free_bytes()
        return {"the card's memory": self.free_bytes()} | ({} if host is None else {"the computer's memory": host})

    def _loaded(self, spec: GraphSpec, blob: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(blob)
        if engine is None:
            raise EngineError(
                f"{self.library.name} refuses the engine of {spec.name!r} that it built: {self.log.why()}"
            )
        return engine

    def _inspected(self, engine: Any, context: Any) -> str:
        """The inspector's JSON, with the sizes of ``context``."""
        inspector = engine.create_engine_inspector()
        inspector.execution_context = context
        return str(inspector.get_engine_information(self.library.trt.LayerInformationFormat.JSON))

    def _check(self, spec: GraphSpec, engine: Any) -> None:
        """The engine's tensors are the manifest's, on the device. BundleError otherwise."""
        mode = self.library.trt.TensorIOMode
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        for kind, which, specs in (("input", mode.INPUT, spec.inputs), ("output", mode.OUTPUT, spec.outputs)):
            found = {
                name: (engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name)))
                for name in names
                if engine.get_tensor_mode(name) == which
            }
            check_tensors(self.library, spec.name, kind, found, specs)
        for name in names:
            if engine.get_tensor_location(name) != self.library.trt.TensorLocation.DEVICE:
                raise EngineError(f"TensorRT wants {name!r} of graph {spec.name!r} in the host's memory; export again")

    def context(self, engine: Any, spec: GraphSpec, length: int | None) -> Any:
        """A context of ``engine`` without memory of its own, set to the profile and the shapes of ``length``."""
        trt = self.library.trt
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.library.is_rtx:
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            # Kernels are compiled when they are first wanted, not beside the units that follow.
            config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise self.refuses(spec, "a context")
        if length is None:
            return context
        # Said for the first profile too: only the first context of an engine has one by itself.
        if not context.set_optimization_profile_async(spec.lengths.index(length), self.cuda.stream):
            raise self.refuses(spec, f"length {length}")
        self.cuda.synchronize()
        for tensor in spec.inputs:
            shape = shape_at(tensor, length)
            if shape != tensor.shape and not context.set_input_shape(tensor.name, shape):
                raise self.refuses(spec, f"{tensor.name!r} of shape {list(shape)}")
        return context

    def refuses(self, spec: GraphSpec, what: str) -> EngineError:
        """The error for what the library does not take."""
        return EngineError(f"TensorRT refuses {what} in graph {spec.name!r}: {self.log.why()}")

    @contextmanager
    def layers_told(self) -> Iterator[LayerTimes]:
        """Graphs that are bound while the block runs tell what their layers take; their runs are not captured."""
        self._told = LayerTimes(self.library)
        try:
            yield self._told
        finally:
            self._told = None

    def told_of(self, graph: TensorRTGraph, length: int | None, context: Any) -> object:
        """What hears the layers of ``context``, where somebody wants to know."""
        if self._told is None:
            return None
        return self._told.attach(graph.spec.name, length, context, self._inspected(graph.engine, context))

    def scratch(self) -> Scratch:
        """Large enough for every graph opened so far. One that grew leaves the smaller to those who have it."""
        if self._scratch is None or self._scratch.nbytes < self._scratch_bytes:
            self._scratch = Scratch(self.cuda, self._scratch_bytes)
            self._scratches.add(self._scratch)
        return self._scratch

    def memory(self) -> dict[str, int]:
        scratch = sum(each.nbytes for each in self._scratches)
        return {**super().memory(), "weights": sum(self._weights.values()), "scratch": scratch}

    def close(self) -> None:
        self._scratch = None
        super().close()


def make(options: Options | None = None, allow_wider: Sequence[str] = (), anyway: bool = False) -> TensorRTEngine:
    """The engine of this machine. InputError where there is no TensorRT, EngineError where there is no device."""
    return TensorRTEngine(find(), None, options, allow_wider, anyway)
