"""Wheels made on the spot: one that stands for this package and starts the tree under test, and a large one.

Receives a folder; hands on it, filled.
"""

from __future__ import annotations

import ensurepip
import random
import shutil
import sys
import zipfile
from pathlib import Path

SETTINGS = """bundle = "bundle"
mic = "none"
speaker = "none"
camera = "pattern"
display = "none"
"""
"""A live conversation that no device is needed for."""
MAIN = """import os
import sys

FAULT = {fault!r}

if FAULT and sys.argv[1] == "run":
    exec(FAULT)
os.environ.pop("PYTHONPATH", None)
os.execv({python!r}, [{python!r}, "-B", "-m", "edge_streamer", *sys.argv[1:]])
"""
PIP = Path("/usr/share/python-wheels")
"""Debian's."""
LARGE = 3_000_000


def wheel(folder: Path, name: str, files: dict[str, bytes], tag: str = "py3-none-any", needs: str = "") -> Path:
    """A wheel of these files; ``needs`` are lines of its metadata."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    texts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        **files,
    }
    record = "".join(f"{one},,\n" for one in [*texts, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for one, data in {**texts, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(zipfile.ZipInfo(one), data)
    return path


def wheels(folder: Path, fault: str = "", large: int = LARGE) -> Path:
    """``fault`` is run before a conversation."""
    main = MAIN.format(fault=fault, python=sys.executable).encode()
    wheel(folder, "edge_streamer", {"edge_streamer/__init__.py": b"", "edge_streamer/__main__.py": main})
    for one in [*Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"), *PIP.glob("pip-*.whl")][:1]:
        shutil.copy(one, folder)
    wheel(folder, "filler", {"filler.bin": random.Random(1).randbytes(large)})
    return folder
