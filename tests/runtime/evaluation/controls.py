"""Faults that must be seen: what breaks a session, what spoils a bundle's weights, and how a session is looked at.

Receives a session (or a bundle's folder); hands it on broken. Each stands for a mistake that a runtime, an export or a
quantizer really makes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_streamer.runtime.bundle.manifest import MASKED
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.compare.error_over_time import Drift, drift
from edge_streamer.runtime.evaluation.ear import Ear
from edge_streamer.runtime.evaluation.measure import Measured, measure
from edge_streamer.runtime.evaluation.parity import Parity, bundle_parity, units_of
from edge_streamer.runtime.evaluation.runner import SessionAgent, run_case
from edge_streamer.runtime.evaluation.score import Scores, score
from edge_streamer.runtime.evaluation.suite import Case, duplex, scene_of
from edge_streamer.runtime.evaluation.world.assets import HeldOut, load_assets
from edge_streamer.runtime.evaluation.world.scene import World
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.state.store import Carries, Ring
from edge_streamer.runtime.unit import Knobs, Response, Unit

Break = Callable[[Session], None]


def zeros_as_history(session: Session) -> None:
    """The agent's clean tokens are those of latents of zeros."""

    def change(step: Callable[[], Response]) -> Response:
        for buffer in session.program.held().values():
            session.engine.write(buffer, np.zeros(buffer.shape, buffer.dtype))
        return step()

    around_step(session, change)


class OffByOne(Ring):
    """Writes a unit one block too far."""

    def aim(self) -> None:
        self.first.host[0] = (self.units + 1) % (self.window + 1) * self.places


class NeverEvicts(Ring):
    """Leaves the oldest unit visible while the next one takes its place."""

    def mark(self, rows: NDArray[np.float32], block: NDArray[np.float32]) -> None:
        super().mark(rows, block if self.units <= self.window else np.zeros_like(block))


class ShortWindow(Ring):
    """Remembers fewer units than it has room for."""

    remembered = 4

    def mark(self, rows: NDArray[np.float32], block: NDArray[np.float32]) -> None:
        super().mark(rows, block)
        blocks = self.window + 1
        kept = {(self.units - i) % blocks for i in range(min(self.remembered, self.units) + 1)}
        for lost in set(range(blocks)) - kept:
            rows[:, lost * self.places : (lost + 1) * self.places] = MASKED


def rings_become(kind: type[Ring]) -> Break:
    def broken(session: Session) -> None:
        for name in ("main", "video"):
            session.place.store.rings[name].__class__ = kind

    return broken


def window_of(units: int) -> Break:
    """Main and video window of at most so many units."""
    return rings_become(type("Window", (ShortWindow,), {"remembered": units}))


class OneTailLost(Carries):
    """The first tail of a graph starts from zero in every unit."""

    def commit(self) -> None:
        super().commit()
        first = next(iter(self.committed.values()))
        self._engine.write(first, np.zeros(first.shape, first.dtype))


class NeverSwapped(Carries):
    """What a unit wrote is not what the next one reads."""

    def mark_run(self) -> None:
        """It never ran, so nothing is copied."""


def carries_become(kind: type[Carries], graph: str) -> Break:
    def broken(session: Session) -> None:
        session.place.store.carries[graph].__class__ = kind

    return broken


def wrong_time_on_commit(session: Session) -> None:
    """Clean latents enter the history as if they were half noise."""
    wan_streamer(session.program).wiring.clean_time["t"].host.fill(0.5)


def around_step(session: Session, change: Callable[[Callable[[], Response]], Response]) -> None:
    program = wan_streamer(session.program)
    step = program.step
    program.step = lambda unit, tokens=None: change(lambda: step(unit, tokens))  # type: ignore[method-assign]


def prefix_lost(session: Session) -> None:
    """The pinned prefix is evicted."""

    def change(step: Callable[[], Response]) -> Response:
        session.place.store.rings["prefix"].units = 0
        return step()

    around_step(session, change)


def always(token: str, silent: bool) -> Break:
    """A model whose state slot always says ``token``; ``silent``: and whose words and voice are nothing."""

    def broken(session: Session) -> None:
        program = wan_streamer(session.program)
        state: int = getattr(program.constants, token)

        def change(step: Callable[[], Response]) -> Response:
            answer = step()
            program.wiring.sampled[0]["token"].host[:] = state
            tokens = (state, *answer.tokens[1:])
            if silent:
                return replace(answer, tokens=tokens, text="", samples=np.zeros_like(answer.samples))
            hum = 0.05 * np.sin(np.arange(len(answer.samples)) * 0.1).astype(np.float32)
            return replace(answer, tokens=tokens, text=answer.text or "a", samples=answer.samples + hum)

        around_step(session, change)

    return broken


def sound_a_unit_late(session: Session) -> None:
    """The voice of the unit before."""
    last: list[NDArray[np.float32]] = []

    def change(step: Callable[[], Response]) -> Response:
        answer = step().copy()
        last.append(answer.samples)
        return replace(answer, samples=last.pop(0) if len(last) > 1 else np.zeros_like(answer.samples))

    around_step(session, change)


FAULTS: dict[str, Break] = {
    "zeros as history": zeros_as_history,
    "ring cursor off by one unit": rings_become(OffByOne),
    "ring forgets to evict": rings_become(NeverEvicts),
    "window cut to 4 units": window_of(4),
    "conv tail not carried (encode)": carries_become(OneTailLost, "encode"),
    "conv tail not carried (decode)": carries_become(OneTailLost, "decode"),
    "carries not swapped": carries_become(NeverSwapped, "encode"),
    "wrong solver time on commit": wrong_time_on_commit,
    "pinned prefix lost": prefix_lost,
    "never speaks": always("token_listen", silent=True),
    "always speaks": always("token_speak", silent=False),
    "sound a unit late": sound_a_unit_late,
}


def shuffled(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same numbers in another order."""
    return np.random.default_rng(0).permutation(weights)


def int2(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blocks of 32 numbers, each -1, 0 or 1 times the block's scale."""
    blocks = weights[: len(weights) // 32 * 32].reshape(-1, 32)
    scale = np.abs(blocks).max(1, keepdims=True) + 1e-12
    return np.concatenate([(np.round(blocks / scale) * scale).ravel(), weights[blocks.size :]])


SPOILERS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "shuffled weights": shuffled,
    "int2 weights": int2,
}


def spoiled(bundle: Path, name: str, folder: Path) -> Session:
    """A session on a copy of ``bundle`` whose core's weights were changed; checksums are not looked at."""
    copy = Path(shutil.copytree(bundle, folder / "spoiled"))
    file = copy / "graphs" / "core.weights"
    weights = np.frombuffer(file.read_bytes(), np.float32)
    file.write_bytes(SPOILERS[name](weights).astype(np.float32).tobytes())
    return open_session(Bundle.open(copy, verify=False), verify=False)


def broken(session: Session, name: str) -> Session:
    """A conversation of its own on the same weights, with the fault ``name``."""
    twin = session.twin(Knobs())
    FAULTS[name](twin)
    return twin


# ---- how a session is looked at ----


@cache
def world() -> tuple[World, HeldOut]:
    return load_assets()


@cache
def case() -> Case:
    """A question, its answer, and enough units that every ring has wrapped."""
    return next(c for c in duplex(60.0, 0, *world()).cases if c.kind == "recall" and c.script.units > 66)


def parity(tested: Session, session: Session) -> Parity:
    return bundle_parity(tested, session.twin(), case(), *world())


BEGINNING = 24
"""Units in which a fault is seen that needs no ring to have wrapped."""


@cache
def beginning() -> list[Unit]:
    return list(islice(units_of(case(), scene_of(case(), world()[0]), world()[1]), BEGINNING))


def early_parity(tested: Session, session: Session) -> Drift:
    """As ``parity``, over the case's first BEGINNING units."""
    reference = session.twin()
    for each in (tested, reference):
        SessionAgent(each, world()[0]).begin(case(), scene_of(case(), world()[0]), True)
    return drift(tested, reference, beginning(), "forced")


KINDS = {"smooth": 2, "recall": 4, "again": 2, "silence": 1, "stop": 1, "noise": 1}
"""How many scenes of each kind are played."""


@cache
def scenes() -> list[Case]:
    left, chosen = dict(KINDS), list[Case]()
    for each in duplex(20.0, 1, *world()).cases:
        if left.get(each.kind, 0):
            left[each.kind] -= 1
            chosen.append(each)
    return chosen


class Behaviour:
    """What a session does in the scenes; each is played once, when it is first asked for."""

    def __init__(self, session: Session) -> None:
        toy, self._held_out = world()
        self._agent, self._ear = SessionAgent(session, toy), Ear(toy)
        self._made: dict[int, Measured] = {}

    def scores(self, kinds: Collection[str]) -> Scores:
        """In all scenes of some ``kinds``."""
        return score([self._measured(each) for each in scenes() if each.kind in kinds])

    def _measured(self, case: Case) -> Measured:
        if case.number not in self._made:
            scene = scene_of(case, world()[0])
            self._made[case.number] = measure(
                case, scene, run_case(self._agent, case, scene, self._held_out), self._ear
            )
        return self._made[case.number]
