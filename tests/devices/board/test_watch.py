"""A board that is looked at again and again: energy is a known integral, devices come and move, changes are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_streamer.devices.board.changes import Settings, changes, settings, throttle_events
from edge_streamer.devices.board.monitor import LOOK_SHARE, POWER_SHARE, Monitor
from edge_streamer.devices.board.program import Program, no_program
from edge_streamer.devices.board.series import GAP, POINTS, Series
from edge_streamer.devices.board.watch import Watch
from edge_streamer.devices.jetson import power
from edge_streamer.devices.jetson.system import System
from tests.devices.board.test_tegrastats import JETPACK_62
from tests.devices.board.trees import AGX, DESK, HWMON, NANO, ORIN_GPU, POLICIES, T5000, build, change, ina3221

MODES = {0: "15W", 1: "25W", 2: "MAXN_SUPER"}


class Lines(Program):
    """A program that says these lines at each look."""

    def __init__(self, *lines: str) -> None:
        self._said = lines

    def lines(self) -> list[str]:
        return list(self._said)

    @property
    def ended(self) -> bool:
        return not self._said

    def close(self) -> None:
        self._said = ()


def watch(system: System, **more: bool) -> Watch:
    found = Watch(system, start=no_program, **more)
    found.begin()
    return found


def test_energy_is_the_integral_of_a_ramp(tmp_path: Path) -> None:
    system = build(tmp_path, NANO | {f"{HWMON}/hwmon1/curr1_input": "1000\n"})
    found = watch(system)
    found.look(0.0)
    for tenth in range(1, 101):  # from 5 to 15 W in 10 s
        change(system, {f"{HWMON}/hwmon1/curr1_input": f"{1000 + 20 * tenth}\n"})
        found.power(tenth / 10)
    assert found.total.integral == pytest.approx(100.0)  # joules
    assert found.total.covered == pytest.approx(10.0)
    assert (found.total_of, found.total.high) == (("VDD_IN",), 15.0)


@pytest.mark.parametrize(("files", "watts"), [(NANO, 5.7), (AGX, 14.981), (T5000, 19.78)])
def test_boards_take_what_their_whole_takes(files: dict[str, str], watts: float, tmp_path: Path) -> None:
    found = watch(build(tmp_path, files), jetson=True)
    for second in range(5):
        found.look(float(second))
    assert found.total.mean == pytest.approx(watts, abs=1e-3)
    assert found.total.integral == pytest.approx(4 * watts, abs=4e-3)
    found.close()
    assert found.told == []


def test_counters_of_joules_are_exact_and_begin_anew(tmp_path: Path) -> None:
    system = build(tmp_path, DESK)
    found = watch(system)
    for second, (package, dram) in enumerate(((90, 0), (95, 1), (10, 2), (40, 2))):  # begins anew at 100 J
        change(system, {"/sys/class/powercap/intel-rapl:0/energy_uj": f"{package * 10**6}\n",
                        "/sys/class/powercap/intel-rapl:0:1/energy_uj": f"{dram * 10**6}\n"})  # fmt: skip
        found.look(float(second))
    assert found.total.integral == pytest.approx(50 + 2)
    assert (found.total_of, found.total.high) == (("package-0", "package-0 dram"), 30.0)
    assert found.series["package"]["package-0"].first == 5.0


def test_a_counter_that_only_root_may_read_is_told(tmp_path: Path) -> None:
    system = build(tmp_path, {"/sys/class/powercap/intel-rapl:0/name": "package-0\n"})
    found = watch(system)
    found.look(0.0)
    found.close()
    assert found.total.count == 0
    assert len(found.told) == 1
    assert "only root may read" in found.told[0]


def test_a_device_that_comes_late_is_found(tmp_path: Path) -> None:
    late = {name: text for name, text in NANO.items() if name.startswith(ORIN_GPU)}
    system = build(tmp_path, {name: text for name, text in NANO.items() if name not in late})
    found = watch(system)
    found.look(0.0)
    change(system, late)
    for second in range(1, 12):
        found.look(float(second))
    assert found.series["clock"]["gpu"].count == 2  # at 10 s and 11 s
    assert changes(found, Settings(), Settings(), MODES) == []


def test_a_chip_that_is_numbered_anew_is_found_at_once(tmp_path: Path) -> None:
    system = build(tmp_path, NANO)
    found = watch(system)
    found.look(0.0)
    system.path(f"{HWMON}/hwmon1").rename(system.path(f"{HWMON}/hwmon9"))
    found.power(0.5)  # finds nothing, and that is no reading of 0 W
    found.look(1.0)
    found.look(2.0)
    assert found.total.count == 3
    assert found.total.integral == pytest.approx(2 * 5.7)


def test_a_rail_that_one_look_cannot_read_changes_nothing(tmp_path: Path) -> None:
    system = build(tmp_path, NANO)
    found = watch(system)
    for second, text in enumerate(("5000\n", "\n", "5000\n")):
        change(system, {f"{HWMON}/hwmon1/in1_input": text})
        found.look(float(second))
    assert (found.total.count, found.total_of, found.told) == (2, ("VDD_IN",), [])
    assert found.total.integral == pytest.approx(2 * 5.7)
    change(system, {f"{HWMON}/hwmon1/in1_input": "\n"})
    for second in range(3, 15):
        found.look(float(second))
    assert found.total_of == ("VDD_CPU_GPU_CV", "VDD_SOC"), "it is gone for good"
    assert "can be read since 13.0 s" in found.told[0]
    change(system, {f"{HWMON}/hwmon1/in1_input": "5000\n"})
    found.look(15.0)
    assert found.total_of == ("VDD_IN",)


def test_a_rail_that_comes_late_begins_another_total(tmp_path: Path) -> None:
    system = build(tmp_path, AGX)
    chip = system.path(f"{HWMON}/hwmon4")
    chip.rename(system.path("/away"))
    found = watch(system)
    found.look(0.0)
    found.look(9.0)
    system.path("/away").rename(chip)
    for second in range(10, 15):
        found.look(float(second))
    assert found.total.covered == pytest.approx(4.0)
    assert found.total_of == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO")
    assert "can be read since 10.0 s" in found.told[0]


def test_cores_are_busy_for_a_share_of_the_time(tmp_path: Path) -> None:
    system = build(tmp_path, NANO)
    found = watch(system)
    found.look(0.0)
    change(system, {"/proc/stat": "cpu  130 0 120 840 10 0 0 0 0 0\n"})
    found.look(1.0)
    assert found.series["load"]["cpu"].last == 0.5


def test_tegrastats_knows_what_files_do_not(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def start(words: Sequence[str]) -> Program:
        asked.append(words)
        return Lines(JETPACK_62, JETPACK_62.replace("5704mW/", "6704mW/") + " SOMETHING <new>")

    bare = {name: text for name, text in NANO.items() if not name.startswith((HWMON, ORIN_GPU, POLICIES))}
    found = Watch(build(tmp_path, bare), jetson=True, start=start)
    found.begin()
    found.look(0.0)
    found.look(1.0)
    found.close()
    assert asked == [("tegrastats", "--interval", "1000")]
    assert (found.total_of, found.total.last) == (("VDD_IN",), 6.704)
    clock = {name: one.last for name, one in found.series["clock"].items()}
    assert clock == {"memory": 2133, "gpu": 305, **{f"cpu {n}": 729 for n in range(6)}}
    assert set(found.series["temperature"]) == {"cpu-thermal", "gpu-thermal", "soc0-thermal", "tj-thermal"}
    assert found.series["load"]["gpu"].last == 0.25  # the file's
    assert found.series["load"]["memory"].last == 0.04
    assert "SOMETHING <new>" in found.told[0]


def test_tegrastats_is_left_alone_where_files_tell_all(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []
    found = Watch(build(tmp_path, NANO), jetson=True, start=lambda words: asked.append(words))
    found.begin()
    found.look(0.0)
    assert asked == []


def test_a_card_is_read_by_nvidia_smi_whatever_it_calls_its_columns(tmp_path: Path) -> None:
    asked: list[str] = []

    def start(words: Sequence[str]) -> Program:
        asked.append(words[1])
        old = "clocks_throttle_reasons" in words[1]
        return Lines("0, 31.5, 115.0, 1500, 8000, 61, 40, 12, 1000, [N/A], 0x0000000000000024") if old else Lines()

    found = Watch(build(tmp_path, {"/dev/nvidiactl": ""} | DESK), start=start)
    found.begin()
    for second in range(3):
        found.look(float(second))
    assert len(asked) == 2
    assert found.series["card"]["gpu 0"].last == 31.5
    assert found.series["clock"]["gpu 0 memory"].last == 8000
    assert found.series["memory"]["gpu 0"].last == pytest.approx(1048.576)
    assert "fan power" not in found.series
    assert found.total_of == ("package-0", "package-0 dram", "gpu 0")
    said = changes(found, Settings(), Settings(), MODES)
    assert said == ["gpu 0: power throttled for 2 s", "gpu 0: heat throttled for 2 s"]
    found.close()


def test_what_changed_is_told_the_weightiest_first(tmp_path: Path) -> None:
    system = build(tmp_path, NANO)
    found = watch(system)
    before = settings(system, power.read(system))
    alert = "/sys/devices/virtual/thermal/cooling_device1/cur_state"
    found.look(0.0)
    change(system, {power.STATUS: "pmode:0000\n", f"{POLICIES}/policy4/scaling_max_freq": "729600\n", alert: "1\n",
                    f"{HWMON}/hwmon3/oc3_event_cnt": "5\n"})  # fmt: skip
    for second in range(1, 4):
        found.look(float(second))
    change(system, {f"{POLICIES}/policy4/scaling_max_freq": "1344000\n", alert: "0\n",
                    "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
                    "/sys/devices/system/cpu/online": "0-3\n"})  # fmt: skip
    found.look(4.0)
    said = changes(found, before, settings(system, power.read(system)), MODES)
    assert said == [
        "the power mode changed from 25W to 15W after 1 s", "the governor changed from schedutil to powersave",
        "the cores that are on changed from 0-5 to 0-3", "cpu throttled for 3 s",
        "throttled 3 times (over-current oc3)",
        "the highest clock of cpu policy4 changed from 1344 to 730 MHz and back after 1 s",
    ]  # fmt: skip
    assert throttle_events(found) == {"over-current oc3": 3}


def test_a_mode_that_nvpmodel_alone_tells_is_compared_at_the_ends(tmp_path: Path) -> None:
    found = watch(build(tmp_path, DESK))
    found.look(0.0)
    said = changes(found, Settings("25W"), Settings("MAXN_SUPER"), MODES)
    assert said == ["the power mode changed from 25W to MAXN_SUPER"]
    assert changes(found, Settings("25W"), Settings(""), MODES) == []


def test_a_run_of_days_keeps_few_points_and_exact_sums() -> None:
    one = Series()
    for n in range(100_000):
        one.add(float(n), float(n % 10))
    assert POINTS / 2 <= len(one.points) < POINTS
    assert one.integral == pytest.approx(4.5 * 99_999, rel=1e-4)
    assert (one.low, one.high, one.count) == (0, 9, 100_000)
    assert [at for at, _ in one.points] == sorted(at for at, _ in one.points)
    one.add(200_000.0, 1.0)
    assert one.covered == pytest.approx(99_999), f"nobody knows what was in more than {GAP} s"


def test_looking_costs_next_to_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Monitor(watch(build(tmp_path, NANO))) as monitor:
        monitor._stop.wait(2.5)
    with capsys.disabled():
        print(f"\na look at an Orin Nano's files takes {1e3 * monitor.look_seconds / monitor.looks:.2f} ms of a core, "
              f"all in 2.5 s {monitor.core_seconds / monitor.seconds:.2%} of one")  # fmt: skip
    assert monitor.looks >= 2
    assert monitor.watch.total.count > monitor.looks
    # one look more at each end than the shares are of
    assert monitor.core_seconds / monitor.seconds < LOOK_SHARE + POWER_SHARE + 0.02
    assert monitor.watch.total.covered == pytest.approx(monitor.seconds, rel=0.05)


def test_a_machine_that_tells_nothing_is_watched_all_the_same(tmp_path: Path) -> None:
    with Monitor(watch(build(tmp_path, {}))) as monitor:
        pass
    assert monitor.watch.series == {}
    assert monitor.watch.total.count == 0
    assert changes(monitor.watch, Settings(), Settings(), {}) == []


def test_a_chip_full_of_rails_is_read_at_power_looks_alone(tmp_path: Path) -> None:
    system = build(tmp_path, ina3221(f"{HWMON}/hwmon0", ("A", 1000, 1000)))
    found = watch(system)
    found.look(0.0)
    found.power(0.1)
    assert found.counts_power
    assert found.series["rail"]["A"].count == 2
