"""``check`` passes a bundle that is as it was made, and says where and by how much another one differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_streamer.runtime.bundle.arrays import save_arrays
from edge_streamer.runtime.bundle.listed import MANIFEST
from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.bundle.reader import Bundle, write_bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import check as check_command
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.compare import check as under_test
from edge_streamer.runtime.compare.check import ROUNDS, TOLERANCE, check, tolerance_of
from edge_streamer.runtime.compare.golden import (
    Golden,
    Meta,
    golden_units,
    load_golden,
    made_unit,
    relative_error,
    seed_state,
)
from edge_streamer.runtime.errors import BundleError
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from tests.runtime.evaluation.controls import broken


def rebuilt(bundle: Path) -> Bundle:
    """The bundle with new checksums, as an honest but wrong writer would leave it."""
    manifest = parse((bundle / MANIFEST).read_bytes())
    (bundle / MANIFEST).unlink()
    return write_bundle(bundle, msgspec.structs.replace(manifest, files=()))


@pytest.fixture
def spoiled(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


def scale_first_weight(path: Path, factor: float) -> None:
    """Scale the first values of a weight file: what a wrong conversion might do."""
    values = np.fromfile(path, "<f4")
    values[:2000] *= np.float32(factor)
    values.tofile(path)


def test_a_good_bundle_passes(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tiny_bundle)]) == 0
    assert "passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("graph", "quantity"),
    [("core", "scores"), ("decode", "samples"), ("solve_out", "latents.video"), ("encode", "scores")],
)
def test_a_wrong_graph_is_told_by_what_it_spoils(
    spoiled: Path, graph: str, quantity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scale_first_weight(spoiled / "graphs" / f"{graph}.weights", 1.05)
    rebuilt(spoiled)
    assert cli.main(["check", str(spoiled), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    rows = {row["quantity"]: row for row in verdict["rows"]}
    assert not verdict["passed"]
    assert rows[quantity]["error"] > TOLERANCE["float32"]
    assert rows[quantity]["first_beyond"] == "0"


def test_a_ring_that_forgets_too_early_is_found(spoiled: Path) -> None:
    """One unit of window less: the golden units start with full rings, so the first one sees it."""
    manifest = Bundle.open(spoiled, verify=False).manifest
    session = open_session(spoiled)
    golden = load_golden(spoiled / str(manifest.golden))
    seed_state(session, golden.meta.seed)
    ring = session.place.store.rings["video"]
    oldest = (ring.units + 1) % (ring.window + 1) * ring.places
    mark = ring.mark

    def forgets(rows: np.ndarray, block: np.ndarray) -> None:
        mark(rows, block)
        rows[:, oldest : oldest + ring.places] = -30000.0

    ring.mark = forgets  # type: ignore[method-assign]
    session.step(made_unit(session.media, golden.meta.seed, 0), [int(t) for t in golden.answers["0.tokens"]])
    came = session.engine.read(wan_streamer(session.program).wiring.past["latents.video"])
    wanted = golden.answers["0.latents.video"]
    assert np.linalg.norm(came - wanted) / np.linalg.norm(wanted) > TOLERANCE["float32"]


def test_a_bundle_without_golden_units_says_so(counter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(counter)]) == 2
    assert "no golden units" in capsys.readouterr().err


def test_all_rings_wrap_within_the_golden_units(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    session = open_session(bundle)
    golden = load_golden(bundle.file(str(bundle.manifest.golden)))
    seed_state(session, golden.meta.seed)
    bases = []
    for index in range(golden.meta.units):
        bases.append({name: ring.base for name, ring in session.place.store.rings.items() if not ring.pinned})
        session.step(made_unit(session.media, golden.meta.seed, index))
    for ring in ("main", "video"):
        assert any(after[ring] < before[ring] for before, after in pairwise(bases))


def test_the_answers_are_small(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert check(bundle).slots_agree == 1.0
    assert bundle.file(str(bundle.manifest.golden)).stat().st_size < 200_000


# -- golden units that answer nothing, or something else

Answers = dict[str, np.ndarray]


def put(answers: Answers, name: str, value: object, index: int = 0) -> None:
    answers[name] = answers[name].copy()
    answers[name].reshape(-1)[index] = value


def keep(answers: Answers, *starts: str) -> None:
    for name in list(answers):
        if not name.startswith(starts):
            del answers[name]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.clear(), "answers are missing"),
        (lambda a: keep(a, "0.", "1.", "2.", "3."), "answers are missing"),
        (lambda a: keep(a, "end.", "0.tokens", "1.tokens", "2.tokens", "3.tokens"), "answers are missing"),
        (lambda a: a.pop("2.latents.audio"), "1 of .* answers are missing .*2.latents.audio"),
        (lambda a: a.update({"9.samples": a["0.samples"]}), "nothing of this bundle is called '9.samples'"),
        (lambda a: a.update({"0.samples": a["0.samples"][:5]}), r"'0.samples' is float32 \[5\]; wanted float32"),
        (lambda a: a.update({"0.samples": a["0.samples"].astype("f8")}), "is float64"),
        (lambda a: a.update({"1.tokens": a["1.tokens"][None]}), "'1.tokens' is int32"),
        (lambda a: put(a, "1.tokens", -1), "wanted tokens from 0"),
        (lambda a: put(a, "1.tokens", 2**31 - 1), "wanted tokens from 0"),
        (lambda a: put(a, "3.frames", np.nan), "holds a NaN"),
        (lambda a: put(a, "0.scores", np.inf), "holds a NaN or an infinity"),
    ],
)
def test_golden_units_answer_every_quantity_of_the_bundle_or_are_refused(
    spoiled: Path, change: Callable[[Answers], object], says: str
) -> None:
    path = spoiled / str(Bundle.open(spoiled, verify=False).manifest.golden)
    golden = load_golden(path)
    change(golden.answers)
    golden.save(path)
    with pytest.raises(BundleError, match=says) as caught:
        check(rebuilt(spoiled))
    assert "\n" not in str(caught.value)
    assert "export the bundle again" in str(caught.value)


@pytest.mark.parametrize(
    "meta",
    [
        {"units": 0}, {"units": -1}, {"units": 1}, {"units": 65}, {"units": 10**30}, {"units": "4"}, {"units": 4.5},
        {"seed": -1}, {"seed": 2**64}, {"seed": 10**40}, {"seed": None}, {"program": "chain"}, {"program": 5}, {"x": 1},
    ],
)  # fmt: skip
def test_golden_units_made_in_no_way_of_ours_are_refused(spoiled: Path, meta: dict[str, object]) -> None:
    path = spoiled / str(Bundle.open(spoiled, verify=False).manifest.golden)
    golden = load_golden(path)
    as_json = {"program": "wan_streamer", "seed": 25, "units": 4} | meta
    made = msgspec.defstruct("Made", [(key, object) for key in as_json])
    save_arrays(path, made(**as_json), golden.answers)
    with pytest.raises(BundleError, match="export the bundle again") as caught:
        check(rebuilt(spoiled))
    assert "\n" not in str(caught.value)


def test_answers_larger_than_any_are_not_read(tmp_path: Path) -> None:
    large = {"a": np.zeros(20_000_000, np.float32)}
    Golden(Meta(program="wan_streamer", seed=1, units=4), large).save(tmp_path / "g.npz")
    with pytest.raises(BundleError, match="more than 64"):
        load_golden(tmp_path / "g.npz")


# -- bundles of integers: rounding, and faults


def checked(monkeypatch: pytest.MonkeyPatch, session: Session) -> dict[str, under_test.Row]:
    """The rows of a check that runs in ``session``."""
    monkeypatch.setattr(under_test, "open_session", lambda bundle, **_: session)
    return {row.quantity: row for row in check(session.bundle).rows}


def test_rounding_moves_the_shipped_bundle_as_far_as_another_version_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of its sounds are 13 % apart on two versions; a history moved by 1e-5 shows as much on one machine."""
    session = open_session(bundle_path())
    rows = checked(monkeypatch, session)
    assert all(row.first_beyond is None for row in rows.values())
    golden = golden_units(session)
    assert golden is not None
    answers = under_test._replayed(session, golden)
    rounding = under_test._rounding(session, golden, answers)
    assert 0.04 < rounding["3.samples"] <= 1.0
    assert rounding["0.samples"] <= rounding["3.samples"] <= under_test.ROUNDINGS * rounding["0.samples"]
    again = under_test._replayed(session, golden)  # shaken replays leave nothing behind
    assert all(relative_error(again[name], answers[name]) == 0 for name in answers if not name.startswith("end"))


@pytest.mark.parametrize(
    ("fault", "quantity"),
    [("zeros as history", "frames"), ("conv tail not carried (encode)", "scores"), ("carries not swapped", "scores")],
)
def test_faults_that_a_fixed_tolerance_calls_rounding_are_seen(
    monkeypatch: pytest.MonkeyPatch, fault: str, quantity: str
) -> None:
    row = checked(monkeypatch, broken(open_session(bundle_path()), fault))[quantity]
    assert row.error < tolerance_of(ROUNDS)
    assert row.first_beyond is not None


def test_the_table_says_what_rounding_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        under_test.Row("scores", 1e-7, "0", None, 0.02),
        under_test.Row("samples", 0.13, "3", None, 0.14),
        under_test.Row("frames", 0.2, "1", "1", 0.01),
    ]
    verdict = under_test.Verdict("b", "an engine", 4, 0.3, 1.0, rows)
    check_command._print_table(verdict)
    told = capsys.readouterr().out
    assert "ok, same" in told
    assert "ok, rounded" in told
    assert "beyond from unit 1" in told
    assert "2 times the rounding" in told
    assert "FAILED" in told
