"""The calls of the CUDA driver that engines make: memory, a stream, kernels, graphs; errors that say what to do.

Receives the number of a device; hands on :class:`Cuda`. ``cuda.bindings`` is imported here alone, when a device is
opened: everything else of this package can be imported where there is none.

Choices: the device's primary context, which TensorRT, ONNX Runtime and torch use too, so that their graphs read this
memory. One stream that does not wait for the default one. Memory is given back when nobody has it any more; what Python
lets go of while a stream is captured waits until that is over, since the driver frees nothing meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from weakref import finalize

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.errors import DeviceLost, EngineError, one_line
from edge_streamer.runtime.files import size_text

BINDINGS = 'pip install "cuda-bindings>=12.6,<13"'
"""What installs the bindings; they need the driver alone. Those of 12 work with every driver from CUDA 12 on; those of
13 make some calls that one of CUDA 12 does not have."""
NO_DRIVER = (
    "wanted: an NVIDIA driver for CUDA 12.6 or newer. A board's comes with JetPack 6.2; on a PC install it (Ubuntu: "
    "sudo ubuntu-drivers install) and restart; or take --engine cpu"
)
LOST = {
    "CUDA_ERROR_ASSERT", "CUDA_ERROR_CONTAINED", "CUDA_ERROR_CONTEXT_IS_DESTROYED", "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA_ERROR_ECC_UNCORRECTABLE", "CUDA_ERROR_EXTERNAL_DEVICE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR", "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE", "CUDA_ERROR_INVALID_PC", "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT", "CUDA_ERROR_MISALIGNED_ADDRESS", "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_TENSOR_MEMORY_LEAK", "CUDA_ERROR_UNKNOWN",
}  # fmt: skip
"""Errors after which a context answers nothing else (the driver's own pages: *the process must be relaunched*)."""
ADVICE = {
    "CUDA_ERROR_NO_DEVICE": "no NVIDIA GPU is here, or CUDA_VISIBLE_DEVICES hides it: look with nvidia-smi, or take "
    "--engine cpu",
    "CUDA_ERROR_OUT_OF_MEMORY": "the GPU's memory is full: end other programs, or take a bundle with a shorter window "
    "or with quantized weights",
    "CUDA_ERROR_NOT_PERMITTED": "this user may not use the GPU: on a board, sudo usermod -aG video,render $USER, then "
    "log in again",
    "CUDA_ERROR_OPERATING_SYSTEM": "this user may not use the GPU's device files: on a board, sudo usermod -aG "
    "video,render $USER, then log in again",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was updated while the machine ran: restart it",
    "CUDA_ERROR_SYSTEM_NOT_READY": "the driver's services do not run yet: restart the machine",
    "CUDA_ERROR_STUB_LIBRARY": "a toolkit's stub was found instead of the driver: take its folder out of "
    "LD_LIBRARY_PATH",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "a compatibility package shadows the driver: take its folder out of "
    "LD_LIBRARY_PATH",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "the driver is older than CUDA 12.5: update it (a board: to JetPack 6.2)",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the GPU is older than compute capability 7.5: take --engine cpu",
    "CUDA_ERROR_INVALID_PTX": "the GPU is older than compute capability 7.5: take --engine cpu",
}
"""What mends an error, by its name."""
OVER = "its sessions are over: start the program again, and restore the last snapshot"


class Cuda:
    """One device, and one stream on it.

    Calls that put work on the stream come back at once; :meth:`synchronize` waits for it. Raises EngineError with the
    driver's name of the error and what mends it, DeviceLost from the first error on that the device does not outlive.
    """

    def __init__(self, api: Any, ordinal: int):
        """See :meth:`open`."""
        self.api = api
        self.capturing = False
        self.lost = ""
        """What the driver said when the device was lost."""
        self._order = threading.RLock()
        """Held by who begins a capture or gives something back: another thread's wait would break the capture."""
        self._threads = threading.local()
        """``ready``: whether the context is this thread's."""
        self._later: list[Callable[[], object]] = []
        """What is given back after the capture."""
        self._held: dict[tuple[str, int], Callable[..., tuple[Any, ...]]] = {}
        """What is to be given back: kind and handle -> by which call."""
        self._modules: list[Any] = []
        self._moving: list[Array] = []
        """Arrays that copies on the stream read or write, which only know their address."""
        self.running = self._closing = self._ended = False
        self._device = self._found(ordinal)
        self._context = self.call("taking the GPU's context", api.cuDevicePrimaryCtxRetain, self._device)
        try:
            self._describe()
        except BaseException:
            api.cuDevicePrimaryCtxRelease(self._device)
            raise

    def _found(self, ordinal: int) -> Any:
        """The device of this number, of a driver that runs."""
        self._threads.ready = True  # there is no context yet
        self.call("starting the NVIDIA driver", self.api.cuInit, 0)
        self.running = True
        count = self.call("counting GPUs", self.api.cuDeviceGetCount)
        if not 0 <= ordinal < count:
            raise EngineError(f"GPU {ordinal} was wanted; this machine has {count}, counted from 0")
        return self.call("finding the GPU", self.api.cuDeviceGet, ordinal)

    def _describe(self) -> None:
        api, attribute = self.api, self.api.CUdevice_attribute
        self._enter()
        flags = api.CUstream_flags.CU_STREAM_NON_BLOCKING
        self.stream = int(self.call("making a stream", api.cuStreamCreate, flags))
        self.compute_capability: tuple[int, int] = (
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self._attribute(attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self.integrated = bool(self._attribute(attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED))
        """Whether the device's memory is the host's, as on every board."""
        name = self.call("asking for the GPU's name", api.cuDeviceGetName, 128, self._device)
        self.device_name: str = bytes(name).split(b"\0")[0].decode(errors="replace")
        self.driver_version: int = self.call("asking for the driver's version", api.cuDriverGetVersion)
        """As the driver counts: 12060 is CUDA 12.6."""

    @classmethod
    def open(cls, ordinal: int = 0, api: Any = None) -> Cuda:
        """The device of this number. ``api``: what stands for the module ``cuda.bindings.driver``."""
        return cls(api or bindings(), ordinal)

    def __repr__(self) -> str:
        major, minor = self.compute_capability
        return f"Cuda({self.device_name}, compute capability {major}.{minor})"

    def _attribute(self, which: Any) -> int:
        return int(self.call("asking what the GPU is", self.api.cuDeviceGetAttribute, which, self._device))

    def clocks_mhz(self) -> tuple[int, ...]:
        """Of the GPU and of its memory, at most."""
        which = self.api.CUdevice_attribute
        rates = which.CU_DEVICE_ATTRIBUTE_CLOCK_RATE, which.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE
        return tuple(self._attribute(rate) // 1000 for rate in rates)

    # -- calls and their errors

    def call(self, what: str, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
        """What ``function`` of the driver gives, without its status. ``what``: for the error, as ``copying ...``."""
        status, *came = self._ask(what, function, *arguments)
        if status != self.api.CUresult.CUDA_SUCCESS:
            raise self.error(what, status)
        return came[0] if len(came) == 1 else tuple(came)

    def _ask(self, what: str, function: Callable[..., tuple[Any, ...]], *arguments: Any) -> tuple[Any, ...]:
        """The same with its status, whatever that is."""
        if self.lost:
            raise DeviceLost(f"{what}: the GPU was lost ({self.lost}); {OVER}")
        if self._ended:
            raise EngineError(f"{what}: the engine is closed")
        try:
            if not getattr(self._threads, "ready", False):
                self._enter()
            return function(*arguments)
        except RuntimeError as error:  # the bindings': a library, or a function of it, that is not there
            older = "not found" in str(error) and self.running
            mends = f"the driver is older than the bindings: {BINDINGS}" if older else NO_DRIVER
            raise EngineError(f"{what}: {one_line(error)}; {mends}") from error

    def _enter(self) -> None:
        """Make the context this thread's."""
        self._threads.ready = True
        self.call("entering the GPU's context", self.api.cuCtxSetCurrent, self._context)

    def error(self, what: str, status: Any) -> EngineError:
        """The exception for a status of the driver's."""
        name = getattr(status, "name", str(status))
        _, text = self.api.cuGetErrorString(status)
        said = f"{name}, {text.decode(errors='replace') if isinstance(text, bytes) else text}"
        if name in LOST:
            self.lost = said
            return DeviceLost(f"{what}: the GPU was lost ({said}); {OVER}")
        return EngineError(f"{what}: {said}" + (f"; {ADVICE[name]}" if name in ADVICE else ""))

    # -- memory

    def allocate(self, nbytes: int, what: str = "buffers") -> int:
        """The address of so many zeroed bytes, a multiple of 256; at least one byte. EngineError where there is no
        room: what was asked for, and what was free."""
        address = self._room("device", nbytes, f"of the GPU's memory for {what}", self.api.cuMemAlloc, max(nbytes, 1))
        self._held["device", address] = self.api.cuMemFree
        self.clear(address, max(nbytes, 1))
        return address

    def pinned(self, nbytes: int) -> Array:
        """Zeroed host memory [nbytes] uint8 that the device copies from and to by itself. Given back when no array over
        it is left.

        On a board, whose GPU computes in the host's memory, the GPU does not cache such memory: graphs that read it in
        place would be slow, while the copy of a unit's inputs costs next to nothing. So boards copy as well.
        """
        address = self._room("pinned", nbytes, "of pinned host memory", self.api.cuMemHostAlloc, max(nbytes, 1), 0)
        self._held["pinned", address] = self.api.cuMemFreeHost
        raw: Any = (ctypes.c_uint8 * max(nbytes, 1)).from_address(address)
        finalize(raw, self.free, address, "pinned").atexit = False
        array: Array = np.frombuffer(raw, np.uint8)[:nbytes]
        array[...] = 0
        return array

    def _room(self, kind: str, nbytes: int, what: str, function: Callable[..., tuple[Any, ...]], *asked: int) -> int:
        what = f"{size_text(nbytes)} {what}"
        if self._closing:
            raise EngineError(f"{what} were wanted; the engine is closed")
        status, *came = self._ask(what, function, *asked)
        if status == self.api.CUresult.CUDA_SUCCESS:
            return int(came[0])
        if status != self.api.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise self.error(what, status)
        free, total = self.free_memory()
        advice = ADVICE["CUDA_ERROR_OUT_OF_MEMORY"].split(": ")[1]
        raise EngineError(f"{what} were wanted; {size_text(free)} of {size_text(total)} are free: {advice}")

    def free(self, address: int, kind: str = "device") -> None:
        """Give back what :meth:`allocate` gave, once all that was begun is done. For finalizers too: what the driver
        says then is kept for the next call."""
        self._give_back(kind, address)

    def free_memory(self) -> tuple[int, int]:
        """Bytes of the device that are free, and all."""
        free, total = self.call("asking for the GPU's free memory", self.api.cuMemGetInfo)
        return int(free), int(total)

    def copy_in(self, address: int, array: Array) -> None:
        """The host's C-contiguous ``array`` to the device. Its numbers stay as they are until :meth:`synchronize`."""
        self._moving.append(array)
        self.call(
            "copying to the GPU", self.api.cuMemcpyHtoDAsync, address, array.ctypes.data, array.nbytes, self.stream
        )

    def copy_out(self, array: Array, address: int) -> None:
        """The other way: it is there after :meth:`synchronize`."""
        self._moving.append(array)
        self.call(
            "copying from the GPU", self.api.cuMemcpyDtoHAsync, array.ctypes.data, address, array.nbytes, self.stream
        )

    def copy(self, to: int, of: int, nbytes: int) -> None:
        """On the device."""
        self.call("copying on the GPU", self.api.cuMemcpyDtoDAsync, to, of, nbytes, self.stream)

    def clear(self, address: int, nbytes: int) -> None:
        """Let bytes of the device be 0."""
        self.call("clearing memory of the GPU", self.api.cuMemsetD8Async, address, 0, nbytes, self.stream)

    # -- the stream

    def synchronize(self, what: str = "waiting for the GPU") -> None:
        """Wait until all that was put on the stream is done. Errors of that work come out here."""
        self.call(what, self.api.cuStreamSynchronize, self.stream)
        self._moving.clear()

    def begin_capture(self) -> None:
        """What is put on the stream from here on is written down instead of done. Other threads are not disturbed."""
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self._order:
            self.capturing = True  # before it is: whoever is interrupted in between abandons it
        try:
            self.call("capturing", self.api.cuStreamBeginCapture, self.stream, mode)
        except EngineError:
            self.capturing = False
            raise

    def end_capture(self) -> int:
        """The graph executable of what was written down."""
        try:
            graph = self.call("capturing", self.api.cuStreamEndCapture, self.stream)
        finally:
            self.capturing = False
            self._give_back_late()
        try:
            executable = int(self.call("making a graph of what was captured", self.api.cuGraphInstantiate, graph, 0))
        finally:
            self.call("letting go of a capture", self.api.cuGraphDestroy, graph)
        self._held["graph", executable] = self.api.cuGraphExecDestroy
        self.call("uploading a captured graph", self.api.cuGraphUpload, executable, self.stream)
        return executable

    def abandon_capture(self) -> None:
        """Forget what was written down, if anything is."""
        if not self.capturing:
            return
        self.capturing = False
        with suppress(EngineError):  # a capture that broke ends with an error, and there is nothing to let go of
            graph = self.call("ending a capture", self.api.cuStreamEndCapture, self.stream)
            self.call("letting go of a capture", self.api.cuGraphDestroy, graph)
        self._give_back_late()

    def launch_graph(self, executable: int) -> None:
        self.call("launching a captured graph", self.api.cuGraphLaunch, executable, self.stream)

    def destroy_graph(self, executable: int) -> None:
        self._give_back("graph", executable)

    # -- kernels

    def load_module(self, ptx: bytes) -> Any:
        """What ``function`` finds kernels in; the driver compiles it for its GPU."""
        module = self.call("loading kernels", self.api.cuModuleLoadData, ptx + b"\0")
        self._modules.append(module)
        return module

    def function(self, module: Any, name: str) -> Any:
        """A kernel, as ``launch`` takes it."""
        return self.call(f"finding kernel {name}", self.api.cuModuleGetFunction, module, name.encode())

    def launch(self, kernel: Any, grid: int, block: int, arguments: Sequence[Any]) -> None:
        """Put a launch on the stream. ``arguments``: ctypes values."""
        packed = tuple(each.value for each in arguments), tuple(type(each) for each in arguments)
        self.call(
            "launching a kernel", self.api.cuLaunchKernel, kernel, grid, 1, 1, block, 1, 1, 0, self.stream, packed, 0
        )

    # -- times

    def event(self) -> int:
        """What the stream can be asked to note a time in."""
        flags = self.api.CUevent_flags.CU_EVENT_DEFAULT
        event = int(self.call("making an event", self.api.cuEventCreate, flags))
        self._held["event", event] = self.api.cuEventDestroy
        return event

    def record(self, event: int) -> None:
        self.call("noting a time", self.api.cuEventRecord, event, self.stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two that have passed."""
        return float(self.call("asking for a time", self.api.cuEventElapsedTime, start, end))

    def destroy_events(self, events: Iterable[int]) -> None:
        for event in events:
            self._give_back("event", event)

    # -- giving back

    @property
    def held(self) -> dict[str, int]:
        """How many of each kind are not given back: device, pinned, graph, event."""
        kinds = [kind for kind, _ in self._held]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def _give_back(self, kind: str, handle: int) -> None:
        with self._order:
            self._give_back_now(kind, handle)

    def _give_back_now(self, kind: str, handle: int) -> None:
        if self.capturing:
            self._later.append(lambda: self._give_back(kind, handle))
            return
        if self._later:  # another thread let go of something just when a capture ended
            self._give_back_late()
        give_back = self._held.pop((kind, handle), None)
        if give_back is None or self._ended:
            return
        with suppress(EngineError):  # what it is stands in ``lost``, or comes with the next call
            self.synchronize("giving back memory")  # nobody uses it any more
            self.call("giving back memory", give_back, handle)
        if self._closing and not self._held:
            self._end()

    def _give_back_late(self) -> None:
        later, self._later = self._later, []
        for give_back in later:
            give_back()

    def close(self) -> None:
        """Nothing is allocated any more. What is still in use goes with the last who uses it, and the stream and the
        context after it. Closing twice is closing once."""
        self._closing = True
        if not self._held:
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        api = self.api
        with suppress(EngineError):
            self.synchronize()
            for module in self._modules:
                self.call("unloading kernels", api.cuModuleUnload, module)
            self.call("closing the stream", api.cuStreamDestroy, self.stream)
        self._ended = True
        api.cuDevicePrimaryCtxRelease(self._device)  # also of a lost device: the process gives its share back


def bindings() -> Any:
    """The module ``cuda.bindings.driver``. EngineError where it is not installed, or where there is no driver."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise EngineError(f"CUDA needs cuda-bindings ({one_line(error)}): {BINDINGS}") from error
    except RuntimeError as error:
        raise EngineError(f"{one_line(error)}; {NO_DRIVER}") from error
    return driver
