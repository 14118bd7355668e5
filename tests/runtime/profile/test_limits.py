"""Graphs that are written by hand are ONNX, and a machine's time is predicted from its ceilings by plain arithmetic."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.profile import limits
from edge_streamer.runtime.profile.graphs import works
from edge_streamer.runtime.profile.host import ATTEND, NODES, SMALL, host_time, host_times
from edge_streamer.runtime.profile.limits import ROWS, Limits
from edge_streamer.runtime.profile.small_graphs import Node, model


def test_a_graph_written_without_onnx_is_one_that_onnx_takes() -> None:
    weight = np.arange(600, dtype=np.float32).reshape(3, 200)
    nodes = [Node("MatMul", ("x", "w"), ("h",)), Node("Concat", ("h", "h"), ("y",), {"axis": 0})]
    text = model(nodes, {"w": weight}, (2, 3), (4, 200))
    onnx.checker.check_model(onnx.load_from_string(text), full_check=True)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (y,) = ort.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.array_equal(y, np.concatenate([x @ weight] * 2))


def test_products_of_integers_are_those_that_quantize_writes() -> None:
    nodes = limits._product("int8", "0", "x", "y")
    weights = limits._weights("int8", "0", (8, 4))
    text = model(nodes, weights, (2, 8), (2, 4))
    onnx.checker.check_model(onnx.load_from_string(text), full_check=True)
    x = np.random.default_rng(1).standard_normal((2, 8), np.float32)
    (y,) = ort.InferenceSession(text, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert np.allclose(y, x @ (weights["w0"].astype(np.float32) * 1e-3), atol=0.02)


def test_the_best_of_several_counts() -> None:
    times = iter([0.0, 3.0, 3.0, 4.0, 4.0, 9.0])
    assert limits.best(lambda: None, lambda: next(times), tries=3) == 1.0


def toy(rate: float) -> Limits:
    kinds = [(kind, cached, rows) for kind in ("float32", "int8") for cached in (True, False) for rows in ROWS]
    return Limits(
        large=1.0, bandwidth=1e-9, products=dict.fromkeys(kinds, rate), convolve=2.0, node=0.5,  # type: ignore[arg-type]
        attention={(cached, rows): rate / 2 for cached in (True, False) for rows in ROWS},
    )  # fmt: skip


def test_rates_lie_between_those_that_were_measured() -> None:
    found = toy(1.0)
    found.products.update({("float32", True, 8): 10.0, ("float32", True, 16): 40.0})
    assert found.rate("float32", cached=True, rows=8) == pytest.approx(10.0)
    assert 10 < found.rate("float32", cached=True, rows=11) < 40
    assert found.rate("float32", cached=True, rows=10_000) == pytest.approx(1.0)


def test_a_run_on_this_machine_is_predicted_by_hand(ring: Path) -> None:
    bundle = Bundle.open(ring)
    ((work, seconds),) = host_times(
        bundle.manifest, {"only": Counter(Mul=1, ReduceSum=1, Identity=1)}, toy(4.0)
    ).items()
    assert (work.operations, work.moved_bytes) == (48, 200)
    assert seconds == pytest.approx(48 / (4 * SMALL) + 200 / 1.0 + 3 * NODES * 0.5)


def test_attention_has_a_ceiling_of_its_own() -> None:
    demo = Bundle.open(bundle_path(floats=True), verify=False)
    found, core = toy(1e12), next(work for work in works(demo.manifest) if work.name == "core at 9")
    counted = {"core": Counter(MatMul=1)}
    before = host_time(core, demo.manifest, counted, found).compute
    found.attention.update({(True, rows): 1e10 for rows in ROWS})
    after = host_time(core, demo.manifest, counted, found).compute
    assert after - before == pytest.approx(core.attention / (1e10 * ATTEND) - core.attention / (5e11 * ATTEND))


def test_a_machine_is_measured_at_every_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TRIES", 1), ("CACHED", (8, 16, 2)), ("STREAMED", (8, 16, 2)), ("NEAR", (1, 8)),
                        ("FAR", (2, 16)), ("COPY_BYTES", 4000), ("SIDE", 8), ("PLACES", 8), ("NODES", 4)):  # fmt: skip
        monkeypatch.setattr(limits, name, value)
    found = limits.measure()
    assert len(found.products) == 4 * len(ROWS)
    assert len(found.attention) == 2 * len(ROWS)
    assert min(*found.products.values(), *found.attention.values(), found.large, found.bandwidth, found.node) > 0
