"""How an engine sets itself, and check its tolerance, by a graph's precision."""

from __future__ import annotations

from typing import Any

import pytest

from edge_streamer.runtime.bundle.manifest import GraphSpec, Precision, TensorSpec
from edge_streamer.runtime.compare.check import tolerance_of
from edge_streamer.runtime.engines import cpu

SIGNED, FLOATS, NARROW, EXACT = (
    "session.qdqisint8allowed", "session.disable_quant_qdq", "session.qdq_matmulnbits_accuracy_level",
    "session.x64quantprecision",
)  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "activations", "dynamic", "entries", "tolerance"),
    [
        ("float32", "float32", False, set(), 1e-3),
        ("int8", "float32", False, {FLOATS}, 0.1),
        ("int8", "int8", False, {SIGNED}, 0.3),
        ("int8", "int8", True, {SIGNED, EXACT}, 0.3),
        ("int4", "float32", False, {NARROW}, 0.3),
        ("mixed", "mixed", True, {SIGNED, NARROW, EXACT}, 0.3),
        ("fp16", "fp16", False, set(), 0.05),
        ("bf16", "bf16", False, set(), 0.1),
        ("fp8", "fp8", False, set(), 0.3),
        ("nvfp4", "float32", False, set(), 0.3),
    ],
)
def test_settings_and_tolerance_follow_the_precision(
    monkeypatch: pytest.MonkeyPatch, weights: Any, activations: Any, dynamic: bool, entries: set[str], tolerance: float
) -> None:
    monkeypatch.setattr(cpu, "products_overflow", lambda: True)
    precision = Precision(weights=weights, activations=activations, dynamic=dynamic)
    assert set(cpu.entries_for(spec(precision))) == entries
    assert tolerance_of(precision) == tolerance


def test_small_rings_stay_signed_at_any_precision() -> None:
    assert set(cpu.entries_for(spec(Precision(), "int8"))) == {SIGNED}


def spec(precision: Precision, ring: Any = "float32") -> GraphSpec:
    state = TensorSpec(name="state.main", dtype=ring, shape=(1,), axes=("place",))
    return GraphSpec(
        name="g", file="g", inputs=(state,), outputs=(), parameters=0, weight_bytes=0, operations={}, moved_bytes={},
        precision=precision,
    )  # fmt: skip
