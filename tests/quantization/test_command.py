"""quantize as a user runs it: a bundle that opens and checks, a report that is true, and nothing half-done."""

from __future__ import annotations

import json
import resource
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, load

from edge_streamer.quantization import auto, command, streams
from edge_streamer.quantization.calibrate import observe
from edge_streamer.quantization.emulate import stand_ins
from edge_streamer.quantization.graph import layers
from edge_streamer.quantization.graph import load as load_graph
from edge_streamer.quantization.schemes import CODECS, Mixture, Scheme
from edge_streamer.quantization.streams import shipped
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.compare.check import check
from edge_streamer.runtime.compare.error_over_time import HEARD_AND_SEEN, LATENTS, drift
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.errors import BundleError, InputError
from edge_streamer.runtime.programs.passes import Recorder
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.media_files import write_wav


def made_units(bundle: Bundle, count: int) -> list[Unit]:
    assert bundle.manifest.media is not None
    return [made_unit(bundle.manifest.media, 0, i) for i in range(count)]


AIM = -20
"""dB, of auto."""
HALVES, SMALL_FLOATS = ("fp16", "bf16"), ("fp8", "nvfp4")
STRANGE = ("bf16", "nvfp4")
"""What ONNX Runtime's CPU has no kernels for."""


@dataclass
class Made:
    """What the command made of the tiny bundle."""

    scheme: str
    target: str
    out: Path


@pytest.fixture(scope="module", params=[
    "int8 cpu", "int8 orin", "int4 cpu", "fp16 orin", "bf16 orin", "fp8 thor", "nvfp4 thor", "auto cpu",
])  # fmt: skip
def made(request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    scheme, target = request.param.split()
    out = tmp_path_factory.mktemp("quantized") / "small"
    words = ["quantize", str(tiny_bundle), "--scheme", scheme, "--target", target, "--out", str(out), "--units", "30"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto, "PROBED", 8)  # a fifth of the time; mixtures are measured over all units as ever
        assert cli.main([*words, *(["--max-error", str(AIM)] if scheme == "auto" else [])]) == 0
    return Made(scheme, target, out)


def test_a_quantized_bundle_opens_checks_and_is_small(made: Made, tiny_bundle: Path) -> None:
    bundle, source = Bundle.open(made.out), Bundle.open(tiny_bundle)
    with stand_ins(bundle) as graphs:
        assert check(bundle, graphs=graphs).passed
    if made.scheme in STRANGE:
        with pytest.raises(BundleError, match=f"does not compute in {made.scheme}: .* for a board"):
            check(bundle)
    else:
        assert check(bundle).passed
    weights = [sum(g.weight_bytes for g in b.manifest.graphs) for b in (bundle, source)]
    assert weights[0] < (0.7 if made.scheme in HALVES else 0.5) * weights[1]
    said = {g.name: g.precision.words for g in bundle.manifest.graphs}
    codecs = made.scheme if made.scheme in HALVES else "fp16" if made.scheme in SMALL_FLOATS else "int8 weights"
    assert said["decode"] == codecs
    assert said["core"] in {
        "int4": ["int4 weights"], "nvfp4": ["nvfp4 weights"], "auto": ["int8 dynamic", "int4 weights", "mixed dynamic"],
        "int8": ["int8 dynamic" if made.target == "cpu" else "int8"],
    }.get(made.scheme, [made.scheme])  # fmt: skip
    assert [table.dtype for table in bundle.manifest.embeddings] == ["float16" if made.scheme in HALVES else "int8"]
    rows = np.empty((2, 3, source.embedding_rows("text").width), np.float32)
    for out, one in zip(rows, (bundle, source), strict=True):
        one.embedding_rows("text").rows([0, 65, 259], out)
    assert np.abs(rows[0] - rows[1]).max() < 0.005 * np.abs(rows[1]).max()


def test_a_target_gets_the_operators_it_has(made: Made) -> None:
    bundle = Bundle.open(made.out)
    for graph in bundle.manifest.graphs:
        nodes = load(bundle.file(graph.file), load_external_data=False).graph.node
        assert {n.domain for n in nodes} == {""}, "no operator of one engine alone"
        added = {n.op_type for n in nodes} & {
            "DequantizeLinear",
            "QuantizeLinear",
            "DynamicQuantizeLinear",
            "MatMulInteger",
        }
        if made.scheme == "auto":
            assert not added & {"QuantizeLinear"}
            continue
        if made.scheme in HALVES or (made.scheme in SMALL_FLOATS and graph.name in CODECS):
            assert not added
            kept = load(bundle.file(graph.file)).graph.initializer
            kind = TensorProto.BFLOAT16 if made.scheme == "bf16" else TensorProto.FLOAT16
            assert {w.data_type for w in kept if w.name.endswith(("fp16", "bf16"))} == {kind}
            continue
        if graph.name == "core":
            assert (
                added
                == {
                    ("int8", "cpu"): {"DynamicQuantizeLinear", "MatMulInteger"},
                    ("int8", "orin"): {"QuantizeLinear", "DequantizeLinear"},
                    ("int4", "cpu"): {"DequantizeLinear"},
                    ("fp8", "thor"): {"QuantizeLinear", "DequantizeLinear"},
                    ("nvfp4", "thor"): {"DequantizeLinear"},
                }[made.scheme, made.target]
            )
        if graph.name in CODECS:
            assert added == {"DequantizeLinear"}


@pytest.mark.parametrize(("scheme", "target", "wanted"), [
    ("fp8", "orin", "--target thor"), ("nvfp4", "cpu", "--target thor"),
    ("bf16", "cpu", "--target orin or --target thor"),
])  # fmt: skip
def test_a_target_without_the_numbers_is_an_error(
    scheme: str, target: str, wanted: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["quantize", str(tiny_bundle), "--scheme", scheme, "--target", target, *out]) == 2
    assert f"{target} does not compute in {scheme}; wanted {wanted}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_silence_stays_silent() -> None:
    """The voice's last layers are the float bundle's: in 8 bits they hum."""
    scheme = Scheme("int8")
    found = {
        layer.name: scheme.plan("decode", layer)
        for layer in layers(load_graph(bundle_path(floats=True) / "graphs/decode.onnx"))
    }
    floats = {name for name, plan in found.items() if plan is None}
    assert "audio_vae.decoder.out" in floats
    assert all(name.startswith("audio_vae.decoder.") for name in floats)
    assert len(floats) < len(found) / 4


def test_the_report_says_what_a_second_look_finds(made: Made, tiny_bundle: Path) -> None:
    report = json.loads(made.out.with_name("small.json").read_text())
    forced = report["drifts"][0]
    assert (report["scheme"], forced["mode"], forced["units"]) == (made.scheme, "forced", 30)
    assert len(forced["curve_db"]["latents.audio"]) == 30
    bundle = Bundle.open(tiny_bundle)
    assert bundle.manifest.media is not None
    units = [unit for unit, _ in zip(shipped(bundle.manifest.media).units(), range(30), strict=False)]
    with stand_ins(Bundle.open(made.out)) as graphs:
        again = drift(open_session(made.out, graphs=graphs), open_session(bundle), units, "forced")
    for name in LATENTS:
        assert again.error_db[name] == pytest.approx(forced["error_db"][name], abs=0.5)
    limits = {"int8": -20, "int4": -8, "fp16": -50, "bf16": -30, "fp8": -15, "nvfp4": -8, "auto": AIM}
    assert again.error_db["latents.audio"] < limits[made.scheme]
    if made.scheme == "auto":
        assert max(forced["error_db"][name] for name in HEARD_AND_SEEN) <= AIM
        chosen = {choice["group"]: choice for choice in report["choices"]}
        assert len(chosen) == len(report["choices"]) > 10
        assert all(choice["why"] and choice["chosen"] in choice["weighed"] for choice in chosen.values())
    else:
        assert not report["choices"]
    assert report["bytes"][1] == sum(g.weight_bytes for g in Bundle.open(made.out).manifest.graphs)
    assert 100 < report["calibration_units"] < 300, "all of the demo's conversation"
    solver = next(layer for layer in report["layers"] if layer["layer"] == "solver.video_in")
    assert set(solver["largest"]) == {"clean", "solve.0.in", "solve.1.in"}
    assert len(set(solver["largest"].values())) == 3, "a solver's steps have ranges of their own"
    page = made.out.with_name("small.html").read_text()
    assert page.index("30 units are too few to advise by") < page.index("<table")
    assert "ship this" not in page
    assert page.count("<svg") == 2
    assert page.count("data:image/png") == 2
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_bundle_has_no_error_against_itself_and_much_against_another_history(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    same = drift(open_session(bundle), open_session(bundle), made_units(bundle, 6), "free")
    assert max(same.error_db.values()) == -200
    assert same.same_slots == 1.0
    tested, reference = open_session(bundle), open_session(bundle)
    for unit in made_units(bundle, 3):
        reference.step(unit)
    other = drift(tested, reference, made_units(bundle, 6), "forced")
    assert other.error_db["latents.audio"] > -20


def test_what_is_seen_is_what_the_passes_got() -> None:
    bundle = Bundle.open(bundle_path(floats=True))
    observed = observe(bundle, made_units(bundle, 4))
    seen = observed.layers
    session, rows, values = open_session(bundle), [], []

    def keep(name: str, inputs, outputs) -> None:
        if (name.startswith("solve.") and name.endswith(".in")) or name == "clean":
            rows.append(np.array(inputs["latents.audio"], np.float64))
        if "append.1.v" in outputs:
            values.append(np.abs(outputs["append.1.v"]).max((1, 2)))

    recorder: Recorder = keep
    with session.recording(recorder):
        for unit in made_units(bundle, 4):
            session.step(unit)
    together = sum(r.T @ r for r in rows)
    came = seen["solve_in", "solver.audio_in"]
    # What is watched is fused less, and so rounded elsewhere; an entry may be a small difference of large numbers.
    assert np.abs(came.together - together).max() < 1e-5 * np.abs(together).max()
    assert set(came.largest) >= {"clean", "solve.0.in"}, "the solver's steps are kept apart"
    assert ("core", "layers.0.attention.qkv") in seen
    assert np.allclose(observed.appended["append.1.v"], np.max(values, 0), rtol=1e-6)


def test_an_error_above_the_bound_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["quantize", str(tiny_bundle), "--scheme", "int4", "--out", str(out), "--units", "12"]
    assert cli.main([*words, "--max-error", "-150"]) == 1
    assert "above --max-error -150; nothing was kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_what_to_run_next_is_said_last_and_leaves_json_alone(
    more: list[str], tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["quantize", str(tiny_bundle), "--scheme", "int8", "--out", str(tmp_path / "it's small")]
    assert cli.main([*words, "--calibration-units", "1", "--units", "1", *more]) == 0
    said = capsys.readouterr()
    if more:
        assert json.loads(said.out)["scheme"] == "int8"
    last = shlex.split((said.err if more else said.out).splitlines()[-1])
    out = str(tmp_path / "it's small")
    assert last == ["next:", "edge-streamer", "eval", out, "--float", str(tiny_bundle), "--out", "report"]


def test_the_page_says_which_of_all_to_ship(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for scheme, beside in (("int4", []), ("int8", ["--beside", str(tmp_path / "int4.json")])):
        words = ["quantize", str(tiny_bundle), "--scheme", scheme, "--out", str(tmp_path / scheme), "--units", "100"]
        assert cli.main([*words, "--calibration-units", "8", *beside]) == 0
    page = (tmp_path / "int8.html").read_text()
    assert page.count("ship this") == 1
    assert page.index("ship this") < page.index("Error over time")
    assert all(f"<td>{name}</td>" in page for name in ("float32", "int4", "int8"))
    said = " ".join(capsys.readouterr().out.split())
    floats = sum(said.count(f"ship float32: {word} else holds -25 dB") for word in ("nothing", "what"))
    assert floats + said.count("ship int") == 2
    words = ["quantize", str(tiny_bundle), "--scheme", "int8", "--target", "orin", "--out", str(tmp_path / "orin")]
    assert cli.main([*words, "--beside", str(tmp_path / "int4.json")]) == 2
    assert "of target cpu; wanted orin" in capsys.readouterr().err


def test_auto_aims_with_the_input_range_that_was_asked_for(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aimed = list[object]()

    def weigh(trials: auto.Trials, *_: object) -> object:
        aimed.append(trials.mixture({}))
        raise InputError("that will do")

    monkeypatch.setattr(auto, "_weigh", weigh)
    words = ["quantize", str(tiny_bundle), "--scheme", "auto", "--target", "orin", "--out", str(tmp_path / "out")]
    words += ["--calibration-units", "1", "--units", "1"]
    assert cli.main([*words, "--input-range", "percentile"]) == 2
    assert aimed == [Mixture({}, "orin", "percentile")]


@pytest.mark.parametrize(("out", "words", "says"), [
    (".", [], "the folder . exists and is not empty"), ("/", [], "the folder / exists and is not empty"),
    ("used", [], "used.html: it is a folder; name a file"),
    ("small", ["--scheme", "auto", "--rings", "int8"], "auto measures its mixtures with float32 rings"),
    ("small", ["--max-error", "nan"], "--max-error is nan; wanted decibels"),
    ("BUNDLE/small", [], "lies inside BUNDLE"),
])  # fmt: skip
def test_what_cannot_be_made_is_refused_before_the_work(
    out: str, words: list[str], says: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "observe", lambda *_: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used.html").mkdir()
    out = out.replace("BUNDLE", str(tiny_bundle))
    assert cli.main(["quantize", str(tiny_bundle), "--scheme", "int8", "--out", out, *words]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["used.html"]


def test_a_report_that_cannot_be_written_leaves_no_bundle(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "render", lambda *_: "x" * 3_000_000)
    words = ["quantize", str(tiny_bundle), "--scheme", "int8", "--out", str(tmp_path / "out")]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, limits[1]))
    try:
        assert cli.main([*words, "--calibration-units", "4", "--units", "2"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the file is larger than this system allows" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "says"), [("silent", "is silent"), ("square", "is clipped in"), ("none", "none.wav")])
def test_a_calibration_that_shows_nothing_is_refused(
    name: str, says: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{name}.wav"
    time = np.arange(16000)
    if name != "none":
        write_wav(file, np.zeros(16000) if name == "silent" else np.sign(np.sin(time / 20)), 16000)
    words = ["quantize", str(tiny_bundle), "--scheme", "int8", "--out", str(tmp_path / "out"), "--calibrate", str(file)]
    assert cli.main(words) == 2
    assert says in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} <= {file.name}


def test_units_that_are_not_finite_are_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    units = made_units(bundle, 2)
    assert units[1].samples is not None
    units[1].samples[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        observe(bundle, units)
    with pytest.raises(InputError, match="no unit"):
        observe(bundle, [])


def test_a_quantized_bundle_is_not_quantized_again(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["quantize", str(made.out), "--scheme", "int8", "--out", str(tmp_path / "out")]) == 2
    assert "already; wanted a float32 bundle" in capsys.readouterr().err


def test_scenes_to_measure_on_come_without_end_and_fit_only_the_toy_world(tiny_bundle: Path) -> None:
    media = Bundle.open(tiny_bundle).manifest.media
    assert media is not None
    assert streams.scenes(media) is None
    demo = Bundle.open(bundle_path(floats=True)).manifest.media
    assert demo is not None
    stream = streams.scenes(demo)
    assert stream is not None
    first = [unit for unit, _ in zip(stream.units(), range(200), strict=False)]
    assert len(first) == 200
    assert first[0].frames is not None
    assert first[0].frames.shape == (4, 64, 96, 3)
