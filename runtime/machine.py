"""What a run happens on: the machine, its cores and memory, the versions of libraries."""

from __future__ import annotations

import os
import platform
import resource
from importlib import metadata
from pathlib import Path

LIBRARIES = ("numpy", "onnxruntime", "av", "soxr", "tokenizers", "pillow")
"""Whose versions a report names."""


def cores() -> int:
    """Processor cores that this process may use; systems that cannot tell name all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, object]:
    """What the run happened on, as far as its figures depend on it."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(Path("/proc/cpuinfo"), Path("/proc/device-tree/model")),
        "cores": cores(),
    }


def peak_megabytes() -> float:
    """The most memory that this process ever held, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def versions() -> dict[str, str]:
    """Of Python, this package and the libraries that shape a run's figures."""
    from edge_streamer import __version__

    found: dict[str, str] = {"edge-streamer": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a board's onnxruntime comes under another name
            continue
    return found


def _processor(cpuinfo: Path, board: Path) -> str:
    """The processor's name, or the board's where the processor does not tell (ARM)."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else board.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return platform.processor() or "unknown"
