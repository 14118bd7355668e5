"""The seam: the device side imports and runs where torch and onnx are absent.

Three ways, because each sees what the others miss: every module is imported with those libraries blocked; a bundle is
stepped, packed and inspected with them blocked; and every import statement is read, those inside functions too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import PLUGINS, imported_names, module_name, python_files

TRAINING = {"torch", "onnx", "onnxscript", "onnx_ir", "safetensors", "transformers"}
FORBIDDEN = {"runtime": TRAINING, "devices": TRAINING, "quantization": {"torch"}}
"""Folder -> what no file in it may import, at the top or inside a function. Who of ours imports whom: see
test_floors.py."""

BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Blocker())
"""

IMPORT_ALL = """
import importlib, pkgutil
for folder in ("edge_streamer.runtime", "edge_streamer.devices"):
    package = importlib.import_module(folder)
    for module in pkgutil.walk_packages(package.__path__, folder + "."):
        importlib.import_module(module.name)
        print(module.name)
"""

RUN = """
import sys
import numpy as np
import edge_streamer
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.unit import Unit
session = edge_streamer.open(sys.argv[1])
for step in range(1, 4):
    z = session.step(Unit(arrays={"x": np.ones((1, 4), np.float32)})).arrays["z"]
    assert (z == 2 * step).all(), z
assert cli.main(["inspect", sys.argv[1]]) == 0
assert cli.main(["pack", sys.argv[1], "--out", sys.argv[2]]) == 0
assert cli.main(["inspect", sys.argv[2]]) == 0
assert cli.main(["export", "wan-streamer", "--preset", "tiny", "--out", sys.argv[2] + ".new"]) == 2
"""


def blocked(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in a fresh interpreter without the training libraries, warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", BLOCKER + script, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_module_of_the_device_side_imports_without_the_training_libraries() -> None:
    ran = blocked(IMPORT_ALL)
    assert ran.returncode == 0, ran.stderr
    found = {path for folder in ("runtime", "devices") for path in python_files(folder)}
    found -= {path for folder in PLUGINS for path in folder.rglob("*.py")}
    imported = set(ran.stdout.split())
    assert imported >= {module_name(path) for path in found if path.name != "__init__.py"}


def test_the_blocker_blocks() -> None:
    ran = blocked("import torch")
    assert ran.returncode == 1
    assert "blocked" in ran.stderr


def test_a_bundle_runs_without_the_training_libraries(counter: Path, tmp_path: Path) -> None:
    ran = blocked(RUN, str(counter), str(tmp_path / "counter.tar"))
    assert ran.returncode == 0, ran.stderr
    assert "pip install 'edge-streamer[export]'" in ran.stderr  # export alone asks for what is missing


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_file_imports_across_the_seam(folder: str) -> None:
    files = list(python_files(folder))
    assert files
    crossings = [
        f"{path.name} imports {name}"
        for path in files
        for name in imported_names(path)
        if any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN[folder])
    ]
    assert crossings == []
