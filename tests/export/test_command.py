"""``edge-streamer export``: what it writes, and what it refuses to write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edge_streamer.export import count, prove
from edge_streamer.export import write as writing
from edge_streamer.export.onnx_files import IR_VERSION, OPSET, ExportError, write_graph
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.graphs import ROLES, GraphPlan, Input, Output, plan_graphs
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.tokenizer import byte_level
from edge_streamer.export.wan_streamer.weights import save_weights
from edge_streamer.export.write import Exported, Origin, export_bundle
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Response, Unit
from tests.bundles import SEED
from tests.export.wan_streamer.test_checkpoint import write


def export(out: Path, *words: str) -> int:
    return cli.main(["export", "wan-streamer", "--preset", "tiny", "--out", str(out), *words])


def test_the_command_writes_a_bundle_that_passes_its_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_bundle: Path
) -> None:
    """From a weight file, without a prefix, with windows of its own: and the weights are those of the file."""
    save_weights(build(PRESETS["tiny"], SEED), tmp_path / "model.safetensors")
    words = ["--weights", str(tmp_path / "model.safetensors"), "--prefix-tokens", "0", "--window", "5"]
    assert export(tmp_path / "bundle", *words, "--video-window", "2") == 0
    said = capsys.readouterr()
    assert "proven against the torch model" in said.out
    assert "graph core" in said.err
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.provenance.weights.startswith("model.safetensors, SHA-256 ")
    rings = {s.ring: s.window_units for s in bundle.manifest.states if s.__class__.__name__ == "RingSpec"}
    assert rings == {"main": 5, "video": 2}
    assert cli.main(["check", str(tmp_path / "bundle")]) == 0
    for name in ("encode", "decode", "solve_in"):
        one, two = (p / "graphs" / f"{name}.weights" for p in (tiny_bundle, tmp_path / "bundle"))
        assert one.read_bytes() == two.read_bytes()
    session = open_session(bundle)
    assert np.isfinite(session.step(Unit()).samples).all()


@pytest.mark.parametrize(
    ("prepare", "words", "said"),
    [
        (lambda folder: (folder / "bundle").mkdir() or (folder / "bundle" / "mine").touch(), [], "not empty"),
        (lambda folder: (folder / "w").write_bytes(b"no tensors"), ["--weights", "w"], "safetensors"),
        (lambda folder: None, ["--weights", "missing"], "missing"),
        (lambda folder: None, ["--backbone", "missing"], "missing"),
        (lambda folder: None, ["--window", "0"], "window_units"),
        (lambda folder: None, ["--prefix-tokens", "-1"], "prefix_tokens"),
    ],
)
def test_bad_input_is_one_line_and_no_bundle(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], object],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert export(Path("bundle"), *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("edge-streamer: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("backbone", [False, True])
def test_random_weights_are_told_first_and_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backbone: bool
) -> None:
    """The export itself is left out."""
    done = Exported(tmp_path, SimpleNamespace(size=1), {"decode": 1e-7}, 0.01)  # type: ignore[arg-type]
    monkeypatch.setattr(writing, "export_bundle", lambda *_: done)
    words = ["--backbone", str(write(tmp_path / "qwen"))] if backbone else []
    if backbone:
        byte_level().save(str(tmp_path / "qwen" / "tokenizer.json"))
    assert export(tmp_path / "bundle", "--seed", "3", *words) == 0
    said, which = capsys.readouterr(), "all weights but the Transformer's are" if backbone else "the weights are"
    for line in (said.err.splitlines()[0], said.out.splitlines()[-1]):
        assert line.startswith(f"{which} random numbers (seed 3): ")
    save_weights(build(PRESETS["tiny"], SEED), tmp_path / "model.safetensors")
    assert export(tmp_path / "bundle", "--weights", str(tmp_path / "model.safetensors")) == 0
    said = capsys.readouterr()
    assert "random numbers" not in said.out + said.err
    assert said.out.splitlines()[-1] == f"next: edge-streamer check {tmp_path / 'bundle'}"


def test_a_foreign_checkpoint_is_refused_in_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edge_streamer.export.wan_streamer.model.build", lambda *_: pytest.fail("the work has begun"))
    folder = write(tmp_path / "qwen", quantization_config={"quant_method": "fp8"})
    assert export(tmp_path / "bundle", "--backbone", str(folder)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has quantization_config (fp8)" in line


def test_weights_of_the_wrong_shape_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wider = replace(PRESETS["tiny"], transformer=replace(PRESETS["tiny"].transformer, feed_forward=256))
    save_weights(build(wider, 0), tmp_path / "wide.safetensors")
    assert export(tmp_path / "bundle", "--weights", str(tmp_path / "wide.safetensors")) == 2
    assert "feed_forward" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_graphs_that_do_not_reproduce_the_model_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight changes between writing the graphs and the proof, as a faulty exporter would change it."""
    model, honest = build(PRESETS["tiny"], 0), writing.prove

    def prove_another(model: WanStreamer, bundle: Bundle) -> object:
        with torch.no_grad():
            model.transformer.layers[1].feed_forward.down.weight[0, 0] += 0.5
        return honest(model, bundle)

    monkeypatch.setattr(writing, "prove", prove_another)
    with pytest.raises(ExportError, match=r"unit 0, pass block, .*off by"):
        export_bundle(model, byte_level(), Origin("random", "none"), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_a_board_refuses_is_named_and_not_written(tmp_path: Path, tiny_bundle: Path) -> None:
    """As ``slot`` was once: a softmax of one axis."""
    scores, one = Input("scores", torch.zeros(8), ("candidate",)), Output("best", ("candidate",))
    plan = GraphPlan("slot", lambda x: (torch.softmax(x, 0),), [scores], [one])
    with pytest.raises(
        ExportError, match=r"graph 'slot', node Softmax: Softmax of an array with 1 axis; TensorRT 10\.3"
    ):
        write_graph(plan, tmp_path, Bundle.open(tiny_bundle).manifest)
    assert not list(tmp_path.iterdir())


def test_more_candidates_than_a_board_gives_are_refused(tmp_path: Path) -> None:
    config = replace(PRESETS["tiny"], vocabulary=4000, candidates=3841)
    with pytest.raises(InputError, match="a slot has 3841 candidates; wanted at most 3840"):
        export_bundle(build(config, 0), byte_level(), Origin("random", "Apache-2.0"), tmp_path / "bundle")
    assert not list(tmp_path.iterdir())
    assert len(plan_graphs(build(replace(config, candidates=3840), 0))) == 7


def test_seeds_make_weights_reproducible(tiny_bundle: Path) -> None:
    one, two, three = (build(PRESETS["tiny"], seed) for seed in (5, 5, 6))
    for (name, a), b, c in zip(one.named_parameters(), two.parameters(), three.parameters(), strict=True):
        assert torch.equal(a, b), name
        if a.unique().numel() > 1:  # not a bias or a scale, which start as one number
            assert not torch.equal(a, c), name


def test_files_are_portable_and_tell_nothing_of_the_machine(tiny_bundle: Path) -> None:
    for path in (tiny_bundle / "graphs").glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        assert model.ir_version == IR_VERSION
        assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
        text = path.read_bytes()
        for trace in (b"site-packages", b"/home", b"/root", b'File "', str(Path.cwd()).encode()):
            assert trace not in text, f"{path.name} holds {trace!r}"


def test_a_file_says_what_it_is(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    for graph in manifest.graphs:
        model = onnx.load(tiny_bundle / graph.file, load_external_data=False)
        said = {each.key.removeprefix("edge_streamer."): each.value for each in model.metadata_props}
        assert (said["program"], said["graph"], said["unit_seconds"]) == ("wan_streamer", graph.name, "0.16")
        assert (said["precision"], said["model_license"]) == ("float32", "none")
        assert json.loads(said.get("lengths", "[]")) == list(graph.lengths)
        names = {value.name for value in (*model.graph.input, *model.graph.output)}
        pairs = json.loads(said.get("carries", "{}")) | json.loads(said.get("rings", "{}"))
        assert {*pairs, *pairs.values()} == {n for n in names if n.startswith(("state.", "state_next.", "append."))}
        assert model.graph.doc_string == ROLES[graph.name]
        assert (model.graph.name, model.producer_name) == (graph.name, "edge-streamer")


def test_nodes_are_called_by_the_modules_they_come_from(tiny_bundle: Path) -> None:
    graphs = {path.stem: onnx.load(path, load_external_data=False).graph for path in tiny_bundle.rglob("*.onnx")}
    for graph in graphs.values():
        names = [node.name for node in graph.node]
        assert len({*names}) == len(names)
        for node in graph.node:
            assert re.fullmatch(rf"(.+\.)?{node.op_type}(_\d+)?", node.name)
    owners = {n.input[1]: n.name for g in graphs.values() for n in g.node if n.op_type in ("Conv", "MatMul")}
    assert owners["model.layers.0.attention.qkv.weight"] == "layers.0.attention.qkv.MatMul"
    owned = {w: n for w, n in owners.items() if w.endswith(".weight")}
    inside = [n.startswith(w.removeprefix("model.").removesuffix(".weight")) for w, n in owned.items()]
    assert sum(inside) > 0.9 * len(inside)


def test_each_weight_is_on_disk_once(tiny_bundle: Path) -> None:
    model = build(PRESETS["tiny"], SEED)
    parameters = sum(p.numel() for p in model.parameters()) * 4
    on_disk = sum(path.stat().st_size for path in tiny_bundle.rglob("*.weights"))
    graphs = [onnx.load(path, load_external_data=False).graph for path in tiny_bundle.rglob("*.onnx")]
    inside = sum(len(w.raw_data) for g in graphs for w in g.initializer if w.data_type == onnx.TensorProto.FLOAT)
    # solve_in and solve_out share the two small embeddings of time; log-mel's fixed tables are no parameters.
    shared = sum(p.numel() for part in (model.solver.time, model.solver.step) for p in part.parameters()) * 4
    tables = sum(b.numel() for b in model.user_audio.mel.buffers()) * 4
    assert on_disk + inside <= parameters + shared + tables


def test_the_unit_time_is_of_warm_units_without_a_recorder(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, recorded = Session.step, list[bool]()

    def timed(self: Session, *words: Any, **named: Any) -> Response:
        recorded.append(self._meter.recorder is not None)
        return replace(step(self, *words, **named), seconds=9.0 if recorded[-1] else float(len(recorded)))

    monkeypatch.setattr(Session, "step", timed)
    proof = prove.prove(build(PRESETS["tiny"], SEED), Bundle.open(tiny_bundle))
    assert recorded == [True] * prove.GOLDEN_UNITS + [False] * prove.TIMED_UNITS
    assert proof.seconds_per_unit == prove.GOLDEN_UNITS + (prove.TIMED_UNITS + 1) / 2


def test_operations_are_those_that_torch_counts(tmp_path: Path, tiny_bundle: Path) -> None:
    """The core's, at every length, against torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    plan = plan_graphs(build(PRESETS["tiny"], 0))[-1]
    graph, _ = write_graph(plan, tmp_path, Bundle.open(tiny_bundle).manifest)
    for length in plan.lengths:
        inputs = [long_input(i.example, i.long, length) for i in plan.inputs]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            plan.run(*inputs)
        assert count.operations(graph, [i.spec() for i in plan.inputs], length) == counter.get_total_flops()


def long_input(example: torch.Tensor, axis: int | None, length: int) -> torch.Tensor:
    if axis is None:
        return example
    shape = list(example.shape)
    shape[axis] = length
    return torch.zeros(shape)


def test_the_manifest_lists_what_the_design_names(tiny_bundle: Path) -> None:
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    names = {graph["name"] for graph in manifest["graphs"]}
    assert names == {"encode", "decode", "encode_agent", "solve_in", "solve_out", "slot", "core"}
    (core,) = (graph for graph in manifest["graphs"] if graph["name"] == "core")
    assert core["lengths"] == sorted({1, *map(int, core["operations"])})
    assert manifest["provenance"]["weights_licence"]
