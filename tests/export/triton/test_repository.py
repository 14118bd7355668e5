"""Triton's model repositories: every word is in Triton's schema, every tensor and state is that of the graph's file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from edge_streamer.export.triton.config import graph_config, initial, unit_config
from edge_streamer.export.triton.pbtxt import Message, Word, render
from edge_streamer.export.triton.repository import write_repository
from edge_streamer.export.triton.states import Held
from edge_streamer.runtime import extras
from edge_streamer.runtime.bundle.manifest import Manifest, TensorSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.trust.gate import signature_of
from tests.bundles import rewrite, room_bundle, tally_bundle
from tests.export.triton.server import DTYPES, Model, read_config, schema, type_name
from tests.runtime.test_boundary import BLOCKER
from tests.runtime.trust.conftest import Device, device, trusting

__all__ = ["device", "trusting"]  # fixtures
ELEMENTS = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int8)": "int8",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip


def forms(tensors: Any) -> dict[str, tuple[str, list[int]]]:
    """Of ONNX Runtime's inputs or outputs: name -> type, sizes, -1 for a symbolic one."""
    return {t.name: (ELEMENTS[t.type], [n if isinstance(n, int) else -1 for n in t.shape]) for t in tensors}


def said(specs: Any, name: str = "name") -> dict[str, tuple[str, list[int]]]:
    return {getattr(spec, name): (DTYPES[type_name(spec.data_type)], list(spec.dims)) for spec in specs}


@pytest.fixture(params=["demo", "demo-float", "tally", "room", "counter", "ring"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Bundle, Path]:
    """A bundle, and what was made of it: quantized, float32, chains with carries and with rings."""
    made: dict[str, Callable[[], Path]] = {
        "demo": bundle_path, "demo-float": lambda: bundle_path().with_name("demo-float"),
        "tally": lambda: tally_bundle(tmp_path / "tally"), "room": lambda: room_bundle(tmp_path / "room"),
        "counter": lambda: request.getfixturevalue("counter"), "ring": lambda: request.getfixturevalue("ring"),
    }  # fmt: skip
    bundle = Bundle.open(made[request.param]())
    write_repository(bundle.path, tmp_path / "repository")
    return bundle, tmp_path / "repository"


def test_every_tensor_and_state_is_what_the_graphs_file_has(repository: tuple[Bundle, Path]) -> None:
    bundle, folder = repository
    models = {path.parent.name for path in folder.glob("*/config.pbtxt")}
    assert models == {bundle.manifest.name, *(f"{bundle.manifest.name}_{g.name}" for g in bundle.manifest.graphs)}
    for graph in bundle.manifest.graphs:
        model = folder / f"{bundle.manifest.name}_{graph.name}"
        config = read_config(model)
        assert (config.name, config.backend, config.max_batch_size) == (model.name, "onnxruntime", 0)
        session = onnxruntime.InferenceSession(model / "1/model.onnx", providers=["CPUExecutionProvider"])
        states = config.sequence_batching.state
        inputs, outputs = forms(session.get_inputs()), forms(session.get_outputs())
        assert not said(config.input).keys() & said(states, "input_name").keys()
        assert said(config.input) | said(states, "input_name") == inputs
        assert said(config.output) | said(states, "output_name") == outputs
        assert {s.path for s in bundle.manifest.states if getattr(s, "graph", None) == graph.name} <= {
            state.input_name.removeprefix("state.") for state in states
        }
        for state in states:
            (first,) = state.initial_state
            assert (first.data_type, list(first.dims)) == (state.data_type, list(state.dims))
            assert not state.use_same_buffer_for_input_output
        assert config.HasField("sequence_batching") == bool(states)
        if states:
            assert config.sequence_batching.oldest.max_candidate_sequences == 8
        for spec in (*config.input, *config.output):
            assert f"`{spec.name}`" in (folder / "README.md").read_text()


def test_a_model_of_the_whole_bundle_takes_and_gives_its_media(tmp_path: Path) -> None:
    write_repository(bundle_path(), tmp_path / "out", "unit")
    (model,) = tmp_path.glob("out/*/config.pbtxt")
    config = read_config(model.parent)
    assert said([spec for spec in config.input if spec.name != "text"]) == {
        "samples": ("float32", [2560]), "frames": ("uint8", [4, 64, 96, 3]),
    }  # fmt: skip
    assert all(spec.optional for spec in config.input)
    assert [spec.name for spec in config.output] == ["unit", "samples", "frames", "text", "tokens", "speaking"]
    assert config.parameters["engine"].string_value == "auto"
    made = Bundle.open(model.parent / "1/bundle")
    assert made.hash == Bundle.open(bundle_path()).hash

    write_repository(room_bundle(tmp_path / "room"), tmp_path / "chain", "unit")
    config = read_config(tmp_path / "chain/room")
    assert [(spec.name, spec.optional) for spec in config.input] == [("samples", True), ("bias", False)]
    assert [spec.name for spec in config.output] == ["unit", "samples", "level", "index"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("input_name", "input_nam"), ("sequence_batching", "sequence_batch"), ("zero_data", "zeros"),
        ("TYPE_FP32", "TYPE_FLOAT"), ("max_batch_size: 0", 'max_batch_size: "0"'), ("dims: [1, 4]", "dims: [1, 4"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_triton_does_not_have(counter: Path, tmp_path: Path, right: str, wrong: str) -> None:
    write_repository(counter, tmp_path / "out", "graphs")
    file = tmp_path / "out/counter_first/config.pbtxt"
    read_config(file.parent)
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong, 1))
    with pytest.raises(text_format.ParseError):
        read_config(file.parent)


def test_text_is_read_back_as_it_was_written() -> None:
    name = 'a "b" \\ \n\x7f é 7'
    text = render(Message((("name", name), ("backend", "x"), ("input", Message((("data_type", Word("TYPE_BOOL")),))))))
    config = text_format.Parse(text, schema().ModelConfig())
    assert (config.name, type_name(config.input[0].data_type)) == (name, "TYPE_BOOL")
    assert text.isascii()


def test_a_state_that_does_not_begin_with_zeros_begins_with_a_file(counter: Path, tmp_path: Path) -> None:
    rewrite(counter, lambda m: m["states"][0].update(start=1.5))
    write_repository(counter, tmp_path / "out")
    model = Model(tmp_path / "out/counter_first")
    (state,) = model.states
    assert state.initial_state[0].data_file == "0.bin"
    x = np.ones((1, 4), np.float32)
    assert [float(model.infer(7, start, x=x)["y"][0, 0]) for start in (True, False)] == [2.5, 3.5]


def changed_graph(manifest: Manifest, **changes: Any) -> TensorSpec:
    return msgspec.structs.replace(manifest.graphs[0].inputs[0], **changes)


def test_what_triton_has_no_word_for_is_refused_and_nothing_is_left(counter: Path, tmp_path: Path) -> None:
    manifest = Bundle.open(counter).manifest
    for change, says in (({"dtype": "bfloat16"}, "is bfloat16"), ({"shape": (), "axes": ()}, "has no axes")):
        with pytest.raises(InputError, match=says):
            graph_config("m", [changed_graph(manifest, **change)], [], [], {}, served=Any)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="wants program 'moshi'"):
        unit_config("m", msgspec.structs.replace(manifest, program="moshi"), served=Any)  # type: ignore[arg-type]
    assert initial(Held("n", "int64", (2,), 3.0)) == np.array([3, 3], np.int64).tobytes()
    rewrite(counter, lambda m: m.update(program="moshi"))
    with pytest.raises(InputError, match="wants program 'moshi'"):
        write_repository(counter, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter"]


def test_the_command(counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["export", "--triton", str(counter), "--out", str(out)]
    assert cli.main([*words, "--models", "graphs", "--sessions", "3"]) == 0
    said = capsys.readouterr().out
    assert "counter_first                    1 state" in said
    serve = f"next: tritonserver --model-repository {out} --model-control-mode explicit --load-model counter_first"
    assert said.splitlines()[-1].startswith(serve)
    assert read_config(out / "counter_first").sequence_batching.oldest.max_candidate_sequences == 3
    for more, says in (
        ([], "exists and is not empty"),
        (["--preset", "tiny"], "leave out --preset"),
        (["wan-streamer", "--window", "3"], "leave out wan-streamer, --window"),
    ):
        assert cli.main([*words, *more]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    for wrong, says in (
        (["--out", str(out)], "lacks wan-streamer and --preset"),
        (["wan-streamer", "--preset", "tiny", "--models", "unit", "--out", str(tmp_path / "b")], "are for --triton"),
        (["--triton", str(tmp_path / "none"), "--out", str(tmp_path / "b")], "no bundle at"),
    ):
        assert cli.main(["export", *wrong]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_device_with_keys_exports_what_they_signed_and_its_signature(
    trusting: Device, counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--triton", str(counter), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    assert "sig" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    signature = trusting.sign(counter)
    assert cli.main(words) == 0
    assert signature_of(tmp_path / "out/counter/1/bundle").read_bytes() == signature.read_bytes()


def test_what_is_not_installed_is_named_and_is_not_torch(
    counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed", lambda module: module != "onnx")
    assert cli.main(["export", "--triton", str(counter), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "export --triton needs onnx" in error
    assert "edge-streamer[quantize]" in error


def test_it_needs_no_torch(counter: Path, tmp_path: Path) -> None:
    script = BLOCKER.replace("'onnx', ", "").replace("'onnx'", "'none'") + (
        "from edge_streamer.runtime.commands import cli\n"
        "assert cli.main(['export', '--triton', sys.argv[1], '--out', sys.argv[2]]) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, counter, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
