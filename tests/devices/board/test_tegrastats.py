"""tegrastats: real lines field by field, lines as other users have them, and a hundred thousand that nobody has."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from edge_streamer.devices.board.tegrastats import EMPTY, Core, Engine, Line, Rail, parse

JETPACK_62 = (
    "11-30-2025 13:26:01 RAM 2461/7620MB (lfb 3x2MB) SWAP 1243/3810MB (cached 5MB) CPU [19%@729,14%@729,22%@729,8%@729,"
    "15%@729,17%@729] EMC_FREQ 4%@2133 GR3D_FREQ 0%@[305] NVDEC off NVJPG off NVJPG1 off VIC off OFA off APE 200 "
    "cpu@46.531C soc2@47.312C soc0@46.593C gpu@48.218C tj@48.843C soc1@48.843C VDD_IN 5704mW/5704mW "
    "VDD_CPU_GPU_CV 831mW/831mW VDD_SOC 1624mW/1624mW"
)
"""An Orin Nano, L4T 36.4."""
JETPACK_5 = (
    "11-21-2025 08:49:48 RAM 13983/62780MB (lfb 424x4MB) SWAP 126/31390MB (cached 0MB) CPU [90%@2201,100%@2201"
    + ",97%@2201" * 10
    + "] EMC_FREQ 1%@2133 GR3D_FREQ 14%@[407,407] VIC_FREQ 115 NVDLA0_FREQ @1600 APE 174 CV0@73.625C CPU@77.281C "
    "Tboard@62C SOC2@70C Tdiode@62.25C GPU@69.125C tj@77.281C VDD_GPU_SOC 3150mW/2971mW VDD_CPU_CV 14312mW/12415mW "
    "VIN_SYS_5V0 4968mW/5048mW VDDQ_VDD2_1V8AO 1091mW/1091mW"
)
"""An AGX Orin; its last ten cores are made up."""
JETPACK_72 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201"
    + ",12%@2201" * 11
    + "] EMC_FREQ 3%@3199 GR3D_FREQ 12%@[1300,1300] NVENC0 off NVDEC0 off NVDLA0 off PVA0_FREQ off APE 174 "
    "cpu@52.968C/52.968C gpu@47.625C/47.625C VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW "
    "VIN_SYS_5V0 5500mW/5500mW/5500mW"
)
"""An AGX Orin, L4T 39.2; all but its first core are made up."""
THOR_71 = (
    "04-21-2026 15:50:52 RAM 105265/125772MB (lfb 34x4MB) CPU ["
    + ",".join(["0%@972"] * 14)
    + "] EMC_FREQ 0%@2750 GR3D_FREQ @[314,314,314] NVENC0_FREQ @314 VIC off OFA_FREQ @315 PVA0_FREQ off APE 300 "
    "cpu@37.343C tj@38.875C soc012@37.468C gpu@38.875C soc345@37.406C VDD_GPU 1962mW/1962mW "
    "VDD_CPU_SOC_MSS 5887mW/5887mW VIN_SYS_5V0 5635mW/5635mW VIN 19780mW/19780mW"
)
"""A Thor with JetPack 7.1, L4T 38.4."""
REAL = JETPACK_62, JETPACK_5, JETPACK_72, THOR_71
OFF = Engine(on=False)


def test_an_orin_nano_with_jetpack_6_2() -> None:
    found = parse(JETPACK_62)
    assert (found.ram, found.largest_blocks, found.swap, found.swap_cached) == ((2461, 7620), (3, 2), (1243, 3810), 5)
    assert found.cores == tuple(Core(load, 729) for load in (19, 14, 22, 8, 15, 17))
    assert found.engines == {
        "EMC": Engine(load=4, mhz=(2133,)), "GR3D": Engine(load=0, mhz=(305,)), "NVDEC": OFF, "NVJPG": OFF,
        "NVJPG1": OFF, "VIC": OFF, "OFA": OFF, "APE": Engine(mhz=(200,)),
    }  # fmt: skip
    assert found.temperatures == {
        "cpu": 46.531, "soc2": 47.312, "soc0": 46.593, "gpu": 48.218, "tj": 48.843, "soc1": 48.843,
    }  # fmt: skip
    assert found.rails == {
        "VDD_IN": Rail(5704, 5704), "VDD_CPU_GPU_CV": Rail(831, 831), "VDD_SOC": Rail(1624, 1624),
    }  # fmt: skip
    assert found.unknown == ()


def test_an_agx_orin_with_jetpack_5() -> None:
    found = parse(JETPACK_5)
    assert (found.ram, found.largest_blocks, found.swap) == ((13983, 62780), (424, 4), (126, 31390))
    assert found.swap_cached == 0
    assert found.cores[:3] == (Core(90, 2201), Core(100, 2201), Core(97, 2201))
    assert len(found.cores) == 12
    assert found.engines == {
        "EMC": Engine(load=1, mhz=(2133,)), "GR3D": Engine(load=14, mhz=(407, 407)), "VIC": Engine(mhz=(115,)),
        "NVDLA0": Engine(mhz=(1600,)), "APE": Engine(mhz=(174,)),
    }  # fmt: skip
    assert found.temperatures == {
        "CV0": 73.625, "CPU": 77.281, "Tboard": 62, "SOC2": 70, "Tdiode": 62.25, "GPU": 69.125, "tj": 77.281,
    }  # fmt: skip
    assert found.rails == {
        "VDD_GPU_SOC": Rail(3150, 2971), "VDD_CPU_CV": Rail(14312, 12415), "VIN_SYS_5V0": Rail(4968, 5048),
        "VDDQ_VDD2_1V8AO": Rail(1091, 1091),
    }  # fmt: skip
    assert found.unknown == ()


def test_an_agx_orin_with_jetpack_7_2() -> None:
    found = parse(JETPACK_72)
    assert (found.ram, found.largest_blocks, found.swap, found.swap_cached) == ((20642, 62817), (1, 2), None, None)
    assert (found.cores[0], len(found.cores)) == (Core(23, 2201), 12)
    assert found.engines == {
        "EMC": Engine(load=3, mhz=(3199,)), "GR3D": Engine(load=12, mhz=(1300, 1300)), "NVENC0": OFF, "NVDEC0": OFF,
        "NVDLA0": OFF, "PVA0": OFF, "APE": Engine(mhz=(174,)),
    }  # fmt: skip
    assert found.temperatures == {"cpu": 52.968, "gpu": 47.625}
    assert found.rails == {
        "VDD_GPU_SOC": Rail(5139, 5139), "VDD_CPU_CV": Rail(3268, 3268), "VIN_SYS_5V0": Rail(5500, 5500),
    }  # fmt: skip
    assert found.unknown == ()


def test_a_thor_with_jetpack_7_1() -> None:
    found = parse(THOR_71)
    assert (found.ram, found.largest_blocks, found.swap) == ((105265, 125772), (34, 4), None)
    assert found.cores == (Core(0, 972),) * 14
    assert found.engines == {
        "EMC": Engine(load=0, mhz=(2750,)), "GR3D": Engine(mhz=(314, 314, 314)), "NVENC0": Engine(mhz=(314,)),
        "VIC": OFF, "OFA": Engine(mhz=(315,)), "PVA0": OFF, "APE": Engine(mhz=(300,)),
    }  # fmt: skip
    assert found.temperatures == {"cpu": 37.343, "tj": 38.875, "soc012": 37.468, "gpu": 38.875, "soc345": 37.406}
    assert found.rails == {
        "VDD_GPU": Rail(1962, 1962), "VDD_CPU_SOC_MSS": Rail(5887, 5887), "VIN_SYS_5V0": Rail(5635, 5635),
        "VIN": Rail(19780, 19780),
    }  # fmt: skip
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("VDD_CPU_CV -398mW/12mW", Line(rails={"VDD_CPU_CV": Rail(-398, 12)})),
        ("VDD_IN 5704/5604", Line(rails={"VDD_IN": Rail(5704, 5604)})),  # as JetPack 4 wrote it
        ("CPU [2%@1190,off,off,3%@1190]", Line(cores=(Core(2, 1190), None, None, Core(3, 1190)))),
        ("CPU [2%@1190, off, 3%]", Line(cores=(Core(2, 1190), None, Core(3, None)))),
        ("EMC_FREQ 0% GR3D_FREQ 7%", Line(engines={"EMC": Engine(load=0), "GR3D": Engine(load=7)})),
        ("GR3D_FREQ 99%@[1573,1573,0]", Line(engines={"GR3D": Engine(load=99, mhz=(1573, 1573, 0))})),
        ("gpu@-256C cpu@41.5C", Line(temperatures={"cpu": 41.5})),  # a GPU that is switched off
        ("RAM 1/2MB(lfb 3x4MB) SWAP 0/0MB", Line(ram=(1, 2), largest_blocks=(3, 4), swap=(0, 0))),
        ("IRAM 0/252kB(lfb 252kB) RAM 5/6MB", Line(ram=(5, 6))),
        ("RAM 1/2GB (lfb 1x512kB)", Line(ram=(1000, 2000), largest_blocks=(1, 0.512))),
        ("NEWTHING <7> cpu@40C", Line(temperatures={"cpu": 40}, unknown=("NEWTHING", "<7>"))),
        ("RAM many CPU few VDD_IN some", Line(unknown=("RAM", "many", "CPU", "few", "VDD_IN", "some"))),
        ("RAM", Line(unknown=("RAM",))),
        ("", EMPTY),
    ],
)  # fmt: skip
def test_lines_as_others_have_them(text: str, found: Line) -> None:
    assert parse(text) == found
    assert parse(text).empty == (replace(found, unknown=()) == EMPTY)


def test_who_is_not_root_sees_the_rest() -> None:
    text = JETPACK_62.replace("EMC_FREQ 4%@2133 GR3D_FREQ 0%@[305] ", "")
    found, whole = parse(text), parse(JETPACK_62)
    assert found == replace(whole, engines={k: v for k, v in whole.engines.items() if k not in ("EMC", "GR3D")})


def test_each_field_stands_without_the_others() -> None:
    for real in REAL:
        whole = parse(real)
        for word in real.split():
            if "@" in word and word.endswith("C"):
                name = word.partition("@")[0]
                found = parse(real.replace(f" {word}", "", 1))
                assert name not in found.temperatures
                assert found.rails == whole.rails


def test_a_hundred_thousand_lines_of_anything_are_read() -> None:
    draw = random.Random(20)
    signs = "0123456789@%[](),/-.: offRAMSWPCUlbmkVGx\x00\x1b\u0665\ufeff\n\t"
    for n in range(100_000):
        text = draw.choice(REAL)
        begin, length = draw.randrange(len(text)), draw.randrange(1, 60)
        kind = n % 5
        if kind == 0:
            text = text[:begin] + text[begin + length :]
        elif kind == 1:
            text = text[:begin] + "".join(draw.choices(signs, k=draw.randrange(12))) + text[begin:]
        elif kind == 2:
            other = draw.choice(REAL)
            text = text[:begin] + other[draw.randrange(len(other)) :]
        elif kind == 3:
            text = text[begin : begin + length]
        else:
            text = "".join(draw.choices(signs, k=draw.randrange(80)))
        if n % 50 > 2:  # a few whole lines, and else what lies around the place
            text = text[max(0, begin - 50) : begin + 50]
        assert len(parse(text).unknown) <= 8


@pytest.mark.parametrize(
    "part", ["9", "9/", "1%@[", "[1%@1,", "(lfb ", "RAM ", "RAM 1/2MB (lfb ", "CPU [1%@1,2 ", "A@1C/", "1,", "VDD 1mW/",
             "-", "@", "_", "a 1%@[1,1,1,"],
)  # fmt: skip
def test_a_line_without_end_takes_no_time(part: str) -> None:
    began = time.process_time()
    for _ in range(20):
        parse(part * 100_000)
    assert time.process_time() - began < 2  # 20 lines; what is quadratic would take minutes
