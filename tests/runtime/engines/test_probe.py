"""The probe: what the driver and libraries answer in a process of their own, and what becomes of one that does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_streamer.runtime.child import python_m
from edge_streamer.runtime.engines import ort_library, probe
from edge_streamer.runtime.engines.probe import Gpu, asked
from tests.runtime.engines.fat_binaries import fat

ORIN = Gpu("", "Orin", (8, 7), 12060, "TensorRT 10.3.0")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Gpu]:
    """A machine with a driver, whose answer is the fixture's "gpu"; every module is there, and a wheel with CUDA."""
    answer = {"gpu": ORIN}
    monkeypatch.setattr(probe, "DEVICES", (str(tmp_path),))
    monkeypatch.setattr(probe, "gpu", lambda: answer["gpu"])
    monkeypatch.setattr(probe, "without", lambda *modules: False)
    monkeypatch.setattr(ort_library, "has_cuda", lambda: True)
    monkeypatch.setattr(ort_library, "cuda_library", lambda: tmp_path / "library.so")
    (tmp_path / "library.so").write_bytes(fat((87, False)))
    return answer


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_an_answer_is_taken() -> None:
    text = "import json; print('noise'); print(json.dumps({'name': 'Orin', 'capability': [8, 7], 'driver': 12060}))"
    assert asked(python(text)) == Gpu("", "Orin", (8, 7), 12060)


@pytest.mark.parametrize(
    "text",
    ["import os; os.kill(os.getpid(), 11)", "import os; os.abort()", "raise SystemExit(3)", "print('no json')",
     "print('[1, 2]')", "print('{\"capability\": [8]}')", "print('{\"capability\": [8, 7], \"surprise\": 1}')",
     "print('')"],
)  # fmt: skip
def test_a_process_that_dies_or_babbles_is_a_driver_that_does_not_work(text: str) -> None:
    assert "ended without an answer" in asked(python(text)).why


def test_a_process_that_hangs_is_ended() -> None:
    assert "said nothing in 0.3 seconds" in asked(python("import time; time.sleep(60)"), seconds=0.3).why


def test_the_process_answers_on_any_machine() -> None:
    """Here there is most likely no driver, and it says so; where there is one, it says which."""
    answer = asked(python_m("edge_streamer.runtime.engines.probe"))
    assert "ended without an answer" not in answer.why
    assert answer.why.startswith("needs ") or answer.capability >= (5, 0)


def test_a_library_that_is_here_without_a_driver_is_lacking(
    found: dict[str, Gpu], monkeypatch: pytest.MonkeyPatch
) -> None:
    found["gpu"] = Gpu("needs an NVIDIA GPU and its driver")
    monkeypatch.setattr(probe, "DEVICES", ())
    assert probe.tensorrt_lacks() == probe.cuda_lacks() == "needs an NVIDIA GPU and its driver"


def test_both_run_where_all_is_there(found: dict[str, Gpu]) -> None:
    assert probe.tensorrt_lacks() == probe.cuda_lacks() == ""


def test_what_a_driver_answers_is_why(found: dict[str, Gpu]) -> None:
    found["gpu"] = Gpu("needs a driver that starts: cuInit gave error 999")
    assert probe.tensorrt_lacks() == probe.cuda_lacks() == "needs a driver that starts: cuInit gave error 999"
    found["gpu"] = ORIN._replace(tensorrt="", tensorrt_why="TensorRT is of version 8.5", onnxruntime_why="no libcudnn")
    assert probe.tensorrt_lacks() == "needs a TensorRT that loads: TensorRT is of version 8.5"
    assert "no libcudnn" in probe.cuda_lacks()


def test_modules_that_are_missing_are_named(found: dict[str, Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "without", lambda *modules: "cuda.bindings" in modules)
    assert probe.tensorrt_lacks().startswith("needs cuda-bindings; see 'edge-streamer engines'")
    assert probe.cuda_lacks().startswith("needs cuda-bindings; see 'edge-streamer engines'")
    monkeypatch.setattr(probe, "without", lambda *modules: "cuda.bindings" not in modules)
    assert probe.tensorrt_lacks().startswith("needs TensorRT; ")
    monkeypatch.setattr(ort_library, "has_cuda", lambda: False)
    assert probe.cuda_lacks().startswith("needs onnxruntime-gpu, the onnxruntime that is here is for CPUs; ")


def test_a_wheel_without_code_for_the_gpu_is_lacking(found: dict[str, Gpu], tmp_path: Path) -> None:
    (tmp_path / "library.so").write_bytes(fat((89, False), (90, True), (120, True), (121, True)))
    for name, capability, words in (("Orin", (8, 7), "8.7"), ("Thor", (11, 0), "11.0")):
        found["gpu"] = ORIN._replace(name=name, capability=capability)
        assert probe.cuda_lacks().startswith(
            f"needs another onnxruntime-gpu: this one holds code for sm_89, sm_90a, sm_120a, sm_121a, and {name} is of "
            f"compute capability {words}; "
        )


def test_a_module_whose_parent_is_no_package_is_missing() -> None:
    assert probe.without("json.no_such_module")
    assert probe.without("edge_streamer_has_no_such.module")
    assert not probe.without("json")
    assert probe.version("no-such-distribution", "numpy")
    assert probe.version("no-such-distribution") == ""
