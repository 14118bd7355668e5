"""``edge-streamer lint`` as a user runs it, over a stand-in of the real parsers, and what quantize does not write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edge_streamer.quantization.lint import parsers
from edge_streamer.quantization.lint.parsers import Answer, Asked, Refused
from edge_streamer.quantization.lint.targets import NAMES
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from tests.quantized import changed


def flatten(model: ir.Model) -> None:
    """A softmax of one axis, as ``slot`` had it once: the scores lose their leading axis before it."""
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    value = softmax.inputs[0]
    assert value is not None
    axis = model.graph.initializers["planted.axis"] = ir.Value(
        name="planted.axis", const_value=ir.tensor(np.array([0]), name="planted.axis")
    )
    flat = ir.node("Squeeze", [value, axis], name="planted.flat")
    back = ir.node("Unsqueeze", [softmax.outputs[0], axis], name="planted.back")
    flat.outputs[0].name, back.outputs[0].name = "planted.flat", "planted.back"
    model.graph.insert_before(softmax, flat)
    for user, n in list(softmax.outputs[0].uses()):
        if user is not back:
            user.replace_input_with(n, back.outputs[0])
    softmax.replace_input_with(0, flat.outputs[0])
    softmax.attributes["axis"] = ir.AttrInt64("axis", 0)
    softmax.outputs[0].shape = None
    model.graph.insert_after(softmax, back)


@pytest.fixture
def flat_bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "flat"))
    changed(folder, "slot", flatten)
    return folder


@pytest.mark.parametrize("target", NAMES)
def test_the_float_bundle_is_ok_everywhere(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(bundle_path(floats=True)), "--target", target]) == 0
    assert f"for {target}: ok (7 graphs" in capsys.readouterr().out


def test_the_cpu_bundle_says_so_and_names_its_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(bundle_path()), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["for_cpus"]
    assert {one["operator"] for one in found["refusals"]} == {"DynamicQuantizeLinear", "MatMulInteger"}
    assert {one["rule"] for one in found["refusals"]} == {"operator"}
    assert ("slot", "model.head.weight.product") in {(one["graph"], one["node"]) for one in found["refusals"]}
    assert "cpu" not in {name for one in found["refusals"] for name in one["targets"]}
    assert cli.main(["lint", str(bundle_path()), "--target", "cpu", "--build"]) == 0
    said = capsys.readouterr().out
    assert "this bundle is for CPUs" in said
    assert "quantize FLOAT32_BUNDLE --scheme int8 --target orin (or thor)" in said


def test_a_refusal_is_a_line_of_the_table(flat_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(flat_bundle), "--target", "jetpack6.2"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Softmax of an array" in said
    assert "refused, for 1 reason (7 graphs" in said


def test_quantize_writes_nothing_that_its_target_refuses(
    flat_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small"
    words = [
        "quantize",
        str(flat_bundle),
        "--scheme",
        "int8",
        "--out",
        str(out),
        "--units",
        "4",
        "--calibration-units",
        "4",
    ]
    assert cli.main([*words, "--target", "orin"]) == 2
    said = capsys.readouterr().err
    assert "graph 'slot', node Softmax: Softmax of an array with 1 axis" in said
    assert "nothing is written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["flat"]
    assert cli.main([*words, "--target", "cpu"]) == 0


@pytest.mark.parametrize(("words", "said"), [
    (["--parser", "there"], "wanted --build beside it"),
    (["--build", "--parser", "nowhere"], "there is no such folder"),
    (["--target", "jetpack6.2", "--board", "thor"], "jetpack6.2 does not run on a Thor"),
])  # fmt: skip
def test_words_that_cannot_be_meant(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(bundle_path(floats=True)), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_a_parser_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, which finds none."""
    folder = str(tmp_path)
    words = ["lint", str(bundle_path(floats=True)), "--target", "jetpack7.2", "--build", "--parser", folder]
    assert cli.main(words) == 2
    assert f"pip install --no-deps --target {folder} tensorrt-rtx-cu13-libs" in capsys.readouterr().err


PARSER = """
__version__ = "1.7.0"
class ILogger:
    class Severity: ERROR = 1
class NetworkDefinitionCreationFlag: STRONGLY_TYPED = 0
class ComputeCapability: SM86, SM120 = "SM86", "SM120"
class Profile:
    def set_shape(self, name, *shapes): assert shapes[0] == shapes[1] == shapes[2]
class Input:
    name, shape = "x", (-1, 4)
class Network:
    num_inputs = 1
    def get_input(self, n): return Input
class Error:
    def node_name(self): return "Softmax"
    def node_operator(self): return "Softmax"
    def desc(self): return "at least 2 dimensions"
class OnnxParser:
    num_errors = 1
    def __init__(self, network, log): pass
    def parse_from_file(self, path):
        print("a word of the library's own")
        self.path = path
        return "slot" not in path
    def get_error(self, n): return Error()
class Config:
    profiles = 0
    def set_compute_capability(self, one, n): self.one = one
    def add_optimization_profile(self, profile): self.profiles += 1
class Builder:
    def __init__(self, log): self.log = log
    def create_network(self, flags): return Network()
    def create_builder_config(self): return Config()
    def create_optimization_profile(self): return Profile()
    def build_serialized_network(self, network, config):
        if config.profiles > 1:
            self.log.log(1, "catchCudaError: no driver")
            self.log.log(1, "cannot compile this")
            return None
        return b"engine"
"""
"""A parser that refuses ``slot``, and whose builder refuses what has more than one length."""


def test_real_parsers_are_asked_and_what_they_refuse_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a stand-in with the library's names: CI asks the real ones."""
    (tmp_path / "tensorrt_rtx_bindings.py").write_text(PARSER)
    words = ["lint", str(bundle_path(floats=True)), "--target", "jetpack6.2", "--build", "--parser", str(tmp_path)]
    assert cli.main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {(one["graph"], one["node"], one["rule"]) for one in found["refusals"]} == {
        ("slot", "Softmax", "parse"), ("core", "core", "build"),
    }  # fmt: skip
    assert {one["words"] for one in found["refusals"]} == {
        "TensorRT-RTX 1.7.0 for SM86: at least 2 dimensions", "TensorRT-RTX 1.7.0 for SM86: cannot compile this",
    }  # fmt: skip
    assert found["parsers"][0]["built"]
    (tmp_path / "tensorrt_rtx_bindings.py").write_text(PARSER.replace("1.7.0", "1.4.0"))
    assert cli.main(words) == 1
    said = capsys.readouterr().out
    assert "cannot compile this" not in said, "its builder asks for a device"
    assert "TensorRT-RTX 1.4.0 parsed 7 graphs" in said


def test_a_parser_that_dies_is_no_silence(tmp_path: Path) -> None:
    dying = PARSER.replace('print("a word of the library\'s own")', "import os; os._exit(7)")
    (tmp_path / "tensorrt_rtx_bindings.py").write_text(dying)
    asked = parsers.ask(tmp_path, [parsers.Job("one", tmp_path / "one.onnx")])
    assert asked == Asked("1.7.0", [Answer("one", None, "parse", asked.answers[0].refusals, 0.0)])
    assert isinstance(asked.answers[0].refusals[0], Refused)
    assert "ended with status 7" in asked.answers[0].refusals[0].words
