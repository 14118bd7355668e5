"""The installed ONNX Runtime: for CPUs, or with CUDA, and where its CUDA library lies.

Hands on what can be said of it without opening a graph; ``ort`` is the module, or what stands for it. ``onnxruntime``
and ``onnxruntime-gpu`` are one module, so the names of packages tell little: what counts is what the module itself says
that it was built with.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import onnxruntime

from edge_streamer.runtime.errors import one_line

PROVIDER = "CUDAExecutionProvider"
LIBRARY = "capi/libonnxruntime_providers_cuda.so"
SHARED = "capi/libonnxruntime_providers_shared.so"


def has_cuda(ort: Any = onnxruntime) -> bool:
    """Whether the module was built with CUDA. That its library loads is another matter (:func:`why_not_loaded`)."""
    return PROVIDER in ort.get_available_providers()


def cuda_library(ort: Any = onnxruntime) -> Path | None:
    """Its CUDA library; None where it has none of its own (a Debian package, a static build)."""
    path = Path(ort.__file__).parent / LIBRARY
    return path if path.is_file() else None


def preload(ort: Any = onnxruntime) -> None:
    """Load CUDA's and cuDNN's libraries that came as wheels, which ONNX Runtime would not find by itself."""
    if hasattr(ort, "preload_dlls"):
        from contextlib import redirect_stdout
        from io import StringIO

        with redirect_stdout(StringIO()):  # it prints what it does not find, which a system may have elsewhere
            ort.preload_dlls()


def why_not_loaded(ort: Any = onnxruntime) -> str:
    """Why the CUDA library cannot be loaded, as the system's loader says it: it names what is missing. Empty where it
    can, or where there is none to try."""
    library = cuda_library(ort)
    if library is None:
        return ""
    try:
        ctypes.CDLL(str(library.parent / Path(SHARED).name), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as error:
        return one_line(error)
    return ""
