"""The command that installs what an engine lacks, on the machine that the facts describe.

Receives facts; hands on commands for a shell. A Jetson has TensorRT from JetPack, as a package of the system's Python;
a PC has it from pip, for the CUDA that its driver runs.
"""

from __future__ import annotations

from pathlib import Path

from edge_streamer.devices.jetson.facts import Facts
from edge_streamer.devices.jetson.known import Capability, numbers

CUDA_13_DRIVER, CUDA_12_DRIVER = 580, 525
"""The oldest drivers of a PC that run programs of CUDA 13 and 12."""
NEWEST_JETPACK = "flash JetPack 6.2 or newer (Orin) or 7.1 or newer (Thor)"
JETSON_APT = "sudo apt-get update && sudo apt-get install -y"
OTHERS = "numpy av soxr tokenizers rich msgspec pillow"
"""What this package needs beside ONNX Runtime: see pyproject.toml."""


def cuda_major(facts: Facts) -> int:
    """Of the CUDA that the driver runs; 12 where nobody tells."""
    if facts.jetson:
        said = facts.release.cuda if facts.release else facts.cuda
        return numbers(said)[0] if said else (13 if numbers(facts.l4t) >= (38,) else 12)
    return 13 if (numbers(facts.driver) or (0,))[0] >= CUDA_13_DRIVER else 12


def driver(facts: Facts) -> str:
    """What brings a driver."""
    if facts.jetson:
        return f"the driver comes with JetPack: {NEWEST_JETPACK}"
    if not facts.card:
        return ""
    if "Ubuntu" in facts.system:
        return "sudo ubuntu-drivers install && sudo reboot"
    return "sudo apt-get install -y nvidia-driver && sudo reboot"


def bindings(facts: Facts) -> str:
    """What brings Python's view of the driver."""
    return f"pip install 'cuda-bindings{'>=13,<14' if cuda_major(facts) >= 13 else '>=12.6,<13'}'"


def tensorrt(facts: Facts) -> str:
    """What brings TensorRT's Python module."""
    if not facts.jetson:
        return f"pip install {'tensorrt-rtx-cu13' if cuda_major(facts) >= 13 else 'tensorrt-cu12'}"
    if "libnvinfer" in facts.libraries and system_python(facts) and not facts.sees_system:
        return see_system(facts)
    return f"{JETSON_APT} tensorrt python3-libnvinfer"


def system_python(facts: Facts) -> bool:
    """Whether this Python is of the system's version, for which alone its packages are built."""
    return facts.release is None or facts.python == facts.release.python


def see_system(facts: Facts) -> str:
    """What lets the virtual environment see the system's packages."""
    configuration = Path(facts.venv) / "pyvenv.cfg"
    return f"sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' '{configuration}'"


def onnxruntime_gpu(facts: Facts) -> str:
    """What brings ONNX Runtime with CUDA, in place of the one for CPUs: both are the same module."""
    major, first = cuda_major(facts), "pip uninstall -y onnxruntime onnxruntime-gpu"
    if facts.jetson:
        python = "".join(map(str, facts.python))
        return (
            f"{first} && pip install ./onnxruntime_gpu-*-cp{python}-*_{facts.architecture}.whl   # a wheel built for "
            f"CUDA {major} and compute capability {dotted(facts.capability)}: NVIDIA's Jetson AI Lab has some, and "
            "'pip install onnxruntime-gpu' alone brings no code for this GPU; --engine tensorrt needs none"
        )
    versions = ">=1.27,<2" if major >= 13 else ">=1.23,<1.27"
    return f"{first} && pip install 'onnxruntime-gpu[cuda,cudnn]{versions}'"


def onnxruntime() -> str:
    """What brings ONNX Runtime for the CPU alone, again."""
    return "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime>=1.23,<2'"


def cuda(facts: Facts) -> str:
    """What brings CUDA's libraries."""
    return f"{JETSON_APT} nvidia-cuda" if facts.jetson else "pip install 'onnxruntime-gpu[cuda,cudnn]'"


def cudnn(facts: Facts) -> str:
    """What brings cuDNN."""
    if facts.jetson:
        return f"{JETSON_APT} {'nvidia-cudnn' if cuda_major(facts) < 13 else 'libcudnn9-cuda-13'}"
    return f"pip install 'nvidia-cudnn-cu{cuda_major(facts)}>=9,<10'"


def dotted(capability: Capability | None) -> str:
    """``8.7``."""
    return ".".join(map(str, capability)) if capability else "unknown"


def commands(facts: Facts, engine: str) -> list[str]:
    """What installs all that ``engine`` lacks on this machine, in order; empty where nothing that can be seen from
    outside is missing, or where nothing can help: there is no NVIDIA GPU."""
    if engine == "cpu":
        return [] if {"onnxruntime", "onnxruntime-gpu"} & facts.wheels.keys() else [onnxruntime()]
    if not (facts.gpu_files or facts.card or facts.jetson):
        return []
    found = [] if facts.gpu_files else [driver(facts)]
    if engine == "tensorrt" and not any(name.startswith("tensorrt") for name in facts.wheels):
        found.append(tensorrt(facts))
    if engine == "cuda" and ("onnxruntime-gpu" not in facts.wheels or "onnxruntime" in facts.wheels):
        found.append(onnxruntime_gpu(facts))
    if "cuda-bindings" not in facts.wheels:
        found.append(bindings(facts))
    return found
