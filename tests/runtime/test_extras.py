"""What is not installed is named all at once, and no command's help needs any of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_streamer.devices.live import opening
from edge_streamer.runtime import extras
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.loop.request import LivePlan

ALL = sorted({module for modules in extras.EXTRAS.values() for module in modules})
HELPS = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(ALL)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
from edge_streamer.runtime.commands import cli
for name in cli.COMMANDS:
    assert cli.main([name, "--help"]) == 0, name
sys.exit(cli.main(["quantize", "bundle", "--scheme", "int8", "--out", "small"]))
"""


def test_every_help_prints_on_the_base_install() -> None:
    ran = subprocess.run([sys.executable, "-W", "error", "-c", HELPS], capture_output=True, text=True, check=False)
    assert ran.stdout.count("usage: edge-streamer ") == len(cli.COMMANDS), ran.stderr
    assert ran.returncode == 2
    assert ran.stderr == (
        "edge-streamer: this command needs onnx, onnx-ir and ml-dtypes, which are not installed; run: pip install "
        "'edge-streamer[quantize]' (in this project's folder: pip install '.[quantize]')\n"
    )


def test_the_extras_are_those_of_the_package() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    listed = project.read_text("utf-8").split("[project.optional-dependencies]")[1].split("\n[")[0].lower()
    for extra, modules in extras.EXTRAS.items():
        assert f"\n{extra} = [" in listed
        for package in modules.values():
            assert f'"{package.lower()}>' in listed


@pytest.mark.parametrize(
    ("plan", "named", "unnamed"),
    [
        ({}, ["PyAudio, pywebrtc-audio and pygame-ce", "portaudio19-dev gcc python3-dev libasound2-plugins"], []),
        ({"display": None}, ["PyAudio and pywebrtc-audio"], ["pygame"]),
        ({"echo": "half", "speaker": "USB"}, ["PyAudio and pygame-ce"], ["pywebrtc"]),
        ({"mic": Path("talk.wav"), "display": None}, ["PyAudio, which is"], ["pywebrtc"]),
        ({"mic": None, "speaker": None, "display": "window"}, ["pygame-ce, which is"], ["PyAudio", "apt-get"]),
    ],
)
def test_a_live_run_names_all_that_it_lacks(
    plan: dict[str, object], named: list[str], unnamed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: False)
    live = LivePlan(bundle=Path("bundle"), **plan)  # type: ignore[arg-type]
    with pytest.raises(InputError) as raised:
        opening._check_extra(live)
    for text in (*named, "pip install 'edge-streamer[live]'", "pip install '.[live]'"):
        assert text in str(raised.value)
    assert not [text for text in unnamed if text in str(raised.value)]


def test_a_live_run_without_devices_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: False)
    opening._check_extra(LivePlan(bundle=Path("bundle"), mic=Path("talk.wav"), speaker=None))
