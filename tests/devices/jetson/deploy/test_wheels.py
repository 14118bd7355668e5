"""The folder of wheels: which fit a board, and what is still missing, judged by the board's Python, not by this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.devices.jetson.deploy.payload import Payload, fits, text_file, wheels_in
from edge_streamer.devices.jetson.deploy.wheels import Goal, lacking
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.deploy.made import wheel

OLD, NEW = Goal("3.10", "aarch64", ("audio", "trust")), Goal("3.12", "aarch64", ("trust",))


def _missing(folder: Path, goal: Goal) -> list[str]:
    return lacking(sorted(folder.glob("*.whl")), goal)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("numpy-2.2.6-cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", True),
        ("cryptography-50.0-cp39-abi3-manylinux_2_34_aarch64.whl", True),
        ("rich-15.0.0-py3-none-any.whl", True),
        ("flatbuffers-25.12-py2.py3-none-any.whl", True),
        ("built-1.0-1-cp310-cp310-linux_aarch64.whl", True),
        ("numpy-2.5.5-cp312-cp312-manylinux_2_27_aarch64.whl", False),
        ("av-19.0.2-cp312-abi3-manylinux_2_28_aarch64.whl", False),
        ("numpy-2.2.6-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("no wheel.whl", False),
    ],
)
def test_which_wheels_fit(name: str, good: bool) -> None:
    assert fits(name, "aarch64", "3.10") is good


@pytest.mark.parametrize(
    ("platform", "good"),
    [("manylinux_2_35_aarch64", True), ("manylinux_2_36_aarch64", False), ("manylinux2014_aarch64", True),
     ("linux_aarch64", True), ("manylinux_2_39_aarch64.manylinux_2_28_aarch64", True), ("any", True)],
)  # fmt: skip
def test_wheels_of_a_newer_glibc_do_not_fit(platform: str, good: bool) -> None:
    assert fits(f"one-1.0-py3-none-{platform}.whl", "aarch64", "3.10", "2.35") is good
    assert fits("one-1.0-py3-none-manylinux_2_39_aarch64.whl", "aarch64", "3.10", "")


def test_what_is_missing_is_judged_for_the_board(tmp_path: Path) -> None:
    needs = """Requires-Dist: numpy>=1.26
Requires-Dist: tomli>=2.0; python_version < "3.11"
Requires-Dist: x86-only; platform_machine == "x86_64"
Requires-Dist: cryptography>=42; extra == "trust"
Requires-Dist: pyaudio; extra == "audio"
Requires-Dist: py-webrtc.audio; extra == "audio"
Requires-Dist: torch; extra == "export\""""
    wheel(tmp_path, "edge_streamer", {}, needs=needs)
    assert _missing(tmp_path, OLD) == [
        "numpy>=1.26",
        "tomli>=2.0",
        "cryptography>=42",
        "py-webrtc.audio",
    ]
    assert _missing(tmp_path, NEW) == ["numpy>=1.26", "cryptography>=42"]
    wheel(tmp_path, "py_webrtc_audio", {}, needs='Requires-Dist: exceptiongroup; python_version < "3.11"')
    assert "exceptiongroup" in _missing(tmp_path, OLD)
    wheel(tmp_path, "numpy", {})
    with pytest.raises(InputError, match=r"holds numpy 1\.0, and edge_streamer wants >=1\.26; remove that wheel"):
        _missing(tmp_path, NEW)


def test_a_folder_without_our_wheel_or_with_one_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no wheel of edge_streamer"):
        wheels_in(tmp_path)
    wheel(tmp_path, "edge_streamer", {})
    wheel(tmp_path, "edge_streamer", {}, "py2-none-any")
    with pytest.raises(InputError, match="remove one of them"):
        wheels_in(tmp_path)


def test_a_plan_is_its_files_and_the_python() -> None:
    one = Payload((text_file("bundle", b"1"),))
    assert one.plan("3.10") == Payload((text_file("bundle", b"1"),)).plan("3.10")
    assert len({one.plan("3.10"), one.plan("3.12"), Payload((text_file("bundle", b"2"),)).plan("3.10")}) == 3


def test_any_build_of_onnxruntime_will_do(tmp_path: Path) -> None:
    wheel(tmp_path, "edge_streamer", {}, needs="Requires-Dist: onnxruntime>=1")
    assert _missing(tmp_path, NEW) == ["onnxruntime>=1"]
    wheel(tmp_path, "onnxruntime_gpu", {})
    assert _missing(tmp_path, NEW) == []
    (tmp_path / "numpy-2.4.0-cp312-cp312-manylinux_2_27_aarch64.whl").write_bytes(b"")
    with pytest.raises(InputError, match=r"numpy-2\.4\.0-.* is damaged"):
        _missing(tmp_path, NEW)
