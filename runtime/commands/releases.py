"""``edge-streamer releases list|add|activate|confirm|rollback|prune``: which release of the application runs here.

Receives the words of the command line; hands on what became of it, for people or as JSON. Exit status 0 done, 1 a
release that was not switched to or was gone back from, 2 it cannot be done. See docs/releases.md.
"""

from __future__ import annotations

import argparse
import sys
import syslog
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime.commands.numbers import count, number
from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from edge_streamer.devices.jetson.releases.places import Root, State
    from edge_streamer.devices.jetson.releases.switching import Row

ACTIONS = "list|add|activate|confirm|rollback|prune"
LONGEST_SECONDS = 600.0
"""The service's own limit for a start is longer."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar=ACTIONS, required=True, parser_class=Parser)

    def action(name: str, about: str) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        add_root(made)
        return made

    listed = action("list", "show the releases that are here, which runs, and why the newest rollback was")
    listed.add_argument("--verify", action="store_true", help="compare every file of each with its manifest")
    added = action("add", "add what a folder or an archive holds as a release, without switching to it")
    added.add_argument("folder", type=Path, metavar="FOLDER|ARCHIVE",
                       help="with bundle, settings.toml (the words of run), and wheels or env; or one packed by "
                            "edge-streamer sign --release and pack")  # fmt: skip
    added.add_argument("--name", type=release_name, default="", help="what to call it, beside its id")
    added.add_argument("--python", default="", metavar="FILE", help="makes the environment (default: this one)")
    for one in (added, listed):
        one.add_argument("--json", action="store_true", help="for machines")
    switch = action("activate", "switch to a release, on trial until it has proven itself")
    switch.add_argument("release", metavar="ID", help="its id, the beginning of it, or its name")
    switch.add_argument("--units", type=_count, default=50, metavar="N", help="units wanted in a row (default: 50)")
    switch.add_argument("--within", type=_seconds, default=120.0, metavar="SECONDS",
                        help="of its first unit (default: 120)")  # fmt: skip
    switch.add_argument("--misses", type=_share, default=0.2, metavar="SHARE",
                        help="of those units so many may be late, failed or skipped (default: 0.2)")  # fmt: skip
    switch.add_argument("--crashes", type=_count, default=3, metavar="K", help="go back after so many (default: 3)")
    switch.add_argument("--no-trial", action="store_true", help="take it as proven")
    switch.add_argument("--no-check", action="store_true", help="do not replay its golden units first")
    for one in (added, switch):
        one.add_argument("--allow-downgrade", action="store_true",
                         help="on a device with keys: an older version than it has used, on purpose")  # fmt: skip
    switch.add_argument("--no-restart", action="store_true", help="leave it to the next start of the service")
    action("confirm", "take the current release as proven, before its trial is over")
    action("rollback", "go back to the release before").add_argument(
        "--no-restart", action="store_true", help="leave it to the next start of the service"
    )
    pruned = action("prune", "remove releases that are needed no more")
    pruned.add_argument("--keep", type=_count0, default=1, metavar="N",
                        help="beside the current one and the one before (default: 1)")  # fmt: skip


def release_name(word: str) -> str:
    """A word that `activate` takes; empty: none."""
    from edge_streamer.runtime.trust.statement import is_name

    if word and not is_name(word):
        raise argparse.ArgumentTypeError(f"{word!r}; wanted letters, digits, '.', '_', '+' and '-', and the first of "
                                         "them a letter or digit")  # fmt: skip
    return word


def add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, metavar="DIR",
                        help="where releases lie (default: ~/.local/share/edge-streamer; of root "
                             "/opt/edge-streamer)")  # fmt: skip


def root_of(args: argparse.Namespace) -> Root:
    from edge_streamer.devices.jetson.releases.places import Root
    from edge_streamer.devices.jetson.releases.service import default_root

    return Root(Path(args.root or default_root()).absolute())


def main(args: argparse.Namespace) -> int:
    doings = {
        "list": _list,
        "add": _add,
        "activate": _activate,
        "confirm": _confirm,
        "rollback": _rollback,
        "prune": _prune,
    }
    return doings[args.action](root_of(args), args)


def _list(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.switching import standing
    from edge_streamer.runtime.release.contents import verify

    rows, state = standing(root)
    damaged: dict[str, str] = {}
    for row in rows if args.verify else ():
        try:
            verify(root.release(row.id))
        except (InputError, OSError) as error:
            damaged[row.id] = str(error)
    if args.json:
        _print_json(rows, state, damaged)
    else:
        _show(root, rows, state, damaged)
    return 1 if damaged else 0


def _print_json(rows: list[Row], state: State, damaged: dict[str, str]) -> None:
    from edge_streamer.runtime.files import to_json

    listed = [{**row._asdict(), "damage": damaged.get(row.id, "")} for row in rows]
    print(to_json({"releases": listed, "trial": state.trial, "rollback": state.rollback}).decode())


def _show(root: Root, rows: list[Row], state: State, damaged: dict[str, str]) -> None:
    if not rows:
        print(f"no releases below {root.path}: edge-streamer releases add FOLDER")
    for row in rows:
        holds = {"current": row.current, "on trial": row.trial, "previous": row.previous, "good": row.good,
                 "damaged": not row.whole or row.id in damaged}  # fmt: skip
        marks = [word for word, on in holds.items() if on]
        print(f"{row.id}  {_when(row.added)}  {', '.join(marks) or '-':24}  {row.name}".rstrip())
    for text in damaged.values():
        print(text)
    if (trial := state.trial) is not None:
        last = f"; the last one: {trial.last}" if trial.last else ""
        print(f"trial of {trial.id} since {_when(trial.since)}: {trial.attempts} of {trial.crashes} starts without a "
              f"clean end{last}")  # fmt: skip
    if (gone := state.rollback) is not None:
        where = f"{gone.source} -> {gone.target}" if gone.target else gone.source
        print(f"last rollback: {where}, {_when(gone.time)}: {gone.reason}")


def _add(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.adding import unpacking
    from edge_streamer.runtime.release.contents import RELEASE
    from edge_streamer.runtime.trust.keyring import has_keys
    from edge_streamer.runtime.trust.opening import admit_archive, open_release, unpack_for_use

    name = args.name
    if args.folder.is_file():
        admit_archive(args.folder, args.allow_downgrade)
        with unpacking(root) as folder:
            made = unpack_for_use(args.folder, folder, args.allow_downgrade)
            return _add_folder(root, args, folder, name or made.manifest.name)
    if has_keys() or (args.folder / RELEASE).exists():  # signed, whole and for this machine, before it is copied
        listed = open_release(args.folder, args.allow_downgrade).manifest.name
        name = name or listed
    return _add_folder(root, args, args.folder, name)


def _add_folder(root: Root, args: argparse.Namespace, folder: Path, name: str) -> int:
    from edge_streamer.devices.jetson.releases.adding import SETTINGS, add
    from edge_streamer.runtime.commands.release_parts import checked_words, read_file
    from edge_streamer.runtime.files import size_text, to_json

    if (folder / SETTINGS).is_file():
        checked_words(folder / SETTINGS, read_file(folder / SETTINGS), folder)
    told = sys.stderr if args.json else sys.stdout
    added = add(root, folder, name=name, python=args.python, tell=lambda what: print(what, file=told))
    if args.json:
        print(to_json(added._asdict()).decode())
    elif added.new:
        print(f"added {added.id}: {size_text(added.written)} written, {size_text(added.linked)} shared with earlier "
              f"ones; switch to it: edge-streamer releases activate {added.id}")  # fmt: skip
    else:
        print(f"{added.id} is there already, and whole{_called(root, added.id, name)}")
    return 0


def _called(root: Root, release: str, wanted: str) -> str:
    """What a release that is there keeps as its name, where another one was wanted: its files are never changed."""
    from edge_streamer.runtime.release.contents import read_contents

    held = read_contents(root.release(release)).name
    if not wanted or held == wanted:
        return ""
    called = f"called {held}, and keeps that name" if held else "without a name, and stays so"
    return f", {called}; switch to it: edge-streamer releases activate {held or release}"


def _activate(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.switching import Terms, activate

    terms = None if args.no_trial else Terms(args.units, args.within, args.misses, args.crashes)
    since = time.time()
    name, why = activate(root, args.release, terms, check=not args.no_check, older=args.allow_downgrade, tell=print)
    if why:
        return _refused(f"not switched to {name}: {why}")
    print(f"{name} is current" + ("" if terms is None else ", on trial"))
    if args.no_restart or not _restarted(root):
        return 0
    return _await(root, name, since) if terms is not None else 0


def _await(root: Root, name: str, since: float) -> int:
    """Tell what becomes of a trial. Whoever stops waiting changes nothing: the service goes on with it."""
    from edge_streamer.devices.jetson.releases.switching import verdict
    from edge_streamer.devices.jetson.releases.unit import START_SECONDS

    print("waiting for its units; Ctrl-C only ends the waiting")
    reason = verdict(root, name, since, 2 * START_SECONDS)
    if reason is None:
        print(f"{name} is still on trial; see: edge-streamer releases list")
        return 1
    if reason:
        return _refused(f"{name} was given up: {reason}")
    print(f"{name} is confirmed")
    return 0


def _confirm(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.switching import prove

    print(f"{prove(root)} is confirmed")
    return 0


def _rollback(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.switching import back

    source, target = back(root)
    _log(f"back from {source} to {target}: asked for")
    print(f"{target} is current again, {source} is not")
    if not args.no_restart:
        _restarted(root)
    return 0


def _prune(root: Root, args: argparse.Namespace) -> int:
    from edge_streamer.devices.jetson.releases.switching import prune

    gone = prune(root, args.keep)
    print(f"removed {', '.join(gone)}" if gone else "nothing to remove")
    return 0


def _restarted(root: Root) -> bool:
    """Restart the service of this root, where there is one."""
    from edge_streamer.devices.jetson.releases.service import installed, restart, systemctl
    from edge_streamer.devices.jetson.releases.unit import NAME

    system = installed(root.path)
    if system is None:
        print("no service of this root is installed here: it counts from the next start on")
        return False
    why = restart(system)
    if why:
        print(f"the service was not restarted ({why}): {' '.join(systemctl(system))} restart {NAME}")
    return not why


def _refused(text: str) -> int:
    _log(text)
    print(f"edge-streamer: {text}", file=sys.stderr)
    return 1


def _log(text: str) -> None:
    """To the system's log too, where whoever looks later finds it beside the service's own lines."""
    syslog.openlog("edge-streamer")
    syslog.syslog(syslog.LOG_WARNING, f"releases: {text}")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _count(word: str) -> int:
    return count(word, 1, 99_999)


def _count0(word: str) -> int:
    return count(word, 0, 99_999)


def _seconds(word: str) -> float:
    return number(word, LONGEST_SECONDS)


def _share(word: str) -> float:
    return number(word, 1.0)
