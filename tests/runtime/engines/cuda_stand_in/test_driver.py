"""The stand-in refuses what a device would answer with wrong numbers, and what a device refuses is told in one line."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.engines.cuda.driver import LOST, Cuda
from edge_streamer.runtime.engines.cuda.kernels import Kernels, Rows
from edge_streamer.runtime.errors import DeviceLost, EngineError
from tests.runtime.engines.cuda_stand_in.driver import StandIn
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.cuda_stand_in.space import Violation


@pytest.fixture
def driver() -> StandIn:
    return StandIn()


@pytest.fixture
def cuda(driver: StandIn) -> Cuda:
    return Cuda.open(api=driver)


# ---- what is planted once, and caught ----


def freed_memory(cuda: Cuda) -> None:
    address = cuda.allocate(8)
    cuda.free(address)
    cuda.clear(address, 8)


def address_of_nobody(cuda: Cuda) -> None:
    cuda.clear(12345, 8)


def beyond_the_end(cuda: Cuda) -> None:
    cuda.clear(cuda.allocate(8), 9)


def host_memory_for_the_device(cuda: Cuda) -> None:
    cuda.copy(cuda.allocate(8), np.zeros(8, np.uint8).ctypes.data, 8)


def device_memory_for_the_host(cuda: Cuda) -> None:
    address = cuda.allocate(8)
    cuda.copy_in(cuda.allocate(8), np.frombuffer((ctypes.c_uint8 * 8).from_address(address), np.uint8))


def misaligned_kernel(cuda: Cuda) -> None:
    address = cuda.allocate(1024)
    rows = Rows(address, 256, 1, 1, 2, 16)
    kernels = Kernels(cuda)
    kernels.store(rows, rows, slice(0, 1), address, 0, address)
    kernels._launch("store_16", 1, *_wrong(cuda, address))


def _wrong(cuda: Cuda, address: int) -> list[Any]:
    u64 = ctypes.c_uint64
    numbers = [address + 4, 256, address, 256, 1, 1, 2, 2, 16, 0, 1]
    return [*map(u64, numbers), u64(address), ctypes.c_int64(0), u64(address)]


def another_argument(cuda: Cuda) -> None:
    kernels = Kernels(cuda)
    kernels._launch("finite_f32", 1, ctypes.c_uint64(1), ctypes.c_int32(1), ctypes.c_uint64(1), ctypes.c_uint64(1))


def freed_while_used(cuda: Cuda) -> None:
    address = cuda.allocate(8)
    cuda.call("", cuda.api.cuMemFree, address)


def pinned_freed_while_used(cuda: Cuda) -> None:
    array = cuda.pinned(8)
    cuda.copy_in(cuda.allocate(8), array)
    cuda.call("", cuda.api.cuMemFreeHost, array.ctypes.data)


def freed_after_the_launch(cuda: Cuda) -> None:
    """Freed by another library, which waits for nobody, between a launch and the wait."""
    address = cuda.allocate(8)
    cuda.clear(address, 8)
    cuda.api.space.free(address, "device")
    cuda.synchronize()


def captured(cuda: Cuda, *more: Callable[[], object]) -> tuple[int, int]:
    address = cuda.allocate(8)
    cuda.synchronize()
    cuda.begin_capture()
    cuda.clear(address, 8)
    for each in more:
        each()
    return cuda.end_capture(), address


def wait_while_capturing(cuda: Cuda) -> None:
    captured(cuda, cuda.synchronize)


def allocation_while_capturing(cuda: Cuda) -> None:
    captured(cuda, lambda: cuda.allocate(8))


def memory_that_is_not_pinned_captured(cuda: Cuda) -> None:
    target, array = cuda.allocate(8), np.zeros(8, np.uint8)
    captured(cuda, lambda: cuda.copy_in(target, array))


def launch_over_freed_memory(cuda: Cuda) -> None:
    graph, address = captured(cuda)
    cuda.free(address)
    cuda.launch_graph(graph)


def destroyed_graph(cuda: Cuda) -> None:
    graph, _ = captured(cuda)
    cuda.destroy_graph(graph)
    cuda.launch_graph(graph)


def time_that_has_not_come(cuda: Cuda) -> None:
    first, last = cuda.event(), cuda.event()
    cuda.record(first)
    cuda.record(last)
    cuda.elapsed_ms(first, last)


def call_after_close(cuda: Cuda) -> None:
    cuda.close()
    cuda.api.cuMemGetInfo()


def thread_without_a_context(cuda: Cuda) -> None:
    seen: list[Violation] = []

    def ask() -> None:
        try:
            cuda.api.cuMemGetInfo()
        except Violation as violation:
            seen.append(violation)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    raise seen[0]


PLANTED = {
    freed_memory: "was freed",
    address_of_nobody: "is no device memory that was allocated",
    beyond_the_end: "1 bytes beyond the end of device memory",
    host_memory_for_the_device: "is no device memory",
    device_memory_for_the_host: "is device memory; wanted the host's",
    misaligned_kernel: "store_16: .* misaligned",
    another_argument: "kernel finite_f32 takes arguments of",
    freed_while_used: "device memory was freed while used",
    pinned_freed_while_used: "pinned memory was freed while used",
    freed_after_the_launch: "clearing memory: the device memory at .* was freed",
    wait_while_capturing: "cuStreamSynchronize while the stream is captured",
    allocation_while_capturing: "cuMemAlloc while the stream is captured",
    memory_that_is_not_pinned_captured: "of memory that is not pinned was captured",
    launch_over_freed_memory: "was freed",
    destroyed_graph: "is no graph executable, or none any more",
    time_that_has_not_come: "a time was asked for that has not come yet",
    call_after_close: "cuMemGetInfo after the context was given back",
    thread_without_a_context: "cuMemGetInfo in a thread without a context",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_caught(cuda: Cuda, plant: Callable[[Cuda], None]) -> None:
    with pytest.raises(Violation, match=PLANTED[plant]):
        plant(cuda)


def test_a_run_at_a_wrong_address_is_caught() -> None:
    engine = StandInEngine()
    buffer = engine.buffer((64,), "float32")
    buffer.address += 4
    from tests.runtime.engines.cuda_stand_in.engine import StandInRun

    class Bound:
        graph, inputs, outputs = "one", {"x": buffer}, {}

        def run(self) -> None: ...

    with pytest.raises(Violation, match=r"graph 'one' is bound to .*: misaligned"):
        StandInRun(Bound(), engine).enqueue(engine.cuda.stream)  # type: ignore[arg-type]


def test_what_was_not_waited_for_is_stale(cuda: Cuda) -> None:
    address, seen = cuda.allocate(4), cuda.pinned(4)
    cuda.copy_in(address, np.arange(4, dtype=np.uint8))
    cuda.copy_out(seen, address)
    assert seen.tolist() == [0xFF] * 4
    cuda.synchronize()
    assert seen.tolist() == [0, 1, 2, 3]


def test_what_the_host_changes_before_it_waits_is_what_arrives(cuda: Cuda) -> None:
    address, array = cuda.allocate(1), cuda.pinned(1)
    cuda.copy_in(address, array)
    array[0] = 9
    came = np.zeros(1, np.uint8)
    cuda.copy_out(came, address)
    cuda.synchronize()
    assert came[0] == 9


def test_an_array_that_is_copied_lives_until_it_is_there(cuda: Cuda) -> None:
    address, came = cuda.allocate(1 << 20), np.empty(1 << 20, np.uint8)
    cuda.copy_in(address, np.full(1 << 20, 3, np.uint8))
    np.full(1 << 20, 7, np.uint8)  # where the other would have been
    cuda.copy_out(came, address)
    cuda.synchronize()
    assert (came == 3).all()


def test_memory_that_nobody_wrote_is_no_zero_but_ours_is(cuda: Cuda, driver: StandIn) -> None:
    assert driver.space._at[driver.space.allocate(4, "device")].bytes.tolist() == [0xA5] * 4
    came = np.full(4, 7, np.uint8)
    cuda.copy_out(came, cuda.allocate(4))
    cuda.synchronize()
    assert not came.any()
    assert not cuda.pinned(4).any()


@pytest.mark.parametrize(
    ("name", "says"),
    [("cuCtxCreate", "in every version"), ("cuNothing", "in every version"), ("cuArrayCreate", "does not do")],
)
def test_it_has_what_every_version_has_and_nothing_else(driver: StandIn, name: str, says: str) -> None:
    """``cuCtxCreate`` takes two arguments in 12 and three in 13."""
    with pytest.raises(AttributeError, match=says):
        getattr(driver, name)
    with pytest.raises(TypeError, match="cuInit takes 1 arguments; 2 came"):
        driver.cuInit(0, 0)


# ---- errors that a user can meet ----


def test_without_the_bindings_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(EngineError, match=r'CUDA needs cuda-bindings .*: pip install "cuda-bindings>=12\.6,<13"'):
        Cuda.open()


class NoDriver(StandIn):
    """The bindings without a driver: every call says so, in the words of 12.8 and of 13."""

    says = "Failed to dlopen libcuda.so.1"

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            return super().__getattr__(name)

        def call(*_: Any) -> Any:
            raise RuntimeError(self.says)

        return call


def test_without_a_driver_it_says_what_came_and_what_to_install() -> None:
    with pytest.raises(EngineError, match=r"libcuda\.so\.1; wanted: an NVIDIA driver for CUDA 12\.6 .* JetPack"):
        Cuda.open(api=NoDriver())


def test_a_function_that_the_driver_lacks_is_named(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any) -> Any:
        raise RuntimeError('Function "cuGraphUpload" not found')

    with pytest.raises(EngineError, match='"cuGraphUpload" not found; the driver is older than the bindings: pip'):
        cuda.call("uploading", lacks)


def test_without_a_gpu_it_says_so() -> None:
    driver = StandIn()
    driver.fail("cuInit", "CUDA_ERROR_NO_DEVICE")
    with pytest.raises(EngineError, match=r"CUDA_ERROR_NO_DEVICE, .*; no NVIDIA GPU is here.*--engine cpu"):
        Cuda.open(api=driver)
    with pytest.raises(EngineError, match="GPU 2 was wanted; this machine has 1, counted from 0"):
        Cuda.open(2, StandIn())
    with pytest.raises(EngineError, match="GPU 0 was wanted; this machine has 0"):
        Cuda.open(api=StandIn(count=0))


def test_what_a_board_is(cuda: Cuda) -> None:
    assert (cuda.compute_capability, cuda.integrated, cuda.device_name, cuda.driver_version) == (
        (8, 7), True, "Stand-in", 12060,
    )  # fmt: skip
    assert repr(cuda) == "Cuda(Stand-in, compute capability 8.7)"


def test_a_start_that_fails_gives_the_context_back(driver: StandIn) -> None:
    driver.fail("cuStreamCreate", "CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(EngineError, match="making a stream: CUDA_ERROR_OUT_OF_MEMORY"):
        Cuda.open(api=driver)
    assert driver.standing == {}


def test_where_memory_ends_it_says_what_was_asked_for_and_what_is_free() -> None:
    engine = StandInEngine(StandIn(total=3 << 20))
    kept = engine.buffer((1 << 20,), "uint8")
    with pytest.raises(EngineError, match=r"4.* of the GPU's memory for buffers were wanted; 2.* of 3.* are free: end"):
        engine.buffer((1 << 20,), "float32")
    del kept
    engine.buffer((3 << 20,), "uint8")


def test_pinned_memory_that_is_refused_is_told(cuda: Cuda, driver: StandIn) -> None:
    driver.fail("cuMemHostAlloc", "CUDA_ERROR_OUT_OF_MEMORY")
    with pytest.raises(EngineError, match="of pinned host memory were wanted"):
        cuda.pinned(5)
    driver.fail("cuMemAlloc", "CUDA_ERROR_NOT_PERMITTED")
    with pytest.raises(EngineError, match=r"CUDA_ERROR_NOT_PERMITTED, .*usermod -aG video"):
        cuda.allocate(5)


@pytest.mark.parametrize("name", sorted(LOST))
def test_a_lost_device_answers_nothing_any_more(cuda: Cuda, driver: StandIn, name: str) -> None:
    address = cuda.allocate(8)
    driver.lose(name)
    with pytest.raises(DeviceLost, match=f"waiting for the GPU: the GPU was lost \\({name}.*its sessions are over"):
        cuda.synchronize()
    calls = driver.calls.total()
    with pytest.raises(DeviceLost, match="restore the last snapshot"):
        cuda.allocate(8)
    cuda.free(address)
    assert driver.calls.total() == calls, "a lost device is not asked again"
    cuda.close()
    assert driver.standing.get("context") is None


def test_an_error_that_is_no_loss_leaves_the_device(cuda: Cuda, driver: StandIn) -> None:
    driver.fail("cuMemcpyDtoDAsync", "CUDA_ERROR_INVALID_VALUE")
    address = cuda.allocate(8)
    with pytest.raises(EngineError, match="copying on the GPU: CUDA_ERROR_INVALID_VALUE, invalid value") as error:
        cuda.copy(address, address, 8)
    assert not isinstance(error.value, DeviceLost)
    cuda.synchronize()


# ---- giving back ----


def test_what_is_let_go_of_in_a_capture_is_freed_after_it(cuda: Cuda, driver: StandIn) -> None:
    first, second = cuda.allocate(8), cuda.allocate(8)
    captured(cuda, lambda: cuda.free(first))
    assert driver.calls["cuMemFree"] == 1
    cuda.begin_capture()
    cuda.free(second)
    assert driver.calls["cuMemFree"] == 1
    cuda.abandon_capture()
    assert driver.calls["cuMemFree"] == 2
    assert "graph" not in driver.standing


def test_another_thread_may_use_it(cuda: Cuda) -> None:
    came: list[int] = []
    thread = threading.Thread(target=lambda: came.append(cuda.allocate(8)))
    thread.start()
    thread.join()
    assert came


def test_close_waits_for_the_last_who_uses_memory(driver: StandIn) -> None:
    engine = StandInEngine(driver)
    buffer = engine.buffer((4,), "float32", "out")
    engine.close()
    engine.close()
    assert driver.standing["context"] == 1
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.buffer((4,), "float32")
    view = buffer.host
    del buffer
    assert driver.standing == {"pinned bytes": 1 << 20, "context": 1, "stream": 1}
    assert not view.any()
    del view
    assert driver.standing == {}
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.cuda.synchronize()
