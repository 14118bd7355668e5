"""Small bundles for tests, made with onnx on the spot.

Hands on ``counter_bundle`` (two graphs of the program ``chain``, one of them with a carry), ``tally_bundle`` (one graph
with carries of two dtypes), ``ring_bundle`` (one graph that reads and appends to a ring), ``room_bundle`` (sound both
ways and a ring, in a chain), ``rewrite`` to change a manifest as a damaged or hostile writer might, ``refuses`` to see
a bundle refused, and ``PROVENANCE``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_streamer.runtime.bundle.manifest import (
    FORMAT,
    CarrySpec,
    GraphSpec,
    Manifest,
    MediaSpec,
    Provenance,
    RingSpec,
    SoundSpec,
    TensorSpec,
)
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.errors import BundleError

if TYPE_CHECKING:
    from edge_streamer.export.wan_streamer.config import Join

ROOM = 160
"""Samples of a unit of ``room_bundle``."""

PROVENANCE = Provenance(
    made_by="tests/bundles.py",
    made_at="2026-01-01T00:00:00Z",
    preset="none",
    weights="none",
    weights_licence="Apache-2.0",
    versions={"onnx": onnx.__version__},
)


def counter_bundle(folder: Path) -> Path:
    """Write a bundle into ``folder`` (made if missing): first y = x + state.sum, carried on; then z = 2 y. [1, 4]."""
    (folder / "graphs").mkdir(parents=True)
    add = [
        helper.make_node("Add", ["x", "state.sum"], ["y"]),
        helper.make_node("Identity", ["y"], ["state_next.sum"]),
    ]
    _save(folder / "graphs/first.onnx", "first", add, ["x", "state.sum"], ["y", "state_next.sum"])
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    double = [helper.make_node("Mul", ["y", "two"], ["z"])]
    _save(folder / "graphs/second.onnx", "second", double, ["y"], ["z"], [two])
    write_bundle(
        folder,
        Manifest(
            format=FORMAT,
            name="counter",
            program="chain",
            constants={"order": ["first", "second"], "inputs": ["x"], "outputs": ["z"]},
            graphs=(
                _graph("first", (_row("x"), _row("state.sum")), (_row("y"), _row("state_next.sum")), 0, 4, 64),
                _graph("second", (_row("y"),), (_row("z"),), 1, 4, 36),
            ),
            states=(CarrySpec(path="sum", graph="first", dtype="float32", shape=(1, 4), axes=("batch", "value")),),
            files=(),
            provenance=PROVENANCE,
        ),
    )
    return folder


def tally_bundle(folder: Path) -> Path:
    """Write a bundle into ``folder``: a running mean. y = sum / n, both carried: sum float32 [1, 4], n int64 [1]."""
    (folder / "graphs").mkdir(parents=True)
    nodes = [
        helper.make_node("Add", ["x", "state.sum"], ["state_next.sum"]),
        helper.make_node("Add", ["one", "state.n"], ["state_next.n"]),
        helper.make_node("Cast", ["state_next.n"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["state_next.sum", "count"], ["y"]),
    ]
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    counts = {"state.n": (1,), "state_next.n": (1,)}
    inputs, outputs = ("x", "state.sum", "state.n"), ("y", "state_next.sum", "state_next.n")
    _save(folder / "graphs/mean.onnx", "mean", nodes, inputs, outputs, [one], counts, dict.fromkeys(counts, "INT64"))
    specs = {name: TensorSpec(name=name, dtype="int64", shape=(1,), axes=("value",)) for name in counts}
    specs |= {name: _row(name) for name in (*inputs, *outputs) if name not in counts}
    write_bundle(
        folder,
        Manifest(
            format=FORMAT,
            name="tally",
            program="chain",
            constants={"order": ["mean"], "inputs": ["x"], "outputs": ["y"]},
            graphs=(_graph("mean", tuple(specs[n] for n in inputs), tuple(specs[n] for n in outputs), 1, 9, 88),),
            states=(
                CarrySpec(path="sum", graph="mean", dtype="float32", shape=(1, 4), axes=("batch", "value")),
                CarrySpec(path="n", graph="mean", dtype="int64", shape=(1,), axes=("value",)),
            ),
            files=(),
            provenance=PROVENANCE,
        ),
    )
    return folder


def ring_bundle(folder: Path) -> Path:
    """Write a bundle into ``folder``: y = sum of the ring [6, 4] where valid; appends x [2, 4], remembers 2 units."""
    (folder / "graphs").mkdir(parents=True)
    nodes = [
        helper.make_node("Mul", ["state.past", "valid.main"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "places"], ["y"], keepdims=1),
        helper.make_node("Identity", ["x"], ["append.past"]),
    ]
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    shapes = {"x": (2, 4), "state.past": (6, 4), "valid.main": (6, 1), "y": (1, 4), "append.past": (2, 4)}
    inputs, outputs = ("x", "state.past", "valid.main"), ("y", "append.past")
    _save(folder / "graphs/only.onnx", "only", nodes, inputs, outputs, [places], shapes)
    axes = ("place", "value")
    specs = {name: TensorSpec(name=name, dtype="float32", shape=shape, axes=axes) for name, shape in shapes.items()}
    write_bundle(
        folder,
        Manifest(
            format=FORMAT,
            name="ring",
            program="chain",
            constants={"order": ["only"], "inputs": ["x"], "outputs": ["y"]},
            graphs=(
                _graph("only", tuple(specs[n] for n in inputs), tuple(specs[n] for n in outputs), 0, 48, 200),
            ),
            states=(
                RingSpec(
                    path="past", ring="main", append="append.past", dtype="float32", shape=(6, 4), axes=axes, axis=0,
                    places_per_unit=2, window_units=2,
                ),
            ),
            files=(),
            provenance=PROVENANCE,
        ),
    )  # fmt: skip
    return folder


def room_bundle(folder: Path, reset: Literal["session", "unit"] = "session") -> Path:
    """Write a bundle into ``folder``: a chain that hears, speaks and remembers three units of 160 samples in a ring.

    ``reverb``: samples y = x / 2 + what is remembered / 4, appends x. ``meter``, which runs after it and so sees the
    unit too: level = all that is remembered, summed, [1, 1]; bias x 0 + the unit's index, [1, 1].
    """
    (folder / "graphs").mkdir(parents=True)
    numbers = {"none": 0.0, "half": 0.5, "quarter": 0.25}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in numbers.items()]
    seen = [
        helper.make_node("Equal", ["valid.main", "none"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["mask", "state.heard"], ["remembered"]),
    ]
    reverb = [
        *seen,
        helper.make_node("Reshape", ["x", "row"], ["append.heard"]),
        helper.make_node("Mul", ["append.heard", "half"], ["dry"]),
        helper.make_node("Mul", ["remembered", "quarter"], ["wet"]),
        helper.make_node("Add", ["dry", "wet"], ["y"]),
    ]
    row = helper.make_tensor("row", TensorProto.INT64, [2], [1, ROOM])
    shapes = {"x": (ROOM,), "y": (1, ROOM), "append.heard": (1, ROOM), "state.heard": (4, ROOM), "valid.main": (1, 4),
              "bias": (1, 1), "level": (1, 1), "index": (1, 1), "host.unit": (1,)}  # fmt: skip
    ins, outs = ("x", "state.heard", "valid.main"), ("y", "append.heard")
    _save(folder / "graphs/reverb.onnx", "reverb", reverb, ins, outs, [*constants, row], shapes)
    meter = [
        *seen,
        helper.make_node("ReduceSum", ["remembered"], ["level"], keepdims=1),
        helper.make_node("Cast", ["host.unit"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bias", "none"], ["nothing"]),
        helper.make_node("Add", ["nothing", "number"], ["index"]),
    ]
    ins2, outs2 = ("state.heard", "valid.main", "host.unit", "bias"), ("level", "index")
    _save(folder / "graphs/meter.onnx", "meter", meter, ins2, outs2, constants[:1], shapes, {"host.unit": "INT32"})
    specs = {
        name: TensorSpec(name=name, dtype="int32" if name == "host.unit" else "float32", shape=shape,
                         axes=("",) * len(shape))
        for name, shape in shapes.items()
    }  # fmt: skip

    def graph(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], parameters: int) -> GraphSpec:
        return _graph(name, tuple(specs[n] for n in inputs), tuple(specs[n] for n in outputs), parameters, 1, 1)

    write_bundle(
        folder,
        Manifest(
            format=FORMAT,
            name="room",
            program="chain",
            constants={"order": ["reverb", "meter"], "inputs": ["x", "bias"], "outputs": ["y", "level", "index"]},
            media=MediaSpec(
                unit_seconds=0.16,
                sound_in=SoundSpec(graph="reverb", tensor="x", sample_rate=1000, unit_samples=ROOM),
                sound_out=SoundSpec(graph="reverb", tensor="y", sample_rate=1000, unit_samples=ROOM),
            ),
            graphs=(graph("reverb", ins, outs, 3), graph("meter", ins2, outs2, 1)),
            states=(
                RingSpec(
                    path="heard", ring="main", append="append.heard", dtype="float32", shape=(4, ROOM),
                    axes=("place", "sample"), axis=0, places_per_unit=1, window_units=3, reset=reset,
                ),
            ),
            files=(),
            provenance=PROVENANCE,
        ),
    )  # fmt: skip
    return folder


def mixer_bundle(folder: Path) -> Path:
    """Write a bundle into ``folder``: a chain of sound whose units of 10 ms pass a matrix (what comes of it is given,
    ``mixed``), and half of the last unit's answer (a carry) is added."""
    (folder / "graphs").mkdir(parents=True)
    matrix = np.random.default_rng(5).normal(0, 1 / np.sqrt(ROOM), (ROOM, ROOM)).astype(np.float32)
    constants = [
        helper.make_tensor("row", TensorProto.INT64, [2], [1, ROOM]),
        helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]),
        helper.make_tensor("mix.weight", TensorProto.FLOAT, [ROOM, ROOM], matrix.tobytes(), raw=True),
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "row"], ["unit"]),
        helper.make_node("MatMul", ["unit", "mix.weight"], ["mixed"], name="mix"),
        helper.make_node("Mul", ["state.last", "half"], ["tail"]),
        helper.make_node("Add", ["mixed", "tail"], ["y"]),
        helper.make_node("Identity", ["y"], ["state_next.last"]),
    ]
    shapes = {"x": (ROOM,), **dict.fromkeys(("y", "mixed", "state.last", "state_next.last"), (1, ROOM))}
    ins, outs = ("x", "state.last"), ("y", "mixed", "state_next.last")
    _save(folder / "graphs/mix.onnx", "mix", nodes, ins, outs, constants, shapes)
    specs = {
        name: TensorSpec(name=name, dtype="float32", shape=shape, axes=("",) * len(shape))
        for name, shape in shapes.items()
    }
    sound = SoundSpec(graph="mix", tensor="x", sample_rate=16000, unit_samples=ROOM)
    write_bundle(
        folder,
        Manifest(
            format=FORMAT,
            name="mixer",
            program="chain",
            constants={"order": ["mix"], "inputs": ["x"], "outputs": ["y", "mixed"]},
            media=MediaSpec(
                unit_seconds=0.01, sound_in=sound,
                sound_out=SoundSpec(graph="mix", tensor="y", sample_rate=16000, unit_samples=ROOM),
            ),
            graphs=(
                _graph("mix", tuple(specs[n] for n in ins), tuple(specs[n] for n in outs), ROOM * ROOM + 1,
                       2 * ROOM * ROOM, 4 * ROOM * (ROOM + 4)),
            ),
            states=(CarrySpec(path="last", graph="mix", dtype="float32", shape=(1, ROOM), axes=("", "")),),
            files=(),
            provenance=PROVENANCE,
        ),
    )  # fmt: skip
    return folder


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest's JSON in place; file sums stay right because the manifest has none of its own."""
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _row(name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(1, 4), axes=("batch", "value"))


def _graph(
    name: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    parameters: int,
    operations: int,
    moved_bytes: int,
) -> GraphSpec:
    return GraphSpec(
        name=name,
        file=f"graphs/{name}.onnx",
        inputs=inputs,
        outputs=outputs,
        parameters=parameters,
        weight_bytes=4 * parameters,
        operations={"static": operations},
        moved_bytes={"static": moved_bytes},
    )


def _save(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: tuple[str, ...] | list[str],
    outputs: tuple[str, ...] | list[str],
    constants: list[onnx.TensorProto] | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
    dtypes: dict[str, str] | None = None,
) -> None:
    def values(names: tuple[str, ...] | list[str]) -> list[onnx.ValueInfoProto]:
        kinds = {n: TensorProto.DataType.Value((dtypes or {}).get(n, "FLOAT")) for n in names}
        return [helper.make_tensor_value_info(n, kinds[n], (shapes or {}).get(n, (1, 4))) for n in names]

    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), constants or [])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


SEED = 7
"""Of the weights of exported test bundles: ``build(PRESETS[...], SEED)`` is their torch model."""


def exported_bundle(preset: str, folder: Path, attention: Join | None = None) -> Path:
    """Export ``preset`` with random weights to ``folder``; ``attention``: another way of joining than its own."""
    from edge_streamer.export.wan_streamer.config import PRESETS, with_attention
    from edge_streamer.export.wan_streamer.model import build
    from edge_streamer.export.wan_streamer.tokenizer import byte_level
    from edge_streamer.export.write import Origin, export_bundle

    config = PRESETS[preset]
    if attention:
        config = with_attention(config, attention)
    origin = Origin(weights=f"random, seed {SEED}", licence="none")
    return export_bundle(build(config, SEED), byte_level(), origin, folder).path


def refuses(bundle: Path, says: str) -> str:
    """Opening ``bundle`` raises one line that has ``says`` in it; returns the line."""
    with pytest.raises(BundleError, match=re.escape(says)) as caught:
        Bundle.open(bundle)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_status == 2
    return text
