"""What is installed: Debian packages, libraries on disk, Python's wheels.

Receives a system; hands on versions by name. Nothing is imported or loaded: a broken library would break the one who
asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from edge_streamer.devices.jetson.system import System, shown

MOST_STATUS = 32 * 1024 * 1024
"""Bytes of dpkg's list: a desktop's is 4 MB."""
PACKAGES = re.compile(r"nvidia-jetpack|nvidia-l4t-core|libnvinfer\d+|python3-libnvinfer|libcudnn\d+(-cuda-\d+)?"
                      r"|cuda-cudart-\d+-\d+|nvidia-cudnn|tensorrt")  # fmt: skip
FOLDERS = (
    "/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/*/lib",
)  # fmt: skip
LIBRARIES = ("libnvinfer", "libcudnn", "libcudart", "libnvonnxparser")
DRIVER = (
    "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/tegra/libcuda.so.1",
    "/usr/lib/aarch64-linux-gnu/libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
)  # fmt: skip
WHEELS = (
    "onnxruntime", "onnxruntime-gpu", "cuda-bindings", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13",
    "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12",
    "tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13",
    "tensorrt-rtx-cu13-bindings",
)  # fmt: skip
CUDA_PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"

_STANZA = re.compile(r"^(Package|Status|Version): (.{1,200})$", re.MULTILINE)
_VERSION = re.compile(r"\.so\.(\d+(?:\.\d+)*)$")


class Wheel(NamedTuple):
    """An installed distribution of Python."""

    version: str
    folder: Path
    """Where its modules lie."""


def debian(system: System) -> dict[str, str]:
    """Package -> version, of those that matter here and are installed whole."""
    found = dict[str, str]()
    for stanza in system.text("/var/lib/dpkg/status", MOST_STATUS).split("\n\n"):
        fields = dict(_STANZA.findall(stanza))
        if "install ok installed" in fields.get("Status", "") and PACKAGES.fullmatch(fields.get("Package", "")):
            found[fields["Package"]] = fields.get("Version", "")
    return found


def libraries(system: System) -> dict[str, str]:
    """Library -> the newest version that its files' names say."""
    found = dict[str, tuple[tuple[int, ...], str]]()
    for name in LIBRARIES:
        for folder in FOLDERS:
            for path in system.names(f"{folder}/{name}.so.*"):
                if version := _VERSION.search(system.real(path)) or _VERSION.search(path):
                    key = tuple(int(part[:9]) for part in version[1].split("."))
                    found[name] = max(found.get(name, ((), "")), (key, version[1]))
    return {name: version for name, (_, version) in found.items()}


def driver_library(system: System) -> str:
    """Where the CUDA driver's library lies; empty where it is in none of the usual places."""
    return next((name for name in DRIVER if system.there(name)), "")


def wheels(folders: Iterable[str]) -> dict[str, Wheel]:
    """Wheel -> what is installed of it in the folders of ``sys.path``, the first of them where there are several."""
    found = dict[str, Wheel]()
    try:
        for one in metadata.distributions(path=list(folders)):
            name, version = str(one.metadata["Name"] or "").lower().replace("_", "-"), str(one.version or "")
            if name in WHEELS and name not in found:
                found[name] = Wheel(shown(version.encode()[:60]), Path(str(one.locate_file(""))))
    except Exception:  # metadata of any other package may be damaged in any way, and importlib maps none of it
        pass
    return found


def cuda_provider(installed: Mapping[str, Wheel]) -> Path | None:
    """ONNX Runtime's CUDA library, where a wheel brought one."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        if name in installed and (path := installed[name].folder / CUDA_PROVIDER).is_file():
            return path
    return None
