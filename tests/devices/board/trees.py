"""Boards as files: what sysfs has on real ones while they work, made on the spot.

Paths, names of chips, labels, zones and devices are those of an Orin Nano, an AGX Orin and a Thor; numbers of hwmon
folders are any, as the kernel gives them out anew at every start. An INA3221's ``in4`` to ``in7`` are there with values
that would be seen at once if they were taken for rails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_streamer.devices.jetson.system import System
from tests.devices.jetson.boards import AGX_ORIN, ORIN_NANO, THOR, Files, at

HWMON = "/sys/class/hwmon"
VIRTUAL = "/sys/devices/virtual/thermal"
POLICIES = "/sys/devices/system/cpu/cpufreq"
ORIN_GPU = "/sys/class/devfreq/17000000.gpu"


def ina3221(folder: str, *rails: tuple[str, int, int]) -> Files:
    """A chip in ``folder``: (label, millivolts, milliamperes) of its channels, and all that it has besides."""
    files = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    for n, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files |= {
            f"{folder}/in{n}_label": f"{label}\n", f"{folder}/in{n}_input": f"{millivolts}\n",
            f"{folder}/curr{n}_input": f"{milliamperes}\n", f"{folder}/in{n}_enable": "1\n",
        }  # fmt: skip
    for n in range(4, 8):
        files |= {f"{folder}/in{n}_input": "99999\n", f"{folder}/curr{n}_input": "99999\n"}
    return files


def zones(**degrees: float) -> Files:
    """Thermal zones by type, with ``_`` for ``-``."""
    files: Files = {}
    for n, (name, value) in enumerate(degrees.items()):
        files[f"{VIRTUAL}/thermal_zone{n}/type"] = f"{name.replace('_', '-')}\n"
        files[f"{VIRTUAL}/thermal_zone{n}/temp"] = f"{1000 * value:.0f}\n"
    return files


def cooling(*kinds: str) -> Files:
    files: Files = {}
    for n, kind in enumerate(kinds):
        files |= {f"{VIRTUAL}/cooling_device{n}/type": f"{kind}\n", f"{VIRTUAL}/cooling_device{n}/cur_state": "0\n"}
    return files


def policies(*clocks: tuple[int, int, int, int]) -> Files:
    """(number of its first core, kHz now, at least, at most) of each policy."""
    files: Files = {}
    for first, now, low, high in clocks:
        path = f"{POLICIES}/policy{first}"
        files |= {f"{path}/scaling_cur_freq": f"{now}\n", f"{path}/scaling_min_freq": f"{low}\n",
                  f"{path}/scaling_max_freq": f"{high}\n"}  # fmt: skip
    return files


NANO: Files = ORIN_NANO | ina3221(
    f"{HWMON}/hwmon1", ("VDD_IN", 5000, 1140), ("VDD_CPU_GPU_CV", 5008, 166), ("VDD_SOC", 5008, 324)
) | zones(cpu_thermal=46.5, gpu_thermal=48.2, soc0_thermal=46.6, tj_thermal=48.8) | cooling(
    "pwm-fan", "cpu-throttle-alert", "gpu-throttle-alert", "hot-surface-alert"
) | policies((0, 1190400, 729600, 1344000), (4, 729600, 729600, 1344000)) | {
    f"{ORIN_GPU}/cur_freq": "510000000\n", "/sys/class/devfreq/15340000.vic/cur_freq": "115200000\n",
    "/sys/devices/platform/gpu.0/load": "250\n", "/sys/devices/system/cpu/online": "0-5\n",
    "/sys/kernel/debug/bpmp/debug/clk/emc/rate": "2133000000\n",
    f"{HWMON}/hwmon0/name": "pwmfan\n", f"{HWMON}/hwmon0/pwm1": "51\n",
    f"{HWMON}/hwmon2/name": "pwm_tach\n", f"{HWMON}/hwmon2/rpm": "1800\n",
    f"{HWMON}/hwmon3/name": "soctherm_oc\n", f"{HWMON}/hwmon3/oc3_event_cnt": "2\n",
    "/proc/stat": "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3 4\n",
}  # fmt: skip

AGX: Files = AGX_ORIN | ina3221(
    f"{HWMON}/hwmon3", ("VDD_GPU_SOC", 19000, 270), ("VDD_CPU_CV", 19000, 172), ("VIN_SYS_5V0", 5000, 1100)
) | ina3221(f"{HWMON}/hwmon4", ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 19000, 57), ("NC", 0, 0)) | zones(
    cpu_thermal=53.0, gpu_thermal=47.6, tj_thermal=53.0
) | cooling("cpu-throttle-alert") | policies((0, 2201600, 2201600, 2201600)) | {
    f"{ORIN_GPU}/cur_freq": "1300500000\n", "/sys/devices/platform/bus@0/17000000.gpu/load": "120\n",
    "/sys/devices/system/cpu/online": "0-11\n",
}  # fmt: skip

T5000: Files = THOR | ina3221(
    f"{HWMON}/hwmon5", ("VDD_GPU", 12000, 163), ("VDD_CPU_SOC_MSS", 12000, 490), ("VIN_SYS_5V0", 5000, 1127)
) | zones(cpu_thermal=37.3, tj_thermal=38.9, soc012_thermal=37.5) | cooling("tj-throttle-alert") | policies(
    (0, 972000, 972000, 2601000)
) | {
    f"{HWMON}/hwmon6/name": "ina238\n", f"{HWMON}/hwmon6/in0_input": "8\n", f"{HWMON}/hwmon6/in1_input": "12000\n",
    f"{HWMON}/hwmon6/curr1_input": "1648\n", f"{HWMON}/hwmon6/power1_input": "19780000\n",
    "/sys/class/devfreq/gpu-gpc-0/cur_freq": "315000000\n", "/sys/class/devfreq/gpu-nvd-0/cur_freq": "314000000\n",
    "/sys/class/devfreq/gpu-nvd-0/min_freq": "314000000\n", "/sys/class/devfreq/gpu-nvd-0/max_freq": "1692000000\n",
    "/sys/devices/system/cpu/online": "0-13\n",
}  # fmt: skip

DESK: Files = {
    "/sys/class/powercap/intel-rapl:0/name": "package-0\n", "/sys/class/powercap/intel-rapl:0/energy_uj": "0\n",
    "/sys/class/powercap/intel-rapl:0/max_energy_range_uj": "100000000\n",
    "/sys/class/powercap/intel-rapl:0:0/name": "core\n", "/sys/class/powercap/intel-rapl:0:0/energy_uj": "0\n",
    "/sys/class/powercap/intel-rapl:0:1/name": "dram\n", "/sys/class/powercap/intel-rapl:0:1/energy_uj": "0\n",
    "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3\n",
    "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "4\n",
    "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "9\n",
    "/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "9\n",
    f"{HWMON}/hwmon0/name": "amdgpu\n", f"{HWMON}/hwmon0/power1_average": "31000000\n",
    f"{HWMON}/hwmon0/power1_label": "PPT\n", f"{HWMON}/hwmon1/name": "nct6775\n",
    f"{HWMON}/hwmon1/fan1_input": "900\n", f"{HWMON}/hwmon1/fan2_input": "1200\n",
} | policies((0, 3000000, 800000, 4700000))  # fmt: skip
"""A PC."""


def change(system: System, files: Mapping[str, str]) -> None:
    """Other contents of these files."""
    at(system.root, files)


def build(root: Path, files: Mapping[str, str]) -> System:
    """The board at ``root``; its programs do not answer."""
    return at(root, files)
