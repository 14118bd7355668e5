"""The bundle that ships with the package, on the base install alone: it opens, checks, packs, steps.

Everything in tests/device needs only the base install and pytest: CI runs this folder where torch and onnx are absent,
on the newest ONNX Runtime and on 1.23.2. (tests/devices is another thing: it mirrors the folder devices/.)
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edge_streamer
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from tests import test_readme


@pytest.fixture(params=[[], ["--float"]], ids=["shipped", "float"])
def bundle(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Path:
    """An embedded bundle's folder, as a user finds it."""
    assert cli.main(["demo", "--bundle", *request.param]) == 0
    return Path(capsys.readouterr().out.strip())


def test_the_base_install_is_all_there_is() -> None:
    if os.environ.get("EDGE_STREAMER_DEVICE_JOB") != "1":
        pytest.skip("only the device job promises an install without torch and onnx; set EDGE_STREAMER_DEVICE_JOB=1")
    assert [name for name in cli.EXTRAS if importlib.util.find_spec(name)] == []


def test_what_ships_is_quantized_and_small() -> None:
    shipped, floats = (edge_streamer.open(bundle_path(floats=f)).bundle for f in (False, True))
    assert {g.precision.words for g in floats.manifest.graphs} == {"float32"}
    assert {g.precision.words for g in shipped.manifest.graphs} == {"int8 dynamic", "int8 weights"}
    assert shipped.size + floats.size < 35e6


def test_the_embedded_bundle_passes_its_check(bundle: Path) -> None:
    assert cli.main(["check", str(bundle)]) == 0


def test_the_embedded_bundle_can_be_inspected(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(bundle)]) == 0
    assert "wan_streamer" in capsys.readouterr().out


def test_the_embedded_bundle_steps_and_answers_in_its_media_contract(bundle: Path) -> None:
    session = edge_streamer.open(bundle)
    media = session.media
    silence = np.zeros(media.hears.unit_samples, np.float32)
    for index in range(3):
        response = session.step(edge_streamer.Unit(samples=silence, text="hello"))
        assert response.index == index
        assert response.samples.shape == (media.hears.unit_samples,)
        assert response.frames.shape == (media.sees.unit_frames, *media.shows.size, 3)
        assert np.isfinite(response.samples).all()


def test_the_embedded_bundle_steps_from_an_archive_as_from_its_folder(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.tar.gz"
    assert cli.main(["pack", str(bundle), "--out", str(archive)]) == 0
    answers = [edge_streamer.open(path).step(edge_streamer.Unit()).copy() for path in (bundle, archive)]
    np.testing.assert_array_equal(answers[0].samples, answers[1].samples)
    np.testing.assert_array_equal(answers[0].frames, answers[1].frames)


def test_the_readmes_example_runs_as_it_is_written() -> None:
    test_readme.test_the_python_example_runs_as_it_is_written()


def test_the_installed_command_answers() -> None:
    command = [sys.executable, "-m", "edge_streamer", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == f"edge-streamer {edge_streamer.__version__}\n"
