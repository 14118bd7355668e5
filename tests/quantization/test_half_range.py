"""Half precision ends at 65504: a layer whose numbers come near it stays in float32, and is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edge_streamer.quantization import graph
from edge_streamer.quantization.calibrate import Peak, observe
from edge_streamer.quantization.make import rewrite
from edge_streamer.quantization.schemes import Scheme
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.compare.error_over_time import LATENTS
from edge_streamer.runtime.compare.golden import made_unit
from tests.quantized import changed

LARGE = 1e5
"""What activations are planted to come to; fp16 ends at 65504."""
PLANTED = "solver.video_in"


def scaled(model: ir.Model, value: ir.Value, factor: float, name: str) -> ir.Value:
    """``value`` times ``factor``, for all that use it."""
    by = graph.constant(model, ir.Tensor(np.array(factor, np.float32), name=f"{name}.by"))
    node = ir.node("Mul", [value, by], name=name)
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = name, value.shape, value.type
    for user, n in list(value.uses()):
        user.replace_input_with(n, node.outputs[0])
    node.replace_input_with(0, value)
    producer = value.producer()
    if producer is None:
        model.graph.insert_before(model.graph[0], node)
    else:
        model.graph.insert_after(producer, node)
    return node.outputs[0]


def overflowing(side: str, factor: float) -> Callable[[ir.Model], None]:
    """The same function, with a layer whose input or output is ``factor`` times as large."""

    def change(model: ir.Model) -> None:
        layer = next(one for one in graph.layers(model) if one.name == PLANTED)
        if side == "input":
            scaled(model, layer.input, factor, "planted.large")
        else:
            weight = layer.tensor * np.float32(factor)
            layer.weight.const_value = ir.Tensor(weight, name=layer.weight.name)
        scaled(model, layer.node.outputs[0], 1 / factor, "planted.small")

    return change


@pytest.mark.parametrize("side", ["input", "output"])
def test_planted_overflow_is_found_at_calibration_and_kept_in_float32(
    side: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Bundle.open(tiny_bundle)
    assert plain.manifest.media is not None
    units = [made_unit(plain.manifest.media, 0, i) for i in range(4)]
    peak = observe(plain, units).peaks["solve_in", PLANTED]
    assert max(peak.input, peak.output) < 100
    factor = LARGE / getattr(peak, side)
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "large"))
    large = changed(folder, "solve_in", overflowing(side, factor))
    found = observe(large, units).peaks["solve_in", PLANTED]
    assert getattr(found, side) == pytest.approx(LARGE, rel=0.01)

    out = tmp_path / "half"
    words = ["quantize", str(folder), "--scheme", "fp16", "--target", "orin", "--out", str(out)]
    assert cli.main([*words, "--units", "6", "--calibration-units", "6"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"kept in float32: solve_in {PLANTED}, its {side} reaches" in said
    report = json.loads(out.with_name("half.json").read_text())
    kept = {one["layer"]: one for one in report["layers"] if one["kept"]}
    assert list(kept) == [PLANTED]
    assert kept[PLANTED]["format"] == "float32"
    assert "fp16 ends at 65504" in kept[PLANTED]["kept"]
    assert "Kept in float32" in out.with_name("half.html").read_text()
    assert max(report["drifts"][0]["error_db"][name] for name in LATENTS) < -40, "without it they are no numbers"


@pytest.mark.parametrize(("scheme", "peak", "stays"), [
    ("fp16", Peak(input=1e5), True), ("fp16", Peak(output=float("inf")), True),
    ("fp16", Peak(output=float("nan")), True),
    ("fp16", Peak(3e4, 3e4), False), ("bf16", Peak(1e5, 1e5), False), ("fp8", Peak(1e5, 1e5), False),
])  # fmt: skip
def test_the_rule_is_for_half_precision_alone(scheme: str, peak: Peak, stays: bool, tiny_bundle: Path) -> None:
    """fp8 has a range of its own, bf16 a float's."""
    model = graph.load(tiny_bundle / "graphs" / "solve_in.onnx")
    done = rewrite(model, "solve_in", Scheme(scheme, "thor"), {}, peaks={("solve_in", PLANTED): peak})
    assert [one.layer for one in done if one.kept] == ([PLANTED] if stays else [])
    assert PLANTED in {one.layer for one in done}
