"""Stands for ``onnxruntime`` built with CUDA, as far as the engine calls it; graphs are computed by the real one.

Hands on :class:`OrtStandIn`. What it is told (options of sessions, runs and providers) goes through the real classes
where they are there on a CPU too; what it is bound to must be memory of the stand-in of the driver, and a run is work
on that driver's stream: nothing is computed before somebody waits. The record of a run is the real one, with the GPU's
provider in the place of the CPU's, and with what a test plants in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.space import Span, Violation

PROVIDER_OPTIONS = {
    *("device_id", "user_compute_stream", "cudnn_conv_algo_search", "do_copy_in_default_stream"),
    *("arena_extend_strategy", "use_tf32", "enable_cuda_graph"),
}
"""Names that the libraries of onnxruntime-gpu 1.31.1 hold, for both architectures."""


class Binding:
    """An IOBinding."""

    def __init__(self, session: ort.InferenceSession, driver: StandIn):
        self.real, self.driver = session.io_binding(), driver
        self.spans: list[Span] = []

    def bind_input(self, name: str, device: str, number: int, dtype: Any, shape: Sequence[int], address: int) -> None:
        self._bind(self.real.bind_input, name, device, number, dtype, shape, address)

    def bind_output(self, name: str, device: str, number: int, dtype: Any, shape: Sequence[int], address: int) -> None:
        self._bind(self.real.bind_output, name, device, number, dtype, shape, address)

    def _bind(self, tie: Any, name: str, device: str, number: int, dtype: Any, shape: Any, address: int) -> None:
        if (device, number) != ("cuda", 0) or self.driver.space.kind(address) != "device":
            raise Violation(f"{name!r} is bound to {device}:{number} at {address:#x}: no memory of the GPU's")
        tie(name, "cpu", 0, dtype, shape, address)
        self.spans.append(Span(address, int(np.prod(shape)) * np.dtype(dtype).itemsize))


class Session:
    """An InferenceSession."""

    def __init__(self, of: OrtStandIn, path: str, options: Any, providers: Sequence[Any]):
        (name, given), last = providers
        assert (name, last) == ("CUDAExecutionProvider", "CPUExecutionProvider")
        assert given.keys() <= PROVIDER_OPTIONS
        assert all(isinstance(value, str) for value in given.values())
        if of.refuses:
            raise RuntimeError(of.refuses)
        self.of, self.options, self.given = of, options, given
        self.real = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.fallback = True
        self.graph_ids: list[str | None] = []
        self.get_inputs, self.get_outputs = self.real.get_inputs, self.real.get_outputs
        of.sessions.append(self)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self.of.loads else ["CPUExecutionProvider"]

    def disable_fallback(self) -> None:
        self.fallback = False

    def io_binding(self) -> Binding:
        return Binding(self.real, self.of.driver)

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        assert not self.fallback
        if options.get_run_config_entry("disable_synchronize_execution_providers") != "1":
            raise Violation("a run that waits for the GPU")
        if self.given["enable_cuda_graph"] == "1":
            self.graph_ids.append(options.get_run_config_entry("gpu_graph_id"))
        if self.of.breaks:
            raise self.of.breaks
        stream = int(self.given["user_compute_stream"])
        self.of.driver.work(stream, "a run", binding.spans, lambda: self.real.run_with_iobinding(binding.real))

    def end_profiling(self) -> str:
        path = Path(self.real.end_profiling())
        events = json.loads(path.read_text())
        for event in events:
            if event.get("cat") == "Node" and not of_shapes(event["args"]):
                event["args"]["provider"] = "CUDAExecutionProvider"
        path.write_text(self.of.record or json.dumps([*events, *self.of.planted]))
        return str(path)


def of_shapes(node: Mapping[str, Any]) -> bool:
    """Whether the real provider leaves this node on the CPU (ONNX Runtime's ``GetCpuPreferredNodes``): whole numbers in
    and out, computed from a ``Shape``, whose answer is in the host's memory already."""
    kinds = {kind for each in ("input_type_shape", "output_type_shape") for t in node.get(each, ()) for kind in t}
    return kinds == {"int64"}


class OrtStandIn:
    """The module. ``planted``: events that every record has besides; ``record``: its text instead."""

    SessionOptions, RunOptions = ort.SessionOptions, ort.RunOptions
    __version__ = "1.31.1"

    def __init__(self, driver: StandIn, folder: Path = Path("/nowhere"), providers: Sequence[str] = ("CUDA", "CPU")):
        self.driver, self._providers = driver, providers
        self.__file__ = str(folder / "__init__.py")
        self.loads, self.refuses, self.record = True, "", ""
        self.breaks: Exception | None = None
        self.planted: list[Mapping[str, Any]] = []
        self.sessions: list[Session] = []
        self.preloaded = 0

    def get_available_providers(self) -> list[str]:
        return [f"{name}ExecutionProvider" for name in self._providers]

    def preload_dlls(self) -> None:
        print("Failed to load something that a system has elsewhere")
        self.preloaded += 1

    def InferenceSession(self, path: str, options: Any, providers: Sequence[Any]) -> Session:
        return Session(self, path, options, providers)


def node(name: str, operator: str, provider: str = "CUDAExecutionProvider", **types: Any) -> dict[str, Any]:
    """An event of a record; ``types``: of what goes in and out."""
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": operator, "provider": provider, **types}}
