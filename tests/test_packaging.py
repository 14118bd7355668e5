"""Every folder of code is packed, with links beside the package or without."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
    found = {path.parent.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert set(told["packages"]) == {"edge_streamer", *(f"edge_streamer.{'.'.join(path.parts)}" for path in found)}
    assert {folder: told["package_dir"][f"edge_streamer.{folder}"] for folder in folders} == {f: f for f in folders}
