"""Tapes of every engine: each operation, what is refused, and whole conversations that touch nothing in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_streamer.runtime.bundle.manifest import EmbeddingSpec
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.compare.golden import made_unit, seed_state
from edge_streamer.runtime.engines.contract import Engine, Table
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.errors import EngineError, StepError
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.engines.cuda_stand_in.engine import StandInEngine
from tests.runtime.engines.split import CapturedEngine, SplitEngine
from tests.runtime.engines.tensorrt_stand_in.engine import StandInTensorRT
from tests.runtime.engines.test_contract import ENGINES, ROW, opened, sides
from tests.runtime.faults import Faulty
from tests.runtime.session.conversation import assert_same


class FaultySplit(Faulty, SplitEngine):
    """Breaks on purpose."""


class FaultyCaptured(Faulty, CapturedEngine):
    """Breaks on purpose."""


FAULTY: dict[str, Callable[[], Any]] = {
    "cpu": Faulty, "split": FaultySplit, "captured": FaultyCaptured, "cuda": StandInEngine,
    "tensorrt": StandInTensorRT,
}  # fmt: skip
PLAYS = 4
"""Enough for an engine that captures to have replayed."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture(params=FAULTY)
def faulty(request: pytest.FixtureRequest) -> Any:
    return FAULTY[request.param]()


# ---- operations ----


def test_a_copy_is_in_order(engine: Engine) -> None:
    given, between, came = (engine.buffer((3,), "int8", side) for side in ("in", "inner", "out"))  # type: ignore[arg-type]
    tape = engine.tape("copies")
    tape.copy(between, given)
    tape.copy(came, between)
    for number in range(PLAYS):
        given.host[:] = number, 2, 3
        tape.play()
        assert came.host.tolist() == [number, 2, 3]


@pytest.mark.parametrize(("axis", "dtype"), [(0, "float32"), (1, "float32"), (1, "int8")])
def test_rows_are_stored_where_the_cursor_stands(engine: Engine, axis: int, dtype: str) -> None:
    shape = lambda places: (places, 2) if axis == 0 else (2, places)  # noqa: E731
    ring, appended = engine.stack(3, shape(9), dtype, axis), engine.stack(3, shape(5), dtype, axis, "in")
    first = engine.buffer((1,), "int32", "in")
    tape = engine.tape("rows")
    tape.store(ring, appended, slice(1, 4), first, 2)
    wanted = np.zeros((3, *shape(9)), dtype)
    for number, start in enumerate((0, 4, 3, 1)[:PLAYS]):
        values = np.random.default_rng(number).integers(1, 99, (3, *shape(5))).astype(dtype)
        appended.host[...] = values
        first.host[0] = start
        tape.play()
        np.moveaxis(wanted, axis + 1, 0)[start + 2 : start + 5] = np.moveaxis(values, axis + 1, 0)[1:4]
        np.testing.assert_array_equal([engine.read(ring[i]) for i in range(3)], wanted)


@pytest.fixture
def table(engine: Engine, tmp_path: Path) -> Table:
    np.arange(20, dtype=np.float32).reshape(5, 4).tofile(tmp_path / "table")
    spec = EmbeddingSpec(name="text", file="table", offset=0, dtype="float32", rows=5, width=4, layout="row")
    return engine.table(tmp_path / "table", spec)


def test_tokens_become_rows_and_one_that_is_none_zeros(engine: Engine, table: Table) -> None:
    assert (table.rows, table.width) == (5, 4)
    tokens, rows = engine.buffer((2,), "int32", "in"), engine.buffer((2, 4), "float32", "out")
    tape = engine.tape("words")
    tape.look_up(table, tokens, rows)
    for pair in ((0, 4), (3, 3), (5, 1), (-1, 2**31 - 1)):
        tokens.host[:] = pair
        tape.play()
        wanted = [[4.0 * token + i for i in range(4)] if 0 <= token < 5 else [0.0] * 4 for token in pair]
        assert rows.host.tolist() == wanted


Write = Callable[[Engine, Engine, Table, Any], object]

REFUSED: dict[str, Write] = {
    "a copy of another shape": lambda e, o, t, tape: tape.copy(e.buffer((2,), "int8"), e.buffer((3,), "int8")),
    "a copy of another dtype": lambda e, o, t, tape: tape.copy(e.buffer((2,), "int8"), e.buffer((2,), "uint8")),
    "a copy of another engine's": lambda e, o, t, tape: tape.copy(e.buffer((2,), "int8"), o.buffer((2,), "int8")),
    "an array": lambda e, o, t, tape: tape.copy(e.buffer((2,), "int8"), np.zeros(2, np.int8)),
    "rows of another width": lambda e, o, t, tape: tape.store(
        e.stack(2, (8, 3), "float32", 0), e.stack(2, (1, 4), "float32", 0), slice(0, 1), e.buffer((1,), "int32", "in")
    ),
    "fewer states": lambda e, o, t, tape: tape.store(
        e.stack(3, (8, 4), "float32", 0), e.stack(2, (1, 4), "float32", 0), slice(0, 1), e.buffer((1,), "int32", "in")
    ),
    "another engine's ring": lambda e, o, t, tape: tape.store(
        o.stack(2, (8, 4), "float32", 0), e.stack(2, (1, 4), "float32", 0), slice(0, 1), e.buffer((1,), "int32", "in")
    ),
    "a cursor of floats": lambda e, o, t, tape: tape.store(
        e.stack(2, (8, 4), "float32", 0), e.stack(2, (1, 4), "float32", 0), slice(0, 1), e.buffer((1,), "float32", "in")
    ),
    "another engine's table": lambda e, o, t, tape: o.tape("words").look_up(
        t, o.buffer((1,), "int32", "in"), o.buffer((1, 4), "float32")
    ),
    "rows that are no rows of it": lambda e, o, t, tape: tape.look_up(
        t, e.buffer((1,), "int32", "in"), e.buffer((1, 5), "float32")
    ),
    "tokens of 64 bits": lambda e, o, t, tape: tape.look_up(
        t, e.buffer((1,), "int64", "in"), e.buffer((1, 4), "float32")
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_tape_cannot_do_is_refused_when_it_is_written(engine: Engine, table: Table, what: str) -> None:
    with pytest.raises(EngineError, match=r"(was|were) to be"):
        REFUSED[what](engine, type(engine)(), table, engine.tape("tape"))


def test_another_engines_run_is_refused(engine: Engine, made_counter: Path) -> None:
    graph, spec = opened(engine, made_counter, "second")
    run = graph.bind(*sides(engine, spec))
    with pytest.raises(EngineError, match="did not make was to be in a run of graph 'second'"):
        type(engine)().tape("tape").run("second", run)


def test_a_number_that_is_not_finite_is_told_by_its_run(engine: Engine, made_counter: Path) -> None:
    graph, spec = opened(engine, made_counter, "second")
    tape, inputs = engine.tape("three"), {}
    for name in ("one", "two", "unasked"):
        inputs[name], outputs = sides(engine, spec)
        tape.run(name, graph.bind(inputs[name], outputs), [outputs["z"]] if name != "unasked" else [])
    largest = np.full_like(ROW, np.finfo(np.float32).max / 3)  # their sum is infinite, they are not
    cases = [((ROW, ROW, ROW), None), ((ROW, np.nan * ROW, ROW), "two"), ((np.inf * ROW, np.nan * ROW, ROW), "one"),
             ((ROW, ROW, np.nan * ROW), None), ((largest, ROW, ROW), None), ((ROW, ROW, ROW), None)]  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, says in cases:
            for name, row in zip(inputs, rows, strict=True):
                inputs[name]["y"].host[...] = row
            assert tape.play().not_finite == says


def test_who_watches_sees_every_run_and_how_long_it_took(engine: Engine, made_counter: Path) -> None:
    graph, spec = opened(engine, made_counter, "second")
    first, between = sides(engine, spec)
    last = engine.buffer((1, 4), "float32", "out")
    tape = engine.tape("two")
    tape.run("one", graph.bind(first, between))
    tape.run("two", graph.bind({"y": between["z"]}, {"z": last}))
    for factor in range(1, 1 + PLAYS):
        seen = {}
        first["y"].host[...] = factor * ROW
        watch = lambda name, came, went: seen.update({name: (came["y"].copy(), went["z"].copy())})  # noqa: B023, E731
        played = tape.play(watch if factor % 2 else None)
        np.testing.assert_array_equal(last.host, 4 * factor * ROW)
        if factor % 2:
            assert list(seen) == list(played.runs) == ["one", "two"]
            np.testing.assert_array_equal(seen["one"], (factor * ROW, 2 * factor * ROW))
            np.testing.assert_array_equal(seen["two"], (2 * factor * ROW, 4 * factor * ROW))
            assert all(seconds > 0 for seconds in played.runs.values())


def test_a_play_that_is_timed_tells_its_runs_and_gives_the_same_numbers(engine: Engine, made_counter: Path) -> None:
    graph, spec = opened(engine, made_counter, "second")
    inputs, outputs = sides(engine, spec)
    tape = engine.tape("one")
    tape.run("double", graph.bind(inputs, outputs), [outputs["z"]])
    for factor in range(1, 3 + PLAYS):
        inputs["y"].host[...] = factor * ROW
        played = tape.play(timed=factor % 2 == 0)
        assert list(played.runs) == ([] if factor % 2 else ["double"])
        assert all(seconds > 0 for seconds in played.runs.values())
        np.testing.assert_array_equal(outputs["z"].host, 2 * factor * ROW)


def test_a_run_that_breaks_is_the_engines_error(faulty: Any, made_counter: Path) -> None:
    graph, spec = opened(faulty, made_counter, "second")
    inputs, outputs = sides(faulty, spec)
    tape = faulty.tape("one")
    tape.run("second", graph.bind(inputs, outputs))
    for number in range(PLAYS):
        inputs["y"].host[...] = (number + 1) * ROW
        faulty.arm("second", "", 0.0)
        with pytest.raises(EngineError, match="the engine broke"):
            tape.play()
        tape.play()
        np.testing.assert_array_equal(outputs["z"].host, 2 * (number + 1) * ROW)


def test_a_captured_tape_that_changes_is_refused(made_counter: Path) -> None:
    engine = CapturedEngine()
    graph, spec = opened(engine, made_counter, "second")
    run = graph.bind(*sides(engine, spec))
    longer, moved = engine.tape("longer"), engine.tape("moved")
    for tape in (longer, moved):
        tape.run("second", run)
        tape.play()
        tape.play()
    longer.run("again", run)
    run.outputs["z"] = engine.buffer((1, 4), "float32", "out")  # type: ignore[index]
    for tape in (longer, moved):
        with pytest.raises(EngineError, match="was captured, and has changed since"):
            tape.play()


# ---- conversations ----

TALKS: dict[str, Knobs] = {
    "greedy": Knobs(), "sampled": Knobs(temperature=0.9, top_p=0.9, seed=3, steps=3), "forced": Knobs(),
    "settled": Knobs(seed=2, steps=1), "prefix": Knobs(),
}  # fmt: skip


def talk(session: Session, kind: str, count: int) -> Iterator[Response]:
    """Units of one kind of conversation; the rings wrap in the third."""
    if kind == "prefix":
        session.prefill("a cat", Unit(made_unit(session.media, 3, 99).samples))
    else:
        seed_state(session, 5)
    slots = session.program.slots
    for k in range(count):
        made = made_unit(session.media, 3, k)
        unit = Unit(made.samples, made.frames, "hello there" if k % 3 == 0 else "")
        yield session.step(unit, (k + 1,) * slots if kind == "forced" else None).copy()
        if kind == "settled" and k % 3:
            session.settle()


@pytest.fixture(scope="module", params=["tiny", "demo"])
def pair(request: pytest.FixtureRequest, tiny_bundle: Path) -> tuple[Session, Session]:
    """One bundle on shared and on split memory."""
    bundle = tiny_bundle if request.param == "tiny" else bundle_path(floats=True)
    made = (open_session(bundle, engine=engine, verify=False) for engine in (OrtEngine(threads=1), SplitEngine()))
    one, other = made
    return one, other


@pytest.mark.parametrize("kind", TALKS)
def test_between_a_units_first_and_last_run_the_host_does_nothing(pair: tuple[Session, Session], kind: str) -> None:
    plain, split = (session.twin(TALKS[kind]) for session in pair)
    engine: Any = split.engine
    engine.looks, engine.plays = 0, []
    came, wanted = list(talk(split, kind, 7)), list(talk(plain, kind, 7))
    for one, other in zip(came, wanted, strict=True):
        assert_same(one, other)
    assert engine.looks == 0
    steps = [name for name in engine.plays if name not in ("prefix", "settle")]
    assert steps.count("unit") == 7, "one play a unit"
    assert steps.count("commit") == 7 + (kind == "prefix")
    assert split.snapshot().stamp == plain.snapshot().stamp
    for name, array in plain.snapshot().arrays.items():
        np.testing.assert_array_equal(split.snapshot().arrays[name], array, err_msg=name)


def test_a_chain_is_one_play(made_counter: Path) -> None:
    engine = SplitEngine()
    session = open_session(made_counter, engine=engine)
    for k in range(1, 5):
        np.testing.assert_array_equal(session.step(Unit(arrays={"x": ROW})).arrays["z"], 2 * k * ROW)
    assert engine.looks == 0
    assert engine.plays == ["chain", "commit"] * 4


def test_stepwise_and_captured_units_are_those_of_plain_play(tiny_bundle: Path) -> None:
    plain, captured = open_session(tiny_bundle, engine=OrtEngine(threads=1)), open_session(
        tiny_bundle, engine=CapturedEngine()
    )  # fmt: skip
    watched = plain.twin()
    units = [made_unit(plain.media, 4, k) for k in range(8)]
    with watched.recording(lambda *_: None):
        for k in range(200):
            wanted = plain.step(units[k % 8]).copy()
            for session in (captured, watched):
                assert_same(session.step(units[k % 8]), wanted)
            if k % 5 == 4:
                for session in (plain, captured, watched):
                    session.settle()


@pytest.mark.parametrize("output", ["append.1.v", "hidden"])
def test_a_failed_unit_is_named_and_taken_back_bit_for_bit(faulty: Any, tiny_bundle: Path, output: str) -> None:
    session, sound = open_session(tiny_bundle, engine=faulty), open_session(tiny_bundle, engine=OrtEngine(threads=1))
    for k in range(11):
        unit = made_unit(sound.media, 4, k)
        if k in (1, 4, 10):
            before = session.snapshot()
            faulty.arm("core", output, np.nan, after_runs=k % 3)
            with pytest.raises(StepError, match=r"graph 'core' \(pass (block|slot\.\d)\) gave .*; the unit was rolled"):
                session.step(unit)
            after = session.snapshot()
            assert after.stamp == before.stamp
            for name, array in before.arrays.items():
                np.testing.assert_array_equal(after.arrays[name], array, err_msg=name)
        assert_same(session.step(unit), sound.step(unit))
        if k % 4 == 1:
            session.settle()
            sound.settle()


@pytest.mark.parametrize("token", [-1, 10**6])
def test_a_token_without_a_row_is_named_after_the_play(faulty: Any, tiny_bundle: Path, token: int) -> None:
    session = open_session(tiny_bundle, engine=faulty)
    reference = open_session(tiny_bundle, engine=OrtEngine(threads=1))
    says = rf"slot 1 gave token {token}; the embedding table has \d+ rows; the unit was rolled back"
    for _ in range(PLAYS):
        faulty.arm("slot", "token", token, after_runs=1)
        with pytest.raises(StepError, match=says):
            session.step(Unit())
        assert_same(session.step(Unit()).copy(), reference.step(Unit()))


def test_a_step_allocates_nothing_once_it_is_warm(
    engine: Engine, tiny_bundle: Path, made_counter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for kind in ("buffer", "stack", "tape"):
        real = getattr(engine, kind)
        monkeypatch.setattr(engine, kind, lambda *a, real=real, kind=kind, **k: made.append(kind) or real(*a, **k))
    session, chain = open_session(tiny_bundle, engine=engine), open_session(made_counter, engine=engine)
    assert made.count("buffer") > 50
    memory = [name for name in made if name != "tape"]
    for warm in (True, False):
        before = list(made)
        for k in range(8):
            session.step(Unit(), (1,) * session.program.slots if k % 4 == 0 else None)
            chain.step(Unit(arrays={"x": ROW}))
            if k % 3 == 1:
                session.settle()
        assert [name for name in made if name != "tape"] == memory, "all memory is there when the session is"
        assert warm or made == before
