"""``edge-streamer flash``: a blank Jetson, by NVIDIA's own tools, with everything looked at before.

Receives a Linux_for_Tegra and wishes; hands on lines of what was looked at, the commands, and how it went. Exit status
0 where every board was written (or the images were made, or a dry run found nothing in the way), 1 where a board failed
or somebody said no, 2 where something is in the way.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_streamer.runtime.commands import doctor
from edge_streamer.runtime.ending import Stopped
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.flash.job import Job
    from edge_streamer.devices.jetson.flash.preflight import Wanted
    from edge_streamer.devices.jetson.flash.rootfs import Owners
    from edge_streamer.devices.jetson.flash.tree import Tree
    from edge_streamer.devices.jetson.flash.usb import Port
    from edge_streamer.devices.jetson.line import Line
    from edge_streamer.devices.jetson.system import System

GO_ON = "stopped; put the board into recovery mode again and run the same command: it goes on with what is done"
SDK_TARGETS = {
    "orin-nano": "JETSON_ORIN_NANO_TARGETS", "orin-nx": "JETSON_ORIN_NX_TARGETS",
    "agx-orin": "JETSON_AGX_ORIN_TARGETS", "thor": "JETSON_AGX_THOR_TARGETS", "thor-t4000": "JETSON_AGX_THOR_TARGETS",
}  # fmt: skip
"""As ``sdkmanager --query`` prints them; that a T4000 has the same is not confirmed."""


class Machine(NamedTuple):
    """The one that flashes, where it is not this one."""

    system: System
    architecture: str = ""
    uid: int = 0
    """Who is root there."""
    owners: Owners | None = None


def main(args: argparse.Namespace, machine: Machine | None = None) -> int:
    from edge_streamer.devices.jetson.flash import host, preflight, tree, usb
    from edge_streamer.devices.jetson.system import System

    here = machine or Machine(System())
    system, owners = here.system, here.owners
    try:
        if apart := [*_apart(args)]:
            raise InputError("; ".join(apart))
        found = _sdk_tree(args.jetpack) if args.sdkmanager else tree.read(args.l4t.absolute(), here.uid)
        ports = usb.found(system)
        wanted = _wanted(args, found, ports[0])
    except InputError as error:
        raise InputError("; ".join((str(error), *_wrong(args)))) from None
    read = host.read(system, found.path, architecture=here.architecture, root=os.geteuid() == here.uid)
    options = _options(args, found, wanted)
    looked = preflight.lines(read, found, ports, wanted, args.allow)
    doctor.show([*options, *looked])
    wrong = preflight.failed([*options, *looked])
    unknown = _unknown(found, wanted, preflight.failed(options))
    if wrong and (unknown or not args.dry_run):
        raise InputError(_in_the_way(wrong, unknown))
    try:
        if args.sdkmanager:
            status = _by_sdkmanager(args, wanted.board)
        else:
            status = _by_scripts(args, found, wanted, ports[0], owners)
        if wrong:
            print(f"{_named(wrong)}; nothing was run")
        return status or (2 if wrong else 0)
    except KeyboardInterrupt as stop:
        print(f"edge-streamer: {GO_ON}", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, Stopped) else 2)


def _wrong(args: argparse.Namespace, rootfs: Path | None = None, board: str = "") -> list[str]:
    """Everything that is wrong with what the device is to be. ``rootfs``: None where there is none to ask."""
    from edge_streamer.devices.jetson.flash.routes import BOARDS
    from edge_streamer.runtime.commands.flash_settings import faults

    return [] if args.sdkmanager else faults(args, rootfs, BOARDS[board].modules if board else ())


def _options(args: argparse.Namespace, tree: Tree, wanted: Wanted) -> list[Line]:
    """A line for each of it, beside those of the preflight."""
    from edge_streamer.devices.jetson.line import fail, warn
    from edge_streamer.runtime.commands.flash_settings import asked_for

    parts = [fault.partition("; ") for fault in _wrong(args, tree.rootfs if tree.unpacked else None, wanted.board)]
    lines = [fail("options", found, mend) for found, _, mend in parts]
    typed = [] if args.sdkmanager else asked_for(args)
    if typed and args.dry_run and not sys.stdin.isatty():
        lines.append(warn("options", f"to be typed, and nobody is here who could: {', '.join(typed)}",
                          "without --dry-run: at a terminal, or --password-file, --wifi-password-file"))  # fmt: skip
    return lines


def _unknown(tree: Tree, wanted: Wanted, options: Sequence[Line]) -> str:
    """What the commands wait for; empty where they are known."""
    from edge_streamer.devices.jetson.flash.routes import storages_of

    unpacked = wanted.sdkmanager or (tree.unpacked and tree.release)
    fits = wanted.sdkmanager or not (wanted.board and tree.release) or (
        wanted.storage in storages_of(wanted.board, tree.series)
    )  # fmt: skip
    waits = {
        "the options are right": options, "a board is there or named": not wanted.board,
        "Linux_for_Tegra and its rootfs are unpacked": not unpacked, "its release is for this board": not fits,
    }  # fmt: skip
    return ", ".join(what for what, waiting in waits.items() if waiting)


def _in_the_way(wrong: Sequence[Line], unknown: str) -> str:
    if all(line.name == "options" for line in wrong):
        return "; ".join(f"{line.found}; {line.mend}" if line.mend else line.found for line in wrong)
    printed = f"once {unknown}" if unknown else "by --dry-run already"
    return f"{_named(wrong)}; nothing was changed; every command is printed {printed}"


def _named(wrong: Sequence[Line]) -> str:
    return f"{len(wrong)} in the way ({', '.join(dict.fromkeys(line.name for line in wrong))})"


def _apart(args: argparse.Namespace) -> Iterator[str]:
    """What does not go together, which argparse cannot see: without it nobody knows what to look at."""
    from edge_streamer.devices.jetson.known import jetpacks

    if args.sdkmanager:
        if (
            args.l4t
            or args.image_only
            or args.massflash
            or args.user
            or args.bundle
            or (args.wifi or args.hostname or args.trust_key)
        ):
            yield ("SDK Manager brings its own root file system and flashes one board: leave away --l4t, --image-only, "
                   "--massflash and what the device is to be; or --sdkmanager")  # fmt: skip
        if not args.jetpack:
            yield "which JetPack? --jetpack 7.2 and the like, as 'sdkmanager --query' lists them"
        elif args.jetpack not in jetpacks():
            yield f"--jetpack {args.jetpack} is not known; wanted one of {', '.join(jetpacks())}"
    elif args.l4t is None:
        yield "name NVIDIA's folder: --l4t .../Linux_for_Tegra; or flash by --sdkmanager"
    if (args.fab or args.revision or args.chip_sku) and not args.module:
        yield "--fab, --revision and --chip-sku say more of a --module; name it"
    if args.module and not (args.image_only or args.massflash):
        yield "--module is for images without a board: --image-only; else the board tells what it is"


def _sdk_tree(jetpack: str) -> Tree:
    """What SDK Manager will bring: of it only the release is known."""
    from edge_streamer.devices.jetson.flash.tree import Tree

    series = "36" if jetpack.startswith("6") else "38" if jetpack in ("7.0", "7.1") else "39"
    return Tree(Path.cwd(), release=f"{series}.0.0")


def _wanted(args: argparse.Namespace, tree: Tree, waiting: Sequence[Port]) -> Wanted:
    """What is to be flashed: as told, else the board that is there."""
    from edge_streamer.devices.jetson.flash.preflight import Wanted
    from edge_streamer.devices.jetson.flash.routes import BOARDS, storages_of

    by_module = next((name for name, board in BOARDS.items() if args.module in board.modules), "")
    boards = list(dict.fromkeys(port.board for port in waiting if port.board))
    board = args.board or by_module or (boards[0] if len(boards) == 1 else "")
    if args.module and (not by_module or by_module != board):
        meant = [BOARDS[board]] if board else [*BOARDS.values()]
        raise InputError(f"{args.module} is no module of {board or 'a board that is known'}; wanted one of "
                         + ", ".join(part for each in meant for part in each.modules))  # fmt: skip
    if not board:  # a line will tell it, beside all others
        return Wanted("", "", "", args.image_only, args.massflash or 1, args.sdkmanager, "")
    if args.super and not BOARDS[board].has_super:
        raise InputError(f"--super is for Orin Nano and NX; a {BOARDS[board].title} has no such configuration")
    config = args.board_config or BOARDS[board].config + ("-super" if args.super else "")
    storage = args.storage or next(iter(storages_of(board, tree.series)), "nvme")
    return Wanted(board, storage, config, args.image_only, args.massflash or 1, args.sdkmanager, args.module or "")


def _by_scripts(args: argparse.Namespace, tree: Tree, wanted: Wanted, waiting: Sequence[Port],
                owners: Owners | None) -> int:  # fmt: skip
    from edge_streamer.devices.jetson.flash import job as jobs
    from edge_streamer.devices.jetson.flash import progress, routes, usb
    from edge_streamer.devices.jetson.flash.rootfs import Owners
    from edge_streamer.runtime.commands.flash_settings import settings_of

    part, sku = (wanted.module[1:5], wanted.module[6:]) if wanted.module else ("", "")
    told = {"BOARDID": part, "BOARDSKU": sku, "FAB": args.fab, "BOARDREV": args.revision, "CHIP_SKU": args.chip_sku}
    wish = routes.Wish(wanted.config, args.erase_all, args.massflash,
                       tuple((name, value) for name, value in told.items() if value))  # fmt: skip
    row = routes.route(wanted.board, wanted.storage, tree.series)
    work = jobs.Job(
        tree, row, wish, settings_of(args, tree.rootfs, routes.BOARDS[wanted.board].modules), args.image_only,
        args.identify, tuple(port.port for port in waiting),
        waiting[0].product if waiting else usb.product_of(wanted.module), args.patience, owners or Owners(),
    )  # fmt: skip
    jobs.check(work)
    _say(work, jobs.commands(work, jobs.kept(work)))
    if args.dry_run:
        return 0
    if not args.yes and not _asked():
        return 1
    outcomes = jobs.do(work, progress.Progress(tree.path), lambda what: print(f"  {what}", flush=True))
    for one in outcomes:
        print(f"{'ok  ' if one.good else 'fail'}  board at {one.port}: {one.said}")
    if all(one.good for one in outcomes):
        print(_next(args, wanted))
    return 0 if all(one.good for one in outcomes) else 1


def _say(work: Job, commands: Sequence[tuple[str, object]]) -> None:
    """All that will be done, before anything is."""
    print(f"in {work.tree.path}:")
    if work.settings is not None:
        print(f"  rootfs is prepared: {_listed(work)}")
    else:
        print("  rootfs stays as it is; without a user the board asks for its set-up at a screen or serial line")
    for _, command in commands:
        print(f"  {command}")
    print(f"  as in: {work.row.document}{'' if work.row.read else ' (read in copies of it)'}")
    if not commands:
        print("  the images are made already")


def _listed(work: Job) -> str:
    settings = work.settings
    assert settings is not None
    named = {
        "user": settings.user, "host": settings.hostname, "time zone": settings.timezone, "locale": settings.locale,
        "Wi-Fi": ", ".join(network.ssid for network in settings.wifi), "power mode": settings.power_mode,
        "start": "no desktop" if settings.headless else "desktop",
        "swap": f"{settings.swap >> 20} MiB" if settings.swap else "",
        "keys that it trusts": ", ".join(key.name for key in settings.trust), "talks": _talks(work),
    }  # fmt: skip
    return "; ".join(f"{name} {value}" for name, value in named.items() if value)


def _talks(work: Job) -> str:
    from edge_streamer.runtime.files import size_text

    app = work.settings.app if work.settings else None
    if app is None:
        return ""
    return (f"{len(app.payload.files)} files, {size_text(app.payload.size)}, {'signed, ' if app.signature else ''}"
            f"{'system' if app.system else 'user'}'s service")  # fmt: skip


def _asked() -> bool:
    """Whether a person says yes. Raises InputError where there is none to ask."""
    if not sys.stdin.isatty():
        raise InputError("nobody is there to say yes; say so with --yes, or look first with --dry-run")
    print("The storage of the board is erased. Go on? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _next(args: argparse.Namespace, wanted: Wanted) -> str:
    """What to do now."""
    from edge_streamer.devices.jetson.flash.routes import BOARDS

    if args.image_only:
        return "the images are made; put the board into recovery mode and run the same command without --image-only"
    start = (
        "press Reset: it waits for that"
        if BOARDS[wanted.board].thor
        else "take the recovery jumper off; it starts by itself"
    )
    log_in = (
        f"ssh {args.user}@{args.hostname or 'ITS-ADDRESS'}, then: edge-streamer doctor" if args.user else "set it up"
    )
    return f"{start}; the first start takes minutes. Then: {log_in}"


def _by_sdkmanager(args: argparse.Namespace, board: str) -> int:
    """NVIDIA's documents: SDK Manager, Install with the Command Line."""
    from edge_streamer.devices.jetson.flash import run
    from edge_streamer.devices.jetson.flash.routes import Command

    words = ("sdkmanager", "--cli", "--action", "install", "--login-type", "devzone", "--product", "Jetson",
             "--target-os", "Linux", "--version", args.jetpack, "--target", SDK_TARGETS[board], "--flash",
             "--license", "accept", "--exit-on-finish")  # fmt: skip
    print(str(Command(words)).removeprefix("sudo "))
    if args.dry_run:
        return 0
    if not args.yes and not _asked():
        return 1
    return 0 if run.inherited(words) == 0 else 1
