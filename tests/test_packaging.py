"""A build that would pack no code fails with one line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The package's skeleton as a zip program leaves it that knows no links, and a setuptools that packs nothing."""
    shutil.copy(ROOT / "setup.py", tmp_path)
    for name in ("devices", "export", "quantization", "runtime"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / "src" / "edge_streamer").mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / "edge_streamer" / name).write_text(f"../../{name}")
    (tmp_path / "setuptools.py").write_text("def setup(): print('built')\n")
    return tmp_path


def build(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "setup.py"], cwd=folder, capture_output=True, text=True, timeout=60)


def test_without_links_a_build_fails_with_one_line_that_mends_it(unpacked: Path) -> None:
    failed = build(unpacked)
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1
    assert "src/edge_streamer/runtime" in failed.stderr
    subprocess.run(failed.stderr.rpartition(": ")[2], shell=True, cwd=unpacked, check=True)  # the command that it names
    assert build(unpacked).stdout == "built\n"
