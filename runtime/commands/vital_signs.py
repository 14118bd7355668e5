"""What a run with ``--health`` tells of itself: recorded or live.

Receives a plan; hands on the vitals of its run, published where the plan wants it, and how each loop's counts become
figures of health. Nothing is published, and telling costs next to nothing, where no ``--health`` was given.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edge_streamer.devices.board.thermal import zones
from edge_streamer.devices.jetson.system import System
from edge_streamer.runtime.ending import Stopped
from edge_streamer.runtime.errors import EdgeStreamerError, reason
from edge_streamer.runtime.health.places import by_option
from edge_streamer.runtime.health.publish import Publisher
from edge_streamer.runtime.health.record import Device
from edge_streamer.runtime.health.service_manager import ServiceManager
from edge_streamer.runtime.health.vitals import Counts, Vitals
from edge_streamer.runtime.loop.counters import Counters
from edge_streamer.runtime.loop.report import RunReport
from edge_streamer.runtime.loop.request import LivePlan, Plan
from edge_streamer.runtime.outputs import check_distinct, check_outputs, check_outside
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.timing import Tell

AS_ASKED = "ended as asked"
"""The input was over, or so many seconds were."""


def check_places(plan: Plan | LivePlan) -> None:
    """Everything that the run writes can be written, its health included. InputError where something cannot."""
    files, sockets = by_option(plan.health, socket=False), by_option(plan.health, socket=True)
    outputs, inputs = {**plan.outputs(), **files}, plan.inputs()
    check_outputs(outputs, inputs)
    for option, path in sockets.items():
        for other, source in inputs.items():
            check_outside(option, path, other, source)
    log = {"--log": plan.log} if isinstance(plan, LivePlan) and plan.log else {}
    check_distinct({**outputs, **sockets, **log})


@contextmanager
def published(plan: Plan | LivePlan) -> Iterator[Vitals]:
    """The vitals of a run, told from here on until the block ends, and how it ended where an error ends it."""
    system = System()
    vitals = Vitals(plan.pace if isinstance(plan, Plan) else "live", lambda: zones(system))
    with Publisher(vitals, plan.health, _tell), ServiceManager(vitals):
        try:
            yield vitals
        except EdgeStreamerError as error:
            vitals.stop(str(error), error.exit_status)
            raise
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
            vitals.stop(f"ended at once by {signal.Signals(number).name}", 128 + number)
            raise
        except Exception as error:  # a fault of ours: told as any other end
            vitals.stop(reason(error), 1)
            raise
        vitals.stop(AS_ASKED, 0)  # where nothing else was said


def heard_by(vitals: Vitals, tell: Tell) -> Tell:
    """A ``tell`` of the opening that the vitals hear too."""

    def both(what: str, done: int, total: int) -> None:
        vitals.opening(what, done, total)
        tell(what, done, total)

    return both


def opened(vitals: Vitals, session: Session) -> None:
    vitals.opened(session.bundle.manifest.name, session.bundle.hash, session.engine.name)


def ended(vitals: Vitals, stopped: str | None, caught: int, status: int) -> int:
    """Say how a run ended that ended by itself or as asked; returns ``status``."""
    vitals.stop(stopped or (f"ended by {signal.Signals(caught).name}" if caught else AS_ASKED), status)
    return status


def of_report(vitals: Vitals, report: RunReport) -> None:
    """After every unit of a recorded run."""
    answered = report.units - report.concealed
    vitals.counted(lambda: Counts(report.units, report.units - report.concealed, report.concealed, 0, report.misses,
                                  report.unit_seconds, report.unit_times))  # fmt: skip
    vitals.unit(answered, report.concealed + report.settle_failures, report.newest_failure)


def of_counters(vitals: Vitals, counters: Counters) -> None:
    """After every unit of a live run."""
    vitals.counted(lambda: _of_counters(counters))
    vitals.unit(counters.answered)


def _of_counters(counters: Counters) -> Counts:
    devices = {kind: Device(state.name, state.open, state.error or None) for kind, state in counters.devices.items()}
    return Counts(counters.units, counters.answered, counters.failed, counters.skipped, counters.misses,
                  counters.unit_seconds, counters.unit_times, devices)  # fmt: skip


ERRORS = ("failed", " lost", " ended", " given up")
"""How events of a live run end that are errors."""


def of_event(vitals: Vitals, what: str, why: str) -> None:
    """An event of a live run."""
    if what.endswith(ERRORS):
        vitals.error(f"{what}: {why}" if why else what)


def _tell(text: str) -> None:
    """Straight to standard error, from another thread."""
    with suppress(OSError):
        os.write(2, f"edge-streamer: {text}\n".encode("utf-8", "backslashreplace"))
