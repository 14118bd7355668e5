"""Rings in 8 bits: a quarter of the memory, near the float ones, cut and not wrapped beyond their range."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_streamer.quantization import graph, rings
from edge_streamer.quantization.streams import shipped
from edge_streamer.runtime.bundle.manifest import RingSpec
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.compare.check import check
from edge_streamer.runtime.compare.error_over_time import drift
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.session.session import Session, open_session
from tests.quantized import changed


@pytest.fixture(scope="module")
def made(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle in half precision, so that the rings are what differs, with rings in 8 bits."""
    out = tmp_path_factory.mktemp("rings") / "small"
    words = ["quantize", str(tiny_bundle), "--scheme", "fp16", "--target", "orin", "--rings", "int8"]
    assert cli.main([*words, "--out", str(out), "--units", "90"]) == 0
    return out


def in_ring(session: Session, path: str) -> np.ndarray:
    """What the main ring holds of a state."""
    return session.engine.read(session.place.store.rings["main"].buffers[path])


def test_rings_are_a_quarter_and_near(made: Path, tiny_bundle: Path) -> None:
    bundle, source = Bundle.open(made), Bundle.open(tiny_bundle)
    assert check(bundle).passed
    kept = [s for s in bundle.manifest.states if isinstance(s, RingSpec)]
    assert {ring.dtype for ring in kept} == {"int8"}
    report = json.loads(made.with_name("small.json").read_text())
    before, after = report["ring_bytes"]
    session = open_session(bundle)
    assert after == before / 4 == sum(ring.stack.nbytes for ring in session.place.store.rings.values())
    forced = report["drifts"][0]
    assert -60 < forced["error_db"]["latents.audio"] < -30
    early, late = (np.mean(forced["curve_db"]["latents.audio"][part]) for part in (slice(10, 30), slice(70, 90)))
    assert late < early + 3, "nothing gathers once the window is full"
    assert source.manifest.media is not None


def test_the_ring_holds_what_was_appended(made: Path, tiny_bundle: Path) -> None:
    """After the same units on the same history, codes times scales are the float rings, but for rounding."""
    floats, small = open_session(tiny_bundle), open_session(made)
    units = list(islice(shipped(floats.media).units(), 20))
    drift(small, floats, units, "forced")
    model = onnx.load(made / "graphs" / "core.onnx")
    scales = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name.startswith("append.")}
    for spec in (s for s in floats.bundle.manifest.states if isinstance(s, RingSpec) and s.ring == "main"):
        wanted, codes = (in_ring(session, spec.path) for session in (floats, small))
        step = scales[f"{spec.append}.scales"][:, None, None]
        assert np.abs(codes).max() <= 127
        assert np.abs(codes * step - wanted).max() < 0.05 * np.abs(wanted).max()
        assert np.linalg.norm(codes * step - wanted) < 0.02 * np.linalg.norm(wanted)


def test_beyond_the_range_keys_are_cut(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    manifest = Bundle.open(folder, verify=False).manifest
    outputs = {s.append for s in manifest.states if isinstance(s, RingSpec)}
    heads = {s.append: s.shape[rings.HEADS] for s in manifest.states if isinstance(s, RingSpec)}
    tiny = {name: np.full(heads[name], 1e-3, np.float32) for name in outputs}

    def cut(model) -> None:
        rings.quantize_rings(model, manifest.states, tiny)

    bundle = changed(folder, "core", cut, states=rings.described_states(manifest.states), describe=rings.described)
    small, floats = open_session(bundle), open_session(tiny_bundle)
    unit = made_unit(floats.media, 0, 0)
    small.step(unit, floats.step(unit).tokens)  # the first layer's keys then differ by nothing but the cut
    codes, wanted = (in_ring(one, "main.0.k").astype(np.float32) for one in (small, floats))
    cut_off = np.abs(wanted) > 1e-3
    assert cut_off.any()
    assert np.array_equal(np.sign(codes[cut_off]), np.sign(wanted[cut_off]))
    assert set(np.abs(codes[cut_off])) <= {127.0, 128.0}


def test_a_calibration_that_shows_nothing_of_a_ring_is_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    spec = next(s for s in bundle.manifest.graphs if s.name == "core")
    with pytest.raises(InputError, match=r"shows nothing of append\.0\.k"):
        rings.quantize_rings(graph.load(bundle.file(spec.file)), bundle.manifest.states, {})
