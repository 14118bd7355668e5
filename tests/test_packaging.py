"""Every folder of code is packed, with links beside the package or without."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer import __version__

ROOT = Path(__file__).parent.parent
FLEET = ROOT / "devices/jetson/fleet"
"""Its folders are Ansible's, and no packages."""
ASK = """
import json, runpy, sys, setuptools
setuptools.setup = lambda **told: print(json.dumps(told))
runpy.run_path(sys.argv[1])
"""


def test_every_folder_of_code_is_packed() -> None:
    pytest.importorskip("setuptools", reason="pip brings its own where Python has none")
    ran = subprocess.run(
        [sys.executable, "-c", ASK, str(ROOT / "setup.py")], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    folders = ("devices", "export", "quantization", "runtime")
    found = {path.parent.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")
             if FLEET not in path.parent.parents}  # fmt: skip
    assert set(told["packages"]) == {"edge_streamer", *(f"edge_streamer.{'.'.join(path.parts)}" for path in found)}
    assert {folder: told["package_dir"][f"edge_streamer.{folder}"] for folder in folders} == {f: f for f in folders}


def test_the_collection_for_ansible_is_packed_with_this_version() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in told["edge_streamer.devices.jetson.fleet"] for path in FLEET.glob(pattern)}
    there = {path for path in FLEET.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert packed == there - set(FLEET.glob("*.py"))
    galaxy = (FLEET / "collections/ansible_collections/edge_streamer/device/galaxy.yml").read_text("utf-8")
    assert re.findall("^version: (.+)$", galaxy, re.M) == [__version__]
