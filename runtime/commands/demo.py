"""``edge-streamer demo``: the bundle that ships inside the package, run on media that ship with it.

Receives nothing but, if wanted, a folder; hands on the folder with the agent's voice, film, side-by-side film, words
and report. Run again it makes a second, numbered folder: what was already made is never touched.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import suppress
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.bundle.shipped import MEDIA, VOICES, bundle_path
from edge_streamer.runtime.claims import sweep
from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.options import positive_seconds
from edge_streamer.runtime.engines.choose import AUTO
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.outputs import check_outside

if TYPE_CHECKING:
    from edge_streamer.runtime.loop.request import Plan

DEFAULT_OUT = Path("edge-streamer-demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, metavar="DIR",
                        help=f"folder for the results (default: {DEFAULT_OUT}; numbered where in use)")  # fmt: skip
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--bundle", action="store_true", help="only print where the bundle is")
    parser.add_argument("--float", action="store_true", dest="floats",
                        help="the float32 bundle, which the shipped one was quantized from")  # fmt: skip
    printed.add_argument("--commands", action="store_true", help="only print what it understands, as JSON")
    parser.add_argument("--seconds", type=positive_seconds, metavar="S", help="at most so much of the demo")
    add_engine(parser)


def main(args: argparse.Namespace) -> int:
    """Run the demo, or print the bundle's path; returns the exit status."""
    if args.bundle:
        print(bundle_path(args.floats))
        return 0
    if args.commands:
        from edge_streamer.runtime.evaluation.world.table import read_table

        print(json.dumps(read_table().shown(), indent=2))
        print(VOICES, file=sys.stderr)  # for people: what reads the JSON is not disturbed
        return 0
    from edge_streamer.runtime.commands.run import execute

    bundle = bundle_path(args.floats)
    check_outside("--out", args.out, "the demo's bundle", bundle)
    folder = make_folder(args.out)
    try:
        status = execute(demo_plan(bundle, folder, args.seconds, args.engine))
    finally:
        with suppress(OSError):  # goes only where nothing was recorded: a folder with files in it stays
            folder.rmdir()
    if folder.is_dir():
        print(f"\nthe results are in {folder}; watch {folder / 'side-by-side.mp4'} first")
    return status


def demo_plan(bundle: Path, folder: Path, seconds: Fraction | None = None, engine: str = AUTO) -> Plan:
    """The demo as a run of ``bundle`` into ``folder``."""
    from edge_streamer.runtime.loop.request import Plan

    return Plan(
        bundle=bundle,
        mic=MEDIA / "speech.flac",
        camera=MEDIA / "camera.mp4",
        captions=MEDIA / "captions.srt",
        # Without it the first 160 ms are a mixture of all that the agent may be: nothing yet says who it is.
        prefix=MEDIA / "persona.png",
        voice=folder / "voice.wav",
        film=folder / "film.mp4",
        side_by_side=folder / "side-by-side.mp4",
        transcript=folder / "transcript.txt",
        json=folder / "report.json",
        seconds=seconds,
        engine=engine,
    )


def make_folder(wanted: Path) -> Path:
    """``wanted``, or ``wanted-2``, ``wanted-3`` ...: the first that is free (missing or empty), made."""
    if not os.path.isdir(wanted.parent):
        raise InputError(f"--out {wanted}: the folder {wanted.parent} does not exist; make it first")
    if os.path.lexists(wanted) and not os.path.isdir(wanted):
        raise InputError(f"--out {wanted} is a file; name a folder, which is made where there is none")
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(exist_ok=True)
            sweep(folder)
            if not any(folder.iterdir()):
                return folder
        except FileExistsError:  # a file has that name
            continue
        except OSError as error:
            raise InputError(f"--out {folder}: {error.strerror}; name another folder") from error
    raise AssertionError("count() has no end")
