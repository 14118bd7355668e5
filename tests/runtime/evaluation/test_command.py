"""``edge-streamer eval``: what it refuses, and that a refused one leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_streamer.runtime import cli
from edge_streamer.runtime.evaluation.bench import Result
from edge_streamer.runtime.evaluation.page import histogram, render
from edge_streamer.runtime.evaluation.score import Score, judge


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


def test_a_histogram_of_one_value_and_of_none() -> None:
    assert "<rect" in histogram([170.0], 20, "times")
    assert "nothing" in histogram([], 20, "times")
