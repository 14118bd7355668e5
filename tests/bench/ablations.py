"""What each part of the demo is worth: ``python -m tests.bench.ablations [--minutes 5] [--quiet-history BUNDLE]``.

Receives a bundle and, if there is one, another that was trained without noise on the history; hands on one table for
people and one JSON line for machines. Every row plays the same scenes: the bundle as it is, with 1 and 4 solver steps,
with half its window, with its camera covered.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import measure
from edge_streamer.runtime.evaluation.runner import SessionAgent, run_case
from edge_streamer.runtime.evaluation.score import Scores, score
from edge_streamer.runtime.evaluation.suite import duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import load_assets
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs, Response, Unit
from tests.runtime.evaluation.controls import window_of

SHOWN = (
    "right", "right.noisy", "recall", "again", "false_answers_a_minute", "identity.units", "gaze.correlation",
    "mouth.correlation", "reply.snr_db", "picture.psnr_db", "blinks_a_minute.listening", "unit_ms.p50",
)  # fmt: skip


class Covered(SessionAgent):
    """A hand before the camera."""

    def step(self, unit: Unit) -> Response:
        return super().step(replace(unit, frames=np.full_like(unit.frames, 127)))


def rows(bundle: Path, quiet: Path | None, seed: int) -> dict[str, Callable[[], tuple[Session, type[SessionAgent]]]]:
    """Name -> a session and how it is played."""

    def fresh(steps: int | None = None, path: Path = bundle) -> Session:
        return open_session(path, knobs=Knobs(steps=steps, seed=seed))

    def half() -> Session:
        session = fresh()
        window_of(wan_streamer(session.program).constants.window_units // 2)(session)
        return session

    made: dict[str, Callable[[], tuple[Session, type[SessionAgent]]]] = {
        "as it ships": lambda: (fresh(), SessionAgent),
        "1 solver step": lambda: (fresh(1), SessionAgent),
        "4 solver steps": lambda: (fresh(4), SessionAgent),
        "half the window": lambda: (half(), SessionAgent),
        "camera covered": lambda: (fresh(), Covered),
    }
    if quiet is not None:
        made["trained without noise on the history"] = lambda: (fresh(None, quiet), SessionAgent)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="What each part of the demo is worth.")
    parser.add_argument("--bundle", type=Path, default=bundle_path(floats=True))
    parser.add_argument("--quiet-history", type=Path, help="a bundle trained with --history-noise 0")
    parser.add_argument("--rows", nargs="+", metavar="PART", help="only rows whose names hold one of these")
    parser.add_argument("--minutes", type=float, default=5.0, help="of scenes in each row (default 5)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    world, held_out = load_assets()
    suite, ear = duplex(args.minutes, args.seed, world, held_out), Ear(world)
    came: dict[str, Scores] = {}
    ways = rows(args.bundle, args.quiet_history, args.seed)
    ways = {name: way for name, way in ways.items() if any(part in name for part in args.rows or [""])}
    if not ways:
        parser.error(f"no row's name holds {' or '.join(args.rows)}; drop --rows to see all")
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("cases", total=len(ways) * len(suite.cases))
        for name, make in ways.items():
            session, kind = make()
            agent, measured = kind(session, world), []
            for case in suite.cases:
                scene = scene_of(case, world)
                measured.append(measure(case, scene, run_case(agent, case, scene, held_out), ear))
                bar.advance(task)
            came[name] = score(measured)
    console, table = Console(), Table(Column("score", no_wrap=True), *came)
    for one in SHOWN:
        values = [scores[one].value if one in scores else None for scores in came.values()]
        table.add_row(one, *("-" if value is None else f"{value:.3g}" for value in values))
    console.print(table)
    print(
        json.dumps({name: {one: scores[one].value for one in SHOWN if one in scores} for name, scores in came.items()})
    )


if __name__ == "__main__":
    main()
