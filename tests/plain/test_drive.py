"""docs/plain/drive.py, a driver that has only the page, gives what a session gives, and stays short and on its own"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVER = ROOT / "docs" / "plain" / "drive.py"


def python(*arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [[], ["--settle", "--temperature", "0.8", "--seed", "18446744073709551615", "--steps", "3", "--prefix", "be kind"]],
    ids=["greedy", "sampled"],
)
def test_gives_what_a_session_gives(tmp_path: Path, options: list[str]) -> None:
    bundle = python("-m", "edge_streamer", "demo", "--float", "--bundle").strip()
    out, mine = tmp_path / "out.npz", tmp_path / "mine.npz"
    python("-m", "tests.plain.reference", bundle, out, "--units", "4", *options)
    python(DRIVER, bundle, out, mine, *options[:1])
    # On one thread each they are equal; where a session takes more, a nearly silent unit is off by some 1e-5.
    said = python("-m", "tests.plain.compare", out, mine, "--tolerance", "1e-4")
    for name in ("tokens", "scores", "latents.video", "latents.audio", "samples", "frames"):
        assert f"\n{name} " in said, said


def test_is_short_and_stands_alone() -> None:
    source = DRIVER.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 120
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    assert found <= {"json", "sys", "pathlib", "numpy", "onnxruntime"}
