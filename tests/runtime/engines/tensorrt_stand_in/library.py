"""A strict stand-in for the TensorRT of one version: has what its bindings have, computes with ONNX Runtime.

Receives the stand-in of the driver, in whose memory it reads and writes; hands on ``TensorRT``, which takes the place
of the module. It builds "engines" that name their ONNX file, refuses what TensorRT refuses and more:

- names, members, arguments that the version does not have (``strict.py``)
- an engine of another version, card or driver; bytes that are no whole engine end the test, for there TensorRT ends the
  process
- a pass without a profile, shapes, every address, scratch that is large enough; an address that is not a multiple of
  256, or where the tensor does not lie in one piece of live memory
- a capture before the same context ran plainly once; and a replay after addresses, shapes or scratch of its context
  changed, or memory went: what was captured would still use the old ones
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.tensorrt_stand_in.execution import MAGIC, Runtime
from tests.runtime.engines.tensorrt_stand_in.network import Network, Parser
from tests.runtime.engines.tensorrt_stand_in.strict import Strict, Surface


class TensorRT:
    """Takes the place of the module."""

    def __init__(self, version: str, device: StandIn):
        self.surface = Surface(version)
        self.device = device
        self.driver_version = 12060
        """As engines remember it."""
        self.refuses: dict[str, str] = {}
        """Operator -> what the parser says of it."""
        self.widened: dict[str, str] = {}
        """Node -> the type that it is built in, whatever the graph asks."""
        self.steps = 3
        """Of a build."""
        self.while_building: Callable[[], object] = lambda: None
        """Called at each step."""
        self.fails = False
        """Whether a build comes to nothing."""
        self.timings: list[bytes] = []
        """Timing caches that builds began with."""
        self.builds = 0
        self.after_run: Callable[[str, Callable[[str], Any]], object] = lambda graph, array: None
        """Called after each pass with its graph, and what gives an output's array."""
        self.computes: Callable[[str], bool] = lambda graph: True
        """Whether passes of a graph give answers: a CPU cannot compute all that TensorRT does."""
        self.layer_ms: Callable[[str, str], float] = lambda graph, layer: 0.01
        """Graph and layer -> the milliseconds that a profiler is told."""
        self.profiled = 0
        """Passes that a profiler was told of."""
        self.loaded: list[str] = []
        """Files of the graphs whose engines were loaded."""

    @property
    def identity(self) -> list[Any]:
        """What an engine belongs to."""
        what = self.device._what
        return [self.surface.version, what["MAJOR"], what["MINOR"], self.driver_version]

    def __getattr__(self, name: str) -> Any:
        surface: Surface = self.__dict__["surface"]
        surface.asked.add(("", name))
        if name == "__version__":
            return surface.version
        if name not in surface.names:
            raise AttributeError(f"TensorRT {surface.version} has no {name!r}")
        if name in surface.enums:
            return surface.enums[name]
        made = {
            "ILogger": self._logger, "IProgressMonitor": self._monitor, "IProfiler": lambda: Profiler,
            "Builder": lambda: self._made(Builder),
            "Runtime": lambda: self._made(Runtime),
            "OnnxParser": lambda: lambda network, logger: Parser(surface, network, self.refuses),
        }  # fmt: skip
        return made[name]()

    def _made(self, kind: Any) -> Callable[[Any], Any]:
        return lambda logger: kind(self, logger)

    def _logger(self) -> type:
        severity = self.surface.enums["ILogger.Severity"]

        class ILogger:
            Severity = severity

        return ILogger

    def _monitor(self) -> type:
        class IProgressMonitor:
            pass

        return IProgressMonitor


class Profiler:
    """IProfiler, to inherit from."""

    ready = False

    def __init__(self) -> None:
        self.ready = True


class Timing(Strict):
    kind = "ITimingCache"

    def __init__(self, surface: Surface, data: bytes):
        super().__init__(surface)
        self._data = data

    def serialize(self) -> Any:
        return self._data + b"measured;"


class Profile(Strict):
    kind = "IOptimizationProfile"

    def __init__(self, surface: Surface):
        super().__init__(surface)
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert tuple(min) == tuple(opt) == tuple(max), "a static profile was wanted"
        self._shapes[input] = tuple(min)


class Config(Strict):
    kind = "IBuilderConfig"

    def __init__(self, trt: TensorRT):
        super().__init__(trt.surface)
        self._trt = trt
        self._profiles: list[Profile] = []
        self._pools: dict[Any, int] = {}
        self._flags = {"TF32"}
        self._timing: Timing | None = None
        self._targets: dict[int, Any] = {}
        self.profiling_verbosity = trt.surface.enums["ProfilingVerbosity"]["LAYER_NAMES_ONLY"]
        self.progress_monitor: Any = None
        self.max_aux_streams = -1
        if "num_compute_capabilities" in trt.surface.classes[self.kind]:
            self.num_compute_capabilities = 1

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = pool_size

    def set_flag(self, flag: Any) -> None:
        self._flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag.name)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Timing:
        return Timing(self._trt.surface, serialized_timing_cache)

    def set_timing_cache(self, cache: Timing, ignore_mismatch: bool) -> bool:
        if b"foreign" in cache._data:
            return False
        self._timing = cache
        return True

    def get_timing_cache(self) -> Timing | None:
        return self._timing

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        self._targets[index] = compute_capability
        return True

    def add_optimization_profile(self, profile: Profile) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1


class Builder(Strict):
    kind = "Builder"

    def __init__(self, trt: TensorRT, logger: Any):
        super().__init__(trt.surface)
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> Network:
        wanted = 1 << int(self._trt.surface.enums["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"])
        assert flags == wanted, "a strongly typed network was wanted"
        return Network(self._trt.surface)

    def create_builder_config(self) -> Config:
        return Config(self._trt)

    def create_optimization_profile(self) -> Profile:
        return Profile(self._trt.surface)

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        trt, severity = self._trt, self._trt.surface.enums["ILogger.Severity"]
        trt.timings.append(config._timing._data if config._timing else b"")
        assert config._pools.get("WORKSPACE"), "the workspace has no limit"
        assert config.max_aux_streams == 0, "other streams than ours"
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, trt.steps)
        for step in range(trt.steps):
            trt.while_building()
            if not monitor.step_complete("Building engine", step):
                monitor.phase_finish("Building engine")
                self._logger.log(severity.ERROR, "IBuilder::buildSerializedNetwork: Error Code 7: BuildCanceled")
                return None
        monitor.phase_finish("Building engine")
        if trt.fails:
            self._logger.log(severity.ERROR, "Could not find any implementation\nfor node MatMul_1.")
            return None
        trt.builds += 1
        sets = [profile._shapes for profile in config._profiles]
        for tensor in network._inputs:
            assert -1 not in tensor.shape or sets, f"{tensor.name} has no profile"
        sides = {
            side: {t.name: (t.dtype.name, list(t.shape)) for t in tensors}
            for side, tensors in (("INPUT", network._inputs), ("OUTPUT", network._outputs))
        }
        detailed = config.profiling_verbosity.name == "DETAILED"
        blob = {
            MAGIC: trt.identity, "path": str(network._path), "profiles": sets,
            "sides": sides, "layers": inspected(trt, network, detailed),
        }  # fmt: skip
        return json.dumps(blob).encode()


def inspected(trt: TensorRT, network: Network, detailed: bool) -> str:
    """As the inspector tells it (see verify.py for where that stands): 11.x has "I/O Tensors" for "Bindings"."""
    layers: list[Any] = []
    for layer in network._layers:
        if not detailed:
            layers.append(layer.name)
            continue
        inputs, named = [], [layer.metadata]
        for tensor in layer._inputs:
            maker = next((other for other in network._layers if tensor.name in [o.name for o in other._outputs]), None)
            kind = tensor.dtype.name
            if maker is not None and maker._operator == "DequantizeLinear":
                kind, _ = maker._inputs[0].dtype.name, named.append(maker.metadata)
            inputs.append({"Name": tensor.name, "Location": "Device", "Dimensions": [], **said(trt, kind)})
        if layer.name in trt.widened:
            for told in inputs:
                told |= said(trt, trt.widened[layer.name])
        outputs = [{"Name": t.name, "Dimensions": [], **said(trt, t.dtype.name)} for t in layer._outputs]
        layers.append(
            {
                "Name": f"{layer.name}_myl0_{len(layers)}", "LayerType": "gemm" if len(named) > 1 else "kgen",
                "Inputs": inputs, "Outputs": outputs, "TacticName": "stand-in", "StreamId": 0,
                "Metadata": "\x1e".join(reversed(named)),
            }
        )  # fmt: skip
    names = [tensor.name for tensor in (*network._inputs, *network._outputs)]
    eleven = trt.surface.version >= "11" and not trt.surface.is_rtx
    bound: dict[str, Any] = {"I/O Tensors": [{"Name": n} for n in names]} if eleven else {"Bindings": names}
    return json.dumps({"Layers": layers, **bound})


def said(trt: TensorRT, kind: str) -> dict[str, str]:
    words = {"FLOAT": "Row major linear FP32 format", "HALF": "Half", "INT8": "Row major Int8 format"}
    return {"Format/Datatype": words.get(kind, kind)}


def library_of(version: str, device: StandIn) -> tuple[Any, TensorRT]:
    """The engine's ``Library`` over a stand-in, and that."""
    from edge_streamer.runtime.engines.tensorrt.library import known

    trt = TensorRT(version, device)
    return known(trt, trt.surface.is_rtx), trt
