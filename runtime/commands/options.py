"""The options of ``edge-streamer run``, and the plan that they make.

Receives argparse's words; hands on a :class:`Plan` where all ends are files, a :class:`LivePlan` where one is a device.

With nothing named, the run is live on the default devices. Libraries are imported where a plan is made, so that help
and completion are quick.
"""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_streamer.runtime.commands.ends import NONE, End
from edge_streamer.runtime.commands.ends import is_file as is_file
from edge_streamer.runtime.commands.engine_option import add_engine
from edge_streamer.runtime.commands.named_bundle import add_bundle, add_downgrade, chosen
from edge_streamer.runtime.commands.numbers import count
from edge_streamer.runtime.commands.parser import Each
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.health.places import Place, place_or_none
from edge_streamer.runtime.loop.echoes import ECHOES

if TYPE_CHECKING:
    from edge_streamer.runtime.loop.recorded import Pace
    from edge_streamer.runtime.loop.request import LivePlan, Plan
    from edge_streamer.runtime.unit import Knobs

BESIDE_FILM = Path()
"""Where ``--side-by-side`` was not given."""

LONGEST_SECONDS = 366 * 24 * 3600
"""More than a year is a slip of the hand."""

_SECONDS = re.compile(
    r"[-+]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12})(e[-+]?[0-9]{1,2})?|[0-9]{1,12}/[0-9]{1,12}", re.I
)
"""Small enough to compute with: an exponent of 99999999 alone would keep a processor busy for minutes."""

SHORTEST_BUFFER_MS, LONGEST_BUFFER_MS = 5.0, 500.0

ENDS = "devices by name (see 'edge-streamer devices'), or files by theirs; device:NAME and file:NAME say which is meant"

RECORDED_ONLY = ("text", "captions", "pace")
"""Options that need recorded sound."""

LIVE_ONLY = ("record", "log", "echo", "buffer", "push_to_talk")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of ``run``."""
    add_bundle(parser)
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="take options from a file; these here win")
    add_ends(parser.add_argument_group("ends", ENDS))
    _add_live(parser.add_argument_group("live", "where one end is a device"))
    _add_files(parser.add_argument_group("files"))
    _add_knobs(parser.add_argument_group("the model"))


def add_ends(group: argparse._ArgumentGroup, records: bool = True) -> None:
    """The four ends of a conversation. ``records``: that what comes out may go to files."""
    voice, film = ("|OUT.wav", "|OUT.mp4") if records else ("", "")
    group.add_argument("--mic", type=End, metavar="NAME|FILE|none", help="a microphone, or any sound or film file")
    group.add_argument("--channel", type=_channel, metavar="N",
                       help="the channel of --mic FILE that is heard, from 1 (default: the mean of all)")  # fmt: skip
    group.add_argument("--camera", type=End, metavar="NAME|FILE|none",
                       help="a camera: its name, /dev/video0, csi:0 (Jetson), picamera2, gst:PIPELINE, pattern; or any "
                            "film or picture file")  # fmt: skip
    group.add_argument("--speaker", type=End, metavar=f"NAME{voice}|none",
                       help="a speaker" + ", or the agent's voice" * records)  # fmt: skip
    group.add_argument("--display", type=End, metavar=f"fullscreen|window{film}|none",
                       help="a screen" + ", or the agent's film, with its voice" * records)  # fmt: skip


def add_conversation(group: argparse._ArgumentGroup) -> None:
    """How a live conversation is held."""
    group.add_argument("--aec", choices=ECHOES, dest="echo",
                       help="against the agent hearing itself: full (default) takes its voice out of the microphone, "
                            "half closes the microphone while it speaks, system trusts the sound server's")  # fmt: skip
    group.add_argument("--no-aec", action="store_const", const="off", dest="echo", help="the same as --aec off")
    group.add_argument("--buffer", type=_buffer, metavar="MS",
                       help="sound kept waiting before the speaker (default: 60; grows where it runs dry)")  # fmt: skip
    group.add_argument("--push-to-talk", action="store_true", default=None,
                       help="the microphone is muted but while space is held in the window or after /talk")  # fmt: skip


def _add_live(group: argparse._ArgumentGroup) -> None:
    add_conversation(group)
    group.add_argument("--record", type=Path, metavar="DIR", help="keep what 'edge-streamer replay' needs")
    group.add_argument("--log", type=Path, metavar="FILE", help="counters and events as JSON lines, appended")


def _add_files(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--side-by-side", type=_file_or_none, default=BESIDE_FILM, metavar="OUT.mp4|none",
                       help="both sides of it in one film (default: beside the film of --display; none with "
                            "--pace real and live, which drawing it may hold up)")  # fmt: skip
    group.add_argument("--captions", type=_file_or_none, metavar="FILE.srt",
                       help="what the user says, for the side-by-side film (the model does not read it)")  # fmt: skip
    group.add_argument("--text", type=_file_or_none, metavar="FILE", help="what is typed: lines of seconds<TAB>text")
    group.add_argument("--transcript", type=_file_or_none, metavar="OUT.txt",
                       help="the agent's words, a line of seconds<TAB>text per answer")  # fmt: skip
    group.add_argument("--json", type=_file_or_none, metavar="FILE", help="write the report for machines")
    group.add_argument("--health", type=place_or_none, action=Each, metavar="FILE|SOCKET",
                       help="tell once a second how the run stands: as JSON, for Prometheus where FILE ends in .prom, "
                            "or at a Unix socket (unix:SOCKET, or a name that ends in .sock); more than once if "
                            "wanted")  # fmt: skip
    group.add_argument("--pace", choices=("real", "fast"),
                       help="of recorded sound: real: as if live, a unit every 160 ms; fast: one after the other "
                            "(default)")  # fmt: skip
    group.add_argument("--seconds", type=positive_seconds, metavar="S", help="end after so much")


def _add_knobs(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--prefix", type=_file_or_none, metavar="FILE",
                       help="start from a snapshot by 'prefix' (.npz), or a picture of the agent")  # fmt: skip
    add_engine(group)
    add_downgrade(group)
    group.add_argument("--steps", type=int, metavar="N", help="solver steps per unit (default: the bundle's)")
    group.add_argument("--seed", type=int, default=0, metavar="S", help="of sampling and solver noise (default: 0)")
    group.add_argument("--temperature", type=float, default=0.0, metavar="X", help="of sampling (default: 0, greedy)")
    group.add_argument("--top-k", type=int, default=0, metavar="K", help="sample among the K likeliest")
    group.add_argument("--top-p", type=float, default=1.0, metavar="P", help="sample among the likeliest that reach P")


def plan_of(args: argparse.Namespace) -> Plan | LivePlan:
    """The plan that the words make. InputError where they do not go together."""
    mic: End | None = args.mic
    others: list[End | None] = [args.camera, args.speaker, args.display]
    # Files only, and nothing said of the microphone, is live too: nothing named is the default device.
    live = mic is None or any(end is not None and end.device for end in (mic, *others))
    said = [*others, *(getattr(args, name, None) for name in RECORDED_ONLY)]
    if mic == NONE and all(word is None for word in said):  # the rest: the defaults
        live = True
    refused = RECORDED_ONLY if live else LIVE_ONLY
    for name in refused:
        if getattr(args, name, None) is not None:
            kind = "a live run" if live else "a run on recorded media"
            raise InputError(f"{option(name)} does nothing in {kind}; leave it away")
    _check_channel(args)
    return _live_plan(args) if live else _recorded_plan(args)


def option(name: str) -> str:
    """As it is written, by where its word is kept."""
    return f"--{'aec' if name == 'echo' else name.replace('_', '-')}"


def _check_channel(args: argparse.Namespace) -> None:
    if args.channel is not None and _file(args.mic) is None:
        raise InputError("--channel picks one channel of a sound file; name the file with --mic")


def _recorded_plan(args: argparse.Namespace) -> Plan:
    from edge_streamer.runtime.loop.request import Plan

    pace: Pace = args.pace or "fast"
    film = _file(args.display)
    return Plan(
        bundle=chosen(args),
        mic=_file(args.mic), channel=args.channel, camera=_file(args.camera), text=args.text, captions=args.captions,
        prefix=args.prefix,
        voice=_file(args.speaker), film=film,
        side_by_side=_side_by_side(args, film if pace == "fast" else None),
        transcript=args.transcript, json=args.json, health=_health(args), knobs=_knobs(args), engine=args.engine,
        pace=pace, seconds=args.seconds,
    )  # fmt: skip


def _live_plan(args: argparse.Namespace) -> LivePlan:
    from edge_streamer.runtime.loop.request import LivePlan

    return LivePlan(
        bundle=chosen(args),
        **live_ends(args),
        voice=_file(args.speaker),
        film=_file(args.display),
        side_by_side=_side_by_side(args, None), transcript=args.transcript, json=args.json, health=_health(args),
        prefix=args.prefix, record=args.record, log=args.log, knobs=_knobs(args), engine=args.engine,
        seconds=args.seconds,
    )  # fmt: skip


def live_ends(args: argparse.Namespace) -> dict[str, Any]:
    """Of a :class:`LivePlan`, what the words of ``add_ends`` and ``add_conversation`` say. InputError where they do not
    go together."""
    from edge_streamer.runtime.loop.playout import TARGET_SECONDS
    from edge_streamer.runtime.loop.request import DEFAULT, IF_THERE

    _check_channel(args)
    clip = _file(args.camera)
    return {
        "mic": _file(args.mic) or _device(args.mic, DEFAULT), "channel": args.channel,
        "speaker": _device(args.speaker, DEFAULT),
        "camera": f"film:{clip}" if clip else _device(args.camera, IF_THERE),
        "display": _device(args.display, IF_THERE),
        "echo": args.echo or "full", "push_to_talk": bool(args.push_to_talk),
        "target_seconds": TARGET_SECONDS if args.buffer is None else args.buffer / 1000,
    }  # fmt: skip


def _file(end: End | None) -> Path | None:
    return None if end is None else end.file


def _device(end: End | None, default: str) -> str | None:
    return default if end is None else end.device


def _side_by_side(args: argparse.Namespace, film: Path | None) -> Path | None:
    if args.side_by_side is not BESIDE_FILM:
        path: Path | None = args.side_by_side
        return path
    return film.with_name(f"{film.stem}-side-by-side.mp4") if film else None


def _health(args: argparse.Namespace) -> tuple[Place, ...]:
    return tuple(place for place in args.health or () if place is not None)


def _knobs(args: argparse.Namespace) -> Knobs:
    from edge_streamer.runtime.unit import Knobs

    try:
        return Knobs(args.steps, args.temperature, args.top_k, args.top_p, args.seed)
    except ValueError as error:
        raise InputError(str(error)) from error


def _file_or_none(word: str) -> Path | None:
    if not word:
        raise argparse.ArgumentTypeError("the name is empty; wanted a file, or none")
    return None if word == NONE else Path(word)


def _channel(word: str) -> int:
    return count(word, 1, 9999, "the number of a channel, from 1")


def _buffer(word: str) -> float:
    try:
        ms = float(word)
    except ValueError:
        ms = -1.0
    if not SHORTEST_BUFFER_MS <= ms <= LONGEST_BUFFER_MS:
        raise argparse.ArgumentTypeError(
            f"{word!r}; wanted {SHORTEST_BUFFER_MS:.0f} to {LONGEST_BUFFER_MS:.0f} milliseconds"
        )
    return ms


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
