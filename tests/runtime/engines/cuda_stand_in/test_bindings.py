"""The real ``cuda-bindings``, where they are installed: what they have, and whether they understand our calls."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.engines.cuda_kernels.compile import SOURCE
from tests.runtime.engines.cuda_stand_in.driver import Handle, surface
from tests.runtime.engines.cuda_stand_in.surface import describe, read
from tests.runtime.engines.cuda_stand_in.test_surface import every_call

HERE = Path(__file__).resolve().parent


def bindings_installed() -> bool:
    try:
        return importlib.util.find_spec("cuda.bindings.driver") is not None
    except ModuleNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not bindings_installed(), reason="cuda-bindings is not installed: .ci/cuda-bindings looks at 12.8.0 and 13.5.0"
)


def test_the_installed_bindings_are_what_is_committed() -> None:
    came = describe()
    if came["version"] not in read():
        pytest.skip(f"cuda-bindings {came['version']} is none of {', '.join(read())}")
    assert came == read()[came["version"]]


def test_the_installed_bindings_take_what_we_give_them() -> None:
    """Without a driver they say so only when they have understood every argument."""
    from cuda.bindings import driver as real

    try:
        real.cuInit(0)
        pytest.skip("there is a driver: it would take made-up handles for real ones")
    except RuntimeError:
        pass
    kinds = {"cuDeviceGetName": real.CUdevice, "cuDeviceGetAttribute": real.CUdevice, "cuCtxSetCurrent": real.CUcontext,
             "cuDevicePrimaryCtxRetain": real.CUdevice, "cuDevicePrimaryCtxRelease": real.CUdevice,
             "cuGraphInstantiate": real.CUgraph, "cuGraphDestroy": real.CUgraph, "cuModuleUnload": real.CUmodule,
             "cuModuleGetFunction": real.CUmodule}  # fmt: skip
    for name, arguments in every_call().items():
        given = [_as_real(real, kinds.get(name), argument) for argument in arguments]
        with pytest.raises(RuntimeError, match=r"dlopen|not found|driver library"):
            getattr(real, name)(*given)


def _as_real(real: Any, kind: Any, argument: Any) -> Any:
    """What the real bindings would have handed us in place of the stand-in's."""
    if isinstance(argument, Handle):
        return kind(int(argument))
    if isinstance(argument, tuple) and isinstance(argument[0], str):
        return real.CUfunction(0)
    if type(argument).__name__ in surface()[1]:
        return getattr(getattr(real, type(argument).__name__), argument.name)
    return argument


@pytest.fixture
def computer(tmp_path: Path) -> Path:
    """A folder with a driver for a computer without a GPU."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler: there is no driver to load")
    words = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-w", f"-I{SOURCE.parent}",
             str(HERE.parent / "cuda_kernels" / "cpu.cc"), str(HERE / "libcuda.cc"), "-ldl",
             "-o", str(tmp_path / "libcuda.so.1")]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_every_operation_goes_through_the_installed_bindings(computer: Path, made_counter: Path) -> None:
    environment = {**os.environ, "LD_LIBRARY_PATH": str(computer), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.engines.cuda_stand_in.real_bindings", str(made_counter)],
        capture_output=True, text=True, check=False, env=environment, cwd=HERE.parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("played through the real bindings on Cuda(A computer")
