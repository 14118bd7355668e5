"""``edge-streamer run [BUNDLE]``: the loop on recorded sound, film and text.

Receives names of files; hands on the agent's voice, its film, a side-by-side film, its words and a report. Everything
that comes in is checked before anything is opened for writing, and the files appear together when all are complete.
Ctrl-C or SIGTERM ends the run after the unit in progress and keeps what was recorded; a second Ctrl-C keeps nothing.

Devices are found by dotted name: the runtime never imports them. Exit status: 0 done, 1 too many units failed, or
all of them (what was recorded is kept), 2 the input cannot be used, 130 and 143 ended by a signal.
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.live import LiveLine, show_end
from edge_streamer.runtime.loop import Ends, Pace, run_loop
from edge_streamer.runtime.manifest import MediaSpec
from edge_streamer.runtime.media import Camera, Microphone, Output
from edge_streamer.runtime.outputs import BUNDLE, check_outputs
from edge_streamer.runtime.report import RunReport, machine, peak_megabytes, versions
from edge_streamer.runtime.session import Session, open_session
from edge_streamer.runtime.snapshot import load_snapshot
from edge_streamer.runtime.timing import MonotonicClock
from edge_streamer.runtime.unit import Knobs

HELP = "run a bundle on recorded sound and film"

BESIDE_FILM = Path()
"""Where ``--side-by-side`` was not given."""

LONGEST_SECONDS = 366 * 24 * 3600
"""More than a year is a slip of the hand."""

_SECONDS = re.compile(
    r"[-+]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})(e[-+]?[0-9]{1,2})?|[0-9]{1,12}/[0-9]{1,12}", re.I
)
"""Small enough to compute with: an exponent of 99999999 alone would keep a processor busy for minutes."""

KEEPS_NOTHING = "nothing is kept: name --speaker, --display, --transcript or --json"

OutputName = Literal["voice", "film", "side by side", "transcript"]

WATCHERS: tuple[OutputName, ...] = ("side by side", "transcript")
"""Outputs that see both sides of a unit."""


@dataclass(frozen=True)
class Plan:
    """One run. None among the files means ``none``."""

    bundle: Path
    mic: Path | None = None
    camera: Path | None = None
    text: Path | None = None
    captions: Path | None = None
    """What the user says, for the side-by-side film; the model does not read it."""
    prefix: Path | None = None
    voice: Path | None = None
    film: Path | None = None
    side_by_side: Path | None = None
    transcript: Path | None = None
    json: Path | None = None
    knobs: Knobs = field(default_factory=Knobs)
    pace: Pace = "fast"
    seconds: Fraction | None = None
    """At most so much of the microphone; needed where there is none."""

    def inputs(self) -> dict[str, Path]:
        """Option -> file, of those that are read."""
        return _named((BUNDLE, self.bundle), ("--mic", self.mic), ("--camera", self.camera), ("--text", self.text),
                      ("--captions", self.captions), ("--prefix", self.prefix))  # fmt: skip

    def outputs(self) -> dict[str, Path]:
        """Option -> file, of those that are written."""
        return _named(("--speaker", self.voice), ("--display", self.film), ("--side-by-side", self.side_by_side),
                      ("--transcript", self.transcript), ("--json", self.json))  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    file = _file_or_none
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle's folder or archive (default: the demo bundle)")
    parser.add_argument("--mic", type=file, required=True, metavar="FILE|none", help="any sound or film file")
    parser.add_argument("--camera", type=file, metavar="FILE|none", help="any film or picture file (default: none)")
    parser.add_argument("--speaker", type=file, metavar="OUT.wav|none", help="the agent's voice")
    parser.add_argument("--display", type=file, metavar="OUT.mp4|none", help="the agent's film, with its voice")
    parser.add_argument("--side-by-side", type=file, default=BESIDE_FILM, metavar="OUT.mp4|none",
                        help="both sides of it in one film (default: beside the film of --display; none with "
                             "--pace real, which drawing it may hold up)")  # fmt: skip
    parser.add_argument("--captions", type=file, metavar="FILE.srt",
                        help="what the user says, for the side-by-side film (the model does not read it)")  # fmt: skip
    parser.add_argument("--text", type=file, metavar="FILE", help="what is typed: lines of seconds<TAB>text")
    parser.add_argument(
        "--transcript", type=file, metavar="OUT.txt", help="the agent's words, a line of seconds<TAB>text per answer"
    )
    parser.add_argument(
        "--prefix",
        type=file,
        metavar="FILE",
        help="start from a snapshot by 'prefix' (.npz), or a picture of the agent",
    )
    parser.add_argument("--steps", type=int, metavar="N", help="solver steps per unit (default: the bundle's)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling and solver noise (default: 0)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="X", help="of sampling (default: 0, greedy)")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="sample among the likeliest that reach P")
    parser.add_argument("--json", type=file, metavar="FILE", help="write the report for machines")
    parser.add_argument("--pace", choices=("real", "fast"), default="fast",
                        help="real: as if live, a unit every 160 ms; fast: one after the other (default)")  # fmt: skip
    parser.add_argument("--seconds", type=positive_seconds, metavar="S", help="at most so much of the microphone")


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit status."""
    return execute(_plan(args))


def execute(plan: Plan) -> int:
    """Run ``plan``, show how it goes and how it went; returns the exit status. Raises InputError and its kin."""
    if plan.mic is None and plan.seconds is None:
        raise InputError("--mic none has no end; give --seconds too")
    if plan.captions and not plan.side_by_side:
        raise InputError("--captions are drawn on the side-by-side film, which is not made; name --side-by-side")
    check_outputs(plan.outputs(), plan.inputs())
    began = time.perf_counter()
    session = open_session(plan.bundle, knobs=plan.knobs)
    media = session.media
    if plan.prefix:
        _start_from(session, plan.prefix)
    with ExitStack() as inputs:
        ends = _open_inputs(plan, media, inputs)
        captions = _device("captions").read_captions(plan.captions) if plan.captions else ()
        opened = time.perf_counter() - began
        with _Signals() as signals, _recording(plan, media, captions) as recorded:
            report = _run(plan, session, ends, recorded, signals)
            report.open_seconds = opened
            recorded.keep(report, plan, session)
    show_end(report, recorded.files if report.units else {})
    if signals.caught:
        return 128 + signals.caught
    return 1 if report.stopped or not len(report.unit_times) else 0


def _run(plan: Plan, session: Session, ends: Ends, recorded: _Recorded, signals: _Signals) -> RunReport:
    ends = recorded.connect(ends)
    units = _units(plan.seconds, session.media)
    known = [count for count in (units, ends.microphone.units) if count is not None]
    heading = title(session) if plan.outputs() else f"{title(session)}\n{KEEPS_NOTHING}"
    with LiveLine(heading, min(known, default=None)) as line:
        report = run_loop(
            session, ends, MonotonicClock(), pace=plan.pace, units=units, stopped=lambda: signals.caught != 0,
            progress=line.show,
        )  # fmt: skip
    report.unread_texts = sum(index >= report.units for index in ends.texts)
    return report


def title(session: Session) -> str:
    """What runs where; and a warning that spares a newcomer the search for a fault that is none."""
    name = f"{session.bundle.manifest.name} on {session.engine.name}"
    untrained = session.bundle.manifest.provenance.weights.startswith("random")
    return f"{name}\nits weights are random numbers: expect noise" if untrained else name


def _open_inputs(plan: Plan, media: MediaSpec, stack: ExitStack) -> Ends:
    """Microphone, camera and typed text. Raises MediaError for files that cannot be used."""
    sound, film = _device("audio_file"), _device("video_file")
    if plan.mic is None:
        microphone: Microphone = sound.Silence(media, _units(plan.seconds, media))
    else:
        microphone = sound.AudioFile(plan.mic, media)
    stack.enter_context(closing(microphone))
    camera: Camera = film.VideoFile(plan.camera, media) if plan.camera else film.StillCamera(media)
    stack.enter_context(closing(camera))
    return Ends(microphone, camera, _device("text_file").read_text(plan.text, media) if plan.text else {})


class _Recorded:
    """The open outputs of one run."""

    def __init__(self) -> None:
        self.outputs: dict[OutputName, Any] = {}
        self.files: dict[str, Path] = {}
        self._report: Any = None

    def open(self, plan: Plan, media: MediaSpec, captions: Sequence[object]) -> None:
        """Open what the plan wants, each under a temporary name. InputError where one cannot be made."""
        wanted: tuple[tuple[OutputName, Path | None, str, str, tuple[object, ...]], ...] = (
            ("voice", plan.voice, "audio_file", "WavSpeaker", ()),
            ("film", plan.film, "video_file", "FilmDisplay", ()),
            ("side by side", plan.side_by_side, "side_by_side", "SideBySide", (captions,)),
            ("transcript", plan.transcript, "transcript", "Transcript", ()),
        )
        for name, path, module, device, more in wanted:
            if path:
                self.outputs[name] = getattr(_device(module), device)(path, media, *more)
                self.files[name] = path
        if plan.json:  # last, so that the films are named first at the end
            self._report = _device("whole_file").WholeFile(plan.json)
            self.files["report"] = plan.json

    def connect(self, ends: Ends) -> Ends:
        """``ends`` with these outputs."""
        get = self.outputs.get
        watchers = [self.outputs[name] for name in WATCHERS if name in self.outputs]
        return Ends(ends.microphone, ends.camera, ends.texts, get("voice"), get("film"), watchers)

    def keep(self, report: RunReport, plan: Plan, session: Session) -> None:
        """Complete every file under its temporary name, then give all their names; nothing where nothing ran."""
        if not report.units:
            return
        if "voice" in self.outputs:
            report.clipped_samples = self.outputs["voice"].clipped
        files: list[Output] = list(self.outputs.values())
        for file in files:
            file.finish()
        if self._report:
            with self._report.writing():
                self._report.partial.write_bytes(_for_machines(report, plan, session))
            self._report.publish()
        for file in files:
            file.close()

    def discard(self) -> None:
        """Remove what was not kept."""
        for file in self.outputs.values():
            file.discard()
        if self._report:
            self._report.discard()


@contextmanager
def _recording(plan: Plan, media: MediaSpec, captions: Sequence[object]) -> Iterator[_Recorded]:
    recorded = _Recorded()
    try:
        recorded.open(plan, media, captions)
        yield recorded
    finally:
        recorded.discard()  # harmless to what was kept


class _Signals:
    """Catches the first SIGINT or SIGTERM; a second SIGINT is a KeyboardInterrupt, as everywhere."""

    def __init__(self) -> None:
        self.caught = 0
        """The signal's number; 0 while there was none."""

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._catch) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number: int, frame: object) -> None:
        if self.caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.caught = self.caught or number


def _for_machines(report: RunReport, plan: Plan, session: Session) -> bytes:
    bundle = session.bundle
    steps = plan.knobs.steps or session.streamer.constants.default_steps
    figures = {
        "bundle": {"name": bundle.manifest.name, "hash": bundle.hash, "path": str(bundle.path)},
        "engine": session.engine.name,
        "knobs": {**asdict(plan.knobs), "steps": steps},
        "pace": plan.pace,
        "inputs": {option: str(path) for option, path in plan.inputs().items()},
        "outputs": {option: str(path) for option, path in plan.outputs().items()},
        "versions": versions(),
        "machine": machine(),
        "peak_resident_mb": peak_megabytes(),
        **report.figures(),
    }
    return msgspec.json.format(msgspec.json.encode(figures))


def _plan(args: argparse.Namespace) -> Plan:
    try:
        knobs = Knobs(args.steps, args.temperature, args.top_k, args.top_p, args.seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    side_by_side: Path | None = args.side_by_side
    if args.side_by_side is BESIDE_FILM:
        film: Path | None = args.display if args.pace == "fast" else None
        side_by_side = film.with_name(f"{film.stem}-side-by-side.mp4") if film else None
    return Plan(
        bundle=args.bundle or _demo_bundle(),
        mic=args.mic, camera=args.camera, text=args.text, captions=args.captions, prefix=args.prefix,
        voice=args.speaker, film=args.display, side_by_side=side_by_side, transcript=args.transcript, json=args.json,
        knobs=knobs, pace=args.pace, seconds=args.seconds,
    )  # fmt: skip


def _start_from(session: Session, prefix: Path) -> None:
    """A snapshot is taken up; a picture is pinned, as `prefix --image` does it."""
    from edge_streamer.runtime.prefix import picture_units  # which imports from here

    if prefix.suffix.lower() == ".npz":
        session.restore(load_snapshot(prefix))
    else:
        with closing(picture_units(prefix, session.media)) as units:
            session.prefill(next(units))


def _demo_bundle() -> Path:
    # Imported here because the demo runs plans.
    from edge_streamer.runtime.demo import bundle_path

    return bundle_path()


def _units(seconds: Fraction | None, media: MediaSpec) -> int | None:
    return None if seconds is None else math.ceil(seconds * media.sample_rate / media.unit_samples)


def _device(name: str) -> Any:
    """A device module by name: the runtime never imports devices."""
    return importlib.import_module(f"edge_streamer.devices.{name}")


def _file_or_none(word: str) -> Path | None:
    if not word:
        raise argparse.ArgumentTypeError("the name is empty; wanted a file, or none")
    return None if word == "none" else Path(word)


def positive_seconds(word: str) -> Fraction:
    """A length of time as the user wrote it, exactly."""
    shown = word if len(word) <= 40 else f"{word[:37]}..."
    try:
        seconds = Fraction(word) if _SECONDS.fullmatch(word) else None
    except ZeroDivisionError:
        seconds = None
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{shown!r} is not a number of seconds from 0 to {LONGEST_SECONDS}")
    if not 0 < seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{shown} s; wanted more than 0 and at most {LONGEST_SECONDS} (a year)")
    return seconds


def _named(*pairs: tuple[str, Path | None]) -> dict[str, Path]:
    return {name: path for name, path in pairs if path is not None}
