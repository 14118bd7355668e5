"""What is read of a board: the facts of three real ones, and files that no board should have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_streamer.devices.jetson import installs, machine, packages, power, software
from edge_streamer.devices.jetson.facts import Facts, Who, read
from edge_streamer.devices.jetson.known import MODULES, RELEASES, l4t_of, numbers
from edge_streamer.devices.jetson.system import MOST_BYTES, System, ask, silent
from tests.devices.jetson.boards import AGX_ORIN, ORIN_NANO, PC, SMI, THOR, WHO, Files, at, facts


@pytest.mark.parametrize(
    ("files", "module", "capability", "l4t", "jetpack", "driver"),
    [
        (ORIN_NANO, "Orin Nano 8 GB", (8, 7), "36.4.3", "6.2", "540.4.0"),
        (AGX_ORIN, "AGX Orin 64 GB", (8, 7), "39.2.0", "7.2", "595.71.05"),
        (THOR, "Thor T5000", (11, 0), "38.4.0", "7.1", "TempVersion"),
    ],
)  # fmt: skip
def test_a_board_is_known_by_its_files(
    files: Files, module: str, capability: tuple[int, int], l4t: str, jetpack: str, driver: str, tmp_path: Path
) -> None:
    found = facts(tmp_path, files)
    assert found.jetson
    assert found.module is not None
    assert found.release is not None
    assert (found.module.name, found.capability, found.l4t) == (module, capability, l4t)
    assert (found.release.jetpack, found.driver) == (jetpack, driver)


def test_what_an_orin_nano_has(tmp_path: Path) -> None:
    found = facts(tmp_path, ORIN_NANO)
    assert found.power == power.Power({0: "15W", 1: "25W", 2: "MAXN_SUPER"}, 1, 1, "schedutil", False)
    assert found.power.best == 2
    assert found.libraries == {"libnvinfer": "10.3.0", "libcudnn": "9.3.0"}
    assert (found.cuda, found.driver_library) == ("12.6.11", "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1")
    assert found.debian["nvidia-jetpack"] == "6.2+b77"
    assert "tensorrt" not in found.debian, "it was removed; its settings alone are left"
    assert found.memory.total == 7802816 * 1024
    assert found.memory.largest_block == os.sysconf("SC_PAGE_SIZE") << 10
    assert [(c.path, c.csi, c.usable) for c in found.cameras] == [("/dev/video0", True, True)]
    assert (found.cards, found.sound_server) == (("HDA", "APE"), "user")
    assert (found.user, found.groups) == ("ada", {"audio", "video", "render", "ada"})
    assert found.gpu_files == (("/dev/nvmap", True), ("/dev/nvhost-gpu", True))


def test_ids_of_power_modes_are_a_boards_own(tmp_path: Path) -> None:
    bests = [facts(tmp_path / str(n), files).power.best for n, files in enumerate((ORIN_NANO, AGX_ORIN, THOR))]
    assert bests == [2, 0, 0]
    assert power.modes("< POWER_MODEL NAME=MAXN ID=3 >\n<POWER_MODEL ID=1 NAME=MODE_15W>") == {3: "MAXN", 1: "MODE_15W"}
    assert power.Power({0: "MODE_15W", 1: "MODE_50W", 2: "MODE_30W"}).best == 1
    assert power.Power({7: "10W", 8: "20W"}).best == 8


def test_a_mode_that_no_file_tells_is_asked_for(tmp_path: Path) -> None:
    files = {name: text for name, text in THOR.items() if name != power.STATUS}
    system = at(tmp_path, files)
    said = {"nvpmodel": "NV Power Mode: 90W\n2\n"}
    assert power.read(System(system.root, lambda words: said.get(words[0], ""))).current == 2
    assert power.read(system).current is None


def test_a_pc_tells_of_its_cards(tmp_path: Path) -> None:
    system = at(tmp_path, PC)
    found = read(System(system.root, lambda words: SMI if words[0] == "nvidia-smi" else ""), WHO, [])
    assert [(gpu.name, gpu.capability, gpu.megabytes) for gpu in found.gpus] == [
        ("NVIDIA GeForce RTX 4070 Laptop GPU", (8, 9), 8188)
    ]
    assert (found.jetson, found.capability, found.driver, found.card) == (False, (8, 9), "570.86.15", True)


def test_this_machine_is_read_whatever_it_is() -> None:
    found = read()
    assert found.memory.total
    assert "onnxruntime" in found.wheels or "onnxruntime-gpu" in found.wheels
    assert list(software.lines(found))
    assert list(machine.lines(found))


@pytest.mark.parametrize(
    ("line", "l4t"),
    [
        ("# R36 (release), REVISION: 5.0, GCID: 1", "36.5.0"), ("# R40 (release), REVISION: 1.0", "40.1.0"),
        ("# R32 (release), REVISION: 7.1, GCID", "32.7.1"), ("garbage without a version", ""), ("", ""),
        ("# R" + "9" * 5000 + " (release), REVISION: 1", ""),
    ],
)  # fmt: skip
def test_the_release_is_read_or_it_is_not(line: str, l4t: str) -> None:
    assert l4t_of(line) == l4t


def test_versions_are_numbers_as_far_as_they_go() -> None:
    assert [numbers(v) for v in ("10.3.0.30-1+cuda12.5", "6.2+b77", "TempVersion", "", "7")] == [
        (10, 3, 0, 30), (6, 2), (), (0,), (7,),
    ]  # fmt: skip


def test_tables_are_whole() -> None:
    assert all(installs.numbers(release.tensorrt) >= (10, 3) for release in RELEASES.values())
    assert {module.capability for module in MODULES.values()} == {(8, 7), (11, 0)}


EVERYWHERE = sorted({*ORIN_NANO, *AGX_ORIN, *THOR, *PC})


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00\x1b[2J" * 300, b"\0" * 5000, b"9" * (MOST_BYTES + 5000), b"Node 0, zone\nzone zone\n:::\n", b"-1",
     b"< POWER_MODEL ID=x NAME= >\n< POWER_MODEL >\npmode:99999999\nMemTotal: many kB\n"],
)  # fmt: skip
def test_files_full_of_anything_give_facts_and_lines(data: bytes, tmp_path: Path) -> None:
    for name in EVERYWHERE:
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = read(System(tmp_path, lambda words: data.decode("utf-8", "replace")), WHO, [str(tmp_path)])
    lines = [*software.lines(found), *machine.lines(found)]
    assert all("\x1b" not in f"{line.found}{line.mend}" for line in lines)


def test_what_is_no_file_is_nothing_and_nobody_waits(tmp_path: Path) -> None:
    for name in ("/etc/nv_tegra_release", "/etc/nvpmodel.conf", "/proc/meminfo"):
        (tmp_path / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name.lstrip("/"))
    (tmp_path / "etc/os-release").symlink_to("os-release")  # a link to itself
    (tmp_path / "proc/device-tree/model").mkdir(parents=True)
    found = read(System(tmp_path, silent), WHO, [])
    assert (found.l4t, found.model, found.memory.total, found.power.modes) == ("", "", None, {})
    assert isinstance(found, Facts)


def test_a_program_that_is_not_there_fails_or_hangs_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_streamer.devices.jetson.system.ASK_SECONDS", 0.2)
    assert ask(("edge-streamer-has-no-such-program",)) == ""
    assert ask(("false",)) == ""
    assert ask(("sleep", "30")) == ""
    assert ask(("printf", r"a\033b\n")) == "a?b\n"


def test_wheels_are_found_without_importing_them(tmp_path: Path) -> None:
    for name, version in (("onnxruntime_gpu", "1.31.1"), ("cuda_bindings", "13.5.0"), ("other", "1")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "broken-1.dist-info").mkdir()
    library = tmp_path / packages.CUDA_PROVIDER
    library.parent.mkdir(parents=True)
    library.write_bytes(b"")
    found = packages.wheels([str(tmp_path)])
    assert {name: wheel.version for name, wheel in found.items()} == {
        "onnxruntime-gpu": "1.31.1", "cuda-bindings": "13.5.0",
    }  # fmt: skip
    assert packages.cuda_provider(found) == library


def test_another_user_may_less(tmp_path: Path) -> None:
    system = at(tmp_path, ORIN_NANO)
    found = read(system, Who(1001, frozenset({1001})), [])
    assert (found.user, found.groups, found.sound_server) == ("", frozenset(), "")
