"""``edge-streamer profile --live``: the conversation that is profiled, held by the loop and the devices of ``run``.

Receives a warm session, a plan of its devices and a timeline; hands on what was measured. Nothing is recorded.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import perf_counter

from edge_streamer.devices.live.opening import opened as opened_devices
from edge_streamer.runtime.commands.fitting import fitted
from edge_streamer.runtime.commands.recording import recording
from edge_streamer.runtime.commands.run_live import Conversation
from edge_streamer.runtime.commands.signals import Signals
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.log import Log
from edge_streamer.runtime.loop.media import filled
from edge_streamer.runtime.loop.request import LivePlan
from edge_streamer.runtime.profile.live import Live, live_of
from edge_streamer.runtime.profile.measure import Ran
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.timing import MonotonicClock


@dataclass
class _Dry:
    """Told the counters after every unit; notes the units that came when the speaker had run dry."""

    units: list[int] = field(default_factory=list)
    _before: int = 0

    def __call__(self, counters: Counters) -> None:
        if counters.misses > self._before:
            self.units.append(counters.units - counters.skipped - 1)
        self._before = counters.misses


def converse(plan: LivePlan, session: Session, timeline: Timeline, units: int,
             signals: Signals) -> tuple[Ran, dict[str, str], Live]:  # fmt: skip
    """So many units with the devices of ``plan``, under ``timeline``; what came of it, and the devices' names.
    InputError where a device cannot be had."""
    plan, media = fitted(plan, session), filled(session.media)
    plan = replace(plan, seconds=units * media.unit)
    begun, dry = perf_counter(), _Dry()
    with ExitStack() as stack:
        log = Log(None, MonotonicClock())
        opened = stack.enter_context(opened_devices(plan, media))
        took = perf_counter() - begun
        recorded = stack.enter_context(recording(plan, media))  # of nothing
        conversation = Conversation(plan, session, opened, log, signals, recorded, each=dry)
        with session.sections.told_to(timeline):
            counters = conversation.run()
        conversation.keep(counters)
        timeline.settle()
    session.turn(plan.knobs)  # the ladder may have turned them
    ran = Ran(counters.failed, counters.stopped, counters.wall_seconds)
    if ran.stopped is None and not signals.caught and counters.units < units:
        ran.stopped = f"the sound of --mic was over, or it was left, after {counters.units} units"
    names = {name: state.name for name, state in counters.devices.items()}
    return ran, names, live_of(counters, dry.units, took)
