"""Plans of bundles: what is counted, by hand; verdicts; the page and the command."""

from __future__ import annotations

import json
import re
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from edge_streamer.quantization.graph import Layer
from edge_streamer.quantization.schemes import Scheme
from edge_streamer.quantization.vocabulary import Target
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import plan as command
from edge_streamer.runtime.engines import memory_plan
from edge_streamer.runtime.engines.buffers import ALIGNMENT
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.profile.boards import BOARDS, Board
from edge_streamer.runtime.profile.graphs import (
    memory,
    operators,
    products,
    window_units,
    with_steps,
    works,
)
from edge_streamer.runtime.profile.page import render, render_shape
from edge_streamer.runtime.profile.plan import Plan, ShapePlan, judge, plan, plan_shape
from edge_streamer.runtime.profile.schemes import numbers_of, stored
from edge_streamer.runtime.profile.shape import Shape
from edge_streamer.runtime.profile.vocabulary import AS_IT_IS, SCHEMES
from edge_streamer.runtime.profile.words import duration, headline, limits, shape_headline
from tests.bundles import room_bundle

ORIN, THOR = BOARDS["agx-orin-64gb"], BOARDS["thor-t5000"]


@pytest.fixture(scope="module")
def demo() -> Bundle:
    return Bundle.open(bundle_path(floats=True), verify=False)


def planned(bundle: Bundle, board: Board = ORIN, scheme: str = AS_IT_IS, steps: int | None = None) -> Plan:
    return plan(bundle.manifest, products(bundle), board, scheme, steps)


def test_a_ring_counts_its_window(ring: Path) -> None:
    manifest = Bundle.open(ring).manifest
    assert window_units(manifest) == 2
    (as_it_is,), (longer,) = works(manifest), works(manifest, window=5)
    assert as_it_is.moved_bytes == 200
    assert longer.moved_bytes == 200 + (12 - 6) * 4 * 4  # 6 units of 2 places instead of 3
    assert as_it_is.operations == longer.operations == 48
    assert memory(manifest).states == ALIGNMENT * ceil(6 * 4 * 4 / ALIGNMENT)
    assert memory(manifest, window=500).states == ALIGNMENT * ceil(501 * 2 * 4 * 4 / ALIGNMENT)
    assert memory(manifest).tensors == memory(manifest, window=5).tensors


def test_a_carry_counts_twice_and_forgets_nothing(counter: Path) -> None:
    manifest = Bundle.open(counter).manifest
    assert window_units(manifest) is None
    assert memory(manifest, window=7).states == 2 * 4 * 4
    assert memory(manifest).weights == 4
    assert [(w.name, w.runs, w.moved_bytes) for w in works(manifest)] == [("first", 1, 64), ("second", 1, 36)]
    assert [w.moved_bytes for w in works(manifest, "int8")] == [64, 33]  # its one weight in 8 bits instead of 32
    with pytest.raises(InputError, match="solves nothing"):
        with_steps(manifest, 2)


def test_products_are_counted_in_the_files(tmp_path: Path, counter: Path) -> None:
    assert products(Bundle.open(room_bundle(tmp_path / "room"))) == {"reverb": 1, "meter": 1}
    assert operators(Bundle.open(counter))["first"] == {"Add": 1, "Identity": 1}


def test_a_file_that_is_no_graph_is_told(counter: Path) -> None:
    bundle = Bundle.open(counter)
    (counter / "graphs/first.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(BundleError, match="cannot be read as an ONNX file"):
        products(bundle)


def test_attention_of_the_core_grows_with_the_window_and_its_products_do_not(demo: Bundle) -> None:
    units = window_units(demo.manifest)
    assert units == 64
    before, after = ({w.name: w for w in works(demo.manifest, window=n)} for n in (units, 2 * units))
    core = demo.manifest.graph("core")
    assert before["core at 9"].operations == after["core at 9"].operations == 2 * core.parameters * 9
    assert before["core at 9"].attention == core.operations["9"] - 2 * core.parameters * 9
    assert 1.8 < after["core at 9"].attention / before["core at 9"].attention < 2
    assert before["decode"] == after["decode"]


def test_more_steps_take_more_runs_of_the_solver_alone(demo: Bundle) -> None:
    two, five = planned(demo), planned(demo, steps=5)
    assert (two.steps, five.steps) == (2, 5)
    runs = {g.graph: g.runs for g in five.graphs}
    assert (runs["solve_in"], runs["solve_out"], runs["core at 9"], runs["core at 15"]) == (6, 5, 5, 1)
    assert five.unit_ms > two.unit_ms
    for steps in (0, 65):
        with pytest.raises(InputError, match="wanted 1 to 64"):
            planned(demo, steps=steps)


def test_the_parts_sum_to_the_unit(demo: Bundle) -> None:
    made = planned(demo)
    assert made.unit_ms == pytest.approx(sum(g.unit_ms for g in made.graphs))
    use = made.memory
    assert use.total == use.weights + use.embeddings + use.states + use.tensors + use.scratch


def test_memory_is_what_the_engine_s_own_plan_says(demo: Bundle) -> None:
    reckoned, use = memory_plan.plan(demo.manifest, "tensorrt"), planned(demo).memory
    assert use.total == reckoned.running - reckoned.library
    assert use.usable == memory_plan.board_bytes(ORIN.name) - reckoned.library
    assert use.build == reckoned.building - reckoned.library


def test_every_image_of_the_board_is_asked(demo: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_streamer.quantization.lint import check

    refused = ["jetpack6.2"]
    finding = check.Finding(graph="slot", node="n", operator="Softmax", rule="operator", words="none")
    monkeypatch.setattr(check, "lint", lambda bundle, name, board: SimpleNamespace(
        ok=name not in refused, refusals=[finding]))  # fmt: skip
    assert command.lint(demo, THOR).words.endswith("jetpack7.1 and jetpack7.2 and jetpack7.2.2 refuse")
    some = command.lint(demo, ORIN)
    assert (some.builds, some.words[:38]) == (True, "jetpack7.2 and jetpack7.2.2 refuse not")
    assert "jetpack6.2: graph 'slot', node n" in some.words
    refused += ["jetpack7.2", "jetpack7.2.2"]
    refusal = command.lint(demo, ORIN)
    assert refusal.builds is False
    made = msgspec.structs.replace(planned(demo), lint=refusal)
    assert headline(made).startswith("wan-streamer-demo as it is does not build for Jetson AGX Orin 64 GB; in graphs")
    assert "edge-streamer lint looks" in command.lint(demo, ORIN, "float32").words, "no scheme of quantize"


def test_a_decoder_that_does_not_fit_says_so_first() -> None:
    made = plan_shape(Shape(layers=80, width=8192, precision="fp16"), BOARDS["orin-nano-8gb"], "large")
    assert re.fullmatch(r"large in fp16 on Jetson Orin Nano 8 GB does not fit: [\d.]+ GB of the 6.1 GB that the board "
                        "leaves", shape_headline(made))  # fmt: skip


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_and_scheme_has_a_verdict(board: Board, demo: Bundle) -> None:
    made = planned(demo, board)
    assert [(row.board, row.scheme) for row in made.table] == [(b, s) for b in BOARDS for s in (AS_IT_IS, *SCHEMES)]
    for row in made.table:
        small = row.scheme in ("fp8", "nvfp4") and BOARDS[row.board].family != "thor"
        assert (row.verdict == "not computed") == small == (row.unit_ms is None), row
    assert made.verdict == "holds"
    for scheme in SCHEMES:
        if scheme in ("fp8", "nvfp4") and board.family != "thor":
            with pytest.raises(InputError, match=f"does not compute in {scheme}"):
                planned(demo, board, scheme)
        else:
            assert planned(demo, board, scheme).scheme == scheme


@pytest.mark.parametrize("scheme", ["fp16", "bf16", "int8", "int4", "fp8", "nvfp4"])
def test_a_scheme_is_stored_as_quantize_stores_it(scheme: str) -> None:
    target: Target = "thor"
    made = Scheme(scheme, target)  # type: ignore[arg-type]
    for graph in ("core", "slot", "decode", "solve_in"):
        layer = cast("Layer", SimpleNamespace(name="layers.3.up", operator="MatMul", shape=(192, 192), at_end=False))
        found = made.plan(graph, layer)
        assert found is not None
        assert int(stored(scheme, graph).bits) in (found.format.bits, found.format.bits + 1)  # scales of small blocks


def test_a_bundle_that_is_quantized_is_read_by_its_precision() -> None:
    assert numbers_of(Precision()) == "float32"
    assert numbers_of(Precision(weights="int8", activations="int8")) == "int8"
    assert numbers_of(Precision(weights="int8")) == "float32"  # stored only
    assert numbers_of(Precision(weights="int4")) == "int4"
    assert numbers_of(Precision(weights="fp16", activations="fp16")) == "fp16"
    assert numbers_of(Precision(weights="mixed", activations="mixed")) == "int8"


def test_verdicts_leave_what_the_predictor_may_err() -> None:
    assert judge(0.128, 0.16, 0, ORIN) == "holds"
    assert judge(0.129, 0.16, 0, ORIN) == "close"
    assert judge(0.161, 0.16, 0, ORIN) == "misses"
    assert judge(0.001, 0.16, ORIN.usable_bytes + 1, ORIN) == "too large"


def test_the_longest_window_and_the_most_steps_are_the_last_that_hold(demo: Bundle) -> None:
    large = msgspec.structs.replace(demo.manifest, graphs=tuple(
        msgspec.structs.replace(g, parameters=50 * g.parameters, weight_bytes=50 * g.weight_bytes,
                                moved_bytes={k: n + 49 * g.weight_bytes for k, n in g.moved_bytes.items()})
        for g in demo.manifest.graphs
    ))  # fmt: skip
    made = plan(large, products(demo), BOARDS["orin-nano-8gb"])
    assert made.most_steps is not None
    assert made.longest_window_seconds is not None
    assert 0 < made.most_steps < 64
    assert plan(large, products(demo), BOARDS["orin-nano-8gb"], steps=made.most_steps).verdict == "holds"
    assert plan(large, products(demo), BOARDS["orin-nano-8gb"], steps=made.most_steps + 1).verdict == "close"
    assert made.longest_window_seconds > 10.24


def test_a_bundle_without_rings_or_solver_has_neither_figure(counter: Path) -> None:
    made = planned(Bundle.open(counter))
    assert (made.most_steps, made.longest_window_seconds, made.window_seconds, made.steps) == (None, None, None, None)
    assert not any("window" in line or "steps" in line for line in limits(made))


def test_the_page_needs_nothing_else_and_says_the_verdict_first(demo: Bundle) -> None:
    made = planned(demo)
    shape = plan_shape(Shape(layers=2, width=256, precision="nvfp4"), THOR, "<toy>")
    for text, line in ((render(made), headline(made)), (render_shape(shape), "&lt;toy&gt; in nvfp4")):
        assert re.search("<body><h1>" + re.escape(line), text)
        assert not re.search(r"https?://|(?:href|src)=|@import|url\(", text)
    assert "holds 160 ms on Jetson AGX Orin 64 GB" in headline(made)


def test_what_does_not_fit_says_so_first(demo: Bundle) -> None:
    large = msgspec.structs.replace(demo.manifest, graphs=tuple(
        msgspec.structs.replace(g, parameters=10**10) for g in demo.manifest.graphs))  # fmt: skip
    made = plan(large, {}, ORIN, "fp16")
    assert made.verdict == "too large"
    assert "does not fit Jetson AGX Orin 64 GB" in headline(made)
    assert (made.most_steps, made.longest_window_seconds) == (0, 0.0)
    assert any("not even one" in line for line in limits(made))


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (10.24, 600, 36000)] == ["10.2 s", "10 min", "10 h"]


def test_the_command_prints_tables_json_and_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["plan", "--board", "orin-nano-8gb", "--out", str(tmp_path / "plan.html")]) == 0
    out = capsys.readouterr().out
    assert "does not build as it is: graph" in out  # the one that ships is for CPUs
    assert "core at 9" in out
    assert (tmp_path / "plan.html").read_text().startswith("<!doctype html>")
    assert cli.main(["plan", "--board", "thor-t5000", "--scheme", "nvfp4", "--steps", "3", "--json"]) == 0
    made = msgspec.json.decode(capsys.readouterr().out, type=Plan)
    assert (made.version, made.board, made.scheme, made.steps, made.verdict) == (1, "thor-t5000", "nvfp4", 3, "holds")


def test_the_keys_of_the_json_stay(demo: Bundle) -> None:
    made = json.loads(msgspec.json.encode(planned(demo)))
    assert list(made) == [
        "version", "bundle", "hash", "path", "board", "board_title", "scheme", "steps", "window_seconds",
        "deadline_ms", "unit_ms", "verdict", "binds", "graphs", "memory", "most_steps", "longest_window_seconds",
        "table", "lint", "assumed",
    ]  # fmt: skip
    assert list(made["graphs"][0]) == [
        "graph", "numbers", "runs", "operations", "moved_bytes", "run_ms", "unit_ms", "memory_ms", "compute_ms",
        "kernels_ms", "binds",
    ]  # fmt: skip
    assert list(made["table"][0]) == ["board", "scheme", "verdict", "unit_ms", "memory_bytes", "binds"]
    assert list(made["memory"]) == ["weights", "embeddings", "states", "tensors", "scratch", "total", "usable", "build"]


def test_the_command_plans_for_a_shape(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text('{"layers": 4, "width": 512, "precision": "fp8"}')
    assert cli.main(["plan", "--board", "thor-t5000", "--model", str(file), "--json"]) == 0
    made = msgspec.json.decode(capsys.readouterr().out, type=ShapePlan)
    assert made.model == "small"
    assert [row.board for row in made.table if row.verdict == "not computed"] == list(BOARDS)[:6]
    assert cli.main(["plan", "--board", "agx-orin-64gb", "--model", str(file), "--scheme", "int4"]) == 0
    assert "tokens a second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--board", "agx"], "invalid choice: 'agx' (choose from orin-nano-8gb,"),
        ([], "the following arguments are required: --board"),
        (["--board", "agx-orin-64gb", "--scheme", "nvfp4"], "Jetson AGX Orin 64 GB does not compute in nvfp4"),
        (["--board", "agx-orin-64gb", "--steps", "0"], "--steps is 0; wanted 1 to 64"),
        (["--board", "agx-orin-64gb", "--steps", "x"], "--steps"),
        (["--board", "agx-orin-64gb", "--model", "none.json"], "--model none.json: No such file"),
        (["here", "--board", "agx-orin-64gb", "--model", "none.json"], "no BUNDLE"),
        (["--board", "agx-orin-64gb", "--model", "fp8.json"], "Jetson AGX Orin 64 GB does not compute in fp8"),
        (["--board", "agx-orin-64gb", "--out", "none/plan.html"], "the folder none does not exist"),
        (["nowhere", "--board", "agx-orin-64gb"], "nowhere"),
    ],
)
def test_bad_words_are_one_line_and_status_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fp8.json").write_text('{"layers": 4, "width": 512, "precision": "fp8"}')
    assert cli.main(["plan", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["fp8.json"]
