"""The bench compares like with like: its ways give the same answers, and a way that does not is found out.

Inductor is left out: it takes minutes to compile. ``torch.compile`` runs with its ``eager`` backend instead, which
traces the model as for inductor and compiles nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.session.snapshot import Snapshot
from tests.bench.ceiling import Ceiling, cost
from tests.bench.engines import Answer, Torch, Way, compare, load_answers, made_start, made_units, make, save_answers
from tests.bench.worker import Timed, check, measure_memory, time_passes, time_round

UNITS = 5
"""Two before every ring wraps, three after."""


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle, verify=False)


@pytest.fixture(scope="module")
def start(bundle: Bundle) -> Snapshot:
    return made_start(bundle)


def answers(way: Way, bundle: Bundle) -> list[Answer]:
    came = (way.step(unit) for unit in made_units(bundle)[:UNITS])
    return [Answer(a.tokens, *(np.array(array) for array in a[1:])) for a in came]


@pytest.fixture(scope="module")
def wanted(bundle: Bundle, start: Snapshot) -> list[Answer]:
    return answers(make("ours", bundle, start, 1), bundle)


@pytest.mark.parametrize("way", ["torch", "plain", "concat"])
def test_every_way_gives_our_answers(way: str, bundle: Bundle, start: Snapshot, wanted: list[Answer]) -> None:
    compare(answers(make(way, bundle, start, 1), bundle), wanted)


def test_compiled_torch_gives_our_answers(bundle: Bundle, start: Snapshot, wanted: list[Answer]) -> None:
    compare(answers(Torch(bundle, start, 1, backend="eager"), bundle), wanted)


def test_an_answer_that_differs_is_named(wanted: list[Answer]) -> None:
    wrong = [*wanted[:3], wanted[3]._replace(audio=wanted[3].audio * 1.001), *wanted[4:]]
    with pytest.raises(ValueError, match=r"unit 3, audio: off by 1\.0e-03"):
        compare(wrong, wanted)
    with pytest.raises(ValueError, match="unit 0: the slots said"):
        compare([wanted[0]._replace(tokens=(1, 1)), *wanted[1:]], wanted)
    with pytest.raises(ValueError, match="unit 1, frames"):
        compare([wanted[0], wanted[1]._replace(frames=255 - wanted[1].frames), *wanted[2:]], wanted)


def test_a_ring_that_forgets_too_late_is_found(bundle: Bundle, start: Snapshot, wanted: list[Answer]) -> None:
    late = make("plain", bundle, start, 1)
    late._rings.open_unit = lambda: setattr(late._rings, "_unit", late._rings._unit + 1)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"off by|slots"):
        compare(answers(late, bundle), wanted)


def test_answers_survive_their_file(wanted: list[Answer], tmp_path: Path) -> None:
    save_answers(wanted, tmp_path / "answers.npz")
    assert compare(load_answers(tmp_path / "answers.npz"), wanted) == 0.0


def test_a_worker_measures(bundle: Bundle, start: Snapshot, tmp_path: Path) -> None:
    timed = Timed(make("ours", bundle, start, 1), bundle)
    assert check(timed, 2, str(tmp_path / "two.npz"))["seconds"] > 0
    came = time_round(timed, 3)
    assert all(0 < engine < wall for engine, wall in zip(came["engine_seconds"], came["seconds"], strict=True))
    assert set(time_passes(timed, 2)) == {one.name for one in cost(bundle.manifest)}
    assert measure_memory(timed, 3)["growth_bytes_per_unit"] < 10_000


def test_the_bound_is_the_slower_of_computing_and_moving() -> None:
    ceiling = Ceiling(gflops=100.0, gigabytes=10.0)
    assert ceiling.seconds(operations=10**9, moved_bytes=10**6) == pytest.approx(0.01)
    assert ceiling.seconds(operations=10**6, moved_bytes=10**9) == pytest.approx(0.1)
