"""Every name of ``cuda.bindings.driver`` that we use is in each version, and takes what we give it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.engines.cuda import driver as driver_file
from edge_streamer.runtime.engines.cuda.driver import ADVICE, LOST, Cuda
from edge_streamer.runtime.engines.cuda.kernels import Kernels
from tests.runtime.engines.cuda_stand_in.driver import StandIn, surface
from tests.runtime.engines.cuda_stand_in.surface import main, read, written

FILES = sorted(Path(driver_file.__file__).resolve().parent.glob("*.py"))
VERSIONS = read()


def names(pattern: str) -> set[str]:
    return {name for file in FILES for name in re.findall(pattern, file.read_text())}


def test_both_generations_are_compared() -> None:
    assert sorted(version.split(".")[0] for version in VERSIONS) == ["12", "13"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_function_and_member_that_we_name_is_there(version: str) -> None:
    functions, enums = VERSIONS[version]["functions"], VERSIONS[version]["enums"]
    members = {member for enum in enums.values() for member in enum}
    used = names(r"\b(cu[A-Z]\w+)")
    assert len(used) > 30
    assert used - functions.keys() == set()
    assert names(r"\b(CUDA_(?:ERROR|SUCCESS)\w*|CU_[A-Z_0-9]+)") - members == set()
    assert names(r"\b(CU[a-z]\w+)") - enums.keys() == set()
    assert {*LOST, *ADVICE} - enums["CUresult"].keys() == set()


def test_a_name_that_only_one_version_has_is_seen() -> None:
    one, two = (set(version["functions"]) for version in VERSIONS.values())
    assert one - two
    assert two - one
    assert "cuCtxCreate" not in surface()[0], "another number of arguments"


def test_what_is_written_is_read_back() -> None:
    assert written(list(VERSIONS.values())) == Path(driver_file.__file__).resolve().parents[3].joinpath(
        "tests/runtime/engines/cuda_stand_in/surface.json"
    ).read_text()  # fmt: skip


def every_call() -> dict[str, tuple[Any, ...]]:
    """Each function that a tape's life calls, with the arguments of its last call."""
    driver = StandIn()
    cuda = Cuda.open(api=driver)
    cuda.free_memory()
    address, host = cuda.allocate(256), cuda.pinned(256)
    kernels = Kernels(cuda)
    cuda.begin_capture()
    cuda.copy_in(address, host)
    cuda.copy(address, address, 256)
    kernels.look_up(address, "float32", 0, 1, 1, address, 1, address)
    cuda.copy_out(host, address)
    graph = cuda.end_capture()
    cuda.launch_graph(graph)
    first, last = cuda.event(), cuda.event()
    cuda.record(first)
    cuda.record(last)
    cuda.synchronize()
    cuda.elapsed_ms(first, last)
    cuda.destroy_events((first, last))
    cuda.destroy_graph(graph)
    cuda.error("asking", driver.CUresult.CUDA_ERROR_NO_DEVICE)
    del host
    cuda.free(address)
    cuda.close()
    assert driver.standing == {}
    return driver.seen


def test_a_tapes_life_makes_every_call_that_we_name() -> None:
    assert names(r"api\.(cu[A-Z]\w+)") - every_call().keys() == set()


def test_a_folder_without_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"No module named .cuda|No package metadata .* cuda-bindings"):
        main([str(tmp_path), "--check"])


def test_the_module_is_imported_only_when_a_device_is_opened() -> None:
    """So every other file can be imported where it is not installed."""
    assert [file.name for file in FILES if re.search(r"^(from|import) cuda", file.read_text(), re.MULTILINE)] == []
    assert [file.name for file in FILES if "from cuda" in file.read_text()] == ["driver.py"]
