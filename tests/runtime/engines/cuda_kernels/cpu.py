"""The kernels, compiled for this machine's CPU: what the same source computes, without a GPU.

Hands on :func:`compiled`: name of a kernel -> a function that launches it. Needs a C++ compiler; a test that has none
is skipped and says so.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.engines.cuda_kernels.compile import SOURCE

CPU = Path(__file__).resolve().with_name("cpu.cc")
NAMES = ("store_16", "store_4", "store_1", "look_up_f32", "look_up_f16", "look_up_i8", "finite_f32", "finite_f16")

Launch = Callable[[Any, int], None]
"""Takes the array of pointers to the arguments, as ``cuLaunchKernel`` does, and how many threads there are."""


@cache
def compiled() -> dict[str, Launch]:
    """Every kernel. Skips the test where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels' source cannot be run on this CPU")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        words = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
                 "-Wno-unused-parameter", f"-I{SOURCE.parent}", str(CPU), "-o", str(library)]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        loaded = ctypes.CDLL(str(library))
    return {name: _launch(loaded, name) for name in NAMES}


def _launch(library: ctypes.CDLL, name: str) -> Launch:
    function = getattr(library, f"launch_{name}")
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_uint64), None

    def launch(arguments: Any, threads: int) -> None:
        function(ctypes.cast(arguments, ctypes.c_void_p), threads)

    return launch


def pointers(arguments: Sequence[ctypes._SimpleCData[Any]]) -> Any:
    """The array that a launch takes; it lives as long as ``arguments`` do."""
    return (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
