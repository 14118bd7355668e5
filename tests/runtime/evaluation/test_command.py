"""``edge-streamer eval``: what it refuses, and that a refused one leaves nothing behind."""

from __future__ import annotations

import argparse
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands import evaluate as command
from edge_streamer.runtime.evaluation import bench
from edge_streamer.runtime.evaluation.bench import Result, Stability
from edge_streamer.runtime.evaluation.ceiling import Intended
from edge_streamer.runtime.evaluation.drafts import ORDER
from edge_streamer.runtime.evaluation.page import histogram, render
from edge_streamer.runtime.evaluation.parity import Parity
from edge_streamer.runtime.evaluation.score import Score, judge
from edge_streamer.runtime.evaluation.world.assets import load_assets


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--minutes", "0"], "--minutes is 0"),
        (["--minutes", "nan"], "--minutes is nan"),
        (["--long", "-1"], "--long is -1"),
        (["--seed", "-1"], "--seed is -1"),
        (["--suite", "nowhere.json"], "nowhere.json cannot be read"),
        (["--baseline", "nowhere.json"], "--baseline nowhere.json cannot be read"),
        (["--steps", "0"], "steps is 0"),
    ],
)
def test_words_that_cannot_be_used(
    words: list[str], complaint: str, tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", str(tiny_bundle), "--out", str(tmp_path / "out"), *words]) == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_other_sizes_is_refused_and_nothing_is_left(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", str(tiny_bundle), "--minutes", "0.1", "--out", str(tmp_path / "out")]) == 2
    assert "export the preset demo" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_before_anything_is_played(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert cli.main(["eval", str(tiny_bundle), "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_page_shows_the_verdict_and_escapes_what_a_model_says() -> None:
    scores = {"right.clean": Score(0.5, 4), "picture.psnr_db": Score(30.0, 10)}
    answer = {"case": 0, "kind": "smooth", "condition": "clean", "word": "hello", "wanted": "hi", "came": "<script>",
              "verdict": "wrong", "audible_ms": 170.0, "state_ms": None}  # fmt: skip
    result = Result(
        suite="duplex", seed=0, cases=1, minutes=0.2, bundle={"name": "b", "hash": "0" * 64, "weights": "w"},
        engine="e", steps=2, scores=scores, ceiling={}, verdict=judge(scores, {}), answers=[answer], versions={},
        machine={},
    )  # fmt: skip
    page = render(result, [("smooth", b"png")], None)
    assert "1 of 2 figures hold" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_a_page_without_a_long_run_says_so() -> None:
    result = Result(
        suite="duplex", seed=0, cases=1, minutes=0.2, bundle={"name": "b", "hash": "0" * 64, "weights": "w"},
        engine="e", steps=2, scores={}, ceiling={}, versions={}, machine={},
    )  # fmt: skip
    assert bench.NO_STABILITY[1:] in render(result, [], None)
    result.stability = Stability(9.0, {"right": Score(0.5, 4)}, {"right": Score(0.25, 4)}, 21)
    page = render(result, [], None)
    assert "One run of 9.0 minutes, its first and last 21 scenes" in page
    assert bench.NO_STABILITY[1:] not in page


@pytest.mark.parametrize(("minutes", "long"), [(10, 8.5), (60, 12), (3, 3), (43, 8.6)])
def test_a_default_evaluation_is_long_enough_for_stability(minutes: float, long: float) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["bundle", "--out", "out", *(["--minutes", str(minutes)] if minutes != 10 else [])]
    assert command._minutes(parser.parse_args(words)) == (minutes, pytest.approx(long))


def test_a_suite_of_ones_own_has_no_long_run_unless_asked(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--out", "out", "--suite", str(tmp_path / "mine.json")]
    assert command._minutes(parser.parse_args(words)) == (10, 0)
    assert command._minutes(parser.parse_args([*words, "--long", "9"])) == (10, 9)


def test_results_go_into_no_bundle(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, other = (Path(shutil.copytree(tiny_bundle, tmp_path / name)) for name in ("one", "two"))
    before = sorted(bundle.rglob("*"))
    assert cli.main(["eval", str(bundle), "--out", str(bundle / "report")]) == 2
    assert "lies inside BUNDLE" in capsys.readouterr().err
    assert cli.main(["eval", str(bundle), "--float", str(other), "--out", str(other / "graphs/report")]) == 2
    assert "lies inside --float" in capsys.readouterr().err
    assert sorted(bundle.rglob("*")) == before


def test_a_baseline_of_other_scenes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def result(cases: int, right: float) -> Result:
        scores = {"right": Score(right, 40), "takeover.smooth": Score(0.75, 4), "right.smooth": Score(0.5, 4)}
        parity = [Parity("its golden units", 8, {"samples": -40.0, "frames": -30.2}, {}, 0.995)]
        return Result(suite="duplex", seed=0, cases=cases, minutes=1.0, bundle={"name": "b"}, engine="e", steps=2,
                      scores=scores, ceiling={}, parity=parity, versions={}, machine={})  # fmt: skip

    command._show(result(40, 0.5), result(40, 0.75), Path("out"))
    shown = capsys.readouterr().out
    assert "other scenes" not in shown
    assert re.search(r"^right +0\.75 -> 0\.5$", shown, re.MULTILINE)
    assert re.search(r"^smooth +takeover 75% of 4  right 50% of 4$", shown, re.MULTILINE)
    assert "against its golden units, 8 units: at most -30.2 dB of error (frames), 99.5% of the words" in shown
    command._show(result(40, 0.5), result(3, 0.75), Path("out"))
    assert "other scenes (duplex, seed 0, 3 cases; here duplex, seed 0, 40 cases)" in capsys.readouterr().out


def test_both_ends_of_a_long_run_hold_the_same_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench._Bench, "play", lambda self, part, agent, cases, fresh: cases)
    monkeypatch.setattr(bench, "score", lambda cases: Counter(case.kind for case in cases))
    one = bench._Bench(*load_assets(), lambda *_: None)
    found = one.long(Intended(), bench.Wish(long_minutes=bench.LEAST_LONG))
    assert found is not None
    assert found.first == found.last == Counter(ORDER)
    assert found.end_cases == len(ORDER)
    assert one.long(Intended(), bench.Wish(long_minutes=7.0)) is None
    for cases in range(400):
        end = bench.end_of(cases)
        assert (end > 0) == (cases >= 2 * len(ORDER))
        assert end % len(ORDER) == 0
        assert 2 * end <= cases
        assert not end or cases / bench.ENDS <= end < cases / bench.ENDS + len(ORDER)


def test_a_histogram_of_one_value_and_of_none() -> None:
    assert "<rect" in histogram([170.0], 20, "times")
    assert "nothing" in histogram([], 20, "times")
