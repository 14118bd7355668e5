"""Temperatures of boards and PCs: trees as files, zones that are off, numbers that no chip survives."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_streamer.devices.board.thermal import hottest, zones
from edge_streamer.devices.jetson.system import System, silent

VIRTUAL, CLASS, HWMON = "/sys/devices/virtual/thermal", "/sys/class/thermal", "/sys/class/hwmon"


def tree(root: Path, files: Mapping[str, str]) -> System:
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return System(root, silent)


def thermal(folder: str, *named: tuple[str, str]) -> dict[str, str]:
    """A folder's zones: (type, temp)."""
    files = {}
    for number, (kind, temp) in enumerate(named):
        files |= {f"{folder}/thermal_zone{number}/type": f"{kind}\n", f"{folder}/thermal_zone{number}/temp": temp}
    return files


ORIN_NANO = thermal(VIRTUAL, ("cpu-thermal", "48687\n"), ("gpu-thermal", "47125\n"), ("cv0-thermal", ""),
                    ("soc0-thermal", "46812\n"), ("tj-thermal", "48906\n"))  # fmt: skip
"""As such a board names them; the vision cores are switched off and their zone tells nothing."""
PC = {
    **thermal(CLASS, ("acpitz", "27800\n"), ("acpitz", "29800\n"), ("x86_pkg_temp", "52000\n")),
    f"{HWMON}/hwmon0/name": "acpitz\n", f"{HWMON}/hwmon0/temp1_input": "27800\n",
    f"{HWMON}/hwmon1/name": "coretemp\n", f"{HWMON}/hwmon1/temp1_input": "52000\n",
    f"{HWMON}/hwmon1/temp1_label": "Package id 0\n", f"{HWMON}/hwmon1/temp2_input": "51000\n",
    f"{HWMON}/hwmon1/temp2_crit": "100000\n",
    f"{HWMON}/hwmon2/name": "nvme\n", f"{HWMON}/hwmon2/temp1_input": "44850\n",
    f"{HWMON}/hwmon2/temp1_label": "Composite\n",
}  # fmt: skip


def test_an_orin_nanos_zones(tmp_path: Path) -> None:
    found = zones(tree(tmp_path, ORIN_NANO))
    assert found == {"cpu-thermal": 48.687, "gpu-thermal": 47.125, "soc0-thermal": 46.812, "tj-thermal": 48.906}
    assert hottest(found) == ("tj-thermal", 48.906)


def test_a_zone_that_is_seen_by_two_ways_is_one(tmp_path: Path) -> None:
    system = tree(tmp_path, ORIN_NANO)
    one_way = zones(system)
    (tmp_path / "sys/class").mkdir()
    os.symlink("../devices/virtual/thermal", tmp_path / "sys/class/thermal")
    assert zones(system) == one_way


def test_a_pcs_sensors_and_its_zones_once_each(tmp_path: Path) -> None:
    assert zones(tree(tmp_path, PC)) == {
        "acpitz": 27.8, "acpitz 2": 29.8, "x86_pkg_temp": 52.0, "coretemp Package id 0": 52.0, "coretemp temp2": 51.0,
        "nvme Composite": 44.85,
    }  # fmt: skip


@pytest.mark.parametrize("absurd", ["-256000", "-50001", "150001", "999999999999999999", "hot", "", "4e4", "\0\xff"])
def test_what_is_no_temperature_is_left_out(absurd: str, tmp_path: Path) -> None:
    files = thermal(VIRTUAL, ("off", absurd), ("cold", "-50000"), ("warm", "150000"))
    assert zones(tree(tmp_path, files)) == {"cold": -50.0, "warm": 150.0}


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    system = tree(tmp_path, thermal(VIRTUAL, ("good", "40000"), ("pipe", ""), ("folder", "")))
    for number, make in ((1, os.mkfifo), (2, os.mkdir)):
        path = tmp_path / f"{VIRTUAL[1:]}/thermal_zone{number}/temp"
        path.unlink()
        make(path)
    began = time.perf_counter()
    assert zones(system) == {"good": 40.0}
    assert time.perf_counter() - began < 1


def test_zones_come_in_the_kernels_order_and_with_names_that_can_be_shown(tmp_path: Path) -> None:
    found = zones(tree(tmp_path, thermal(VIRTUAL, *((f"z{n}", f"{30000 + n}") for n in range(11)), ("\x1b[2J", "1"),
                                         ("", "2000"), ("n" * 500, "3000"))))  # fmt: skip
    assert list(found) == [*(f"z{n}" for n in range(11)), "?[2J", "thermal_zone12", "n" * 60]


def test_a_machine_without_sensors_has_none(tmp_path: Path) -> None:
    assert zones(System(tmp_path, silent)) == {}
    assert hottest({}) is None
