"""``quantize`` on a chain: any program's layers, its outputs' error over time, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.bundles import ROOM, counter_bundle, mixer_bundle, rewrite, room_bundle
from tests.media_files import write_wav


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A second of sounds at 16 kHz."""
    return write_wav(tmp_path / "speech.wav", np.random.default_rng(1).uniform(-0.5, 0.5, 16000), 16000)


@pytest.mark.parametrize("scheme", ["int8", "fp16"])
def test_a_chain_is_quantized_and_measured(tmp_path: Path, speech: Path, scheme: str) -> None:
    source, out = mixer_bundle(tmp_path / "mixer"), tmp_path / "made"
    words = ["quantize", source, "--scheme", scheme, "--calibrate", speech, "--units", 40, "--out", out]
    assert cli.main([*map(str, words), "--target", "cpu" if scheme == "int8" else "orin"]) == 0
    report = json.loads((tmp_path / "made.json").read_text())
    forced, free = report["drifts"]
    assert set(forced["error_db"]) == set(free["error_db"]) == {"samples", "mixed"}
    assert -120 < forced["error_db"]["samples"] < (-30 if scheme == "int8" else -50)
    assert len(forced["curve_db"]["samples"]) == 40
    assert [layer["graph"] for layer in report["layers"]] == ["mix"]
    made = Bundle.open(out).manifest.graphs[0]
    assert made.precision.weights == scheme
    assert made.weight_bytes < Bundle.open(source).manifest.graphs[0].weight_bytes * 0.6
    assert "error of samples" in (tmp_path / "made.html").read_text()
    if scheme == "int8":
        float_session, session = open_session(source), open_session(out)
        unit = Unit(samples=np.random.default_rng(2).uniform(-0.5, 0.5, ROOM).astype(np.float32))
        for _ in range(3):
            wanted, came = float_session.step(unit).samples, session.step(unit).samples
            assert wanted is not None
            assert came is not None
            assert 0 < np.abs(came - wanted).max() < 0.05 * np.abs(wanted).max()


def test_no_chain_is_evaluated_as_a_conversation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = mixer_bundle(tmp_path / "mixer")
    assert cli.main(["eval", str(bundle), "--out", str(tmp_path / "report")]) == 2
    assert "conversations with sound and pictures both ways" in capsys.readouterr().err


def test_what_no_recording_has_is_refused(tmp_path: Path, speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = room_bundle(tmp_path / "bare")
    rewrite(bare, lambda manifest: manifest["constants"].update(order=["reverb"], inputs=["x"], outputs=["y"]))
    for bundle, said in (
        (bare, "has a layer to quantize: wanted weights of 1024 numbers or more whose names end in .weight"),
        (counter_bundle(tmp_path / "counter"), "hears and sees nothing; quantize calibrates on recordings"),
        (room_bundle(tmp_path / "room"), "the bundle takes arrays in every unit (bias); no recording has them"),
    ):
        words = ["quantize", bundle, "--scheme", "int8", "--calibrate", speech, "--out", tmp_path / "made"]
        assert cli.main([*map(str, words)]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "made").exists()
