"""Products of 8-bit integers are exact on processors whose fast ones overflow: an emulated one is asked."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_streamer
from edge_streamer.runtime.engines import overflow

EMULATOR = "qemu-x86_64"
ASK = """
import json
import numpy as np
import onnxruntime
from edge_streamer.runtime.engines import overflow
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.bundle.manifest import GraphSpec, Precision

def exact(kind):
    precision = Precision(weights=kind, activations=kind, dynamic=kind != "float32")
    spec = GraphSpec(
        name="g", file="g", inputs=(), outputs=(), parameters=0, weight_bytes=0, operations={"static": 0},
        moved_bytes={}, precision=precision,
    )
    session = onnxruntime.InferenceSession(
        overflow.PRODUCT, OrtEngine(1).options_for(spec), providers=["CPUExecutionProvider"]
    )
    (came,) = session.run(None, {"x": np.full((overflow.ROWS, overflow.INNER), 255, np.uint8)})
    return bool((came == overflow.EXACT).all())

print(json.dumps([overflow.products_overflow(), *map(exact, ("float32", "int8", "mixed"))]))
"""


def asked(*before: str) -> list[bool]:
    """Whether products overflow, and whether they are exact as each precision is opened."""
    places = [str(Path(edge_streamer.__file__).parents[1]), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [*before, os.path.realpath(sys.executable), "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=300)
    return json.loads(done.stdout)


def test_here_integers_are_exact() -> None:
    overflows, plain, *dynamic = asked()
    assert plain is not overflows
    assert all(dynamic)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates an x86 processor on one")
@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason=f"{EMULATOR} is not installed (Debian: qemu-user)")
def test_where_products_overflow_the_engine_sees_it_and_integers_are_exact() -> None:
    """A processor of 2013, with AVX2 and without VNNI."""
    overflows, plain, *dynamic = asked(EMULATOR, "-cpu", "Haswell")
    assert overflows
    assert not plain
    assert all(dynamic)


def test_the_model_is_what_onnx_makes() -> None:
    onnx = pytest.importorskip("onnx")
    rows, inner, columns = overflow.ROWS, overflow.INNER, overflow.COLUMNS
    helper, kinds = onnx.helper, onnx.TensorProto
    weight = helper.make_tensor("w", kinds.INT8, [inner, columns], b"\x7f" * inner * columns, raw=True)
    zeros = [
        helper.make_tensor(f"{x}0", kind, [], b"\0", raw=True) for x, kind in (("x", kinds.UINT8), ("w", kinds.INT8))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w", "x0", "w0"], ["y"])], "g",
        [helper.make_tensor_value_info("x", kinds.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("y", kinds.INT32, [rows, columns])], [weight, *zeros],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert model.SerializeToString(deterministic=True) == overflow.PRODUCT
