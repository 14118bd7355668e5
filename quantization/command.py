"""``edge-streamer quantize BUNDLE --scheme int8 --out DIR``: a bundle in fewer bits, and what that costs over time.

Receives what options.py reads, a bundle and recordings; hands on the folder ``DIR``, a bundle that every command takes,
and beside it the report, ``DIR.html`` for people and ``DIR.json`` for machines: all of it, or nothing. Exit status: 0
made; 1 the error is beyond ``--max-error``, or no mixture of ``auto`` holds it; 2 the input cannot be used.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from edge_streamer.quantization.auto import Choice, TooFar, choose
from edge_streamer.quantization.calibrate import observe
from edge_streamer.quantization.choose import Advice, advise, read
from edge_streamer.quantization.make import quantize
from edge_streamer.quantization.page import render
from edge_streamer.quantization.report import Report, measure, named
from edge_streamer.quantization.schemes import Mixture, Scheme
from edge_streamer.quantization.streams import Stream, recordings, scenes, usual
from edge_streamer.quantization.vocabulary import AUTO, BOUND
from edge_streamer.runtime.bundle.reader import Bundle
from edge_streamer.runtime.claims import sweep
from edge_streamer.runtime.engines.fit import NOT_ON_A_CPU
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import check_new_folder, replacing_all, size_text, to_json
from edge_streamer.runtime.outputs import BUNDLE, check_outside
from edge_streamer.runtime.pages.terminal import bars, next_command
from edge_streamer.runtime.streams import as_text
from edge_streamer.runtime.timing import Tell
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.unit import Unit


def main(args: argparse.Namespace) -> int:
    """Quantize and measure; returns the exit status."""
    _check(args)
    scheme: Scheme | Mixture | None = None
    if args.scheme != AUTO:
        scheme = Scheme(args.scheme, args.target, args.input_range)
    check_outside("--out", args.out, BUNDLE, args.bundle)
    check_new_folder(args.out)
    sweep(Path(tempfile.gettempdir()))
    page, data = (args.out.with_name(f"{args.out.name}.{ending}") for ending in ("html", "json"))
    source = open_bundle(args.bundle)
    _check_source(source)
    beside = {str(path.with_suffix("")): read(path, named(source), args.target) for path in args.beside}
    media = source.manifest.media
    assert media is not None
    calibration = recordings(args.calibrate, media) if args.calibrate else usual(media)
    stream = recordings(args.measure, media) if args.measure else scenes(media) or calibration
    # All three come into their places together, and a place that cannot be written is known before the work begins.
    with bars() as tell, replacing_all(page, data, folder=args.out) as (shown, written, folder):
        counted = _Counted(tell, args.calibration_units)
        seen = observe(source, counted.units(calibration))
        choices: list[Choice] = []
        if scheme is None:
            bound = BOUND if args.max_error is None else args.max_error
            scheme, choices = choose(source, seen.layers, args.target, calibration, stream, args.units, bound,
                                     args.input_range, tell)  # fmt: skip
        layers = quantize(source, scheme, seen, folder, args.rings == "int8", tell)
        made = Bundle.open(folder, verify=False)
        report, kept = measure(source, made, scheme, layers, stream, args.units, calibration.name,
                               counted.count, tell, choices, args.engine)  # fmt: skip
        _check_error(report, args)
        advice = advise({**beside, str(args.out): report})
        shown.write_bytes(as_text(render(report, kept, advice)).encode())
        written.write_bytes(to_json(report))
    if args.json:
        sys.stdout.write(data.read_text("utf-8") + "\n")
    else:
        _show(report, advice, args, page)
    print(_then(report, args), file=sys.stderr if args.json else sys.stdout)
    return 0


def _then(report: Report, args: argparse.Namespace) -> str:
    """The next command; what chooses no words is no conversation to evaluate, and what a CPU does not compute in is
    not run here."""
    if args.scheme in NOT_ON_A_CPU:
        return next_command("lint", args.out)
    if report.chooses:
        return next_command("eval", args.out, "--float", args.bundle, "--out", "report")
    return next_command("inspect", args.out)


def _check(args: argparse.Namespace) -> None:
    """InputError for words that cannot be meant, before anything is opened."""
    for name, count in (("units", args.units), ("calibration-units", args.calibration_units)):
        if not 1 <= count <= 1_000_000:
            raise InputError(f"--{name} is {count}; wanted 1 to 1000000")
    if args.scheme == AUTO and args.rings != "float32":
        raise InputError("--scheme auto measures its mixtures with float32 rings; leave --rings out, or name a scheme")
    if args.max_error is not None and not math.isfinite(args.max_error):
        raise InputError(f"--max-error is {args.max_error}; wanted decibels, e.g. -25")


def _check_error(report: Report, args: argparse.Namespace) -> None:
    """TooFar where --max-error was named and is missed."""
    if args.max_error is not None and not report.worst_db <= args.max_error:
        came = f"the latents' error over {args.units} units is {report.worst_db:.1f} dB"
        raise TooFar(f"{came}, above --max-error {args.max_error:g}; nothing was kept; try another scheme")


def _check_source(bundle: Bundle) -> None:
    manifest = bundle.manifest
    media = manifest.media
    if media is None or (media.sound_in is None and media.pictures_in is None):
        raise InputError(
            f"{bundle.path} hears and sees nothing; quantize calibrates on recordings: wanted a bundle with media"
        )
    other = next((g for g in manifest.graphs if g.precision.words != "float32"), None)
    if other is not None:
        raise InputError(
            f"graph {other.name!r} of {bundle.path} is {other.precision.words} already; wanted a float32 bundle"
        )


class _Counted:
    """Counts the units of a calibration as they are used."""

    def __init__(self, tell: Tell, most: int) -> None:
        self.count, self._tell, self._most = 0, tell, most

    def units(self, stream: Stream) -> Iterator[Unit]:
        for unit in islice(stream.units(), self._most):
            self.count += 1
            self._tell("calibration", self.count, self._most)
            yield unit


def _show(report: Report, advice: Advice, args: argparse.Namespace, page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    out, (forced, free) = args.out, report.drifts
    (before, after), (slow, fast) = report.bytes, report.unit_ms
    shown = Table("", "float32", report.scheme, "", title=f"{out}: {report.label}", title_justify="left")
    shown.add_row("weights", size_text(before), size_text(after), f"{after / before:.2f}x")
    if report.ring_bytes[0] != report.ring_bytes[1]:
        before, after = report.ring_bytes
        shown.add_row("rings", size_text(before), size_text(after), f"{after / before:.2f}x")
    shown.add_row(
        "unit time, median", f"{slow:.1f} ms", f"{fast:.1f} ms", f"{report.unit_ratio:.2f}x, {report.timed_on}"
    )
    for name, error in forced.error_db.items():
        shown.add_row(f"error, {name}", "", f"{error:.1f} dB", f"{forced.units} units, its own arithmetic")
    if report.chooses:
        shown.add_row("slots that agree", "", f"{forced.same_slots:.2%}", "its own arithmetic")
        shown.add_row("who speaks agrees", "", f"{free.same_states:.2%}", "on its own history")
    console = Console(file=sys.stdout)
    console.print(shown)
    for layer in report.kept:
        console.print(f"kept in float32: {layer['graph']} {layer['layer']}, {layer['kept']}", soft_wrap=True,
                      highlight=False, markup=False)  # fmt: skip
    console.print(advice.words)
    console.print(f"the report is {page}; does it still behave?", soft_wrap=True, highlight=False, markup=False)
