"""``edge-streamer health FILE|SOCKET``: is the run that tells of itself there healthy?

Receives what ``run --health`` writes; hands on one line, or JSON, and an exit status: 0 healthy, 1 not (stale, stopped,
still starting, hung, no unit, too many misses), 2 it cannot be read. That is for a service manager, and for whoever
switches to another release.
"""

from __future__ import annotations

import argparse

from edge_streamer.runtime.commands.numbers import count, number
from edge_streamer.runtime.health.places import Place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "place", type=Place.of, metavar="FILE|SOCKET", help="what was given to run --health; not one for Prometheus"
    )
    parser.add_argument("--max-age", type=_seconds, default=5.0, metavar="SECONDS",
                        help="older than this it is stale (default: 5; it is written once a second)")  # fmt: skip
    parser.add_argument("--no-unit", type=_seconds, default=10.0, metavar="SECONDS",
                        help="so long no unit may be left unanswered, nor a step take (default: 10)")  # fmt: skip
    parser.add_argument("--starting", type=_seconds, default=0.0, metavar="SECONDS",
                        help="so long a run that opens or warms up is healthy too (default: 0)")  # fmt: skip
    parser.add_argument("--units", type=_count, default=1, metavar="N", help="answered units wanted (default: 1)")
    parser.add_argument("--misses", type=_share, default=0.5, metavar="SHARE",
                        help="of the newest units so many may be late, failed or skipped (default: 0.5)")  # fmt: skip
    parser.add_argument("--devices", action="store_true", help="every device of a live run must be open")
    parser.add_argument("--json", action="store_true", help="print the verdict and the whole record as JSON")


def main(args: argparse.Namespace) -> int:
    from edge_streamer.runtime.files import to_json
    from edge_streamer.runtime.health.judge import Limits, line, look_at

    limits = Limits(args.max_age, args.no_unit, args.starting, args.units, args.misses, args.devices)
    verdict = look_at(args.place, limits)
    if args.json:
        told = {"healthy": not verdict.reasons, "reasons": verdict.reasons, "age_seconds": verdict.age}
        print(to_json({**told, "health": verdict.health}).decode())
    else:
        print(line(verdict))
    return 1 if verdict.reasons else 0


def _seconds(word: str) -> float:
    return number(word, 1e9, "seconds")


def _share(word: str) -> float:
    return number(word, 1.0, "a share from 0 to 1")


def _count(word: str) -> int:
    return count(word, 0, 10**9, "a number of units")
