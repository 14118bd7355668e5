"""A GPU's run is predicted from its ceilings by plain arithmetic; what has no rate is not predicted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.profile.boards import Numbers
from edge_streamer.runtime.profile.device_limits import DeviceLimits
from edge_streamer.runtime.profile.device_model import DeviceModel
from edge_streamer.runtime.profile.roofline import Measured, bound_by, graph_rows, what_helps
from edge_streamer.runtime.profile.timeline import Run
from edge_streamer.runtime.profile.work import Work

RATES: dict[Numbers, float] = {"float32": 1e9, "fp16": 4e9, "int8": 8e9}
LIMITS = DeviceLimits(RATES, bandwidth=1e8, kernel=1e-5, left_out={"bf16": "planted"})
FUSED, PLAIN = DeviceModel(LIMITS, "planted", fuses=True), DeviceModel(LIMITS, "planted", fuses=False)
WORK = Work("only at 4", "float32", 3e6, 1e6, 1e5, 1.0, 4)


@pytest.fixture
def measured(ring: Path) -> Measured:
    operators = {"only": Counter(MatMul=3, Add=2, Reshape=4)}
    return Measured(manifest=Bundle.open(ring).manifest, operators=operators, runs={"only": Run(1.0, 2.0)}, unit_ms=3.0)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (WORK, 4e-3),
        (replace(WORK, moved_bytes=1e6), 1e-2),
        (replace(WORK, numbers="fp16"), 1e-3),  # bytes take as long
        (replace(WORK, numbers="int8"), 3e6 / 8e9 + 1e6 / 1e9),  # attention stays float32
        (replace(WORK, numbers="int4"), 3e6 / 4e9 + 1e6 / 1e9),  # as numbers of 16 bits
        (replace(WORK, numbers="bf16"), None),
        (replace(WORK, numbers="nvfp4"), None),
    ],
)
def test_a_run_takes_its_bytes_or_its_products_and_its_kernels(
    work: Work, seconds: float | None, measured: Measured
) -> None:
    fused, plain = FUSED.seconds(work, measured), PLAIN.seconds(work, measured)
    assert fused == (None if seconds is None else pytest.approx(seconds + 6e-5))
    assert plain == (None if seconds is None else pytest.approx(seconds + 5e-5))


def test_what_binds_is_the_longest(measured: Measured) -> None:
    assert FUSED.binds(WORK, measured) == "compute"
    assert FUSED.binds(replace(WORK, moved_bytes=1e6), measured) == "memory"
    assert FUSED.binds(replace(WORK, operations=1.0, attention=0.0, moved_bytes=1.0), measured) == "kernels"
    assert FUSED.binds(replace(WORK, numbers="bf16"), measured) is None


def test_attention_without_a_rate_of_its_own_is_not_predicted(measured: Measured) -> None:
    model = DeviceModel(DeviceLimits({"float32": 1e9, "fp8": 8e9}, 1e8, 1e-5, {}), "planted", fuses=True)
    assert model.seconds(replace(WORK, numbers="fp8"), measured) is None
    assert model.seconds(replace(WORK, numbers="fp8", attention=0.0), measured) is not None


def test_a_graph_stands_under_the_measured_roof(measured: Measured) -> None:
    (row,) = graph_rows(measured, FUSED)
    assert (row.operations, row.moved_bytes, row.run_ms) == (48, 200, 2.0)
    assert row.of_compute == pytest.approx(48 / 2e-3 / 1e9)
    assert row.of_bandwidth == pytest.approx(200 / 2e-3 / 1e8)
    assert row.predicted_ms == pytest.approx(1e3 * (200 / 1e8 + 6e-5))
    assert bound_by([row]) == "kernels"
    roof = FUSED.roof
    assert (roof.threads, roof.bandwidth, roof.node_us) == (0, pytest.approx(0.1), pytest.approx(10))
    assert roof.left_out == {"bf16": "planted"}


def test_a_graph_without_a_rate_has_a_row_and_no_share(measured: Measured) -> None:
    model = DeviceModel(DeviceLimits({"fp16": 1e9}, 1e8, 1e-5, {}), "planted", fuses=True)
    (row,) = graph_rows(measured, model)
    assert (row.of_compute, row.predicted_ms, row.binds) == (None, None, None)
    assert row.of_bandwidth > 0
    assert bound_by([row]) is None
    assert what_helps(measured, model) == ()


def test_schemes_help_whose_rate_was_measured(measured: Measured) -> None:
    assert FUSED.schemes == ("fp16", "int8")
    assert not any("another engine" in one.what for one in what_helps(measured, FUSED))
