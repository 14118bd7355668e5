"""A chain that hears, speaks and remembers: rings, sound by its media contract, the unit's index, golden units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.compare.check import check
from edge_streamer.runtime.compare.golden import Golden, Meta, golden_units, replay
from edge_streamer.runtime.engines.contract import Engine
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError, StepError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import Response, Unit
from tests.bundles import ROOM, rewrite, room_bundle
from tests.runtime.engines.split import CapturedEngine, SplitEngine
from tests.runtime.faults import FaultyEngine

WINDOW = 3
METER_ALONE = {"order": ["meter"], "inputs": ["bias"], "outputs": ["level", "index"]}
SEED, UNITS = 3, 4


def bias(value: float = 1.0) -> dict[str, np.ndarray[Any, Any]]:
    return {"bias": np.full((1, 1), value, np.float32)}


def sound(k: int) -> np.ndarray[Any, Any]:
    return np.full(ROOM, 1.0 + k, np.float32) / 64


def hear(session: Session, k: int) -> Response:
    return session.step(Unit(samples=sound(k), arrays=bias())).copy()


def wanted(k: int, window: int = WINDOW) -> tuple[float, float]:
    """(a sample, the level) of unit k, counted from 0."""
    remembered = sum((1.0 + j) / 64 for j in range(max(0, k - window), k))
    return (1.0 + k) / 128 + remembered / 4, ROOM * (remembered + (1.0 + k) / 64)


@pytest.mark.parametrize("engine", [OrtEngine, SplitEngine, CapturedEngine])
def test_a_ring_remembers_its_window_and_wraps(tmp_path: Path, engine: type[OrtEngine]) -> None:
    session = open_session(room_bundle(tmp_path / "room"), engine=engine(threads=1))
    for k in range(3 * WINDOW + 2):
        response = hear(session, k)
        assert response.samples is not None
        assert (response.samples.shape, response.frames, response.index) == ((ROOM,), None, k)
        sample, level = wanted(k)
        # What is remembered after the append: the window, and the unit itself.
        np.testing.assert_allclose(response.samples, sample, rtol=1e-6)
        np.testing.assert_allclose(response.arrays["level"], level, rtol=1e-6)
        assert response.arrays["index"] == k


def test_a_ring_that_is_emptied_every_unit_remembers_nothing(tmp_path: Path) -> None:
    session = open_session(room_bundle(tmp_path / "room", reset="unit"))
    for k in range(6):
        response = hear(session, k)
        assert response.samples is not None
        np.testing.assert_allclose(response.samples, wanted(k, 0)[0], rtol=1e-6)
        np.testing.assert_allclose(response.arrays["level"], wanted(k, 0)[1], rtol=1e-6)
        if k == 2:
            session.snapshot().save(tmp_path / "at.npz")
    session.restore(load_snapshot(tmp_path / "at.npz"))
    np.testing.assert_allclose(hear(session, 3).arrays["level"], wanted(3, 0)[1], rtol=1e-6)


def test_snapshots_and_rollback(tmp_path: Path) -> None:
    engine: Engine = FaultyEngine()
    session = open_session(room_bundle(tmp_path / "room"), engine=engine)
    for k in range(5):
        hear(session, k)
    session.snapshot().save(tmp_path / "at.npz")
    right = [hear(session, k) for k in range(5, 9)]
    session.restore(load_snapshot(tmp_path / "at.npz"))
    engine.arm("reverb", "append.heard", np.nan)
    with pytest.raises(StepError, match=r"'append\.heard'"):
        hear(session, 5)
    for k, before in enumerate(right, 5):
        after = hear(session, k)
        np.testing.assert_array_equal(after.samples, before.samples)
        np.testing.assert_array_equal(after.arrays["level"], before.arrays["level"])
    twin = session.twin()
    np.testing.assert_allclose(hear(twin, 0).arrays["level"], wanted(0)[1], rtol=1e-6)


def test_what_is_missing_is_silence_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    session = open_session(room_bundle(tmp_path / "room"))
    samples = session.step(Unit(arrays=bias())).samples
    assert samples is not None
    assert not samples.any()
    for unit, said in (
        (Unit(samples=sound(0)), r"the unit has the arrays \[\]; wanted \['bias'\]"),
        (
            Unit(samples=sound(0)[:-1], arrays=bias()),
            r"samples are float32 \(159,\); this bundle wants float32 \(160,\)",
        ),
        (Unit(samples=np.full(ROOM, np.nan, np.float32), arrays=bias()), "a NaN or an infinity"),
        (Unit(text="hello", arrays=bias()), "the unit has text; this chain takes samples, the array 'bias'"),
        (Unit(frames=np.zeros((4, 8, 8, 3), np.uint8), arrays=bias()), "the unit has frames; this chain takes"),
        (Unit(arrays={"bias": np.zeros((1, 1))}), "array 'bias' are float64"),
    ):
        with pytest.raises(ValueError, match=said):
            session.step(unit)


def with_golden(folder: Path) -> Path:
    """The room with golden units of its own."""
    bundle = Bundle.open(room_bundle(folder))
    answers = replay(open_session(bundle), SEED, UNITS)
    Golden(Meta(program="chain", seed=SEED, units=UNITS), answers).save(folder / "golden.npz")
    (folder / "manifest.json").unlink()
    write_bundle(folder, msgspec.structs.replace(bundle.manifest, golden="golden.npz", files=()))
    return folder


def test_golden_units_answer_everything_and_find_a_fault(tmp_path: Path) -> None:
    folder = with_golden(tmp_path / "room")
    golden = golden_units(open_session(folder))
    assert golden is not None
    names = {name.split(".", 1)[1] for name in golden.answers}
    assert names == {"samples", "level", "index", "ring/heard"}
    verdict = check(Bundle.open(folder))
    assert (verdict.passed, verdict.slots_agree, verdict.units) == (True, 1.0, UNITS)

    engine = FaultyEngine()
    engine.arm("meter", "level", 5.0)
    assert not check(Bundle.open(folder), engine=engine).passed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["states"][0].update(places_per_unit=4, window_units=0), "no window"),
        (lambda m: m.update(media=None, constants=METER_ALONE), "wanted one, of the chain's order"),
        (lambda m: m["constants"].update(outputs=["level", "index"]), "media.sound_out is 'y', which is not among"),
    ],
)  # fmt: skip
def test_what_a_chain_cannot_do_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    folder = room_bundle(tmp_path / "room")
    rewrite(folder, change)
    with pytest.raises(BundleError, match=said):
        open_session(folder)
