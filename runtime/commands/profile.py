"""``edge-streamer profile [BUNDLE] --out DIR``: will this bundle hold its unit here, what limits it, what would help.

Receives a bundle, and media or devices to feed it; hands on a folder with report.html, profile.json and, where wanted,
trace.json.
Ctrl-C or SIGTERM ends the run after the unit in progress and keeps what was measured; a second one keeps nothing. With
``--compare`` nothing is run: two profiles are set side by side.

Exit status: 0 done, 1 a bound of the budget is broken or every unit failed, 2 the input cannot be used, 130 and 143
ended by a signal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from edge_streamer.runtime.bundle.shipped import MEDIA
from edge_streamer.runtime.commands.circumstances import title
from edge_streamer.runtime.commands.named_bundle import chosen
from edge_streamer.runtime.commands.profile_board import Watched
from edge_streamer.runtime.commands.profile_media import Endless
from edge_streamer.runtime.commands.profile_options import UNITS, live_plan
from edge_streamer.runtime.commands.profile_options import add_arguments as add_arguments
from edge_streamer.runtime.commands.profile_show import show, show_comparison
from edge_streamer.runtime.commands.signals import Signals
from edge_streamer.runtime.commands.warm_up import warm_up
from edge_streamer.runtime.ending import Stopped
from edge_streamer.runtime.engines.cpu import OrtEngine
from edge_streamer.runtime.engines.cuda.engine import CudaEngine
from edge_streamer.runtime.errors import EdgeStreamerError, InputError, MediaError, one_line
from edge_streamer.runtime.files import check_new_folder, new_folder, to_json
from edge_streamer.runtime.loop.media import filled
from edge_streamer.runtime.loop.recorded import Ends
from edge_streamer.runtime.loop.request import LivePlan
from edge_streamer.runtime.machine import machine, peak_megabytes, versions
from edge_streamer.runtime.outputs import BUNDLE, check_outside
from edge_streamer.runtime.pages.terminal import StatusLine, bars, opening
from edge_streamer.runtime.profile.budget import broken, read_budget
from edge_streamer.runtime.profile.ceilings import ceilings, device_ceilings, device_remembered, remembered
from edge_streamer.runtime.profile.compare import compare
from edge_streamer.runtime.profile.device_model import device_model
from edge_streamer.runtime.profile.graphs import operators, with_steps
from edge_streamer.runtime.profile.layers import layers
from edge_streamer.runtime.profile.measure import Ran, Started, converses, made_unit, run_apart, run_units, start
from edge_streamer.runtime.profile.plan import UNIT_SECONDS
from edge_streamer.runtime.profile.report import VERSION, Memory, Profile, read_profile, timed, with_runs_apart
from edge_streamer.runtime.profile.report_page import render
from edge_streamer.runtime.profile.roofline import HostModel, Measured, Model, bound_by, graph_rows, what_helps
from edge_streamer.runtime.profile.timeline import Run, Timeline
from edge_streamer.runtime.profile.trace import write_trace
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.streams import as_text
from edge_streamer.runtime.unit import Knobs

BAR = 20
"""Characters of the progress bar."""
APART = 50
"""Units that are played call by call on an engine that captures."""


def main(args: argparse.Namespace) -> int:
    """``edge-streamer profile``."""
    if args.compare:
        return _compare(args)
    if args.out is None:
        raise InputError("--out is missing; name the folder to make for the report")
    bounds = read_budget(args.budget) if args.budget else []
    path = chosen(args)
    check_new_folder(args.out)
    check_outside("--out", args.out, BUNDLE, path)
    try:
        knobs = Knobs(steps=args.steps)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    plan = live_plan(args, path, knobs)
    with opening() as tell:
        started = start(path, args.engine, knobs, tell, warm_up)
    with closing(started.session) as session:
        made, timeline, signal = _profile(args, started, plan)
        with new_folder(args.out) as folder:
            (folder / "profile.json").write_bytes(to_json(made, 0))
            (folder / "report.html").write_bytes(as_text(render(made)).encode())
            if args.trace:
                dry = made.live.misses.units if made.live else ()
                write_trace(folder / "trace.json", timeline, title(session), made.deadline_ms, dry)
    if args.json:
        print(to_json(made).decode())
    else:
        show(made)
    print(f"the report is {args.out / 'report.html'}", file=sys.stderr if args.json else sys.stdout)
    lines = broken(made, bounds)
    for line in lines:
        print(f"over budget: {line}", file=sys.stderr)
    if signal:
        return 128 + signal
    return 1 if lines or made.failed == made.units else 0


def _compare(args: argparse.Namespace) -> int:
    given = [option for option, came in (("BUNDLE", args.bundle), ("--out", args.out), ("--budget", args.budget),
                                         ("--media", args.media), ("--live", args.live)) if came]  # fmt: skip
    if given:
        raise InputError(f"--compare runs nothing; leave {', '.join(given)} out")
    before, after = args.compare
    found = compare(read_profile(before), read_profile(after), (str(before), str(after)))
    if args.json:
        print(to_json(found).decode())
    else:
        show_comparison(found)
    return 0


def _profile(args: argparse.Namespace, started: Started, plan: LivePlan | None) -> tuple[Profile, Timeline, int]:
    """The profile, what it is of, and the signal that ended it early (0: none)."""
    session, timeline = started.session, Timeline()
    began = datetime.now().astimezone().isoformat(timespec="seconds")
    spec = session.bundle.manifest.media
    seconds = spec.unit_seconds if spec else UNIT_SECONDS
    units = args.units or (ceil(60 * args.minutes / seconds) if args.minutes else UNITS)
    with Signals(hangup=plan is not None) as signals, Watched() as watched:
        if plan is None:
            ran, inputs, live = *_recorded(args, session, timeline, units, signals), None
        else:
            from edge_streamer.runtime.commands.profile_live import converse

            ran, inputs, live = converse(plan, session, timeline, units, signals)
    signal = signals.caught
    if not timeline.units:
        raise MediaError("no unit was measured: it was stopped before the first, or the media hold no sound")
    figures = timed(timeline, 1e3 * seconds) | {"board": watched.board(timeline.units)}
    if live and live.misses.count:
        figures["verdict"] = "misses"
    memory = Memory(peak_resident_mb=peak_megabytes(), engine_bytes=session.engine.memory())
    runs = timeline.runs()
    if session.engine.captures and not signal:
        print(f"graphs: {APART} units are run once more, call by call", file=sys.stderr)
        apart, signal = _apart(session)
        figures, runs = with_runs_apart(figures, apart, 1e3 * seconds), apart.runs()
    more = _Further(session, figures["unit"].p50, runs, args.layers)
    signal = more.find(signal)
    made = Profile(
        version=VERSION, bundle=_bundle(session), engine=session.engine.name,
        engine_notes=tuple(session.engine.notes), engine_why=session.engine_why,
        machine=machine(), versions=versions(), began=began, steps=args.steps or session.program.default_steps,
        inputs=inputs, pace="live" if plan else args.pace or "fast", wanted_units=units, failed=ran.failed,
        stopped=_why_stopped(ran, signals, timeline.units), live=live,
        wall_seconds=round(ran.wall_seconds, 3), cold=started.cold, memory=memory, **figures, **more.figures,
    )  # fmt: skip
    return made, timeline, signal


def _apart(session: Session) -> tuple[Timeline, int]:
    """The graphs' own times on an engine that launches a unit as one, and the signal that ended them early."""
    with Signals() as signals:
        return run_apart(session, APART, lambda: signals.caught != 0), signals.caught


def _bundle(session: Session) -> dict[str, str]:
    bundle = session.bundle
    return {"name": bundle.manifest.name, "hash": bundle.hash, "path": str(bundle.path)}


def _why_stopped(ran: Ran, signals: Signals, units: int) -> str | None:
    return ran.stopped or (f"by a signal, after {units} units" if signals.caught else None)


def _paths(args: argparse.Namespace) -> list[str]:
    return [str(path) for path in args.media or (MEDIA / "speech.flac", MEDIA / "camera.mp4")]


@contextmanager
def _inputs(args: argparse.Namespace, session: Session) -> Iterator[tuple[Ends | None, Endless | None]]:
    """What the loop reads; nothing where media are not all that units take. InputError, MediaError for files of no
    use."""
    if not converses(session):
        if args.media:
            raise InputError("--media is for bundles that take media and nothing else; leave it out")
        yield None, None
        return
    spec = session.media
    mic, camera = map(Path, _paths(args))
    with closing(Endless(mic, camera, filled(spec))) as media:
        yield Ends(media, media.camera), media


def _recorded(args: argparse.Namespace, session: Session, timeline: Timeline, units: int,
              signals: Signals) -> tuple[Ran, dict[str, str]]:  # fmt: skip
    """A run on recorded media or on numbers, and what it was fed with."""
    with _inputs(args, session) as (ends, media):
        ran = _run(args, session, timeline, units, ends, media, signals)
    return ran, {} if media is None else dict(zip(("mic", "camera"), _paths(args), strict=True))


def _run(args: argparse.Namespace, session: Session, timeline: Timeline, units: int, ends: Ends | None,
         media: Endless | None, signals: Signals) -> Ran:  # fmt: skip
    with StatusLine(title(session)) as line:

        def progress(done: int, seconds: float) -> None:
            if media is not None:
                media.begin_again_where_due()
            filled_to = BAR * done // units
            bar = "#" * filled_to + "." * (BAR - filled_to)
            line.show("", lambda said: f"[{bar}] unit {done} of {units}  {1e3 * seconds:.1f} ms")

        return run_units(session, ends, timeline, pace=args.pace or "fast", units=units,
                         stopped=lambda: signals.caught != 0, progress=progress)  # fmt: skip


@dataclass
class _Further:
    """What is found out after the run: limits, what would help, layers. A signal leaves out what is not there yet."""

    session: Session
    unit_ms: float
    runs: dict[str, Run]
    layers: bool

    def find(self, signal: int) -> int:
        """Fill ``figures``; returns the signal that came, now or before. What cannot be found out ends nothing: the
        run was measured."""
        self.figures: dict[str, Any] = {"roof": None, "roof_told": "", "graphs": (), "binds": None, "helps": (),
                                        "layers": (), "layers_told": ""}  # fmt: skip
        try:
            try:
                self._limits(signal != 0)
            except EdgeStreamerError as error:
                self.figures["roof_told"] = one_line(error)
            if self.layers and not signal:
                self._layers()
        except KeyboardInterrupt as stop:
            return stop.number if isinstance(stop, Stopped) else 2
        return signal

    def _layers(self) -> None:
        print("layers: units are run once more, with the engine's own profile on", file=sys.stderr)
        try:
            found, told = layers(self.session, lambda session: session.step(made_unit(session)))
        except EdgeStreamerError as error:
            found, told = (), f"{self.session.engine.name} does not tell its layers: {one_line(error)}"
        self.figures |= {"layers": found, "layers_told": told}

    def _limits(self, hurry: bool) -> None:
        model = self._model(hurry) if self.runs else None
        if model is None:
            return
        measured = Measured(
            manifest=with_steps(self.session.bundle.manifest, self._steps()), runs=self.runs, unit_ms=self.unit_ms,
            operators=operators(self.session.bundle),
        )  # fmt: skip
        rows = graph_rows(measured, model)
        self.figures |= {"roof": model.roof, "graphs": rows, "binds": bound_by(rows),
                         "helps": what_helps(measured, model)}  # fmt: skip

    def _model(self, hurry: bool) -> Model | None:
        """What the ceilings say of a run; None where they are not known, or not soon enough for who is in a hurry."""
        engine, manifest = self.session.engine, self.session.bundle.manifest
        if isinstance(engine, CudaEngine):
            known = device_remembered(engine)
            if known is None and not hurry:
                print("measuring what this GPU can do: up to a minute, once", file=sys.stderr)
                with bars() as tell:
                    known = device_ceilings(engine, tell)
            return device_model(known, engine) if known else None
        if type(engine) is not OrtEngine:
            return None
        longest = max(self.runs, key=lambda name: self.runs[name].ms).partition(" at ")[0]
        threads = engine.threads_for(manifest.graph(longest))
        limits = remembered(threads)
        if limits is None and not hurry:
            print("measuring what this machine can do: some twenty seconds, once", file=sys.stderr)
            limits = ceilings(threads)
        return HostModel(limits, threads) if limits else None

    def _steps(self) -> int | None:
        return self.session.place.knobs.steps if self.session.program.default_steps is not None else None
