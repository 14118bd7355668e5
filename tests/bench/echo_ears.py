"""Does a bundle understand words that are said over its own voice?

Receives a bundle and a number of cases; plays the shipped suite's interruptions, stops and plain commands in a closed
loop in which a made-up room returns the agent's voice to its microphone, with each way of dealing with it, and hands on
what was understood. What is said in a unit leaves the speaker 60 ms after that unit has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge_streamer.devices.live.sound.echo.canceller import Mode, open_echo
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import measure
from edge_streamer.runtime.evaluation.runner import Agent, SessionAgent, run_case
from edge_streamer.runtime.evaluation.score import score
from edge_streamer.runtime.evaluation.suite import Case, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import HeldOut, load_assets
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import RATE, UNIT
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.unit import Response, Unit
from tests.rooms import EchoRoom

KINDS = ("interruption", "stop", "smooth")
BLOCK = RATE // 100
SPEAKER_SAMPLES = round(0.06 * RATE)
START = 1000.0
"""The clock's reading at the beginning."""

LEVELS = (-18.0, -12.0, -6.0, 0.0, 6.0)
MODES: tuple[Mode, ...] = ("off", "full", "half")
Way = tuple[str, Mode | None, EchoRoom | None]


class Echoing:
    """An agent whose voice comes back to it, in one room for all cases."""

    def __init__(self, agent: Agent, mode: Mode, room: EchoRoom) -> None:
        self._agent, self._room = agent, room
        self.speak_token = agent.speak_token
        self._rng = np.random.default_rng(0)
        self._impulse = room.impulse(RATE, self._rng)
        self._echo = open_echo(mode, RATE)
        self._unit = 0
        self._tail = np.zeros(len(self._impulse) + SPEAKER_SAMPLES + UNIT)
        """What is in the air from the next unit's beginning on."""
        self._play(np.zeros(UNIT, np.float32))  # what leaves while the first unit is captured

    def begin(self, case: Case, scene: Scene, fresh: bool) -> None:
        self._agent.begin(case, scene, fresh)

    def step(self, unit: Unit) -> Response:
        assert unit.samples is not None
        noise = self._rng.standard_normal(UNIT) * 10 ** (self._room.noise_db / 20)
        near = np.clip(unit.samples + self._tail[:UNIT] + noise, -1, 1).astype(np.float32)
        self._tail = np.concatenate([self._tail[UNIT:], np.zeros(UNIT)])
        begin = self._unit * UNIT
        cleaned = [self._echo.clean(near[at : at + BLOCK], START + (begin + at) / RATE) for at in range(0, UNIT, BLOCK)]
        response = self._agent.step(replace(unit, samples=np.concatenate(cleaned)))
        self._unit += 1
        self._play(response.samples)
        return response

    def _play(self, samples: np.typing.NDArray[np.float32]) -> None:
        leaves = self._unit * UNIT + SPEAKER_SAMPLES
        for at in range(0, UNIT, BLOCK):
            self._echo.played(START + (leaves + at) / RATE, samples[at : at + BLOCK].copy(), RATE)
        drive = self._room.drive
        wet = np.convolve(np.tanh(drive * samples) / drive if drive else samples, self._impulse)
        self._tail[SPEAKER_SAMPLES : SPEAKER_SAMPLES + len(wet)] += wet


def ways(levels: Sequence[float], modes: Sequence[Mode]) -> list[Way]:
    """What is tried: no echo, then every level with every mode."""
    rooms = [(f"echo {level:+.0f} dB, {mode}", mode, EchoRoom(echo_db=level)) for level in levels for mode in modes]
    return [("no echo", None, None), *rooms]


def ears(bundle: Path, cases: int, tried: Sequence[Way]) -> dict[str, Any]:
    """What was understood, by way of dealing with the echo."""
    world, held_out = load_assets()
    inner = SessionAgent(open_session(bundle), world)
    chosen = list(_cases(cases, world, held_out))
    found = {}
    table = Table("way", "understood over its voice", "stopped", "understood when quiet", "spoke unasked a minute")
    for name, mode, room in track(tried, "Playing", console=Console(stderr=True)):
        agent = Echoing(inner, mode, room) if mode and room else inner
        found[name] = line = _play(agent, chosen, world, held_out)
        table.add_row(name, *(f"{line[key]:.2f}" for key in ("interruption", "stop", "smooth", "unasked")))
    Console(width=150).print(table)
    return {"bundle": bundle.name, "cases": len(chosen), "ways": found}


def _cases(count: int, world: World, held_out: HeldOut) -> Iterator[Case]:
    """So many of each kind, of the shipped suite."""
    left = dict.fromkeys(KINDS, count)
    suite = duplex(60.0, 0, world, held_out).cases
    yield next(case for case in suite if case.kind == "smooth")  # in which the canceller learns the room
    for case in suite:
        if left.get(case.kind, 0):
            left[case.kind] -= 1
            yield case


def _play(agent: Agent, cases: list[Case], world: World, held_out: HeldOut) -> dict[str, float]:
    ear = Ear(world)
    measured = []
    for case in cases:
        scene = scene_of(case, world)
        measured.append(measure(case, scene, run_case(agent, case, scene, held_out), ear))
    measured = measured[1:]
    scores = score(measured)
    over = [q for each in measured if each.kind == "interruption" for q in each.questions[1::2]]
    halts = [halt for each in measured for halt in each.halts if halt.spoke]
    return {
        "interruption": sum(q.verdict == "right" for q in over) / max(len(over), 1),
        "stop": sum(halt.units <= 2 for halt in halts) / max(len(halts), 1),
        "smooth": scores["right.smooth"].value or 0.0,
        "unasked": scores["false_answers_a_minute.everywhere"].value or 0.0,
        "halts": len(halts), "interruptions": len(over),
    }  # fmt: skip
