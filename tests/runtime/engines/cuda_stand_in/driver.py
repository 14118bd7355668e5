"""Stands for the module ``cuda.bindings.driver``, and for a driver and a GPU behind it, in this process's memory.

Hands on :class:`StandIn`. It has what is in ``surface.json`` of every version, with as many arguments, and nothing
else. It is stricter than a driver: work that is put on the stream is done when somebody waits for it and no earlier;
what a device would answer with wrong numbers now and then is refused as a :class:`Violation`. A capture writes work
down, and a launch of it puts that on the stream.

    standin = StandIn(); cuda = Cuda.open(api=standin)
    standin.fail("cuMemAlloc", "CUDA_ERROR_OUT_OF_MEMORY"); standin.lose("CUDA_ERROR_ILLEGAL_ADDRESS")
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache, partial
from time import perf_counter
from typing import Any, NamedTuple

from tests.runtime.engines.cuda_stand_in.kernels import KERNELS, Kernel
from tests.runtime.engines.cuda_stand_in.space import STALE, Space, Span, Violation
from tests.runtime.engines.cuda_stand_in.surface import read

TOTAL = 8 << 30
"""Bytes of the device's memory."""
NEEDS_NO_CONTEXT = {
    *("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease"),
    *("cuDeviceGetName", "cuDriverGetVersion", "cuDeviceGetAttribute", "cuCtxSetCurrent", "cuGetErrorString"),
}
NOT_WHILE_CAPTURING = {
    *("cuStreamSynchronize", "cuMemAlloc", "cuMemHostAlloc", "cuMemFree", "cuMemFreeHost", "cuGraphLaunch"),
    *("cuEventRecord", "cuGraphUpload", "cuModuleLoadData", "cuModuleUnload", "cuStreamDestroy"),
}


class Handle:
    """What the bindings give for a stream, a graph, ...: something that ``int`` takes."""

    def __init__(self, number: int):
        self._number = number

    def __int__(self) -> int:
        return self._number


class Work(NamedTuple):
    """Something on the stream."""

    what: str
    spans: tuple[Span, ...]
    do: Callable[[], object]
    stale: tuple[Span, ...] = ()
    """Memory of the host that it writes."""


@cache
def surface() -> tuple[dict[str, int], dict[str, Any]]:
    """What every version has: functions with how many arguments they take, and enumerations."""
    versions = list(read().values())
    functions = dict(set.intersection(*(set(version["functions"].items()) for version in versions)))
    enums = {
        name: IntEnum(name, dict(set.intersection(*(set(v["enums"][name].items()) for v in versions))))
        for name in versions[0]["enums"]
    }
    return functions, enums


class StandIn:
    """The module. Everything beside the bindings' own names is for tests."""

    def __init__(self, compute_capability: tuple[int, int] = (8, 7), integrated: bool = True, count: int = 1,
                 total: int = TOTAL, kernels: dict[str, Kernel] = KERNELS):  # fmt: skip
        self.space = Space()
        self.calls: Counter[str] = Counter()
        self.seen: dict[str, tuple[Any, ...]] = {}
        """Arguments of the last call, by name."""
        self._kernels, self._total, self._count = kernels, total, count
        self._what = {"MAJOR": compute_capability[0], "MINOR": compute_capability[1], "INTEGRATED": int(integrated),
                      "RATE": 1_020_000}  # fmt: skip
        self.takes: Callable[[str], float] | None = None
        """What stands on the stream -> the milliseconds that events find it took; None: those that it took here."""
        self._now = 0.0
        self._queue: list[Work] = []
        self._capture: list[Work] | None = None
        self._live: dict[int, tuple[str, Any]] = {}
        """Handle -> kind, and what it stands for."""
        self._next = 0x1000
        self._failing: list[tuple[str, str, int]] = []
        self._lost = ""
        self._contexts = 0
        self._threads = threading.local()

    # -- for tests

    def fail(self, function: str, error: str, after: int = 0) -> None:
        """The call of ``function`` after ``after`` others ends with this error."""
        self._failing.append((function, error, after))

    def lose(self, error: str) -> None:
        """The next wait ends with this error, and every call after it."""
        self._failing.append(("cuStreamSynchronize", error, -1))

    @property
    def standing(self) -> dict[str, int]:
        """What was not given back, by kind."""
        kinds = Counter(kind for kind, _ in self._live.values())
        kinds.update({f"{kind} bytes": count for kind, count in self.space.live_bytes.items()})
        return {kind: count for kind, count in {**kinds, "context": self._contexts}.items() if count}

    def work(self, stream: int, what: str, spans: Sequence[Span], do: Callable[[], object]) -> None:
        """Put what a library computes on the stream, as one that gets a stream would."""
        self._need(stream, "stream")
        self._put(Work(what, tuple(spans), do))

    # -- the module

    def __getattr__(self, name: str) -> Any:
        functions, enums = surface()
        if name in enums:
            return enums[name]
        if name not in functions:
            raise AttributeError(f"cuda.bindings.driver has no {name} in every version")
        body = getattr(type(self), f"_{name}", None)
        if body is None:
            raise AttributeError(f"the stand-in does not do {name}")
        return partial(self._call, name, functions[name], body)

    def _call(self, name: str, count: int, body: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
        if len(arguments) != count:
            raise TypeError(f"{name} takes {count} arguments; {len(arguments)} came")
        self.calls[name] += 1
        self.seen[name] = arguments
        if self._capture is not None and name in NOT_WHILE_CAPTURING:
            raise Violation(f"{name} while the stream is captured")
        if name not in NEEDS_NO_CONTEXT:
            if not self._contexts:
                raise Violation(f"{name} after the context was given back")
            if not getattr(self._threads, "context", 0):
                raise Violation(f"{name} in a thread without a context")
        status = self._status(name)
        if status != "CUDA_SUCCESS":
            if name == "cuStreamEndCapture":
                self._capture = None  # it is over all the same
            return (getattr(self.CUresult, status), None)
        try:
            came = body(self, *arguments)
        except _Refused as refused:
            return (getattr(self.CUresult, str(refused)), None)
        return (self.CUresult.CUDA_SUCCESS,) if came is None else (self.CUresult.CUDA_SUCCESS, *came)

    def _status(self, name: str) -> str:
        if self._lost and name not in NEEDS_NO_CONTEXT:
            return self._lost
        for number, (function, error, after) in enumerate(self._failing):
            if function == name:
                if after > 0:
                    self._failing[number] = function, error, after - 1
                    return "CUDA_SUCCESS"
                del self._failing[number]
                if after < 0:
                    self._lost = error
                    self._queue.clear()
                return error
        return "CUDA_SUCCESS"

    def _new(self, kind: str, what: Any = None) -> tuple[Handle]:
        self._next += 1
        self._live[self._next] = kind, what
        return (Handle(self._next),)

    def _need(self, handle: Any, kind: str) -> Any:
        """What the handle stands for."""
        found = self._live.get(int(handle))
        if found is None or found[0] != kind:
            raise Violation(f"{int(handle):#x} is no {kind}, or none any more")
        return found[1]

    def _drop(self, handle: Any, kind: str) -> None:
        self._need(handle, kind)
        del self._live[int(handle)]

    # device

    def _cuInit(self, flags: int) -> None: ...

    def _cuDeviceGetCount(self) -> tuple[int]:
        return (self._count,)

    def _cuDeviceGet(self, ordinal: int) -> tuple[Handle]:
        return (Handle(ordinal),)

    def _cuDeviceGetName(self, length: int, device: Handle) -> tuple[bytes]:
        return (b"Stand-in".ljust(length, b"\0"),)

    def _cuDeviceGetAttribute(self, which: IntEnum, device: Handle) -> tuple[int]:
        return (self._what[which.name.split("_")[-1]],)

    def _cuDriverGetVersion(self) -> tuple[int]:
        return (12060,)

    def _cuDevicePrimaryCtxRetain(self, device: Handle) -> tuple[Handle]:
        self._contexts += 1
        return (Handle(1),)

    def _cuDevicePrimaryCtxRelease(self, device: Handle) -> None:
        if not self._contexts:
            raise Violation("a context was given back that nobody holds")
        self._contexts -= 1

    def _cuCtxSetCurrent(self, context: Handle) -> None:
        self._threads.context = int(context)

    def _cuGetErrorString(self, status: IntEnum) -> tuple[bytes]:
        return (status.name.removeprefix("CUDA_ERROR_").lower().replace("_", " ").encode(),)

    # memory

    def _cuMemAlloc(self, nbytes: int) -> Any:
        if self.space.live_bytes["device"] + nbytes > self._total:
            raise _Refused("CUDA_ERROR_OUT_OF_MEMORY")
        return (Handle(self.space.allocate(nbytes, "device")),)

    def _cuMemHostAlloc(self, nbytes: int, flags: int) -> tuple[int]:
        return (self.space.allocate(nbytes, "pinned"),)

    def _cuMemFree(self, address: int) -> None:
        self._unused(int(address), "device")

    def _cuMemFreeHost(self, address: int) -> None:
        self._unused(int(address), "pinned")

    def _unused(self, address: int, kind: str) -> None:
        """Free what no work on the stream uses."""
        for work in self._queue:
            if kind == self.space.kind(address) and any(self.space.within(span, address) for span in work.spans):
                raise Violation(f"{kind} memory was freed while used: {work.what} is still on the stream")
        self.space.free(address, kind)

    def _cuMemGetInfo(self) -> tuple[int, int]:
        return self._total - self.space.live_bytes["device"], self._total

    def _cuMemcpyHtoDAsync(self, to: int, of: int, nbytes: int, stream: int) -> None:
        self._move(stream, "a copy to the device", (to, "device"), (of, "the host"), nbytes)

    def _cuMemcpyDtoHAsync(self, to: int, of: int, nbytes: int, stream: int) -> None:
        self._move(stream, "a copy to the host", (to, "the host"), (of, "device"), nbytes)

    def _cuMemcpyDtoDAsync(self, to: int, of: int, nbytes: int, stream: int) -> None:
        self._move(stream, "a copy on the device", (to, "device"), (of, "device"), nbytes)

    def _move(self, stream: int, what: str, to: tuple[int, str], of: tuple[int, str], nbytes: int) -> None:
        self._need(stream, "stream")
        spans = []
        for address, side in (to, of):
            kind = self.space.kind(int(address)) if side == "the host" else side
            if side == "the host" and kind == "device":
                raise Violation(f"{what}: {int(address):#x} is device memory; wanted the host's")
            if kind == "host" and self._capture is not None:
                raise Violation(f"{what} of memory that is not pinned was captured")
            spans.append(Span(int(address), nbytes, kind))
        stale = (spans[0],) if spans[0].kind == "pinned" else ()
        do = partial(ctypes.memmove, int(to[0]), int(of[0]), nbytes)
        self._put(Work(what, tuple(spans), do, stale))

    def _cuMemsetD8Async(self, address: int, value: int, nbytes: int, stream: int) -> None:
        self._need(stream, "stream")
        do = partial(ctypes.memset, int(address), value, nbytes)
        self._put(Work("clearing memory", (Span(int(address), nbytes),), do))

    # the stream

    def _put(self, work: Work) -> None:
        for span in work.spans:
            self.space.check(work.what, span)
        if self._capture is not None:
            self._capture.append(work)
            return
        for span in work.stale:
            ctypes.memset(span.address, STALE, span.nbytes)
        self._queue.append(work)

    def _cuStreamCreate(self, flags: IntEnum) -> tuple[Handle]:
        return self._new("stream")

    def _cuStreamDestroy(self, stream: int) -> None:
        if self._queue:
            raise Violation("the stream was destroyed while work is on it")
        self._drop(stream, "stream")

    def _cuStreamSynchronize(self, stream: int) -> None:
        self._need(stream, "stream")
        queue, self._queue = self._queue, []
        for work in queue:
            for span in work.spans:
                self.space.check(work.what, span)
            if self.takes is not None:
                self._now += self.takes(work.what) / 1000
            work.do()

    def _cuStreamBeginCapture(self, stream: int, mode: IntEnum) -> None:
        self._need(stream, "stream")
        if self._capture is not None:
            raise Violation("a capture within a capture")
        self._capture = []

    def _cuStreamEndCapture(self, stream: int) -> tuple[Handle]:
        if self._capture is None:
            raise Violation("a capture was ended that nobody began")
        captured, self._capture = self._capture, None
        return self._new("graph", captured)

    # graphs

    def _cuGraphInstantiate(self, graph: Handle, flags: int) -> tuple[Handle]:
        return self._new("graph executable", tuple(self._need(graph, "graph")))

    def _cuGraphDestroy(self, graph: Handle) -> None:
        self._drop(graph, "graph")

    def _cuGraphExecDestroy(self, executable: int) -> None:
        self._drop(executable, "graph executable")

    def _cuGraphUpload(self, executable: int, stream: int) -> None:
        self._need(executable, "graph executable")

    def _cuGraphLaunch(self, executable: int, stream: int) -> None:
        self._need(stream, "stream")
        for work in self._need(executable, "graph executable"):
            self._put(work)

    # kernels

    def _cuModuleLoadData(self, image: bytes) -> tuple[Handle]:
        if not image.endswith(b"\0") or b".version 8.5" not in image:
            raise Violation("the kernels' text does not end with a zero, or is no PTX 8.5")
        return self._new("module", image.decode())

    def _cuModuleUnload(self, module: Handle) -> None:
        self._drop(module, "module")

    def _cuModuleGetFunction(self, module: Handle, name: bytes) -> tuple[tuple[str, list[int]]]:
        found = re.search(rf"\.visible \.entry {name.decode()}\(([^)]*)\)", self._need(module, "module"))
        if found is None:
            raise _Refused("CUDA_ERROR_NOT_FOUND")
        return ((name.decode(), [int(bits) // 8 for bits in re.findall(r"\.param \.[a-z](\d+)", found[1])]),)

    def _cuLaunchKernel(self, function: tuple[str, list[int]], gx: int, gy: int, gz: int, bx: int, by: int, bz: int,
                        shared: int, stream: int, parameters: tuple[Any, Any], extra: int) -> None:  # fmt: skip
        self._need(stream, "stream")
        name, sizes = function
        values, types = parameters
        came = [ctypes.sizeof(kind) for kind in types]
        if came != sizes:
            raise Violation(f"kernel {name} takes arguments of {sizes} bytes; came {came}")
        if not (gx > 0 and (gy, gz, by, bz) == (1, 1, 1, 1) and 0 < bx <= 1024):
            raise Violation(f"kernel {name}: a grid of {gx} x {gy} x {gz} blocks of {bx} x {by} x {bz}")
        spans, do = self._kernels[name](*values)
        self._put(Work(f"kernel {name}", tuple(spans), do))

    # times

    def _cuEventCreate(self, flags: IntEnum) -> tuple[Handle]:
        return self._new("event", {})

    def _cuEventDestroy(self, event: int) -> None:
        self._drop(event, "event")

    def _cuEventRecord(self, event: int, stream: int) -> None:
        noted = self._need(event, "event")
        noted.clear()
        now = perf_counter if self.takes is None else lambda: self._now
        self._put(Work("a time", (), lambda: noted.update(at=now())))

    def _cuEventElapsedTime(self, start: int, end: int) -> tuple[float]:
        first, last = (self._need(event, "event") for event in (start, end))
        if not first or not last:
            raise Violation("a time was asked for that has not come yet: wait for the stream first")
        return (1000 * (last["at"] - first["at"]),)


class _Refused(Exception):
    """A call ends with this status."""
