"""The report's numbers see what they are for: rounding that is too coarse, in the shipped model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edge_streamer.quantization import graph, qdq
from edge_streamer.quantization.calibrate import Key, Seen, observe
from edge_streamer.quantization.formats import INT8, Codes, Format, Matrix, to_nearest
from edge_streamer.quantization.make import rewrite
from edge_streamer.quantization.schemes import Scheme
from edge_streamer.quantization.streams import shipped
from edge_streamer.runtime.bundle.manifest import Precision
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.error_over_time import LATENTS, drift
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Unit
from tests.quantized import changed

BOUND = -25.0
"""dB; what INT8 must hold."""
UNITS = 40
STORED, STATIC = Precision(weights="int8"), Precision(weights="int8", activations="int8")
"""Products in float: what is measured is the weights' rounding alone."""


def int8(weight: Matrix) -> Codes:
    return to_nearest(weight, INT8)


def int2(weight: Matrix) -> Codes:
    codes = to_nearest(weight, Format("int2", 1, bits=2))
    return Codes(INT8, codes.values, codes.scales)


def one_scale_for_all(weight: Matrix) -> Codes:
    scales = np.full((1, weight.shape[1]), np.abs(weight).max() / 127, np.float32)
    return to_nearest(weight, INT8, scales)


def twice_the_scale(weight: Matrix) -> Codes:
    codes = to_nearest(weight, INT8)
    return Codes(INT8, codes.values, codes.scales * np.float32(2))


def error_of(rounding: Callable[[Matrix], Codes], folder: Path) -> float:
    """The latents' error over UNITS with the Transformer's weights rounded so, dB."""

    def store(model) -> None:
        for layer in graph.layers(model):
            qdq.store(model, layer, rounding(layer.matrix))

    return error_after(store, STORED, folder)


def error_after(change: Callable[[ir.Model], None], precision: Precision, folder: Path) -> float:
    """The latents' error over UNITS after ``change`` of the Transformer, dB."""
    source = bundle_path(floats=True)
    made = changed(Path(shutil.copytree(source, folder / "demo")), "core", change, precision)
    found = drift(open_session(made), open_session(source), conversation(), "forced")
    return max(found.error_db[name] for name in LATENTS)


def conversation() -> list[Unit]:
    media = Bundle.open(bundle_path(floats=True)).manifest.media
    assert media is not None
    return list(islice(shipped(media).units(), UNITS))


def faint(unit: Unit) -> Unit:
    """What is left of a unit in a dark and silent room."""
    assert unit.samples is not None
    assert unit.frames is not None
    return Unit(samples=unit.samples * np.float32(1e-3), frames=unit.frames // 16)


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


def test_ranges_of_a_silent_room_are_seen(tmp_path: Path) -> None:
    """A calibration that is not silent to the letter, and shows nothing: what is said later is cut."""
    found = {}
    for name, units in (("talk", conversation()), ("silence", [faint(unit) for unit in conversation()])):
        seen = observe(Bundle.open(bundle_path(floats=True)), units).layers
        scheme, folder = Scheme("int8", "orin"), tmp_path / name
        folder.mkdir()
        found[name] = error_after(partial(_rewritten, scheme=scheme, seen=seen), STATIC, folder)
    print(", ".join(f"{name} {error:.1f} dB" for name, error in found.items()))
    assert found["talk"] < -20
    assert found["silence"] > found["talk"] + 10


def _rewritten(model: ir.Model, scheme: Scheme, seen: Mapping[Key, Seen]) -> None:
    rewrite(model, "core", scheme, seen)
