"""A bundle is opened, warmed and run under a timeline, each part of its cold start timed.

Receives a bundle's path, an engine's name and what feeds the units; hands on :class:`Started` and, after
:func:`run_units`, a filled :class:`Timeline`. Rings are full when time counts: they stand as after a whole window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from edge_streamer.runtime.engines.choose import choose
from edge_streamer.runtime.errors import DeviceLost, InputError, StepError
from edge_streamer.runtime.loop.recorded import MOST_FAILURES, Ends, Pace, run_loop
from edge_streamer.runtime.profile.graphs import window_units
from edge_streamer.runtime.profile.report import Cold
from edge_streamer.runtime.profile.timeline import Timeline
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import MonotonicClock, Tell
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.unit import Knobs, Unit

WARM_UNITS = 2
"""After the rings were filled: the first of them has nothing of its own to commit."""


@dataclass
class Started:
    """A session whose rings are full, and what it took until here."""

    session: Session
    cold: Cold


@dataclass
class Ran:
    """What came of the units."""

    failed: int = 0
    stopped: str | None = None
    wall_seconds: float = 0.0


@dataclass
class _Watch:
    """Milliseconds of each graph's opening, told by the engine."""

    tell: Tell
    graphs: dict[str, float] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)

    def __call__(self, what: str, done: int, total: int) -> None:
        self.tell(what, done, total)
        begun = self._begun.setdefault(what, perf_counter())
        self.graphs[what] = 1e3 * (perf_counter() - begun)


def start(path: Path, engine: str, knobs: Knobs, tell: Tell, warm: Callable[[Session, Knobs], None]) -> Started:
    """Open ``path`` and warm it; ``warm`` is for bundles that converse. Raises what ``open_session`` raises."""
    marks = [perf_counter()]
    bundle = open_bundle(path)
    marks.append(perf_counter())
    choice = choose(engine, manifest=bundle.manifest)
    marks.append(perf_counter())
    watch = _Watch(tell)
    session = open_session(bundle, knobs=knobs, engine=choice.engine, tell=watch)
    session.engine_why = choice.why
    marks.append(perf_counter())
    before, unit = session.snapshot(), made_unit(session)
    begun = perf_counter()
    session.step(unit)
    marks += [begun, perf_counter()]
    session.restore(before)
    if converses(session):
        warm(session, knobs)
    fill(session, unit)
    build = sum(watch.graphs.values())
    cold = Cold(
        open_ms=1e3 * (marks[1] - marks[0]), engine_ms=1e3 * (marks[2] - marks[1]), build_ms=build, graphs=watch.graphs,
        buffers_ms=max(1e3 * (marks[3] - marks[2]) - build, 0.0), first_unit_ms=1e3 * (marks[5] - marks[4]),
        warm_up_ms=1e3 * (perf_counter() - marks[5]),
    )  # fmt: skip
    return Started(session, cold)


def converses(session: Session) -> bool:
    """Whether media are all that its units take, so that files can feed it."""
    return session.bundle.manifest.media is not None and not session.program.takes()


def fill(session: Session, unit: Unit) -> None:
    """Let the rings have seen a whole window, and warm up from there."""
    units = window_units(session.bundle.manifest)
    if units is not None:
        session.stand_at(units)
    for _ in range(WARM_UNITS):
        session.step(unit)


def made_unit(session: Session) -> Unit:
    """A unit of silence, and numbers drawn once for the arrays that the bundle takes."""
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(form.shape).astype(form.dtype) for name, form in session.program.takes().items()
    }
    return Unit(arrays=arrays)


def run_units(
    session: Session, ends: Ends | None, timeline: Timeline, *, pace: Pace, units: int,
    stopped: Callable[[], bool], progress: Callable[[int, float], None],
) -> Ran:  # fmt: skip
    """``units`` units under ``timeline``; ``progress`` is told after each how many there were and the seconds of the
    last step. Without ``ends`` it steps on the same numbers."""
    begun = perf_counter()
    with session.sections.told_to(timeline):
        if ends is None:
            ran = _steps(session, pace, units, stopped, progress)
        else:
            report = run_loop(
                session, ends, MonotonicClock(), pace=pace, units=units, stopped=stopped,
                progress=lambda report, response: progress(report.units, response.seconds), sections=session.sections,
            )  # fmt: skip
            ran = Ran(report.concealed, report.stopped)
    timeline.settle()
    ran.wall_seconds = perf_counter() - begun
    return ran


def run_apart(session: Session, units: int, stopped: Callable[[], bool]) -> Timeline:
    """Units more, call by call, on an engine that captures a unit as one graph: only so do its runs have times of
    their own."""
    timeline, meter = Timeline(), session.place.meter
    meter.timed = True
    try:
        with session.sections.told_to(timeline):
            _steps(session, "fast", units, stopped, lambda done, seconds: None)
    finally:
        meter.timed = False
    timeline.settle()
    return timeline


def _steps(session: Session, pace: Pace, units: int, stopped: Callable[[], bool],
           progress: Callable[[int, float], None]) -> Ran:  # fmt: skip
    if pace == "real":
        raise InputError("the bundle takes more than media, so it has no pace of its own; leave --pace out")
    unit, sections, ran, failures = made_unit(session), session.sections, Ran(), 0
    for count in range(units):
        if stopped() or ran.stopped:
            break
        with sections("unit"):
            try:
                seconds, failures = session.step(unit).seconds, 0
            except (StepError, DeviceLost) as error:
                seconds, failures, ran.failed = 0.0, failures + 1, ran.failed + 1
                if failures >= MOST_FAILURES or isinstance(error, DeviceLost):
                    ran.stopped = str(error)
            with sections("progress", "apart"):
                progress(count + 1, seconds)
    return ran
