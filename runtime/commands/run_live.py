"""``edge-streamer run`` with live devices.

Receives a :class:`~edge_streamer.runtime.loop.request.LivePlan`; hands on a conversation, its files and an exit status:
0 ended as asked (Ctrl-C, SIGTERM, ``--seconds``, the leave key), 1 too many units failed or a step hung, 2 something
cannot be used. Devices are opened first, all at once, so that every one that is missing has its line before anything is
written.

SIGHUP opens all devices anew. A second signal ends at once and keeps no film. A step that hangs cannot be interrupted:
the watchdog then completes what was recorded and ends the process. (Before the conversation, `ending.py` does.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from edge_streamer.devices.files.lossless import LosslessWriter
from edge_streamer.devices.live.opening import opened as opened_devices
from edge_streamer.runtime.bundle.shipped import VOICES, is_demo
from edge_streamer.runtime.commands.circumstances import circumstances, title, units_in
from edge_streamer.runtime.commands.fitting import fitted
from edge_streamer.runtime.commands.prefix import start_from
from edge_streamer.runtime.commands.recording import Recorded, recording
from edge_streamer.runtime.commands.signals import Signals, no_hangup
from edge_streamer.runtime.commands.vital_signs import (
    check_places,
    ended,
    heard_by,
    of_counters,
    of_event,
    opened,
    published,
)
from edge_streamer.runtime.commands.warm_up import warm_up
from edge_streamer.runtime.ending import LIMIT, give_up, hung_seconds, last_words, underway
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.health.vitals import Vitals
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.ends import LiveEnds, Settings
from edge_streamer.runtime.loop.journal import Journal
from edge_streamer.runtime.loop.live import run_live
from edge_streamer.runtime.loop.log import Log
from edge_streamer.runtime.loop.media import filled
from edge_streamer.runtime.loop.priorities import nothing_to_collect, raise_priority
from edge_streamer.runtime.loop.recorders import Recorders
from edge_streamer.runtime.loop.request import LivePlan
from edge_streamer.runtime.loop.watchdog import HUNG_SECONDS, Watchdog, Watches
from edge_streamer.runtime.pages.terminal import StatusLine, opening, show_end, unheard
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import MonotonicClock


def execute_live(plan: LivePlan) -> int:
    """Converse as ``plan`` says; returns the exit status. Raises InputError and its kin."""
    check_places(plan)
    with published(plan) as vitals:
        return _execute(plan, vitals)


def _execute(plan: LivePlan, vitals: Vitals) -> int:
    with ExitStack() as stack:
        stack.enter_context(no_hangup())  # devices are opened in a moment anyway
        with opening() as tell:
            session = open_session(plan.bundle, knobs=plan.knobs, engine=plan.engine, tell=heard_by(vitals, tell))
        opened(vitals, session)
        stack.enter_context(closing(session))
        plan, media = fitted(plan, session), filled(session.media)
        if plan.prefix:
            start_from(session, plan.prefix)
        warm_up(session, plan.knobs)
        log = stack.enter_context(closing(Log(plan.log, MonotonicClock())))
        devices = stack.enter_context(opened_devices(plan, media))
        signals = stack.enter_context(Signals(hangup=True))
        recorded = stack.enter_context(recording(plan, media))
        conversation = Conversation(plan, session, devices, log, signals, recorded, vitals)
        counters = conversation.run()
        try:
            conversation.keep(counters)
        except (EdgeStreamerError, OSError):  # how it went is told all the same
            show_end(counters, {}, unheard(sys.stdout))
            raise
    show_end(counters, recorded.files if counters.units else {}, unheard(sys.stdout))
    return ended(vitals, counters.stopped, signals.caught, int(bool(counters.stopped or not counters.answered)))


class Conversation:
    """One live run and everything around its loop. ``each`` is told the counters after every unit."""

    def __init__(
        self, plan: LivePlan, session: Session, opened: Any, log: Log, signals: Signals, recorded: Recorded,
        vitals: Vitals | None = None, each: Callable[[Counters], None] = lambda counters: None,
    ) -> None:  # fmt: skip
        self._plan, self._session, self._opened, self._log = plan, session, opened, log
        self._signals, self._recorded, self._each = signals, recorded, each
        self._vitals = vitals or Vitals("live")  # that nobody reads
        self._knobs = replace(plan.knobs, steps=plan.knobs.steps or session.program.default_steps or 1)
        voices = [VOICES] if is_demo(plan.bundle) else []
        self._line = StatusLine("\n".join([title(session), *voices, *opened.notes]))
        self._counters: Counters | None = None
        self._journal: Journal | None = None
        self._slow = 0

    def run(self) -> Counters:
        """Until it ends."""
        plan, session = self._plan, self._session
        if plan.record:
            self._journal = Journal(plan.record, session, self._knobs, LosslessWriter, self._event)
        journal = self._journal
        with ExitStack() as stack:
            if journal:
                stack.callback(journal.close)
            line = stack.enter_context(self._line)
            for note in raise_priority():
                line.note(note)
            stack.enter_context(nothing_to_collect())
            stack.enter_context(last_words(self._keep_rest, self._recorded.discard))
            limit = hung_seconds() if os.environ.get(LIMIT) else HUNG_SECONDS
            dog = stack.enter_context(Watchdog(self._slow_step, self._hung, hung_seconds=limit))
            self._log.event("begin", **circumstances(plan, session), devices=self._opened.notes)
            opened = self._opened
            ends = LiveEnds(
                opened.microphone, opened.speaker, opened.camera, opened.screen, opened.keys,
                Recorders(self._recorded.voice, self._recorded.film, self._recorded.watchers, self._event,
                          self._recorded.give_up),
                journal, Watches(dog, self._vitals),
            )  # fmt: skip
            settings = Settings(self._knobs, plan.target_seconds, units_in(plan.seconds, session.media))
            self._vitals.enter("running")
            counters = run_live(
                session, ends, MonotonicClock(), settings, stopped=self._stopped, reopen=self._signals.hung_up,
                event=self._event, progress=self._progress, sections=session.sections,
            )  # fmt: skip
            self._vitals.enter("ending")
        return counters

    def _stopped(self) -> bool:
        return self._signals.caught != 0 or self._opened.ended()

    def _progress(self, counters: Counters, said: str) -> None:
        self._counters = counters
        counters.slow_steps = self._slow
        counters.log_lost = self._log.lost
        counters.echo_loss_db = self._opened.echo_loss_db()
        self._log.counters(counters)
        of_counters(self._vitals, counters)
        self._line.show(said, counters.line)
        self._each(counters)

    def _event(self, what: str, why: str) -> None:
        """Told in the log, and above the status line: nothing goes wrong silently."""
        self._log.event(what, why=why)
        of_event(self._vitals, what, why)
        self._line.note(f"{what}: {why}" if why else what)

    def _slow_step(self, seconds: float) -> None:
        self._slow += 1
        self._event("slow step", f"a step has taken {seconds:.1f} s so far")

    def _hung(self, seconds: float) -> None:
        """From the watchdog's thread: save what can be saved, and end."""
        give_up(
            f"a step has not returned for {seconds:.0f} s: the engine or its driver hangs ({underway.what or 'none'})"
        )

    def _keep_rest(self, why: str) -> None:
        """From a thread that ends the process."""
        self._event("hung", why)
        counters = self._counters
        if counters is not None:
            counters.stopped = why
            self._recorded.keep(self._figures(counters))

    def keep(self, counters: Counters) -> None:
        """The figures of the end, and every file."""
        journal = self._journal
        counters.slow_steps, counters.log_lost = self._slow, self._log.lost
        counters.echo_loss_db, counters.echo = self._opened.echo_loss_db(), self._opened.echo_figures()
        if journal and journal.stopped:
            counters.record_stopped = "; ".join(filter(None, (counters.record_stopped, f"record: {journal.stopped}")))
        self._log.event("end", **counters.figures())
        if counters.units:
            self._recorded.keep(self._figures(counters))

    def _figures(self, counters: Counters) -> dict[str, object]:
        return {**circumstances(self._plan, self._session), "pace": "live", **counters.figures()}
