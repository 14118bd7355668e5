"""The script for a GPU, on the stand-in: what it compares, and that it says when something does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import tests.gpu.__main__ as script
from edge_streamer.runtime.profile import device_limits
from tests.runtime.engines.cuda_kernels.cpu import compiled


@pytest.fixture
def play(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the script on the tiny bundle; returns its status and its report."""
    compiled()  # skips where there is no compiler
    monkeypatch.setattr(device_limits, "BOARD_SIDE", 32)
    monkeypatch.setattr(device_limits, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(script, "exported_bundle", lambda preset, folder: tiny_bundle)

    def run(*words: str) -> tuple[int, dict[str, Any]]:
        status = script.main(["--presets", "tiny", "--dtypes", "float32", "--units", "5", *words])
        told = capsys.readouterr().out
        assert "its times mean nothing" in " ".join(told.split())
        return status, json.loads(told.splitlines()[-1])

    return run


def test_captured_units_are_the_plain_ones_and_the_cpus(play: Any, tmp_path: Path) -> None:
    status, report = play("--out", str(tmp_path / "out.json"))
    found = report["presets"]["tiny"]["float32"]
    assert status == 0
    assert report["device"] == "none: a stand-in"
    assert report["broken"] == []
    assert found["capture_changes_nothing"] is True
    assert 0 < found["error"] < 1e-4
    assert found["memory"]["weights"] > 0
    assert json.loads((tmp_path / "out.json").read_text()) == report
    limits = report["presets"]["tiny"]["limits, tensorrt"]
    assert limits["name"] == "TensorRT 10.3.0 Stand-in"
    assert limits["rates"].keys() == {"float32", "fp16", "bf16", "int8"}
    assert limits["left_out"].keys() == {"fp8"}
    assert limits["layers"][0]["graph"]


def test_what_does_not_hold_is_told_by_name_and_by_the_status(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, calls = script.answers, []

    def wrong(*arguments: Any) -> Any:
        came = answers(*arguments)
        calls.append(came)
        if len(calls) == 3:  # the CPU's, the captured ones, the plain ones
            came.arrays["samples"][-1] = came.arrays["samples"][-1] + 1e-6
        return came

    monkeypatch.setattr(script, "answers", wrong)
    monkeypatch.setitem(script.LIMIT, "float32", 0.0)
    status, report = play()
    assert status == 1
    assert [line.partition(":")[2].split()[0] for line in report["broken"]] == ["off", "the"]
    assert report["presets"]["tiny"]["float32"]["capture_changes_nothing"] is False


def test_nothing_is_begun_when_the_time_is_up(play: Any) -> None:
    status, report = play("--minutes", "0")
    assert status == 0
    assert report["not_begun"] == ["tiny: export, and the CPU's answers"]
    assert report["presets"] == {"tiny": {}}
