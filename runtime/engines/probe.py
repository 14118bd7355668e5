"""Which engines can run on this machine, asked without putting the one who asks at risk.

Hands on :class:`Gpu`, and what each engine lacks. The first look is at names of files and of modules and costs nothing,
so that a machine without an NVIDIA GPU is told at once. Only where there is one, a process of its own loads the driver
and TensorRT and says what they answered: a driver that hangs or ends its process, or a library that is there without
the driver it needs, is then an engine that is not here, and nothing worse.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from edge_streamer.runtime.child import python_m
from edge_streamer.runtime.engines import fatbin
from edge_streamer.runtime.engines.tensorrt.library import HOW, MODULES, find
from edge_streamer.runtime.errors import InputError, one_line

DEVICES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/power", "/dev/nvmap", "/dev/dxg")
"""Files that a driver of NVIDIA's makes: a PC's and Thor's, Orin's, Windows' for its Linux."""
PROBE_SECONDS = 60.0
"""TensorRT's libraries are gigabytes, read for the first time from an SD card."""


class Gpu(NamedTuple):
    """What the driver answered. ``why``: why it cannot be used; empty where it can."""

    why: str = ""
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    driver: int = 0
    """As it counts: 12060 is CUDA 12.6."""
    tensorrt: str = ""
    """TensorRT's version; empty where it is not here."""
    tensorrt_why: str = ""
    """Why it cannot be loaded, where a module is here."""
    onnxruntime_why: str = ""
    """Why ONNX Runtime's CUDA library cannot be loaded, where there is one."""


def has_driver() -> bool:
    """Whether a driver of NVIDIA's made its files: without them there is nothing to ask."""
    return any(Path(name).exists() for name in DEVICES)


@cache
def gpu() -> Gpu:
    """What the driver and TensorRT answer in a process of their own; once."""
    if not has_driver():
        return Gpu("needs an NVIDIA GPU and its driver")
    return asked(python_m("edge_streamer.runtime.engines.probe"))


def asked(words: list[str], seconds: float = PROBE_SECONDS) -> Gpu:
    """What a process that probes answers."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        fields = json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
        return Gpu(**{**fields, "capability": (int(fields["capability"][0]), int(fields["capability"][1]))})
    except subprocess.TimeoutExpired:
        return Gpu(f"needs a driver that answers: this one said nothing in {seconds:g} seconds")
    except (OSError, ValueError, LookupError, TypeError):
        return Gpu("needs a driver that works: the process that asked it ended without an answer")


def without(*modules: str) -> bool:
    """Whether one of these cannot be imported, as far as can be seen without importing it."""
    try:
        return any(find_spec(module) is None for module in modules)
    except (ImportError, ValueError, AttributeError):  # cuda: there is another package of this name
        return True


def cuda_lacks() -> str:
    """What the engine ``cuda`` needs that is not here; empty where it can run."""
    from edge_streamer.runtime.engines.ort_library import cuda_library, has_cuda

    if not has_driver():
        return gpu().why
    if not has_cuda():
        return f"needs onnxruntime-gpu, the onnxruntime that is here is for CPUs; {HOW}"
    if without("cuda.bindings"):
        return f"needs cuda-bindings; {HOW}"
    found = gpu()
    if found.why:
        return found.why
    codes = fatbin.held(library) if (library := cuda_library()) else frozenset[fatbin.Code]()
    if codes and not any(code.runs_on(found.capability) for code in codes):
        held = ", ".join(fatbin.names(codes))
        return (
            f"needs another onnxruntime-gpu: this one holds code for {held}, and {found.name} is of compute "
            f"capability {'.'.join(map(str, found.capability))}; {HOW}"
        )
    return f"needs what its library needs: {found.onnxruntime_why}; {HOW}" if found.onnxruntime_why else ""


def tensorrt_lacks() -> str:
    """What the engine ``tensorrt`` needs that is not here; empty where it can run."""
    if not has_driver():
        return gpu().why
    if all(without(module) for module in MODULES):
        return f"needs TensorRT; {HOW}"
    if without("cuda.bindings"):
        return f"needs cuda-bindings; {HOW}"
    found = gpu()
    return found.why or (f"needs a TensorRT that loads: {found.tensorrt_why}" if not found.tensorrt else "")


def version(*distributions: str) -> str:
    """Of the first of these that is installed; empty where none is."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


# -- in the process of its own


def _ask() -> Gpu:
    found = _driver()
    if found.why:
        return found
    from edge_streamer.runtime.engines.ort_library import has_cuda, preload, why_not_loaded

    if has_cuda():
        preload()
        found = found._replace(onnxruntime_why=why_not_loaded())
    if all(without(module) for module in MODULES):
        return found
    try:
        library = find()
        if library.trt.Builder(library.trt.Logger(library.trt.Logger.ERROR)):
            return found._replace(tensorrt=library.name)
        return found._replace(tensorrt_why=f"{library.name} makes no builder")
    except InputError as error:
        return found._replace(tensorrt_why=str(error))
    except Exception as error:  # whatever a foreign library raises: it is told, and the engine is not here
        return found._replace(tensorrt_why=one_line(error)[:300])


def _driver() -> Gpu:
    import ctypes

    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return Gpu(f"needs the driver's library: {one_line(error)}")
    number = ctypes.c_int()
    if status := cuda.cuInit(0):
        return Gpu(f"needs a driver that starts: cuInit gave error {status}")
    if cuda.cuDeviceGetCount(ctypes.byref(number)) or not number.value:
        return Gpu("needs an NVIDIA GPU: the driver sees none")
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, len(name), device)
    values = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        values.append(number.value)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    return Gpu("", name.value.decode("utf-8", "replace"), (values[0], values[1]), number.value)


if __name__ == "__main__":
    print(json.dumps(_ask()._asdict()))
    sys.stdout.flush()
