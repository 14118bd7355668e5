"""The doctor's look at software: JetPack, driver, CUDA, TensorRT, wheels, and whether they fit each other.

Receives facts; hands on lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edge_streamer.devices.jetson import installs
from edge_streamer.devices.jetson.facts import Facts
from edge_streamer.devices.jetson.installs import dotted
from edge_streamer.devices.jetson.known import OLDEST, RELEASES, numbers
from edge_streamer.devices.jetson.line import Line, fail, ok, warn

OLDEST_TENSORRT = (10, 3)
OLDEST_PYTHON = (3, 10)


class Code(NamedTuple):
    """What a CUDA library holds compiled."""

    names: Sequence[str]
    """``sm_87``, ``sm_90a``, ``compute_80``."""
    fits: bool
    """Whether some of it runs on this machine's GPU."""


def lines(facts: Facts, code: Code | None = None) -> Iterator[Line]:
    """``code``: of ONNX Runtime's CUDA library, where there is one and this machine's GPU is known."""
    yield _board(facts)
    yield from _jetpack(facts)
    yield _python(facts)
    yield _driver(facts)
    if facts.gpu_files or facts.card or facts.jetson:
        yield _cuda(facts)
        yield _cudnn(facts)
        yield _tensorrt(facts)
        yield _bindings(facts)
    yield _onnxruntime(facts)
    if code is not None:
        yield _code(facts, code)


def _board(facts: Facts) -> Line:
    what = facts.model or f"{facts.system or 'Linux'}, {facts.architecture}"
    if not facts.jetson:
        cards = ", ".join(f"{gpu.name} (compute capability {dotted(gpu.capability)})" for gpu in facts.gpus)
        return ok("machine", f"{what}{'; ' + cards if cards else ''}")
    if facts.module is None:
        known = f"compute capability {dotted(facts.capability)}" if facts.capability else "its GPU is not known either"
        return warn("module", f"{what}: a module that is not in the list; {known}", "upgrade edge-streamer")
    return ok("module", f"{facts.module.name}, compute capability {dotted(facts.capability)} ({what})")


def _jetpack(facts: Facts) -> Iterator[Line]:
    if not facts.jetson:
        return
    package = facts.debian.get("nvidia-jetpack", "")
    if not facts.l4t:
        said = facts.release_line[:60]
        yield warn("L4T", f"/etc/nv_tegra_release says {said!r}" if said else "no /etc/nv_tegra_release",
                   "none needed where TensorRT and CUDA below are there")  # fmt: skip
    elif numbers(facts.l4t) < OLDEST:
        yield warn("L4T", f"{facts.l4t}: its TensorRT is older than 10.3", installs.NEWEST_JETPACK)
    elif facts.release is None:
        newest = max(RELEASES, key=numbers)
        yield warn("L4T", f"{facts.l4t} is not in the list (newest {newest}): what counts are the versions below",
                   "upgrade edge-streamer, if there is a newer one")  # fmt: skip
    else:
        yield ok("L4T", f"{facts.l4t}, JetPack {facts.release.jetpack}")
    if package:
        yield ok("JetPack", f"nvidia-jetpack {package}")
    else:
        yield warn("JetPack", "package nvidia-jetpack is not installed: the system alone was flashed",
                   f"{installs.JETSON_APT} nvidia-jetpack")  # fmt: skip


def _python(facts: Facts) -> Line:
    here = ".".join(map(str, facts.python))
    if facts.python < OLDEST_PYTHON:
        return fail("Python", here, "make the virtual environment with Python 3.10 or newer")
    if facts.jetson and not installs.system_python(facts):
        wanted = ".".join(map(str, facts.release.python)) if facts.release else ""
        mend = f"/usr/bin/python{wanted} -m venv --system-site-packages .venv, and install again there"
        return warn("Python", f"{here}; this JetPack's TensorRT is for {wanted}", mend)
    return ok("Python", here)


def _driver(facts: Facts) -> Line:
    if not (facts.gpu_files or facts.card or facts.jetson):
        return ok("driver", "no NVIDIA GPU: the CPU engine runs")
    if not facts.gpu_files:
        return warn("driver", "an NVIDIA GPU without a driver", installs.driver(facts) or "see NVIDIA's guide")
    if facts.gpus and not facts.jetson and (numbers(facts.driver) or (0,))[0] < installs.CUDA_12_DRIVER:
        return warn("driver", f"{facts.driver} is older than CUDA 12 needs ({installs.CUDA_12_DRIVER})",
                    installs.driver(facts) or "install a newer driver")  # fmt: skip
    if not facts.driver_library:
        return warn("driver", f"{facts.driver or 'its files are there'}, but no libcuda.so.1 in the usual places",
                    "in a container: start it with --runtime nvidia or --gpus all")  # fmt: skip
    return ok("driver", facts.driver or "version not told")


def _cuda(facts: Facts) -> Line:
    wheel = next((facts.wheels[name].version for name in facts.wheels if name.startswith("nvidia-cuda-runtime")), "")
    found = facts.cuda or facts.libraries.get("libcudart", "") or wheel
    if found:
        return ok("CUDA", found)
    if facts.cuda_provider:
        return fail("CUDA", "none; ONNX Runtime with CUDA cannot load without its libraries", installs.cuda(facts))
    # The driver alone runs TensorRT and our kernels; the toolkit's libraries are ONNX Runtime's.
    return ok("CUDA", "no toolkit; the engines need none but what their wheels bring")


def _cudnn(facts: Facts) -> Line:
    wheel = next((facts.wheels[name].version for name in facts.wheels if name.startswith("nvidia-cudnn")), "")
    found = facts.libraries.get("libcudnn", "") or wheel
    if not found and facts.cuda_provider:
        return fail("cuDNN", "none; ONNX Runtime with CUDA cannot load without it", installs.cudnn(facts))
    return ok("cuDNN", found or "none; only ONNX Runtime with CUDA needs it")


def _tensorrt(facts: Facts) -> Line:
    wheel = next((facts.wheels[name].version for name in facts.wheels if name.startswith("tensorrt")), "")
    library = facts.libraries.get("libnvinfer", "")
    if not wheel:
        found = f"libnvinfer {library}, but not for this Python" if library else "none"
        if facts.jetson and library and not installs.system_python(facts):
            return warn("TensorRT", found, "see Python above")
        return warn("TensorRT", found, installs.tensorrt(facts))
    if numbers(wheel)[:2] < OLDEST_TENSORRT:
        return warn("TensorRT", f"{wheel} is older than 10.3, the oldest that is taken",
                    installs.NEWEST_JETPACK if facts.jetson else installs.tensorrt(facts))  # fmt: skip
    if facts.jetson and library and numbers(library)[:2] != numbers(wheel)[:2]:
        return fail("TensorRT", f"Python's module is {wheel}, libnvinfer is {library}: they must be one version",
                    f"pip uninstall -y tensorrt && {installs.JETSON_APT} tensorrt python3-libnvinfer")  # fmt: skip
    return ok("TensorRT", f"{wheel}{f' (libnvinfer {library})' if library else ''}")


def _bindings(facts: Facts) -> Line:
    wheel = facts.wheels.get("cuda-bindings")
    if wheel is None:
        return warn("cuda-bindings", "none: the engines on a GPU need it", installs.bindings(facts))
    major = installs.cuda_major(facts)
    if (numbers(wheel.version) or (0,))[0] > major:
        return fail("cuda-bindings", f"{wheel.version} is for a newer driver than this one, which runs CUDA {major}",
                    installs.bindings(facts))  # fmt: skip
    return ok("cuda-bindings", wheel.version)


def _onnxruntime(facts: Facts) -> Line:
    plain, gpu = facts.wheels.get("onnxruntime"), facts.wheels.get("onnxruntime-gpu")
    if plain and gpu:
        able = bool(facts.gpu_files)
        return fail("ONNX Runtime", f"onnxruntime {plain.version} and onnxruntime-gpu {gpu.version} at once: they are "
                    "one module, and the one installed last is half overwritten",
                    installs.onnxruntime_gpu(facts) if able else installs.onnxruntime())  # fmt: skip
    if gpu:
        return ok("ONNX Runtime", f"{gpu.version}, with CUDA")
    if plain:
        return ok("ONNX Runtime", f"{plain.version}, for CPUs")
    return fail("ONNX Runtime", "not installed: the CPU engine cannot run", installs.onnxruntime())


def _code(facts: Facts, code: Code) -> Line:
    held = ", ".join(code.names) or "no code that could be read"
    if code.fits:
        return ok("wheel's CUDA code", f"{held}; this GPU is {dotted(facts.capability)}")
    return fail("wheel's CUDA code", f"onnxruntime-gpu holds {held}: none runs on this GPU, which is "
                f"{dotted(facts.capability)}", installs.onnxruntime_gpu(facts))  # fmt: skip
