"""The sound server's own canceller is checked, with what PulseAudio and PipeWire really answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.live.sound.echo.canceller import open_echo
from edge_streamer.devices.live.sound.echo.system import check_system_canceller
from edge_streamer.runtime.errors import InputError

PATIENCE = 30.0


def device(name: str, driver: str = "module-alsa-card.c", module: int | None = 1, **properties: str) -> dict[str, Any]:
    return {"name": name, "description": f"The {name}", "driver": driver, "owner_module": module,
            "properties": {key.replace("_", "."): value for key, value in properties.items()}}  # fmt: skip


PULSE = {
    "sources": [device("usb"), device("clean", "module-echo-cancel.c", 7), device("quiet", "module-echo-cancel.c", 8),
                device("heard.monitor", "module-echo-cancel.c", 7)],
    "sinks": [device("box"), device("heard", "module-echo-cancel.c", 7), device("other", "module-echo-cancel.c", 8)],
}  # fmt: skip
PIPEWIRE = {
    "sources": [device("usb", "PipeWire", None), device("ec-source", "PipeWire", None, node_group="echo-cancel-9-1"),
                device("free", "PipeWire", None, node_group="echo-cancel-9-2")],
    "sinks": [device("box", "PipeWire", None), device("ec-sink", "PipeWire", None, node_group="echo-cancel-9-1")],
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a pactl that answers as told before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("PULSE_SOURCE", "PULSE_SINK"):
        monkeypatch.delenv(name, raising=False)

    def answer(devices: dict[str, Any], source: str = "", sink: str = "", script: str = "") -> None:
        for kind, listed in devices.items():
            (tmp_path / kind).write_text(json.dumps(listed))
        lines = (
            script
            or f"""
            case "$*" in
            "--format=json list sources") cat {tmp_path}/sources ;;
            "--format=json list sinks") cat {tmp_path}/sinks ;;
            get-default-source) echo {source} ;;
            get-default-sink) echo {sink} ;;
            *) exit 9 ;;
            esac"""
        )
        (tmp_path / "pactl").write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / "pactl").chmod(0o755)

    return answer


def test_pulseaudios_pair_is_known_by_its_module(server: Any) -> None:
    server(PULSE, "clean", "heard")
    assert check_system_canceller("default", "default") == "the sound server: 'clean' without 'heard'"
    assert check_system_canceller("quiet", "other") == "the sound server: 'quiet' without 'other'"


def test_pipewires_pair_is_known_by_its_group(server: Any) -> None:
    server(PIPEWIRE, "usb", "box")
    assert check_system_canceller("ec-source", "ec-sink") == "the sound server: 'ec-source' without 'ec-sink'"


def test_a_canceller_in_monitor_mode_takes_any_speaker(server: Any) -> None:
    server(PIPEWIRE, "usb", "box")
    assert "without all that the default speaker plays" in check_system_canceller("free", "default")


def test_the_servers_default_can_be_overruled(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server(PULSE, "usb", "box")
    monkeypatch.setenv("PULSE_SOURCE", "clean")
    monkeypatch.setenv("PULSE_SINK", "heard")
    assert check_system_canceller("default", "pulse") == "the sound server: 'clean' without 'heard'"


def test_a_part_of_a_name_will_do(server: Any) -> None:
    server(PULSE)
    assert check_system_canceller("The Clean", "HEARD") == "the sound server: 'clean' without 'heard'"


@pytest.mark.parametrize(
    ("devices", "microphone", "speaker", "line"),
    [
        (PULSE, "usb", "heard", "does not cancel the echo in 'usb': choose 'clean', 'quiet'"),
        (PULSE, "heard.monitor", "heard", "does not cancel the echo in 'heard.monitor': choose 'clean', 'quiet'"),
        (PULSE, "clean", "box", "in 'clean' only what is played to 'heard', and the speaker is 'box': choose 'heard'"),
        (PULSE, "clean", "other", "only what is played to 'heard', and the speaker is 'other'"),
        (PULSE, "tape", "box", "no source of the sound server is called 'tape'; there are 'usb', 'clean', 'quiet'"),
        (PULSE, "the", "box", "4 of the sound server's sources are called 'the'; there are 'usb'"),
        ({"sources": [device("usb")], "sinks": []}, "usb", "box", "pactl load-module module-echo-cancel"),
        ({"sources": [], "sinks": []}, "usb", "box", "is called 'usb'; there are none"),
    ],
)  # fmt: skip
def test_what_is_not_cancelled_is_refused(
    server: Any, devices: dict[str, Any], microphone: str, speaker: str, line: str
) -> None:
    server(devices)
    with pytest.raises(InputError) as caught:
        open_echo("system", 16000, microphone=microphone, speaker=speaker)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo Connection refused >&2; exit 1", "no sound server to cancel the echo (pactl: Connection refused)"),
        ("echo Source 0", "knows no --format=json; wanted one of PulseAudio 15 or later"),
        ("exec sleep 30", "does not answer within 0 s"),
    ],
)
def test_a_server_that_cannot_be_asked(server: Any, monkeypatch: pytest.MonkeyPatch, script: str, line: str) -> None:
    monkeypatch.setattr(
        "edge_streamer.devices.live.sound.echo.system.PACTL_SECONDS", 0.3 if "sleep" in script else PATIENCE
    )
    server({}, script=script)
    with pytest.raises(InputError) as caught:
        check_system_canceller("default", "default")
    assert line in str(caught.value)


def test_no_pactl_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt install pulseaudio-utils"):
        check_system_canceller("default", "default")


# -- the real thing


@pytest.fixture
def pulseaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of our own, with one microphone, one speaker and a canceller between them."""
    for program, package in (("pulseaudio", "pulseaudio"), ("pactl", "pulseaudio-utils")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt install {package}")
    for name, folder in (("PULSE_RUNTIME_PATH", "run"), ("XDG_CONFIG_HOME", "config"), ("HOME", "home")):
        (tmp_path / folder).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / folder))
    for name in ("PULSE_SERVER", "PULSE_SOURCE", "PULSE_SINK"):
        monkeypatch.delenv(name, raising=False)
    script = tmp_path / "script.pa"
    script.write_text(
        "load-module module-native-protocol-unix\n"
        "load-module module-null-sink sink_name=box\n"
        "load-module module-null-sink sink_name=world\n"
        "load-module module-remap-source master=world.monitor source_name=usb\n"
        "load-module module-echo-cancel source_master=usb sink_master=box source_name=clean sink_name=heard\n"
        "set-default-source usb\nset-default-sink box\n"
    )
    words = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--disable-shm=1", "-F", str(script)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        try:
            _until_it_answers(process, tmp_path / "log")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _until_it_answers(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while subprocess.run(["pactl", "info"], capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > end:
            pytest.skip(f"pulseaudio does not start here: {log.read_text()[-300:]}")
        time.sleep(0.1)


def test_a_real_pulseaudio(pulseaudio: None) -> None:
    assert open_echo("system", 16000, microphone="clean", speaker="heard").mode == "system"
    with pytest.raises(InputError, match="does not cancel the echo in 'usb': choose 'clean'"):
        open_echo("system", 16000)
    with pytest.raises(InputError, match="and the speaker is 'box': choose 'heard'"):
        open_echo("system", 16000, microphone="clean")
    subprocess.run(["pactl", "set-default-source", "clean"], check=True)
    subprocess.run(["pactl", "set-default-sink", "heard"], check=True)
    assert open_echo("system", 16000).mode == "system"
