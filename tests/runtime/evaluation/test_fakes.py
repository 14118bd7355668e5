"""Scores without a model: an agent that does what is intended scores full marks, broken ones fail the right scores."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from edge_streamer.runtime.evaluation.ceiling import Intended
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import Measured, measure
from edge_streamer.runtime.evaluation.runner import Agent, run_case
from edge_streamer.runtime.evaluation.score import Scores, judge, score
from edge_streamer.runtime.evaluation.suite import Case, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import HeldOut, load_assets
from edge_streamer.runtime.evaluation.world.scene import Scene
from edge_streamer.runtime.evaluation.world.script import spell
from edge_streamer.runtime.unit import Response, Unit

CASES = 21
"""Every kind, once through the order."""


class Mute(Intended):
    """Looks about, says nothing."""

    def step(self, unit: Unit) -> Response:
        wanted = super().step(unit)
        return replace(wanted, samples=np.zeros_like(wanted.samples), text="", tokens=(self.listen_token,))


class Chatter(Intended):
    """Never stops talking."""

    def step(self, unit: Unit) -> Response:
        wanted = super().step(unit)
        noise = np.random.default_rng(self._unit).standard_normal(len(wanted.samples)).astype(np.float32)
        return replace(wanted, samples=0.1 * noise, text="bla", tokens=(self.speak_token,))


class Late(Intended):
    """Everything a unit too late."""

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        super().begin(case, scene, fresh)
        self._last = Response(0, np.zeros(2560, np.float32), self._frames[:4], "", (self.listen_token,), 0.0, 0.0)

    def step(self, unit: Unit) -> Response:
        last, self._last = self._last, super().step(unit)
        return last


class LateSound(Late):
    """Only the sound a unit too late."""

    def step(self, unit: Unit) -> Response:
        last = super().step(unit)
        return replace(self._last, samples=last.samples)


class Stranger(Intended):
    """Another identity than the one it was given."""

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        super().begin(case, replace(scene, identity=(scene.identity + 1) % 3), fresh)


class Forgetful(Intended):
    """Writes the first answer of the table, whatever it is asked."""

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        answers = [replace(answer, phrase=0) for answer in scene.intent.answers]
        words = spell(case.script.units, answers, scene.world.table)
        other = replace(scene)
        other.__dict__["intent"] = replace(scene.intent, text=words)
        super().begin(case, other, fresh)


@cache
def scenes() -> tuple[list[tuple[Case, Scene]], HeldOut, Ear]:
    """Cases with their scenes: what each looks like is drawn once for all agents."""
    world, held_out = load_assets()
    made = [(case, scene_of(case, world)) for case in duplex(60.0, 0, world, held_out).cases[:CASES]]
    for _, scene in made:
        scene.camera, scene.avatar = cache(scene.camera), cache(scene.avatar)  # type: ignore[method-assign]
    return made, held_out, Ear(world)


@cache
def measured(kind: type[Intended]) -> list[Measured]:
    cases, held_out, ear = scenes()
    agent: Agent = kind()
    return [measure(case, scene, run_case(agent, case, scene, held_out), ear) for case, scene in cases]


def scores(kind: type[Intended]) -> Scores:
    return score(measured(kind))


def failing(kind: type[Intended]) -> set[str]:
    """Wanted scores that this agent does not reach, beside the perfect agent as its ceiling."""
    return {line.wanted.score for line in judge(scores(kind), scores(Intended)) if line.holds is False}


def test_an_agent_that_does_what_is_intended_reaches_everything() -> None:
    lines = judge(scores(Intended), scores(Intended))
    assert failing(Intended) == set()
    assert all(line.holds for line in lines), [line for line in lines if not line.holds]


def test_its_scores_are_full_marks() -> None:
    got = scores(Intended)
    for name in ("right", "unknown.let_pass", "went_on", "again", "recall", "identity.units", "identity.voice",
                 "reply.recognised", "picture.icon", "stop.spoke", "stop.state_within_1_unit"):  # fmt: skip
        assert got[name].value == 1.0, name
    assert got["missed"].value == 0.0
    assert got["false_answers_a_minute"].value == 0.0
    assert got["late_ms.p50"].value == 0.0
    assert got["mouth.lip_sync_ms"].value == pytest.approx(0, abs=4)


@pytest.mark.parametrize(
    ("kind", "fails", "holds"),
    [
        (Mute, {"right.clean", "right.noisy", "missed.clean", "again", "recall.4s", "recall.8s",
                "latency.audible_ms.p50", "reply.recognised", "identity.voice", "mouth.correlation"},
         {"unknown.let_pass", "false_answers_a_minute", "identity.units", "gaze.correlation"}),
        (Chatter, {"right.clean", "right.noisy", "false_answers_a_minute", "stop.state_within_1_unit",
                   "stop.audible_within_3_units", "mouth.correlation"}, {"identity.units", "gaze.correlation"}),
        (LateSound, {"mouth.correlation", "reply.snr_db"}, {"right.clean", "identity.units", "picture.psnr_db"}),
        (Stranger, {"identity.units", "identity.voice", "picture.psnr_db"}, {"right.clean", "gaze.correlation"}),
        (Forgetful, {"right.clean", "again", "recall.4s", "recall.8s"}, {"missed.clean", "unknown.let_pass"}),
    ],
)  # fmt: skip
def test_a_broken_agent_fails_what_it_should(kind: type[Intended], fails: set[str], holds: set[str]) -> None:
    failed = failing(kind)
    assert failed >= fails, fails - failed
    assert not failed & holds, failed & holds


def test_a_unit_late_is_seen_in_every_time() -> None:
    late, right = scores(Late), scores(Intended)
    for name in ("latency.state_ms.p50", "latency.audible_ms.p50", "stop.audible_ms.p50", "late_ms.p50"):
        assert (late[name].value or 0) - (right[name].value or 0) == pytest.approx(160, abs=11), name
    assert (scores(LateSound)["mouth.lip_sync_ms"].value or 0) == pytest.approx(-160, abs=10)
