"""An engine whose graphs torch computes, on the session's own device memory: the tape and the capture without TensorRT.

Receives the torch model that a bundle was exported from; hands on :class:`TorchEngine`. Only tests use it: it shows
that memory, kernels, tapes and captured graphs do what they should on a real device, with graphs whose numbers are
known. ``ways`` says how torch computes: ``eager``, or ``compile`` (inductor), either captured with the whole unit or,
with ``capture=False``, put on the stream call by call.

Everything that torch allocates meanwhile comes from one pool of its own: a captured graph then finds its scratch where
it was, and the plain path beside it uses the same, one after the other on one stream.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from edge_streamer.export.layers import Linear
from edge_streamer.export.wan_streamer.graphs import GraphPlan, plan_graphs
from edge_streamer.export.wan_streamer.model import WanStreamer
from edge_streamer.runtime.bundle.manifest import GraphSpec
from edge_streamer.runtime.engines.buffers import check_buffers
from edge_streamer.runtime.engines.contract import Buffer, GraphFile
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.timing import Tell, untold

Way = Literal["eager", "compile"]
Put = Callable[[int, Callable[[], None]], None]
"""Takes a stream and what torch is to do on it."""
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class _Foreign:
    """Device memory as torch takes it (the CUDA array interface, version 3)."""

    def __init__(self, buffer: Buffer):
        kind = np.dtype(buffer.dtype).str
        self.__cuda_array_interface__ = {
            "shape": buffer.shape, "typestr": kind, "data": (buffer.address, False), "version": 3, "strides": None,
        }  # fmt: skip


def seen(buffer: Buffer, device: torch.device) -> Tensor:
    """The buffer's memory as a tensor: no copy."""
    if device.type == "cuda":
        return torch.as_tensor(_Foreign(buffer), device=device)
    size = max(prod(buffer.shape) * np.dtype(buffer.dtype).itemsize, 1)  # a stand-in's device is this machine's memory
    raw = (ctypes.c_uint8 * size).from_address(buffer.address)
    return torch.from_numpy(np.frombuffer(raw, np.dtype(buffer.dtype), prod(buffer.shape)).reshape(buffer.shape))


class TorchRun:
    """A graph bound to buffers."""

    def __init__(
        self, engine: TorchEngine, graph: TorchGraph, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]
    ):
        self.graph, self.inputs, self.outputs = graph.spec.name, dict(inputs), dict(outputs)
        self.capturable = engine.captures
        self._engine, self._compute = engine, graph.compute
        self._came = [seen(inputs[tensor.name], engine.device) for tensor in graph.spec.inputs]
        self._went = [seen(outputs[tensor.name], engine.device) for tensor in graph.spec.outputs]

    def enqueue(self, stream: int) -> None:
        self._engine.put(stream, self._run)

    def _run(self) -> None:
        for to, answer in zip(self._went, self._compute(*self._came), strict=True):
            to.copy_(answer)


class TorchGraph:
    def __init__(self, engine: TorchEngine, spec: GraphSpec, compute: Callable[..., tuple[Tensor, ...]]):
        self.spec, self.compute, self._engine = spec, compute, engine

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> TorchRun:
        check_buffers(self._engine, self.spec, inputs, outputs)
        return TorchRun(self._engine, self, inputs, outputs)


class TorchEngine(CudaEngine):
    """Graphs computed by torch. In half precision the weights' products are computed in it; what is between them
    (norms, softmax, sums over layers, codecs) stays float32."""

    def __init__(
        self, model: WanStreamer, *, dtype: str = "float32", way: Way = "eager", capture: bool = True,
        api: Any = None, put: Put | None = None,
    ):  # fmt: skip
        """``model`` is the engine's from here on. ``api``, ``put``: a stand-in's driver, and what puts torch's work on
        its stream."""
        super().__init__(api=api)
        self.device = torch.device("cpu" if put else "cuda")
        played = "captured" if capture else "plain"
        self.name = f"torch {torch.__version__}, {way}, {dtype}, {played}, on {self.cuda.device_name}"
        self.captures = capture
        self._put = put
        self._pool: Any = None if put else torch.cuda.MemPool()
        self._streams: dict[int, Any] = {}
        if dtype in HALVES:
            halve(model, HALVES[dtype])
        self._plans: dict[str, GraphPlan] = {plan.name: plan for plan in plan_graphs(model)}
        model.to(self.device)
        self._way = way
        self._weights = sum(p.numel() * p.element_size() for p in model.parameters())

    def open(self, graph: GraphFile, tell: Tell = untold) -> TorchGraph:
        plan = self._plans[graph.spec.name]
        compute: Callable[..., tuple[Tensor, ...]] = plan.module
        if self._way == "compile":
            compute = torch.compile(plan.module, dynamic=False)
        return TorchGraph(self, graph.spec, compute)

    def put(self, stream: int, act: Callable[[], None]) -> None:
        """Let torch do ``act`` on the stream."""
        if self._put is not None:
            self._put(stream, lambda: _without_gradients(act))
            return
        if stream not in self._streams:
            self._streams[stream] = torch.cuda.ExternalStream(stream)
        with ExitStack() as stack:
            stack.enter_context(torch.cuda.stream(self._streams[stream]))
            stack.enter_context(torch.cuda.use_mem_pool(self._pool))
            _without_gradients(act)

    def memory(self) -> dict[str, int]:
        return super().memory() | {"weights": self._weights}


def _without_gradients(act: Callable[[], None]) -> None:
    with torch.no_grad():
        act()


def halve(model: WanStreamer, dtype: torch.dtype) -> None:
    """The Transformer's, the solver's and the head's weights become ``dtype``; each takes its inputs in it and gives
    float32. Codecs stay as they are."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.weight.data = module.weight.data.to(dtype)
            module.forward = partial(_product, module.weight, module.bias)  # type: ignore[method-assign]
    if model.embedding_columns is not None:
        model.embedding_columns.data = model.embedding_columns.data.to(dtype)
        model.logits = partial(_product, model.embedding_columns, None)  # type: ignore[method-assign]


def _product(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    y = torch.matmul(x.to(weight.dtype), weight).float()
    return y if bias is None else y + bias


def without_tf32() -> None:
    """Products of float32 are products of float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
