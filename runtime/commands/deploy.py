"""``edge-streamer deploy BUNDLE USER@HOST``: a bundle becomes the talking release of a board, over ssh.

Receives the words of the command line; hands on what became of it, for people or as JSON. Exit status 0 live and
confirmed, 1 not switched to or gone back from, 2 it cannot be done. See docs/deploy.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_streamer.runtime.ending import Stopped
from edge_streamer.runtime.errors import EdgeStreamerError, InputError

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.deploy.stages import Result, Wishes
    from edge_streamer.runtime.bundle.reader import Bundle

GO_ON = "stopped; what has arrived is kept, a trial goes on by itself: run the same command again to go on"
WHEELS_STAY = "stopped; wheels that are whole stay: run the same command again"
EXTRAS = ("audio", "screen", "trust")
WAIT_SECONDS = 1800.0
"""For a verdict that the device has not told by itself."""


def main(args: argparse.Namespace) -> int:
    try:
        if args.inventory is not None:
            from edge_streamer.runtime.commands import deploy_fleet

            return deploy_fleet.deploy(args)
        for name in ("limit", "batches", "soak", "max_fail", "forks"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name.replace('_', '-')} is for many boards; wanted --inventory FILE with it")
        return _make_wheels(args) if args.make_wheels is not None else _deploy(args)
    except EdgeStreamerError as error:
        if args.json:
            from edge_streamer.runtime.files import to_json

            print(to_json({"state": "refused", "reason": " ".join(str(error).split())}).decode())
        raise
    except KeyboardInterrupt as stop:
        print(f"edge-streamer: {GO_ON if args.make_wheels is None else WHEELS_STAY}", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, Stopped) else 2)


def _deploy(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.deploy.device import Device
    from edge_streamer.devices.jetson.deploy.link import Link, Target
    from edge_streamer.devices.jetson.deploy.stages import Deployment
    from edge_streamer.runtime.bundle.reader import Bundle
    from edge_streamer.runtime.bundle.shipped import bundle_path
    from edge_streamer.runtime.commands.release_parts import put_together, run_settings, sign_payload
    from edge_streamer.runtime.commands.sign import keys_of
    from edge_streamer.runtime.pages.terminal import bars

    if not 1 <= len(args.words) <= 2:
        raise InputError(f"{len(args.words)} words came; wanted [BUNDLE] USER@HOST")
    if len(args.words) == 1 and "@" not in args.words[0] and Path(args.words[0]).exists():
        raise InputError(f"{args.words[0]} came, a bundle and no board; wanted [BUNDLE] USER@HOST")
    _check_ssh_files(args)
    if args.wheels is None:
        raise InputError("--wheels DIR is missing, the board's environment; make it: edge-streamer deploy "
                         "--make-wheels DIR --python 3.10")  # fmt: skip
    path, host = Path(args.words[0]) if len(args.words) == 2 else bundle_path(), args.words[-1]
    bundle = Bundle.open(path)
    settings, said = run_settings(args.settings, args.engine)
    wishes = _wishes(args, bundle, said)
    made = put_together(path, bundle, settings, args.wheels)
    made, signed = sign_payload(made, wishes.name or "release", keys_of(args)) if args.key else (made, b"")

    def say(text: str) -> None:
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    shown = nullcontext(_silent) if args.json else bars("bytes")
    with Link(Target(host, args.port, args.identity, args.ssh_config)) as link, shown as tell:
        device = Device(link, args.board_python, args.system, say)
        device.reach(args.root)
        result = Deployment(device, host, made, wishes, say, tell, signed).run()
    _show(args, result)
    return 0 if result.good else 1


def _check_ssh_files(args: argparse.Namespace) -> None:
    """ssh itself passes over a key that is not there, or takes the public one beside it to an agent. InputError."""
    key, config = args.identity, args.ssh_config
    if key is not None and not any(_is_file(Path(f"{key}{end}")) for end in ("", ".pub")):
        raise InputError(f"--identity {key}: there is no such file; wanted ssh's private key")
    if config is not None and str(config) != "none" and not _is_file(config):
        raise InputError(f"--ssh-config {config}: there is no such file; wanted one in place of ~/.ssh/config, or none")


def _is_file(path: Path) -> bool:
    """Or a device, as /dev/null; a ``~`` that the shell has left is ssh's to read."""
    path = Path(os.path.expanduser(path))
    return path.exists() and not path.is_dir()


def _silent(part: str, done: int, total: int) -> None: ...


def _make_wheels(args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.deploy.wheels import NO_WHEELS, Goal, make
    from edge_streamer.runtime.files import size_text

    if args.python is None:
        raise InputError("--python is missing: the board's, 3.10 of JetPack 6, 3.12 of JetPack 7")
    goal = Goal(args.python, args.architecture, tuple(args.extra or EXTRAS))
    found = make(args.make_wheels, goal, args.own_wheel, lambda text: print(text, file=sys.stderr, flush=True))
    size = sum(path.stat().st_size for path in found)
    print(f"{args.make_wheels}: {len(found)} wheels, {size_text(size)}, complete for Python {goal.python} on "
          f"{goal.architecture}")  # fmt: skip
    if "audio" in goal.extras:
        print(f"{', '.join(NO_WHEELS)} has no wheels: where a microphone is wanted, build it once on such a board (pip "
              f"wheel {NO_WHEELS[0]}) and put it there")  # fmt: skip
    return 0


def _wishes(args: argparse.Namespace, bundle: Bundle, said: Mapping[str, Any]) -> Wishes:
    from edge_streamer.devices.jetson.deploy.stages import Wishes
    from edge_streamer.runtime.commands.release_parts import read_file, takes_sound
    from edge_streamer.runtime.profile.budget import read_budget
    from edge_streamer.runtime.trust.statement import name_like

    if args.no_service and args.system:
        raise InputError("--system installs a service, --no-service none; leave one of them out")
    if args.wait is not None and not args.no_service:
        raise InputError("--wait is for --no-service; a service is always waited for")
    if args.verify and args.dry_run:
        raise InputError("--verify looks at what is there, --dry-run at what would be; leave one of them out")
    if args.budget is not None:
        read_budget(args.budget)  # refused here rather than there
    terms = [(f"--{name}", str(getattr(args, name))) for name in ("units", "within", "misses")
             if getattr(args, name) is not None]  # fmt: skip
    return Wishes(
        name=args.name or name_like(bundle.manifest.name), engine=str(said.get("engine") or ""),
        check=not args.no_check, profile_units=args.profile_units,
        budget=read_file(args.budget).decode() if args.budget else "",
        service=not args.no_service, system=args.system, terms=tuple(word for pair in terms for word in pair),
        downgrade=args.allow_downgrade, wait=float(args.wait or 0) if args.no_service else WAIT_SECONDS,
        dry_run=args.dry_run, sound=takes_sound(said), serial=args.serial, verify=args.verify,
    )  # fmt: skip


def _show(args: argparse.Namespace, result: Result) -> None:
    from edge_streamer.runtime.files import size_text, to_json

    if args.json:
        print(to_json(dataclasses.asdict(result)).decode())
        return
    for line in result.log:
        print(f"  {line}")
    sent = f"{size_text(result.sent)} {'would be' if args.dry_run else 'were'} sent"
    why = f": {result.reason}" if result.reason else ""
    line = f"{result.host}: {result.release or 'a new release'} is {result.state}{why}"
    if args.verify and result.good:
        print(line)
        return
    if args.dry_run:
        print(f"{result.host}: {sent}, {result.files} files; nothing was changed")
    else:
        print(f"{line}; {sent}" if result.good else f"edge-streamer: {line}", file=None if result.good else sys.stderr)
