"""The page of an evaluation: every score and heading in plain words, and verdicts that say how much they rest on."""

from __future__ import annotations

import base64

import pytest

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.evaluation.bench import Result
from edge_streamer.runtime.evaluation.page import FEW, MEANINGS, PERCENTILES, histogram, meaning, render, verdict
from edge_streamer.runtime.evaluation.parity import Parity, golden_parity
from edge_streamer.runtime.evaluation.score import WANTED, Score, Scores, judge
from edge_streamer.runtime.session.session import open_session


def page(scores: Scores, parity: list[Parity] | None = None, pictures: list[tuple[str, bytes]] | None = None) -> str:
    result = Result(
        suite="duplex", seed=0, cases=1, minutes=0.2, bundle={"name": "b", "hash": "0" * 64, "weights": "w"},
        engine="e", steps=2, scores=scores, ceiling={}, verdict=judge(scores, {}), parity=parity or [], versions={},
        machine={},
    )  # fmt: skip
    return render(result, pictures or [], None)


def test_every_score_of_the_verdict_is_in_plain_words() -> None:
    shown = page({})
    for wanted in WANTED:
        assert meaning(wanted.score)
        assert f"{wanted.score}<small>{meaning(wanted.score)}</small>" in shown
    assert "4 pixels" in meaning("gaze.error"), "its unit"
    assert meaning("latency.audible_ms.p95") == f"{MEANINGS['latency.audible_ms']}; {PERCENTILES['p95']}"
    assert meaning("right.noisy.10 dB white") == MEANINGS["right.noisy"]
    assert meaning("recall.4s") == MEANINGS["recall"]
    assert meaning("unheard.of") == ""
    for name in ("right.again", "missed", "went_on", "takeover.pause", "stop.spoke", "stop.units.p50", "late_ms.p50",
                 "stop.audible_ms.p95", "unit_ms.p50", "mouth.lip_sync_ms", "blinks_a_minute.speaking", "picture.icon",
                 "false_answers_a_minute.everywhere", "latency.state_ms.p50"):  # fmt: skip
        assert meaning(name)
    for heading in ("came", "ceiling", "wanted", "of", "holds", "short"):
        assert f"<b>{heading}</b>: " in shown
    assert "http" not in shown


def test_a_verdict_on_few_occasions_is_weak() -> None:
    scores = {"right.clean": Score(1.0, 3), "again": Score(0.5, FEW - 1), "identity.units": Score(1.0, FEW),
              "false_answers_a_minute": Score(0.0, 0)}  # fmt: skip
    shown = verdict(judge(scores, {}))
    assert '<span class="weak">holds, of 3 only</span>' in shown
    assert f'<span class="weak">short, of {FEW - 1} only</span>' in shown
    assert shown.count('<span class="holds">holds</span>') == 2, "no false answer at all is no weak figure"
    assert "2 of these figures rest on fewer than 20 occasions" in page(scores)
    assert "of ... only" not in page({"identity.units": Score(1.0, FEW)})


def test_a_score_that_should_have_come_and_did_not_says_so() -> None:
    shown = verdict(judge({"right": Score(0.0, 5), "reply.recognised": Score(None, 0)}, {}))
    assert '<span class="short">nothing came</span>' in shown
    assert ">short<" not in shown


def test_references_are_told_apart() -> None:
    golden = golden_parity(open_session(bundle_path()))
    assert golden is not None
    other = Parity("b", 84, {"latents.video": -32.7}, {"latents.video": -200.0}, 0.5)
    shown = page({}, [golden, other])
    assert "<h3>against its golden units" in shown
    assert "<h3>against the reference given by --float (b)</h3>" in shown
    assert shown.count("--float") == 1
    assert "-32.7 dB" in shown
    assert "the same, bit for bit" in shown
    assert "-200" not in shown


@pytest.mark.parametrize("pictures", [[], [("smooth", b"png"), ("stop", b"other")]])
def test_the_film_has_a_picture_before_it_plays(pictures: list[tuple[str, bytes]]) -> None:
    shown = page({}, pictures=pictures)
    poster = f' poster="data:image/png;base64,{base64.b64encode(b"png").decode()}"' if pictures else ""
    assert f'<video src="clip.mp4" controls preload="metadata"{poster}></video>' in shown


def test_a_histogram_says_how_many_its_tallest_bar_holds() -> None:
    shown = histogram([10.0, 12, 30, 31, 32, 50], 20, "times")
    assert ">3</text>" in shown
    assert ">0</text>" in shown
    assert "times: 6 in all" in shown
