"""The report's numbers see what they are for: rounding that is too coarse, in the shipped model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.quantization import graph
from edge_streamer.quantization.drift import LATENTS, drift
from edge_streamer.quantization.numbers import INT8, Codes, Format, Matrix, to_nearest
from edge_streamer.quantization.streams import shipped
from edge_streamer.runtime.bundle import Bundle
from edge_streamer.runtime.demo import bundle_path
from edge_streamer.runtime.session import open_session
from tests.quantized import changed

BOUND = -25.0
"""dB; what INT8 must hold."""
UNITS = 40
STORED = "int8 weights"
"""Products in float: what is measured is the weights' rounding alone."""


def int8(weight: Matrix) -> Codes:
    return to_nearest(weight, INT8)


def int2(weight: Matrix) -> Codes:
    codes = to_nearest(weight, Format("int2", 1, bits=2))
    return Codes(INT8, codes.integers, codes.scales)


def one_scale_for_all(weight: Matrix) -> Codes:
    scales = np.full((1, weight.shape[1]), np.abs(weight).max() / 127, np.float32)
    return to_nearest(weight, INT8, scales)


def twice_the_scale(weight: Matrix) -> Codes:
    codes = to_nearest(weight, INT8)
    return Codes(INT8, codes.integers, codes.scales * np.float32(2))


def error_of(rounding: Callable[[Matrix], Codes], folder: Path) -> float:
    """The latents' error over UNITS with the Transformer's weights rounded so, dB."""
    source = bundle_path()
    copy = Path(shutil.copytree(source, folder / "demo"))

    def store(model) -> None:
        for layer in graph.layers(model):
            graph.store(model, layer, rounding(layer.matrix))

    made, reference = changed(copy, "core", store, STORED), Bundle.open(source)
    assert reference.manifest.media is not None
    units = [unit for unit, _ in zip(shipped(reference.manifest.media).units(), range(UNITS), strict=False)]
    found = drift(open_session(made), open_session(reference), units, "forced")
    return max(found.error_db[name] for name in LATENTS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> float:
    return error_of(int8, tmp_path_factory.mktemp("sound"))


def test_sound_rounding_holds_the_bound(sound: float) -> None:
    assert sound < BOUND


@pytest.mark.parametrize(("rounding", "worse"), [(int2, 20.0), (twice_the_scale, 20.0), (one_scale_for_all, 1.5)],
                         ids=lambda v: getattr(v, "__name__", str(v)))  # fmt: skip
def test_coarse_rounding_is_seen(
    rounding: Callable[[Matrix], Codes], worse: float, sound: float, tmp_path: Path
) -> None:
    found = error_of(rounding, tmp_path)
    print(f"{rounding.__name__}: {found:.1f} dB, sound {sound:.1f} dB")
    assert found > sound + worse
