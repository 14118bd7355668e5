"""``edge-streamer run [BUNDLE]``: a conversation, live or on recorded sound, film and text.

Receives the words of `options.py`. On recorded media (here) it hands on the agent's voice, its film, a side-by-side
film, its words and a report: everything that comes in is checked before anything is opened for writing, and the files
appear together when all are complete. Ctrl-C or SIGTERM ends the run after the unit in progress and keeps what was
recorded, and so does an engine that does not return; a second signal keeps nothing. The live run is
`run_live.py`.

Exit status: 0 done, 1 too many units failed, all of them, or the engine hung (what was recorded is kept), 2 the input
cannot be used, 130 and 143 ended by a signal.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack, closing

from edge_streamer.devices.files.audio_file import AudioFile, Silence
from edge_streamer.devices.files.captions import read_captions
from edge_streamer.devices.files.text_file import read_text
from edge_streamer.devices.files.video_file import StillCamera, VideoFile
from edge_streamer.runtime.bundle.manifest import MediaSpec
from edge_streamer.runtime.commands.circumstances import circumstances, title, units_in
from edge_streamer.runtime.commands.fitting import fitted
from edge_streamer.runtime.commands.options import plan_of
from edge_streamer.runtime.commands.prefix import go_back, start_from
from edge_streamer.runtime.commands.recording import Recorded, recording
from edge_streamer.runtime.commands.signals import Signals
from edge_streamer.runtime.commands.vital_signs import check_places, ended, heard_by, of_report, opened, published
from edge_streamer.runtime.commands.warm_up import warm_up
from edge_streamer.runtime.ending import last_words
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health.vitals import Vitals
from edge_streamer.runtime.loop.media import Camera, Microphone, Told, filled
from edge_streamer.runtime.loop.recorded import Ends, run_loop
from edge_streamer.runtime.loop.report import RunReport, live_line
from edge_streamer.runtime.loop.request import LivePlan, Plan
from edge_streamer.runtime.pages.terminal import StatusLine, opening, show_end
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.timing import MonotonicClock
from edge_streamer.runtime.unit import Response

KEEPS_NOTHING = "nothing is kept: name --speaker, --display, --transcript or --json"


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit status."""
    plan = plan_of(args)
    if args.allow_downgrade:
        go_back(plan.bundle, plan.prefix)
    if isinstance(plan, LivePlan):
        from edge_streamer.runtime.commands.run_live import execute_live

        return execute_live(plan)
    return execute(plan)


def execute(plan: Plan) -> int:
    """Run ``plan``, show how it goes and how it went; returns the exit status. Raises InputError and its kin."""
    if plan.mic is None and plan.seconds is None:
        raise InputError("--mic none has no end; give --seconds too")
    if plan.captions and not plan.side_by_side:
        raise InputError("--captions are drawn on the side-by-side film, which is not made; name --side-by-side")
    check_places(plan)
    with published(plan) as vitals:
        return _execute(plan, vitals)


def _execute(plan: Plan, vitals: Vitals) -> int:
    began = time.perf_counter()
    with opening() as tell:
        session = open_session(plan.bundle, knobs=plan.knobs, engine=plan.engine, tell=heard_by(vitals, tell))
    opened(vitals, session)
    plan, media = fitted(plan, session), filled(session.media)
    if plan.prefix:
        start_from(session, plan.prefix)
    if plan.pace == "real" and session.engine.captures:  # where nothing is captured the first units are not so slow
        warm_up(session, plan.knobs)
    with closing(session), ExitStack() as inputs:
        ends = _open_inputs(plan, media, inputs)
        captions = read_captions(plan.captions) if plan.captions else ()
        open_seconds = time.perf_counter() - began
        with Signals() as signals, recording(plan, media, captions) as recorded:
            so_far: list[RunReport] = []

            def keep(report: RunReport) -> None:
                report.open_seconds = open_seconds
                if report.units:
                    report.clipped_samples = recorded.clipped
                    recorded.keep(_figures(report, plan, session))

            def keep_rest(why: str) -> None:
                for report in so_far:
                    report.stopped = why
                    keep(report)

            with last_words(keep_rest, recorded.discard):
                report = _run(plan, session, ends, recorded, signals, so_far, vitals)
            keep(report)
    show_end(report, recorded.files if report.units else {})
    failed = report.stopped or not len(report.unit_times)
    return ended(vitals, report.stopped, signals.caught, 128 + signals.caught if signals.caught else int(bool(failed)))


def _run(
    plan: Plan,
    session: Session,
    ends: Ends,
    recorded: Recorded,
    signals: Signals,
    so_far: list[RunReport],
    vitals: Vitals,
) -> RunReport:
    """``so_far`` gets the report when its first unit is done."""
    watchers = list(recorded.watchers.values())
    ends = Ends(ends.microphone, ends.camera, ends.texts, recorded.voice, recorded.film, watchers,
                vitals)  # fmt: skip
    units = units_in(plan.seconds, session.media)
    known = [count for count in (units, ends.microphone.units) if count is not None]
    total = min(known, default=None)
    heading = title(session) if plan.outputs() else f"{title(session)}\n{KEEPS_NOTHING}"
    with StatusLine(heading) as line:

        def progress(report: RunReport, response: Response) -> None:
            so_far[:] = [report]
            of_report(vitals, report)
            line.show(response.text, lambda said: live_line(report, said, total))

        vitals.enter("running")
        report = run_loop(
            session, ends, MonotonicClock(), pace=plan.pace, units=units, stopped=lambda: signals.caught != 0,
            progress=progress, sections=session.sections,
        )  # fmt: skip
        vitals.enter("ending")
    report.sound, report.pictures = (
        end.figures() if isinstance(end, Told) else {} for end in (ends.microphone, ends.camera)
    )
    report.unread_texts = sum(index >= report.units for index in ends.texts)
    return report


def _open_inputs(plan: Plan, media: MediaSpec, stack: ExitStack) -> Ends:
    """Microphone, camera and typed text. Raises MediaError for files that cannot be used."""
    if plan.mic is None:
        units = units_in(plan.seconds, media)
        assert units is not None, "`execute` refuses silence without an end"
        microphone: Microphone = Silence(media, units)
    else:
        microphone = AudioFile(plan.mic, media, plan.channel)
    stack.enter_context(closing(microphone))
    camera: Camera = VideoFile(plan.camera, media) if plan.camera else StillCamera(media)
    stack.enter_context(closing(camera))
    return Ends(microphone, camera, read_text(plan.text, media) if plan.text else {})


def _figures(report: RunReport, plan: Plan, session: Session) -> dict[str, object]:
    return {**circumstances(plan, session), "pace": plan.pace, **report.figures()}
