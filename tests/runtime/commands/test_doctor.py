"""``edge-streamer doctor`` and ``engines``: what they say of boards, and the commands that mend them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.jetson.facts import Facts
from edge_streamer.devices.jetson.installs import commands
from edge_streamer.devices.jetson.known import MODULES
from edge_streamer.devices.jetson.line import Line
from edge_streamer.devices.jetson.packages import Wheel
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.doctor import examined
from edge_streamer.runtime.commands.engines import look
from edge_streamer.runtime.engines import fatbin
from edge_streamer.runtime.engines.board_memory import BOARDS
from edge_streamer.runtime.engines.choose import Entry
from tests.devices.jetson.boards import AGX_ORIN, ORIN_NANO, PC, THOR, Files, facts
from tests.runtime.engines.fat_binaries import fat

READY = {"onnxruntime": "1.23.2", "tensorrt": "10.3.0", "cuda_bindings": "12.8.0"}


def said(found: Facts) -> dict[str, Line]:
    return {line.name: line for line in examined(found)}


def states(found: Facts) -> dict[str, str]:
    """What is not ok."""
    return {line.name: line.state for line in examined(found) if line.state != "ok"}


def test_a_board_that_is_ready_but_slow_has_two_warnings(tmp_path: Path) -> None:
    found = facts(tmp_path, ORIN_NANO, **READY)
    assert states(found) == {"power mode": "warn", "clocks": "warn"}
    lines = said(found)
    assert lines["power mode"].mend.startswith("sudo nvpmodel -m 2 ")
    assert lines["clocks"].mend == "sudo jetson_clocks"
    assert lines["TensorRT"].found == "10.3.0 (libnvinfer 10.3.0)"
    assert lines["driver"].found == "540.4.0"


def test_the_aarch64_wheel_of_everybody_has_no_code_for_a_jetson(tmp_path: Path) -> None:
    """What onnxruntime-gpu 1.31.1 for aarch64 holds: sm_89, 90a, 120a and 121a."""
    library = tmp_path / "site/onnxruntime/capi/libonnxruntime_providers_cuda.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(fat((89, False), (90, True), (120, True), (121, True)))
    for number, files in enumerate((ORIN_NANO, AGX_ORIN, THOR)):
        found = facts(tmp_path / str(number), files, python=(3, 12), onnxruntime_gpu="1.31.1", cuda_bindings="13.5.0")
        line = said(replace(found, cuda_provider=library))["wheel's CUDA code"]
        assert line.state == "fail"
        assert "sm_89, sm_90a, sm_120a, sm_121a" in line.found
        assert ("8.7" if files is not THOR else "11.0") in line.found
        assert "pip install ./onnxruntime_gpu-*-cp312-*_aarch64.whl" in line.mend
    library.write_bytes(fat((87, False), (110, False)))
    assert said(replace(found, cuda_provider=library))["wheel's CUDA code"].state == "ok"


FAULTS: dict[str, tuple[Files, dict[str, Any], Callable[[Facts], Facts], str, str, str]] = {
    "both wheels at once": (
        ORIN_NANO, READY | {"onnxruntime_gpu": "1.31.1"}, lambda f: f, "ONNX Runtime", "fail",
        "pip uninstall -y onnxruntime onnxruntime-gpu",
    ),
    "no wheel": (ORIN_NANO, {}, lambda f: f, "ONNX Runtime", "fail", "pip install 'onnxruntime>=1.23,<2'"),
    "an L4T that nobody knows": (
        ORIN_NANO | {"/etc/nv_tegra_release": "# R41 (release), REVISION: 1.0, GCID: 1"}, READY, lambda f: f, "L4T",
        "warn", "upgrade edge-streamer",
    ),
    "JetPack 5": (
        ORIN_NANO | {"/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 1"}, READY, lambda f: f, "L4T",
        "warn", "flash JetPack 6.2 or newer",
    ),
    "a release file without a release": (
        ORIN_NANO | {"/etc/nv_tegra_release": "hello"}, READY, lambda f: f, "L4T", "warn", "none needed where",
    ),
    "a module that nobody knows": (
        ORIN_NANO | {"/proc/device-tree/compatible": "nvidia,p9999-0000\0nvidia,tegra234"}, READY, lambda f: f,
        "module", "warn", "upgrade edge-streamer",
    ),
    "TensorRT in two versions": (
        AGX_ORIN, READY | {"cuda_bindings": "13.5.0"}, lambda f: replace(f, python=(3, 12)), "TensorRT", "fail",
        "apt-get install -y tensorrt python3-libnvinfer",
    ),
    "a virtual environment that does not see the system": (
        ORIN_NANO, {"onnxruntime": "1.23.2"}, lambda f: replace(f, venv="/home/ada/.venv", sees_system=False),
        "TensorRT", "warn", "sed -i 's/^include-system-site-packages.*/include-system-site-packages = true/' "
        "'/home/ada/.venv/pyvenv.cfg'",
    ),
    "another Python than JetPack's": (
        ORIN_NANO, READY, lambda f: replace(f, python=(3, 12)), "Python", "warn",
        "/usr/bin/python3.10 -m venv --system-site-packages .venv",
    ),
    "an old Python": (ORIN_NANO, READY, lambda f: replace(f, python=(3, 8)), "Python", "fail", "Python 3.10 or newer"),
    "bindings for a newer driver": (
        ORIN_NANO, READY | {"cuda_bindings": "13.5.0"}, lambda f: f, "cuda-bindings", "fail",
        "pip install 'cuda-bindings>=12.6,<13'",
    ),
    "CUDA's provider without CUDA": (
        PC, {"onnxruntime_gpu": "1.26.0"}, lambda f: replace(f, cuda_provider=Path("/x")), "CUDA", "fail",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    "CUDA's provider without cuDNN": (
        PC, {"onnxruntime_gpu": "1.26.0"}, lambda f: replace(f, cuda_provider=Path("/x")), "cuDNN", "fail",
        "pip install 'nvidia-cudnn-cu12>=9,<10'",
    ),
    "a user outside of the groups": (
        ORIN_NANO, READY, lambda f: replace(f, gpu_files=(("/dev/nvmap", False),), groups=frozenset()),
        "GPU permissions", "fail", "sudo usermod -aG video,render ada, then log in again",
    ),
    "a user who cannot hear": (
        ORIN_NANO, READY, lambda f: replace(f, sound_devices=(("/dev/snd/pcmC1D0p", False),), sound_server=""),
        "sound permissions", "warn", "sudo usermod -aG audio ada",
    ),
    "a sound server of the system's": (
        ORIN_NANO, READY, lambda f: replace(f, sound_server="system"), "sound server", "warn",
        "sudo usermod -aG pulse-access ada",
    ),
    "a CSI camera that nobody serves": (
        ORIN_NANO, READY, lambda f: replace(f, argus=False), "cameras", "warn", "sudo systemctl restart nvargus-daemon",
    ),
    "a desktop on 8 GB": (
        ORIN_NANO, READY, lambda f: replace(f, desktop_boot=True), "desktop", "warn",
        "sudo systemctl set-default multi-user.target && sudo reboot",
    ),
    "no swap": (
        ORIN_NANO, READY, lambda f: replace(f, memory=replace(f.memory, swap=0)), "swap", "warn",
        "sudo swapon /swapfile",
    ),
    "memory in pieces": (
        ORIN_NANO, READY, lambda f: replace(f, memory=replace(f.memory, largest_block=2**20)), "largest block", "warn",
        "sudo sysctl vm.compact_memory=1",
    ),
    "little memory": (
        ORIN_NANO, READY, lambda f: replace(f, memory=replace(f.memory, free=10**9)), "memory", "warn", "top -o %MEM",
    ),
    "a full disk": (ORIN_NANO, READY, lambda f: replace(f, disk_free=10**8), "disk", "fail", "apt-get clean"),
    "a container without the driver": (
        ORIN_NANO, READY, lambda f: replace(f, driver_library=""), "driver", "warn", "--runtime nvidia or --gpus all",
    ),
    "a card without a driver": (
        PC, {"onnxruntime": "1.32.0"}, lambda f: replace(f, gpu_files=()), "driver", "warn",
        "sudo ubuntu-drivers install && sudo reboot",
    ),
    "a mode that the file has not": (
        ORIN_NANO, READY, lambda f: replace(f, power=replace(f.power, current=9)), "power mode", "warn",
        "sudo nvpmodel -m 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_with_the_command_that_mends_it(fault: str, tmp_path: Path) -> None:
    files, wheels, change, name, state, mend = FAULTS[fault]
    line = said(change(facts(tmp_path, files, **wheels)))[name]
    assert (line.state, mend in line.mend) == (state, True), line


def test_a_pc_without_an_nvidia_card_is_fine(tmp_path: Path) -> None:
    found = facts(tmp_path, {name: text for name, text in PC.items() if "nvidia" not in name and "pci" not in name},
                  onnxruntime="1.32.0")  # fmt: skip
    assert states(replace(found, driver_library="")) == {}
    assert commands(found, "tensorrt") == commands(found, "cuda") == commands(found, "cpu") == []


def test_each_machine_gets_its_own_commands(tmp_path: Path) -> None:
    nano = facts(tmp_path / "n", ORIN_NANO, onnxruntime="1.23.2")
    thor = facts(tmp_path / "t", THOR, python=(3, 12), onnxruntime="1.32.0")
    pc = facts(tmp_path / "p", PC, python=(3, 12), onnxruntime="1.32.0")
    newer = replace(pc, driver="580.95.05")
    apt = "sudo apt-get update && sudo apt-get install -y tensorrt python3-libnvinfer"
    assert commands(nano, "tensorrt") == [apt, "pip install 'cuda-bindings>=12.6,<13'"]
    assert commands(thor, "tensorrt") == [apt, "pip install 'cuda-bindings>=13,<14'"]
    assert commands(pc, "tensorrt") == ["pip install tensorrt-cu12", "pip install 'cuda-bindings>=12.6,<13'"]
    assert commands(newer, "tensorrt") == ["pip install tensorrt-rtx-cu13", "pip install 'cuda-bindings>=13,<14'"]
    first = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]"
    assert commands(pc, "cuda")[0] == f"{first}>=1.23,<1.27'"
    assert commands(newer, "cuda")[0] == f"{first}>=1.27,<2'"
    assert commands(replace(pc, wheels={}), "cpu")[0].endswith("pip install 'onnxruntime>=1.23,<2'")
    done = {name: Wheel("13.0", tmp_path) for name in ("tensorrt", "cuda-bindings", "onnxruntime-gpu")}
    assert commands(replace(newer, wheels=done), "tensorrt") == commands(replace(newer, wheels=done), "cuda") == []


def test_engines_are_told_with_what_they_lack(tmp_path: Path) -> None:
    made: Any = object
    entries = (
        Entry("tensorrt", made, lambda: "needs TensorRT"), Entry("cuda", made, lambda: ""),
        Entry("cpu", made, lambda: ""),
    )  # fmt: skip
    rows = look(facts(tmp_path, ORIN_NANO, onnxruntime="1.23.2", cuda_bindings="12.8.0"), entries)
    assert [(row.name, row.here, row.taken, row.lacks) for row in rows] == [
        ("tensorrt", False, False, "needs TensorRT"), ("cuda", True, True, ""), ("cpu", True, False, ""),
    ]  # fmt: skip
    assert [len(row.commands) for row in rows] == [1, 0, 0]
    whole = facts(tmp_path / "whole", ORIN_NANO, **READY)
    assert look(whole, entries)[0].commands == ["edge-streamer doctor"], "all is there, and yet it does not load"


def test_the_commands_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status == int(not told["ok"])
    assert {line["state"] for line in told["lines"]} <= {"ok", "warn", "fail"}
    assert all(line["mend"] for line in told["lines"] if line["state"] != "ok")
    assert cli.main(["doctor"]) == status
    assert "ONNX Runtime" in capsys.readouterr().out
    assert cli.main(["engines", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["tensorrt", "cuda", "cpu"]
    assert rows[-1]["here"]
    assert cli.main(["engines"]) == 0
    assert "cpu" in capsys.readouterr().out


def test_boards_are_called_alike_everywhere() -> None:
    modes = {"orin-nano-8gb-super"}  # a module's, and no module of its own
    assert {module.board for module in MODULES.values()} == set(BOARDS) - modes
    assert fatbin.names([]) == []
