"""``python -m tests.bench.quantizers``: our rounding beside that of others, on the same graphs and recordings.

Receives a float32 bundle (the shipped demo); rewrites the Transformer, the solver and the head, the codecs stay in
float, and prints for each way bytes, unit time and the latents' error over minutes, on the float bundle's history; then
one JSON line. Bytes are of the graphs' files, weights and all, against the float bundle's. Calibrated and measured on
what `quantize` takes by default. The ways:

    int8, int4           ours: ranges per run on the CPU; AWQ's scales, GPTQ's rounding
    int8 nearest, int4 nearest        ours without them: to the nearest code
    dynamic, static      ONNX Runtime's quantize_dynamic and quantize_static, a scale per output
    nbits                ONNX Runtime's MatMulNBitsQuantizer, blocks of 32, symmetric
    modelopt int8, int4  NVIDIA ModelOpt's PTQ for ONNX, where it is installed: 8 bits as for boards, its two AWQs

The ceiling is the float bundle: no error, 1.00x.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from edge_streamer.quantization import graph
from edge_streamer.quantization.calibrate import Key, Seen, observe
from edge_streamer.quantization.command import CALIBRATION_UNITS
from edge_streamer.quantization.make import rewrite
from edge_streamer.quantization.schemes import CODECS, Scheme
from edge_streamer.quantization.streams import scenes, shipped, usual
from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.error_over_time import drift
from edge_streamer.runtime.engines.contract import GraphFile
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Response

INT8, INT8_DYNAMIC = (Precision(weights="int8", activations="int8", dynamic=d) for d in (False, True))
INT4 = Precision(weights="int4")
STATIC_UNITS = 40
"""Whose passes quantize_static is shown: it keeps every input of every pass, rings and all, in memory."""
WARM_UP = 10
Make = Callable[[str, Path, Path], None]
"""(graph, its file, the file to write)"""


class Passes(CalibrationDataReader):  # type: ignore[misc]
    """Recorded inputs of one graph, as quantize_static wants them."""

    def __init__(self, inputs: list[dict[str, Array]]) -> None:
        self._all = inputs
        self.rewind()

    def rewind(self) -> None:
        self._left = iter(self._all)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._left, None)

    def get_first(self) -> dict[str, Array]:
        """For ModelOpt."""
        return self._all[0]


def recorded(bundle: Bundle, units: int) -> dict[str, list[dict[str, Array]]]:
    """Graph -> what its passes were given."""
    media = bundle.manifest.media
    assert media is not None
    found: dict[str, list[dict[str, Array]]] = {}
    session = open_session(bundle)
    graphs = {g.name: {t.name for t in g.inputs} for g in bundle.manifest.graphs}

    def record(name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        for graph_name, names in graphs.items():
            if names == set(inputs):
                found.setdefault(graph_name, []).append({n: a.copy() for n, a in inputs.items()})

    with session.recording(record):
        for unit in islice(usual(media).units(), units):
            session.step(unit)
    return found


def ours(scheme: Scheme, seen: Mapping[Key, Seen]) -> Make:
    def make(name: str, source: Path, out: Path) -> None:
        model = graph.load(source)
        rewrite(model, name, scheme, seen)
        graph.save(model, out.parent, name)

    return make


def dynamic(name: str, source: Path, out: Path) -> None:
    quantize_dynamic(source, out, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def static(passes: Mapping[str, list[dict[str, Array]]]) -> Make:
    def make(name: str, source: Path, out: Path) -> None:
        quantize_static(
            source, out, Passes(passes[name]), op_types_to_quantize=["MatMul"], per_channel=True,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "MatMulConstBOnly": True},
        )  # fmt: skip

    return make


def nbits(name: str, source: Path, out: Path) -> None:
    quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(out), False)


def modelopt(passes: Mapping[str, list[dict[str, Array]]], mode: str, method: str) -> Make:
    def make(name: str, source: Path, out: Path) -> None:
        from modelopt.onnx.quantization import quantize  # type: ignore[import-not-found]

        shapes = [{n: a.shape for n, a in each.items()} for each in passes[name]]
        mixed = mode == "int8"  # AWQ takes no passes of several lengths
        alike = [each for each, shape in zip(passes[name], shapes, strict=True) if mixed or shape == shapes[0]]
        with tempfile.TemporaryDirectory() as folder:  # it leaves files beside what it reads
            aside = Path(shutil.copytree(source.parent, Path(folder) / "graphs")) / source.name
            quantize(
                str(aside), quantize_mode=mode, calibration_method=method, calibration_data_reader=Passes(alike),
                calibration_eps=["cpu"], op_types_to_quantize=["MatMul"], high_precision_dtype="fp32",
                block_size=32 if mode == "int4" else None, nodes_to_exclude=[], output_path=str(out), log_level="ERROR",
            )  # fmt: skip

    return make


def measured(bundle: Bundle, make: Make, precision: Precision, units: int) -> dict[str, Any]:
    """One way."""
    media = bundle.manifest.media
    assert media is not None
    stream, times = scenes(media) or shipped(media), list[tuple[float, float]]()

    def time(unit: int, right: Response, came: Response) -> None:
        if unit >= WARM_UP:
            times.append((right.seconds, came.seconds))

    with tempfile.TemporaryDirectory() as folder:
        graphs, sizes = {}, [0, 0]
        for spec in bundle.manifest.graphs:
            if spec.name in CODECS:
                continue
            below = Path(folder) / spec.name
            below.mkdir()
            out = below / f"{spec.name}.onnx"
            make(spec.name, bundle.file(spec.file), out)
            graphs[spec.name] = GraphFile(out, msgspec.structs.replace(spec, precision=precision))
            floats = bundle.file(spec.file)
            sizes[0] += sum(file.stat().st_size for file in floats.parent.glob(f"{floats.stem}.*"))
            sizes[1] += sum(file.stat().st_size for file in below.iterdir())
        tested, reference = open_session(bundle, graphs=graphs), open_session(bundle)
        found = drift(tested, reference, islice(stream.units(), units), "forced", watch=time)
    ratio = float(np.median([came / right for right, came in times]))
    return {
        "size": round(sizes[1] / sizes[0], 3), "unit_time": round(ratio, 3), "slots": round(found.same_slots, 5),
        **{name: round(db, 2) for name, db in found.error_db.items()},
    }  # fmt: skip


def ways(bundle: Bundle) -> Iterator[tuple[str, Make, Precision]]:
    """(name, how, precision)"""
    media = bundle.manifest.media
    assert media is not None
    seen = observe(bundle, islice(usual(media).units(), CALIBRATION_UNITS)).layers
    passes = recorded(bundle, STATIC_UNITS)
    yield "int8", ours(Scheme("int8"), seen), INT8_DYNAMIC
    yield "int8 nearest", ours(Scheme("int8"), {}), INT8_DYNAMIC
    yield "dynamic", dynamic, INT8_DYNAMIC
    yield "int8 orin", ours(Scheme("int8", "orin"), seen), INT8
    yield "static", static(passes), INT8
    yield "int4", ours(Scheme("int4"), seen), INT4
    yield "int4 everywhere", ours(Scheme("int4", spared=False), seen), INT4
    yield "int4 nearest", ours(Scheme("int4", spared=False), {}), INT4
    yield "nbits", nbits, INT4
    if importlib.util.find_spec("modelopt"):
        yield "modelopt int8", modelopt(passes, "int8", "entropy"), INT8
        yield "modelopt int8 max", modelopt(passes, "int8", "max"), INT8
        yield "modelopt int4 clip", modelopt(passes, "int4", "awq_clip"), INT4
        yield "modelopt int4 lite", modelopt(passes, "int4", "awq_lite"), INT4
    else:
        print("modelopt: not installed here, left out", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Our rounding beside that of others.")
    parser.add_argument(
        "--bundle", type=Path, default=bundle_path(floats=True), help="a float32 bundle (default: the demo)"
    )
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--only", nargs="+", metavar="WAY", help="of the ways, these (default: all)")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # ONNX Runtime's quantizers tell of every layer
    bundle, rows = Bundle.open(args.bundle), {}
    print(f"{'':18} {'size':>6} {'time':>6} {'sound':>8} {'picture':>8} {'words':>9}   the ceiling is 1.00x, no error")
    for name, make, precision in ways(bundle):
        if args.only and name not in args.only:
            continue
        try:
            row = measured(bundle, make, precision, args.units)
        except Exception as error:  # one tool's failure is a line of the table, not the end of it
            print(f"{name:18} failed: {str(error).splitlines()[0][:100]}", flush=True)
            rows[name] = {"failed": str(error)}
            continue
        rows[name] = row
        print(
            f"{name:18} {row['size']:5.2f}x {row['unit_time']:5.2f}x {row['latents.audio']:5.1f} dB "
            f"{row['latents.video']:5.1f} dB {row['slots']:9.3%}", flush=True,
        )  # fmt: skip
    print(json.dumps({"bundle": bundle.manifest.name, "units": args.units, "ways": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
