"""A bundle in fewer bits: graphs rewritten, manifest kept true, everything else as it was.

Receives a bundle, a scheme (schemes.py) and what was seen on real streams; hands on a folder that is a bundle. Before a
graph's weights are rounded, large inputs are moved into the weights where a norm or a gate can take the scale:
SmoothQuant's for products of integers, AWQ's for 4-bit weights. Rounding itself is GPTQ's wherever a layer was seen.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import onnx_ir as ir

from edge_streamer.quantization import graph, qdq, rings, rounding
from edge_streamer.quantization.calibrate import Key, Observed, Peak, Seen
from edge_streamer.quantization.emulate import stand_ins
from edge_streamer.quantization.formats import FP16, INT8, Matrix, in_half, to_nearest
from edge_streamer.quantization.lint.check import refuse, said
from edge_streamer.quantization.schemes import CODECS, Mixture, Plan, Scheme
from edge_streamer.quantization.vocabulary import Estimator
from edge_streamer.runtime.bundle.manifest import EmbeddingSpec, GraphSpec, Precision
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.compare.error_over_time import decibels
from edge_streamer.runtime.compare.golden import Golden, load_golden, replay
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.timing import Tell, untold

ENDINGS = {"int8": "i8", "float16": "f16"}
ROWS_AT_ONCE = 4096
HEADROOM = 2
"""Products in half precision get so many times the range that calibration saw of them: it does not see everything."""
NOTHING_SEEN: Mapping[Key, Peak] = {}
SMOOTHING = 0.5
"""SmoothQuant's share of the inputs' size that goes to the weights."""


@dataclass
class Quantized:
    """What was done to one layer."""

    graph: str
    layer: str
    format: str
    bytes: int
    """Of its weight now: codes and scales."""
    error_db: float | None
    """Of its output, over calibration: 10 log10 of the share of its energy; None where nothing was seen of it."""
    cut: float | None = None
    """Share of its inputs that are beyond their range; None where the range is no constant."""
    largest: dict[str, float] = field(default_factory=dict)
    """Pass -> the largest of its inputs over calibration, before scales are moved."""
    kept: str = ""
    """Why it stayed in float32 though the scheme has fewer bits for it."""


def quantize(bundle: Bundle, scheme: Scheme | Mixture, observed: Observed, folder: Path, small_rings: bool = False,
             tell: Tell = untold) -> list[Quantized]:  # fmt: skip
    """Write the bundle's quantized twin into ``folder``, which is there and empty; hands on what became of layers.
    ``small_rings``: keys and values are kept in 8 bits. InputError where the scheme's target refuses what a graph holds
    (its node is named)."""
    manifest, done = bundle.manifest, []
    copy_files(bundle, folder, graphs=False)
    (folder / "graphs").mkdir(exist_ok=True)
    specs = []
    for spec in manifest.graphs:
        model = graph.load(bundle.file(spec.file))
        layers = rewrite(model, spec.name, scheme, observed.layers, tell, observed.peaks)
        if small_rings and any(tensor.name.startswith("append.") for tensor in spec.outputs):
            rings.quantize_rings(model, manifest.states, observed.appended)
            spec = rings.described(spec)
        if any(not layer.kept for layer in layers):
            spec = _described(spec, model, scheme.precision(spec.name))
            model.metadata_props[graph.PRECISION] = spec.precision.words
        refused = refuse(model, spec.name, spec.lengths, scheme.target)
        if refused is not None:
            raise InputError(f"{said(refused)}; nothing is written: {scheme.target} would not run it ({refused.rule})")
        graph.save(model, folder / "graphs", spec.name)
        specs.append(spec)
        done += layers
    if not done and not isinstance(scheme, Mixture):
        raise InputError(
            f"no graph of {bundle.path} has a layer to quantize: wanted weights of {graph.SMALLEST} numbers or more "
            f"whose names end in {graph.SUFFIX}, as torch gives them"
        )
    dtype: Literal["float16", "int8"] = "float16" if scheme.name in ("fp16", "bf16") else "int8"
    embeddings = write_tables(bundle, dtype, folder)
    states = rings.described_states(manifest.states) if small_rings else manifest.states
    manifest = msgspec.structs.replace(manifest, graphs=tuple(specs), states=states, files=(), embeddings=embeddings)
    write_bundle(folder, manifest, then=_answer_anew if manifest.golden else None)
    return done


def copy_files(bundle: Bundle, folder: Path, graphs: bool) -> None:
    """The bundle's files, with its ``graphs`` or without, but for token tables' own files: they are written anew."""
    tables = {table.file for table in bundle.manifest.embeddings}
    for path in (file.path for file in bundle.manifest.files):
        if graphs if path.startswith("graphs/") else path not in tables:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(path), folder / path)


def write_tables(bundle: Bundle, dtype: Literal["int8", "float16"], folder: Path) -> tuple[EmbeddingSpec, ...]:
    """The token tables in fewer bits."""
    names = (f"embedding{number or ''}.{ENDINGS[dtype]}" for number in itertools.count())
    return tuple(_write_table(bundle, table, dtype, folder / next(names)) for table in bundle.manifest.embeddings)


def _write_table(bundle: Bundle, spec: EmbeddingSpec, dtype: Literal["int8", "float16"], path: Path) -> EmbeddingSpec:
    """A token table in fewer bits, a file of its own also where it lay in the weights of a tied head: the head's
    numbers are others now. In int8 each row has a scale, and the scales follow the rows."""
    table, scales = bundle.embedding_rows(spec.name), []
    rows = np.empty((ROWS_AT_ONCE, table.width), np.float32)
    with path.open("wb") as file:
        for first in range(0, table.count, ROWS_AT_ONCE):
            some = rows[: min(ROWS_AT_ONCE, table.count - first)]
            table.rows(range(first, first + len(some)), some)
            if dtype == "float16":
                file.write(in_half(some, FP16, "the token table").astype("<f2").tobytes())
                continue
            codes = to_nearest(np.ascontiguousarray(some.T), INT8)  # its outputs, which have scales, are the tokens
            scales.append(codes.scales[0])
            file.write(np.ascontiguousarray(codes.values.T).tobytes())
        size = file.tell()
        padding = -size % 4 if scales else 0  # scales lie on a multiple of their size
        file.write(b"\0" * padding + b"".join(some.astype("<f4").tobytes() for some in scales))
    return EmbeddingSpec(
        name=spec.name, file=path.name, offset=0, dtype=dtype, scales_offset=size + padding if scales else None,
        rows=table.count, width=table.width, layout="row",
    )  # fmt: skip


def _answer_anew(bundle: Bundle) -> str:
    """The golden units' answers become this bundle's own: `check` says whether a machine computes what it should, and
    a rounding that is meant would hide one that is not. Words stay the float bundle's."""
    name = bundle.manifest.golden
    assert name is not None
    golden = load_golden(bundle.path / name)
    units = golden.meta.units
    with stand_ins(bundle) as graphs:
        session = open_session(bundle, graphs=graphs, engine="cpu", verify=False)
        answers = replay(session, golden.meta.seed, units, golden.tokens)
    Golden(golden.meta, answers | golden.words).save(bundle.path / name)
    return name


def rewrite(
    model: ir.Model, name: str, scheme: Scheme | Mixture, seen: Mapping[Key, Seen], tell: Tell = untold,
    peaks: Mapping[Key, Peak] = NOTHING_SEEN,
) -> list[Quantized]:  # fmt: skip
    """The graph ``name`` in place, and what became of its layers. One whose ``peaks`` half precision has no room for
    stays as it is."""
    found = [(layer, seen.get((name, layer.name))) for layer in graph.layers(model)]
    planned = [(layer, scheme.plan(name, layer), None if one is None else _Inputs(one)) for layer, one in found]
    wanted = [(layer, plan, inputs) for layer, plan, inputs in planned if plan is not None]
    why = [_too_large(plan, peaks.get((name, layer.name))) for layer, plan, _ in wanted]
    layers = [one for one, words in zip(wanted, why, strict=True) if not words]
    kept = [_kept(name, layer, words) for (layer, _, _), words in zip(wanted, why, strict=True) if words]
    moved = [] if name in CODECS else [one for one in layers if one[2] is not None and one[1].way != "cast"]
    steps = len(moved) + len(layers)
    for number, (layer, plan, inputs) in enumerate(moved, 1):
        assert inputs is not None
        _move(model, layer, plan, inputs)
        tell(name, number, steps)
    done = []
    for number, (layer, plan, inputs) in enumerate(layers, 1 + len(moved)):
        done.append(_round(model, name, layer, plan, inputs, scheme.estimator))
        tell(name, number, steps)
    return kept + done


def _too_large(plan: Plan, peak: Peak | None) -> str:
    """Why a layer overflows in half precision; empty where it does not. bf16 has a float's range."""
    if peak is None or plan.format is not FP16 or plan.way != "cast":
        return ""
    for side, largest in (("input", peak.input), ("output", peak.output)):
        if not largest <= FP16.largest / HEADROOM:
            return f"its {side} reaches {largest:.3g}; fp16 ends at {FP16.largest}, and half of that is kept free"
    return ""


def _kept(name: str, layer: graph.Layer, why: str) -> Quantized:
    return Quantized(name, layer.name, "float32", layer.tensor.nbytes, None, kept=why)


def _round(
    model: ir.Model, name: str, layer: graph.Layer, plan: Plan, inputs: _Inputs | None, estimator: Estimator
) -> Quantized:
    weight, error, cut = layer.matrix, None, None
    largest = {} if inputs is None else inputs.seen.largest_of_passes
    if plan.way == "cast":
        half = in_half(weight, plan.format, layer.name).astype(np.float32)
        if inputs is not None:
            error = _decibels(rounding.share_lost(weight, weight - half, inputs.together))
        qdq.cast(model, layer, plan.format)
        return Quantized(name, layer.name, plan.words, plan.format.bytes(*weight.shape), error, cut, largest)
    if inputs is None:
        codes = to_nearest(weight, plan.format)
        plan = replace(plan, way="stored") if plan.way == "bound" else plan  # no range is known
    else:
        codes = rounding.compensated(weight, plan.format, inputs.together)
        error = _decibels(rounding.output_error(weight, codes, inputs.together))
    if plan.way == "computed":
        qdq.compute(model, layer, codes)
    elif plan.way == "bound" and inputs is not None:
        edge = rounding.input_range(float(inputs.largest.max()), inputs.sample, estimator, plan.format)
        cut = float((np.abs(inputs.sample) > edge).mean())
        qdq.bound(model, layer, codes, edge)
    else:
        qdq.store(model, layer, codes)
    return Quantized(name, layer.name, plan.words, codes.format.bytes(*weight.shape), error, cut, largest)


def _decibels(share: float) -> float:
    return round(decibels(share, 1.0), 2)


@dataclass
class _Inputs:
    """What was seen of a layer's inputs, kept true while scales are moved."""

    seen: Seen

    def __post_init__(self) -> None:
        self.together = self.seen.together.copy()
        self.largest: Matrix = np.max(list(self.seen.largest.values()), axis=0)
        self.sample: Matrix = np.stack(self.seen.sample)

    def divide(self, scale: Matrix) -> None:
        self.together /= np.outer(scale, scale)
        self.largest = np.asarray(self.largest / scale, np.float32)
        self.sample = np.asarray(self.sample / scale, np.float32)


def _move(model: ir.Model, layer: graph.Layer, plan: Plan, inputs: _Inputs) -> None:
    """Move the inputs' size into the weight, where something can take the scale."""
    maker = graph.maker_of(layer)
    if maker is None:
        return
    if plan.format.bits == 4:
        scale = rounding.migrated(layer.matrix, plan.format, inputs.together)
    else:
        scale = rounding.smoothed(layer.matrix, inputs.largest, SMOOTHING)
    graph.fold(model, layer, maker, scale)
    inputs.divide(scale)


def _described(spec: GraphSpec, model: ir.Model, precision: Precision) -> GraphSpec:
    """The manifest's record of the graph as it is now."""
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    moved = {length: size - spec.weight_bytes + weights for length, size in spec.moved_bytes.items()}
    return msgspec.structs.replace(
        spec, file=f"graphs/{spec.name}.onnx", weight_bytes=weights, moved_bytes=moved, precision=precision,
    )  # fmt: skip
