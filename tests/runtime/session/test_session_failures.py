"""A unit that fails is named and rolled back, and what follows equals an undisturbed run bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.errors import StepError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Unit
from tests.runtime.faults import FaultyEngine
from tests.runtime.session.conversation import LONG_ENOUGH, assert_same, run


def every_fault(session: Session) -> Iterator[tuple[str, str]]:
    """(graph, output) of every float output that a step fills."""
    for name in ("encode", "core", "slot", "solve_in", "solve_out", "decode"):
        for output in session.bundle.manifest.graph(name).outputs:
            if output.dtype == "float32":
                yield name, output.name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_number_anywhere_is_named_and_rolled_back(
    tiny_bundle: Path, session: Session, units: list[Unit], value: float
) -> None:
    engine = FaultyEngine()
    wounded = open_session(tiny_bundle, engine=engine)
    reference = run(session, units[:LONG_ENOUGH])
    start = wounded.snapshot()
    for graph, output in every_fault(wounded):
        wounded.restore(start)
        for k in range(10):
            if k == 9:  # the rings have wrapped: the failed unit has written over evicted history
                engine.arm(graph, output, value, after_runs=3 if graph == "core" else 0)
                with pytest.raises(StepError, match=f"{graph}.*{output}".replace(".", r"\.").replace(r"\.*", ".*")):
                    wounded.step(units[k])
            assert_same(wounded.step(units[k]).copy(), reference[k])
        for k in range(10, LONG_ENOUGH):
            assert_same(wounded.step(units[k]).copy(), reference[k])


@pytest.mark.parametrize("graph", ["encode", "core", "slot", "solve_in", "solve_out", "decode"])
def test_an_engine_that_breaks_is_rolled_back(
    tiny_bundle: Path, session: Session, units: list[Unit], graph: str
) -> None:
    engine = FaultyEngine()
    wounded = open_session(tiny_bundle, engine=engine)
    for k, unit in enumerate(units):
        if k % 3 == 1:
            engine.arm(graph, "", 0.0)
            with pytest.raises(StepError, match="rolled back"):
                wounded.step(unit)
        assert_same(wounded.step(unit).copy(), session.step(unit).copy())


def test_a_failed_early_commit_is_rolled_back(tiny_bundle: Path, session: Session, units: list[Unit]) -> None:
    engine = FaultyEngine()
    wounded = open_session(tiny_bundle, engine=engine)
    for unit in units:
        assert_same(wounded.step(unit).copy(), session.step(unit).copy())
        engine.arm("core", "append.1.v", np.nan)
        with pytest.raises(StepError, match=r"append\.1\.v"):
            wounded.settle()


def test_a_failed_unit_leaves_the_whole_state_as_it_was(tiny_bundle: Path, units: list[Unit]) -> None:
    engine = FaultyEngine()
    wounded = open_session(tiny_bundle, engine=engine)
    run(wounded, units[:10])
    before = wounded.snapshot()
    engine.arm("decode", "samples", np.nan)
    with pytest.raises(StepError):
        wounded.step(units[10])
    after = wounded.snapshot()
    assert after.stamp == before.stamp
    assert after.arrays.keys() == before.arrays.keys()
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array, err_msg=name)
