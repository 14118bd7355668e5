"""The program ``chain``: graphs in order, carries carried, wrong wiring refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.consistency import check_consistency
from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import BundleError, EngineError, InputError, StepError
from edge_streamer.runtime.programs.chain import check_wiring, read_constants
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import Knobs, Unit
from tests.bundles import rewrite, tally_bundle
from tests.runtime.engines.split import CapturedEngine, SplitEngine
from tests.runtime.faults import FaultyEngine

ROW = np.array([[1, 2, 3, 4]], np.float32)


@pytest.mark.parametrize("engine", [OrtEngine, SplitEngine, CapturedEngine])
def test_a_carry_is_carried(made_counter: Path, engine: type[OrtEngine]) -> None:
    session = open_session(made_counter, engine=engine(threads=1))
    for k in range(1, 6):
        np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * k * ROW)


def test_snapshot_and_reset(made_counter: Path) -> None:
    session = open_session(made_counter)
    session.step(Unit(arrays={"x": ROW}))
    snapshot = session.snapshot()
    session.step(Unit(arrays={"x": ROW}))
    session.restore(snapshot)
    np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 4 * ROW)
    session.reset()
    np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * ROW)


@pytest.mark.parametrize("engine", [OrtEngine, SplitEngine, CapturedEngine])
def test_one_graph_carries_floats_and_integers(tmp_path: Path, engine: type[OrtEngine]) -> None:
    session = open_session(tally_bundle(tmp_path / "tally"), engine=engine(threads=1))
    for k in range(1, 4):
        np.testing.assert_allclose(session.step(Unit(arrays={"x": k * ROW})).arrays["y"], (k + 1) / 2 * ROW)
    snapshot = session.snapshot()
    assert snapshot.arrays["carry/n"].tolist() == [3]
    snapshot.save(tmp_path / "at.npz")
    np.testing.assert_allclose(session.step(Unit(arrays={"x": 4 * ROW})).arrays["y"], 2.5 * ROW)
    session.restore(load_snapshot(tmp_path / "at.npz"))
    with pytest.raises(StepError, match="'y'"):
        session.step(Unit(arrays={"x": np.nan * ROW}))
    np.testing.assert_allclose(session.step(Unit(arrays={"x": 4 * ROW})).arrays["y"], 2.5 * ROW)
    session.reset()
    np.testing.assert_allclose(session.step(Unit(arrays={"x": 6 * ROW})).arrays["y"], 6 * ROW)


def test_a_failed_step_leaves_the_carry(made_counter: Path) -> None:
    engine = FaultyEngine()
    session = open_session(made_counter, engine=engine)
    session.step(Unit(arrays={"x": ROW}))
    engine.arm("second", "z", np.nan)
    with pytest.raises(Exception, match="'z'"):
        session.step(Unit(arrays={"x": ROW}))
    np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 4 * ROW)


def test_a_commit_that_fails_is_told(made_counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise EngineError("the device is gone")

    session = open_session(made_counter)
    snapshot = session.snapshot()
    with monkeypatch.context() as patched:
        patched.setattr(session.place.store, "commit", lost)
        with pytest.raises(StepError, match="the device is gone; the session's state is lost: restore a snapshot"):
            session.step(Unit(arrays={"x": ROW}))
    session.restore(snapshot)
    np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * ROW)


def test_wrong_inputs_are_refused(made_counter: Path) -> None:
    session = open_session(made_counter)
    with pytest.raises(ValueError, match="wanted"):
        session.step(Unit(arrays={"y": ROW}))
    with pytest.raises(ValueError, match="float64"):
        session.step(Unit(arrays={"x": ROW.astype(np.float64)}))
    with pytest.raises(ValueError, match=r"has the arrays \[\]; wanted \['x'\]"):
        session.step(Unit())
    with pytest.raises(ValueError, match="the unit has text; this chain takes the array 'x'"):
        session.step(Unit(text="hello", arrays={"x": ROW}))
    with pytest.raises(ValueError, match="array 'x' are a NoneType; wanted a numpy array"):
        session.step(Unit(arrays={"x": None}))  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="2 tokens came; a chain chooses none"):
        session.step(Unit(arrays={"x": ROW}), forced=(1, 2))


def test_a_chain_is_a_program_like_any_other(made_counter: Path) -> None:
    session = open_session(made_counter)
    response = session.step(Unit(arrays={"x": ROW}))
    assert (response.index, response.samples, response.frames, response.tokens) == (0, None, None, ())
    assert 0 < response.engine_seconds < response.seconds
    assert repr(response).startswith("Response(unit 0, '', z float32 [1, 4], ")
    kept = response.copy()
    session.settle()
    session.turn(Knobs(seed=3))
    assert session.probe() == {}
    np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 4 * ROW)
    np.testing.assert_array_equal(kept.arrays["z"], 2 * ROW)
    with pytest.raises(InputError, match="no prefix"):
        session.prefill("somebody")


def test_a_chain_that_does_not_hang_together_is_refused(counter: Path) -> None:
    rewrite(counter, lambda manifest: manifest["constants"].update(order=["second", "first"]))
    with pytest.raises(BundleError, match="no earlier graph"):
        open_session(counter)


def test_a_ring_that_is_read_another_way_is_refused(made_ring: Path) -> None:
    with pytest.raises(BundleError, match=r"'valid.main' as float32 \[6, 1\]; it is float32 \[1, 6\]"):
        open_session(made_ring)


@pytest.mark.parametrize(
    ("constants", "said"),
    [
        (
            {"inputs": ["xx"]},
            r"constants.inputs names \['xx'\], which no graph .* takes from outside; there are \['x'\]",
        ),
        ({"inputs": ["x", "y"]}, r"constants.inputs names \['y'\]"),
        ({"outputs": ["zz"]}, r"constants.outputs names \['zz'\], which no graph .* has; there are \['x', 'y', 'z'\]"),
    ],
)
def test_a_misspelled_tensor_is_told_beside_those_that_there_are(
    counter: Path, constants: dict[str, list[str]], said: str
) -> None:
    rewrite(counter, lambda manifest: manifest["constants"].update(constants))
    with pytest.raises(BundleError, match=said):
        open_session(counter)


def test_knobs_that_nothing_follows_are_refused(made_counter: Path) -> None:
    open_session(made_counter, knobs=Knobs(seed=4))
    for knobs in (Knobs(steps=2), Knobs(temperature=0.5)):
        with pytest.raises(InputError, match="a chain solves and samples nothing"):
            open_session(made_counter, knobs=knobs)


def test_the_manifest_of_the_page_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "bundle-format.md").read_text("utf-8")
    text = page.partition("```json\n")[2].partition("```")[0].replace('"..."', '"' + "0" * 64 + '"')
    manifest = parse(text.encode())
    check_consistency(manifest)
    check_wiring(read_constants(manifest), manifest)
