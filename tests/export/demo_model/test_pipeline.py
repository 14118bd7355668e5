"""The whole training, far too short to learn anything: every stage runs, what is there is not made again, and the
weights fit the preset."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.export.wan_streamer.weights import load_weights

STAGES = (
    "audio", "camera", "video", "clips-0", "clips-1", "listen", "understand", "speak", "joint", "whole", "rollout",
    "polish-audio",
)  # fmt: skip


TRAIN, BRIEF = "edge_streamer.export.demo_model.train", "tests.export.demo_model.brief"


def train(
    out: Path, environment: dict[str, str] | None = None, module: str = TRAIN
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, "--out", str(out), "--scale", "0.002" if module == TRAIN else "0.0001"]
    return subprocess.run(command, capture_output=True, text=True, timeout=3000, env=environment)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="training needs espeak-ng, which is not installed")
@pytest.mark.parametrize("module", [BRIEF, pytest.param(TRAIN, marks=pytest.mark.long)])
def test_every_stage_runs_and_none_twice(module: str, tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    first = train(out, module=module)
    assert first.returncode == 0, first.stderr
    model = build(PRESETS["demo"], 0)
    load_weights(model, out)
    for stage in STAGES:
        assert f"] {stage} " in first.stderr
    again = train(out, module=module)
    assert again.returncode == 0, again.stderr
    assert not [stage for stage in STAGES if f"] {stage} " in again.stderr]


def test_a_machine_without_espeak_is_told_so(tmp_path: Path) -> None:
    ran = train(tmp_path / "weights.safetensors", {**os.environ, "PATH": str(tmp_path)})
    assert ran.returncode == 2
    assert "espeak-ng is not installed" in ran.stderr
    assert not (tmp_path / "weights.safetensors").exists()
