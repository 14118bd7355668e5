"""``edge-streamer build``: over the stand-in, and what it says where TensorRT is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.runtime.commands.cli import main
from edge_streamer.runtime.engines import probe
from edge_streamer.runtime.engines.tensorrt.cache import FOLDER, MAGIC
from edge_streamer.runtime.errors import EngineError
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[StandInTensorRT]:
    """Every engine that the command makes; their cache is a folder of the test's."""
    made: list[StandInTensorRT] = []
    monkeypatch.setenv(FOLDER, str(tmp_path / "engines"))

    def make(options: Any, allow_wider: Any, anyway: bool) -> StandInTensorRT:
        folder = tmp_path / "engines"
        made.append(StandInTensorRT(folder=folder, options=options, allow_wider=allow_wider, anyway=anyway))
        return made[-1]

    monkeypatch.setattr("edge_streamer.runtime.engines.tensorrt.engine.make", make)
    return made


def test_a_bundle_is_built_checked_and_kept(
    engines: list[StandInTensorRT], tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(tiny_bundle)]) == 0
    said = capsys.readouterr()
    for words in ("7 of 7 engines are to be built; the largest,", "of memory", "none asked", "golden units: passed",
                  f"next: edge-streamer run {tiny_bundle} --engine tensorrt"):  # fmt: skip
        assert words in said.out
    assert "core: 1000 of 1000 steps" in said.err
    assert engines[0].trt.builds == 7
    assert main(["build", str(tiny_bundle)]) == 0
    said = capsys.readouterr()
    assert "all 7 engines are in" in said.out
    assert "(kept)" in said.out
    assert engines[1].trt.builds == 0


def test_the_result_as_json_what_is_listed_and_what_is_pruned(
    engines: list[StandInTensorRT], tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(tiny_bundle), "--json", "--workspace", "64"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["graph"] for row in found["graphs"]].count("core") == 1
    assert {row["cached"] for row in found["graphs"]} == {False}
    assert found["check"]["passed"] is True
    assert engines[0].options.workspace == 64 << 20
    (tmp_path / "engines/old-0123.engine").write_bytes(MAGIC + b"cut")
    (tmp_path / "engines/yolo.engine").write_bytes(b"somebody else's")
    assert main(["build", "--list"]) == 0
    said = capsys.readouterr().out
    assert f"8 engines in {tmp_path / 'engines'}" in said
    assert "damaged" in said
    assert main(["build", str(tiny_bundle), "--prune", "--json", "--workspace", "64"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["removed"] == [str(tmp_path / "engines/old-0123.engine")]
    assert {row["cached"] for row in found["graphs"]} == {True}
    assert main(["build", "--list", "--json"]) == 0
    assert {entry["graph"] for entry in json.loads(capsys.readouterr().out)} >= {"core", "slot"}
    assert (tmp_path / "engines/yolo.engine").exists()


def test_golden_units_that_differ_fail_the_build(
    engines: list[StandInTensorRT], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def wrong(self: StandInTensorRT, graph: str, array: Any) -> None:
        if graph == "decode":
            array("samples")[...] *= 2

    monkeypatch.setattr(StandInTensorRT, "_break", wrong)
    assert main(["build", str(tiny_bundle)]) == 1
    said = capsys.readouterr().out
    assert "golden units: FAILED" in said
    assert f"next: edge-streamer check {tiny_bundle} --engine tensorrt" in said


def test_a_bundle_without_golden_units_is_built_and_says_so(
    engines: list[StandInTensorRT], made_counter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", str(made_counter)]) == 0
    assert "the bundle carries no golden units" in capsys.readouterr().out


def test_a_graph_that_tensorrt_does_not_take_ends_with_status_2(
    engines: list[StandInTensorRT], made_counter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    real = StandInTensorRT.prepare

    def prepare(self: StandInTensorRT, *what: Any) -> Any:
        self.trt.refuses["Mul"] = "UNSUPPORTED_NODE"
        return real(self, *what)

    monkeypatch.setattr(StandInTensorRT, "prepare", prepare)
    assert main(["build", str(made_counter)]) == 2
    assert "does not take graph 'second' of second.onnx: node 0 (Mul): UNSUPPORTED_NODE" in capsys.readouterr().err
    assert not list((tmp_path / "engines").glob("second-*")), "the first graph's engine stays, this one has none"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workspace", "0"], "--workspace is 0; wanted megabytes"), ([], "TensorRT is not here; see '"),
        (["--list"], "--list shows what there is and takes no BUNDLE and no --prune"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_one_line(
    words: list[str], says: str, made_counter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge_streamer.runtime.engines.tensorrt.library.MODULES", ("no_such_tensorrt",))
    monkeypatch.setattr("edge_streamer.runtime.engines.probe.tensorrt_lacks", lambda: "")
    assert main(["build", str(made_counter), *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_machine_without_a_driver_is_one_line(
    made_counter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(*unused: Any) -> None:
        raise EngineError("starting the NVIDIA driver: there is none; wanted: one")

    monkeypatch.setattr("edge_streamer.runtime.engines.tensorrt.engine.make", make)
    assert main(["build", str(made_counter)]) == 2
    lacks = capsys.readouterr().err  # what the list of engines says, which knows what installs it
    assert lacks == f"edge-streamer: engine tensorrt {probe.tensorrt_lacks()}\n"
    monkeypatch.setattr("edge_streamer.runtime.engines.probe.tensorrt_lacks", lambda: "")
    assert main(["build", str(made_counter)]) == 2
    assert capsys.readouterr().err == "edge-streamer: starting the NVIDIA driver: there is none; wanted: one\n"


def test_a_bundle_for_cpus_is_refused_with_the_command_that_makes_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build"]) == 2
    said = capsys.readouterr().err
    assert "takes no bundle for CPUs" in said
    assert "quantize FLOAT32_BUNDLE --scheme int8 --target orin --out NAME" in said
