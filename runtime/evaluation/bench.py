"""One evaluation from beginning to end.

Receives a session, a suite and what is wanted of it; hands on :class:`Result`, which is what ``result.json`` holds, and
shows every case to whoever watches. Parts: the suite case by case; every second case through the codec alone (the
ceiling); one long run without a reset; other numbers of solver steps; parity.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from edge_streamer.runtime.compare.error_over_time import check_constants
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation import LEAST_LONG as LEAST_LONG
from edge_streamer.runtime.evaluation.ceiling import Ceiling, Codec
from edge_streamer.runtime.evaluation.drafts import ORDER
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import Measured, measure
from edge_streamer.runtime.evaluation.parity import Parity, bundle_parity, golden_parity
from edge_streamer.runtime.evaluation.runner import Agent, Recording, SessionAgent, check_media, run_case
from edge_streamer.runtime.evaluation.score import Line, Scores, judge, score
from edge_streamer.runtime.evaluation.suite import Case, Suite, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import HeldOut
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.machine import machine, versions
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.timing import Tell, untold
from edge_streamer.runtime.unit import Knobs

RESULT_FORMAT = 1
CEILING_EVERY = 2
ENDS = 6
"""A long run's first and last sixth are held against each other, ten minutes of an hour: in whole rounds of the kinds,
so that both hold as many scenes of each."""
NO_STABILITY = (
    f"stability was not measured: it needs a long run of two rounds of all kinds, --long {LEAST_LONG} or more"
)

Watcher = Callable[[Case, Scene, Recording, Measured], None]


@dataclass(frozen=True)
class Wish:
    """What is to be done."""

    seed: int = 0
    steps: int | None = None
    compare_steps: tuple[int, ...] = ()
    """Numbers of solver steps that a tenth of the minutes is played with, each."""
    long_minutes: float = 0.0
    """Below two rounds of the kinds nothing is played."""
    ceiling: bool = True
    reference: Session | None = None
    """A bundle to be held against in numbers."""


class Stability(msgspec.Struct, frozen=True):
    """The two ends of one run without a reset."""

    minutes: float
    """Of the whole run."""
    first: Scores
    last: Scores
    end_cases: int = 0
    """Of each end."""


class Result(msgspec.Struct, kw_only=True):
    """``result.json``."""

    format: int = RESULT_FORMAT
    suite: str
    seed: int
    cases: int
    minutes: float
    bundle: dict[str, str]
    engine: str
    steps: int
    scores: Scores
    ceiling: Scores
    verdict: list[Line] = []
    stability: Stability | None = None
    by_steps: dict[str, Scores] = {}
    parity: list[Parity] = []
    answers: list[dict[str, Any]] = []
    """Every command: what was wanted and what came."""
    versions: dict[str, str]
    machine: dict[str, Any]
    seconds: float = 0.0
    """Wall time of it all."""


def evaluate(
    session: Session, suite: Suite, wish: Wish, world: World, held_out: HeldOut,
    tell: Tell = untold, watch: Watcher = lambda *_: None,
) -> Result:  # fmt: skip
    """All parts. InputError where the bundle has other media than the scenes, the reference has another geometry, or
    too many solver steps are asked."""
    began = time.monotonic()
    check_media(session.media)
    if wish.reference is not None:
        check_constants(session, wish.reference)
    bench = _Bench(world, held_out, tell)
    agent = SessionAgent(session, world)
    main = bench.play("suite", agent, suite.cases, watch=watch)
    ceiling: Scores = {}
    if wish.ceiling:
        ceiling = score(bench.play("ceiling", Ceiling(Codec(session)), suite.cases[::CEILING_EVERY]))
    result = Result(
        suite=suite.name, seed=wish.seed, cases=len(suite.cases), minutes=sum(c.seconds for c in suite.cases) / 60,
        bundle=bundle_facts(session), engine=session.engine.name,
        steps=wish.steps or session.program.default_steps or 0, scores=score(main), ceiling=ceiling,
        versions=versions(), machine=machine(),
        answers=[_answer(n, case, q) for n, case in enumerate(main) for q in case.questions],
    )  # fmt: skip
    result.verdict = judge(result.scores, result.ceiling)
    if wish.long_minutes:
        result.stability = bench.long(agent, wish)
    for steps in wish.compare_steps:
        result.by_steps[str(steps)] = bench.with_steps(session, steps, suite, wish)
    result.parity = [p for p in (golden_parity(session),) if p is not None]
    if wish.reference is not None:
        twin = session.twin(Knobs(steps=wish.steps, seed=wish.seed))
        result.parity.append(bundle_parity(twin, wish.reference, suite.cases[0], world, held_out))
    result.seconds = time.monotonic() - began
    return result


def end_of(cases: int) -> int:
    """Of how many cases each end of a run of ``cases`` is: a sixth, rounded up to whole rounds; 0 where two rounds do
    not fit."""
    end = -(-cases // (ENDS * len(ORDER))) * len(ORDER)
    return end if 2 * end <= cases else 0


def bundle_facts(session: Session) -> dict[str, str]:
    """Which bundle it is."""
    manifest = session.bundle.manifest
    return {"name": manifest.name, "hash": session.bundle.hash, "path": str(session.bundle.path),
            "preset": manifest.provenance.preset, "weights": manifest.provenance.weights}  # fmt: skip


def _answer(number: int, case: Measured, question: Any) -> dict[str, Any]:
    return {"case": number, "kind": case.kind, "condition": case.condition, **msgspec.to_builtins(question)}


@dataclass
class _Bench:
    """Plays cases and measures them."""

    world: World
    held_out: HeldOut
    tell: Tell

    def __post_init__(self) -> None:
        self._ear = Ear(self.world)

    def play(
        self, part: str, agent: Agent, cases: Iterable[Case], fresh: bool = True, watch: Watcher = lambda *_: None
    ) -> list[Measured]:
        """Every case; not ``fresh``: one after the other with nothing forgotten."""
        cases, made = list(cases), []
        self.tell(part, 0, len(cases))
        for number, case in enumerate(cases):
            scene = scene_of(case, self.world)
            recording = run_case(agent, case, scene, self.held_out, fresh or number == 0)
            made.append(measure(case, scene, recording, self._ear))
            watch(case, scene, recording, made[-1])
            self.tell(part, number + 1, len(cases))
        return made

    def long(self, agent: Agent, wish: Wish) -> Stability | None:
        """One run of one identity in one place; None where it is too short for two rounds."""
        suite = duplex(wish.long_minutes, wish.seed + 1000, self.world, self.held_out, identity=wish.seed % 3)
        end = end_of(len(suite.cases))
        if not end:
            return None
        view = suite.cases[0].view
        cases = [msgspec.structs.replace(case, view=view) for case in suite.cases]
        made = self.play("long run", agent, cases, fresh=False)
        return Stability(sum(c.seconds for c in made) / 60, score(made[:end]), score(made[-end:]), end)

    def with_steps(self, session: Session, steps: int, suite: Suite, wish: Wish) -> Scores:
        """A tenth of the suite with another number of solver steps."""
        try:
            twin = session.twin(Knobs(steps=steps, seed=wish.seed))
        except ValueError as error:
            raise InputError(str(error)) from error
        some = suite.cases[: max(5, len(suite.cases) // 10)]
        return score(self.play(f"{steps} steps", SessionAgent(twin, self.world), some))
