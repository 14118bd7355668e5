"""The stand-in's runtime: engines, contexts and passes in the driver's stand-in's memory. See ``library.py``."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from tests.runtime.engines.cuda_stand_in.kernels import at
from tests.runtime.engines.cuda_stand_in.space import Span, Violation
from tests.runtime.engines.tensorrt_stand_in.network import nbytes, numpy_type
from tests.runtime.engines.tensorrt_stand_in.strict import Strict

if TYPE_CHECKING:
    from tests.runtime.engines.tensorrt_stand_in.library import TensorRT

MAGIC = "stand-in"
SCRATCH = 4096
"""Bytes that a pass wants, times its length."""


class Runtime(Strict):
    kind = "Runtime"

    def __init__(self, trt: TensorRT, logger: Any):
        super().__init__(trt.surface)
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
        trt = self._trt
        try:
            blob = json.loads(serialized_engine)
            came = blob[MAGIC]
        except (ValueError, KeyError, TypeError):
            raise Violation("TensorRT was handed what is no whole engine") from None
        if came != trt.identity:
            severity = trt.surface.enums["ILogger.Severity"]
            self._logger.log(severity.ERROR, f"the engine plan file is of {came}, which is another version or device")
            return None
        trt.loaded.append(blob["path"])
        return Engine(trt, blob)


class Engine(Strict):
    kind = "ICudaEngine"

    def __init__(self, trt: TensorRT, blob: dict[str, Any]):
        super().__init__(trt.surface)
        self._trt, self._blob = trt, blob
        self._tensors = {
            name: (side, kind, tuple(shape))
            for side, tensors in blob["sides"].items()
            for name, (kind, shape) in tensors.items()
        }
        self._most = max((max(max(s) for s in shapes.values()) for shapes in blob["profiles"] if shapes), default=1)

    @cached_property
    def _session(self) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        return ort.InferenceSession(self._blob["path"], options, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def device_memory_size_v2(self) -> int:
        return SCRATCH * self._most

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return self._trt.surface.enums["DataType"][self._tensors[name][1]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][2]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.surface.enums["TensorIOMode"][self._tensors[name][0]]

    def get_tensor_location(self, name: str) -> Any:
        return self._trt.surface.enums["TensorLocation"]["DEVICE"]

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self._trt)

    def create_execution_context(self, how: Any) -> Context:
        strategy = how._strategy if isinstance(how, RuntimeConfig) else how
        assert strategy.name == "USER_MANAGED", "a context with memory of its own"
        return Context(self)


class RuntimeConfig(Strict):
    kind = "IRuntimeConfig"

    def __init__(self, trt: TensorRT):
        super().__init__(trt.surface)
        self._strategy: Any = None
        self.dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self._strategy = strategy


class Inspector(Strict):
    kind = "EngineInspector"

    def __init__(self, engine: Engine):
        super().__init__(engine._trt.surface)
        self._engine = engine
        self.execution_context: Any = None

    def get_engine_information(self, format: Any) -> str:
        assert format.name == "JSON"
        if self._engine._blob["profiles"] and not (self.execution_context and self.execution_context._shapes):
            return json.dumps({"Layers": [], "Bindings": []})
        layers: str = self._engine._blob["layers"]
        return layers


class Context(Strict):
    kind = "IExecutionContext"

    def __init__(self, engine: Engine):
        super().__init__(engine._trt.surface)
        self._engine, self._device = engine, engine._trt.device
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._scratch = (0, 0)
        self._ran = False
        """Plainly, since shapes changed last."""
        self.profiler: Any = None
        self.enqueue_emits_profile = True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < len(self._engine._blob["profiles"]):
            return False
        self._profile, self._shapes, self._ran = profile_index, {}, False
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        profiles = self._engine._blob["profiles"]
        if self._profile is None or tuple(profiles[self._profile].get(name, ())) != tuple(shape):
            return False
        self._shapes[name], self._ran = tuple(shape), False
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._tensors or memory % 256:
            return False
        self._addresses[name] = memory
        return True

    def infer_shapes(self) -> list[str]:
        tensors = self._engine._tensors
        return [
            n for n, (side, _, shape) in tensors.items() if side == "INPUT" and -1 in shape and n not in self._shapes
        ]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._shapes.get(name, self._engine._tensors[name][2])
        length = self._length()
        return tuple(length if size == -1 else size for size in shape)

    def _length(self) -> int:
        for name, shape in self._shapes.items():
            return next(c for c, w in zip(shape, self._engine._tensors[name][2], strict=True) if w == -1)
        return -1

    def _state(self) -> tuple[Any, ...]:
        return dict(self._addresses), dict(self._shapes), self._scratch, self._profile

    def execute_async_v3(self, stream_handle: int) -> bool:
        device, tensors = self._device, self._engine._tensors
        lacking = sorted(tensors.keys() - self._addresses.keys())
        if lacking or self.infer_shapes():
            raise Violation(f"a pass without addresses for {lacking} or shapes for {self.infer_shapes()}")
        if self._engine._blob["profiles"] and not self._shapes:
            raise Violation("a pass without a profile")
        address, size = self._scratch
        if size < SCRATCH * max(1, self._length()) or address % 256:
            raise Violation(f"scratch of {size} bytes at {address}")
        spans = [Span(address, size), *(self._span(name) for name in tensors)]
        then = self._state()
        if device._capture is None:
            self._ran = True
        elif not self._ran:
            raise Violation("captured before it ran plainly: TensorRT still sets itself up")

        def compute() -> None:
            if self._state() != then:
                raise Violation("run with other addresses, shapes or scratch than it was put on the stream with")
            self._compute()

        device.work(stream_handle, f"TensorRT's {path_of(self._engine._blob).stem}", spans, compute)
        if self.profiler is not None:
            self._tell(stream_handle)
        return True

    def _tell(self, stream: int) -> None:
        """The pass is waited for, and its layers' times are told: as ``enqueue_emits_profile`` has it."""
        trt, device = self._engine._trt, self._device
        if device._capture is not None:
            raise Violation("captured with a profiler, which waits for what it times")
        if not self.profiler.ready:
            raise TypeError("IProfiler.__init__() must be called when overriding __init__")
        assert self.enqueue_emits_profile
        device._cuStreamSynchronize(stream)
        trt.profiled += 1
        graph = path_of(self._engine._blob).stem
        for layer in json.loads(self._engine._blob["layers"])["Layers"]:
            name = layer["Name"] if isinstance(layer, dict) else layer
            self.profiler.report_layer_time(name, trt.layer_ms(graph, name))

    def _span(self, name: str) -> Span:
        return Span(self._addresses[name], nbytes(self.get_tensor_shape(name), self._engine._tensors[name][1]))

    def _array(self, name: str) -> Any:
        return at(self._addresses[name], self.get_tensor_shape(name), numpy_type(self._engine._tensors[name][1]))

    def _compute(self) -> None:
        if not self._engine._trt.computes(path_of(self._engine._blob).stem):
            return
        sides = self._engine._blob["sides"]
        came = self._engine._session.run(list(sides["OUTPUT"]), {name: self._array(name) for name in sides["INPUT"]})
        for name, array in zip(sides["OUTPUT"], came, strict=True):
            self._array(name)[...] = array
        self._engine._trt.after_run(path_of(self._engine._blob).stem, self._array)


def path_of(blob: dict[str, Any]) -> Path:
    """The ONNX file of a stand-in's engine."""
    return Path(blob["path"])
