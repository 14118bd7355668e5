"""What is read of three boards and a PC, source by source; and of trees that no machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_streamer.devices.board import clocks, loads, rails, throttling
from edge_streamer.devices.board.look import Kind, Look
from edge_streamer.devices.jetson.system import MOST_BYTES
from tests.devices.board.trees import AGX, DESK, HWMON, NANO, T5000, build, change, ina3221


def rounded(found: Look) -> dict[tuple[str, str], float]:
    return {key: round(value, 3) for key, value in found.items()}


def test_an_orin_nanos_rails_are_its_three_channels_and_vdd_in_is_all(tmp_path: Path) -> None:
    found = rails.read(build(tmp_path, NANO))
    assert rounded(found) == {("rail", "VDD_IN"): 5.7, ("rail", "VDD_CPU_GPU_CV"): 0.831, ("rail", "VDD_SOC"): 1.623}
    assert rails.whole(found) == (("rail", "VDD_IN"),)


def test_an_agx_orins_two_chips_are_summed_without_what_is_not_connected(tmp_path: Path) -> None:
    found = rails.read(build(tmp_path, AGX))
    assert rounded(found) == {
        ("rail", "VDD_GPU_SOC"): 5.13, ("rail", "VDD_CPU_CV"): 3.268, ("rail", "VIN_SYS_5V0"): 5.5,
        ("rail", "VDDQ_VDD2_1V8AO"): 1.083,
    }  # fmt: skip
    assert rails.whole(found) == tuple(found)


def test_a_thors_input_is_measured_by_another_chip(tmp_path: Path) -> None:
    system = build(tmp_path, T5000)
    found = rails.read(system)
    assert rounded(found) == {
        ("rail", "VDD_GPU"): 1.956, ("rail", "VDD_CPU_SOC_MSS"): 5.88, ("rail", "VIN_SYS_5V0"): 5.635,
        ("rail", "VIN"): 19.78,
    }  # fmt: skip
    assert rails.whole(found) == (("rail", "VIN"),)
    system.path(f"{HWMON}/hwmon6/power1_input").unlink()
    assert rails.read(system)["rail", "VIN"] == pytest.approx(12 * 1.648)


def test_a_chip_that_is_seen_by_two_ways_is_one(tmp_path: Path) -> None:
    by_driver = "/sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    system = build(tmp_path, ina3221(by_driver, ("VDD_IN", 5000, 1000), ("B", 1000, -398), ("", 1, 1)))
    alone = rails.read(system)
    assert rounded(alone) == {("rail", "VDD_IN"): 5.0, ("rail", "B"): -0.398}
    system.path(HWMON).mkdir(parents=True)
    os.symlink(system.path(by_driver), system.path(f"{HWMON}/hwmon1"))
    assert rails.read(system) == alone


def test_a_pc_counts_joules_and_its_parts_are_not_counted_twice(tmp_path: Path) -> None:
    system = build(tmp_path, DESK)
    found = rails.read(system)
    assert rounded(found) == {
        ("energy", "package-0"): 0, ("energy", "package-0 core"): 0, ("energy", "package-0 dram"): 0,
        ("sensor", "amdgpu PPT"): 31,
    }  # fmt: skip
    assert rails.wraps_at(system) == {"package-0": 100.0}
    parts: list[tuple[Kind, str]] = [("package", name) for kind, name in found if kind == "energy"]
    assert rails.whole([*parts, ("card", "gpu 0")]) == (
        ("package", "package-0"), ("package", "package-0 dram"), ("card", "gpu 0"),
    )  # fmt: skip
    assert rails.whole([*parts, ("package", "psys")]) == (("package", "psys"),)
    assert rails.whole([("sensor", "amdgpu PPT")]) == ()
    assert not rails.locked(system)


def test_a_boards_clocks_what_they_may_be_and_its_mode(tmp_path: Path) -> None:
    found = clocks.read(build(tmp_path / "nano", NANO))
    assert rounded(found) == {
        ("clock", "cpu policy0"): 1190.4, ("lowest", "cpu policy0"): 729.6, ("highest", "cpu policy0"): 1344,
        ("clock", "cpu policy4"): 729.6, ("lowest", "cpu policy4"): 729.6, ("highest", "cpu policy4"): 1344,
        ("clock", "gpu"): 510, ("lowest", "gpu"): 306, ("highest", "gpu"): 918, ("clock", "memory"): 2133,
        ("mode", "nvpmodel"): 1,
    }  # fmt: skip
    thor = clocks.read(build(tmp_path / "thor", T5000))
    assert {name: mhz for (kind, name), mhz in thor.items() if kind == "clock"} == {
        "cpu policy0": 972, "gpu-gpc-0": 315, "gpu-nvd-0": 314,
    }  # fmt: skip


def test_a_virtual_machine_has_its_clock_in_cpuinfo_alone(tmp_path: Path) -> None:
    system = build(tmp_path, {"/proc/cpuinfo": "processor : 0\ncpu MHz\t\t: 2400.0\n\ncpu MHz\t: 2600.5\n"})
    assert clocks.read(system) == {("clock", "cpu"): 2500.25}


def test_load_memory_and_fans(tmp_path: Path) -> None:
    found = loads.read(build(tmp_path / "nano", NANO))
    assert found["load", "gpu"] == 0.25
    assert found["memory", "used"] == pytest.approx((7802816 - 5314944) * 1.024e-3)
    assert found["memory", "largest block"] == pytest.approx(4.194304)
    assert (found["memory", "swap"], found["fan", "pwm_tach"], found["fan power", "pwmfan"]) == (0, 1800, 0.2)
    assert loads.cpu_time(build(tmp_path / "nano", {})) == (200, 1000)
    assert loads.read(build(tmp_path / "agx", AGX))["load", "gpu"] == 0.12
    desk = loads.read(build(tmp_path / "desk", DESK))
    assert (desk["fan", "nct6775"], desk["fan", "nct6775 2"]) == (900, 1200)


def test_throttling_by_alert_and_by_count(tmp_path: Path) -> None:
    system = build(tmp_path / "nano", NANO)
    assert throttling.read(system) == {
        ("throttle", "cpu"): 0, ("throttle", "gpu"): 0, ("throttle events", "over-current oc3"): 2,
    }  # fmt: skip
    change(system, {"/sys/devices/virtual/thermal/cooling_device1/cur_state": "2\n"})
    assert throttling.read(system)["throttle", "cpu"] == 1
    assert throttling.read(build(tmp_path / "desk", DESK)) == {
        ("throttle events", "cores"): 7, ("throttle events", "packages"): 9,
    }  # fmt: skip


@pytest.mark.parametrize("data", [b"\xff\xfe\x00" * 300, b"9" * (MOST_BYTES + 5000), b"-1", b"", b"nan\n", b"1 2 3"])
def test_files_full_of_anything_are_left_out_or_numbers(data: bytes, tmp_path: Path) -> None:
    for name in {*NANO, *T5000, *DESK}:
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    system = build(tmp_path, {})
    for read in (rails.read, clocks.read, loads.read, throttling.read):
        assert all(value == value for value in read(system).values())
    loads.cpu_time(system)
    rails.wraps_at(system)
