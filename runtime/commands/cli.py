"""``edge-streamer``: subcommands by dotted name, imported only when they are used.

Receives the words of the command line; hands on an exit status: 0 done, 1 failed, 2 the input cannot be used, 130
interrupted, 143 terminated, 141 the reader of the output has gone. A command is an entry of the table below and a file
with ``add_arguments(parser)`` and ``main(args) -> int``; where that file imports libraries, the first of them is in a
file of its own. The table holds the line of help, so that ``edge-streamer --help`` imports none of them. The runtime
reaches ``export`` only here, by name.

Errors that this project raises on purpose, and words that argparse refuses, are one line on standard error; anything
else is a fault of ours and shows its traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from edge_streamer.runtime import extras
from edge_streamer.runtime.commands import completion
from edge_streamer.runtime.commands.parser import INPUT_UNUSABLE, Parser
from edge_streamer.runtime.ending import Guard, Stopped
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.streams import BROKEN_PIPE as BROKEN_PIPE
from edge_streamer.runtime.streams import as_text, unheard_streams

ABOUT = "Runs a streaming, full-duplex audio-visual model on an edge device."
INTERRUPTED = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""
ONE_THREAD = "OPENBLAS_NUM_THREADS"
"""NumPy's small products are faster on one thread: on a busy machine a second one is waited for, up to 50 times as long
as the product takes. The engine has its own threads; `quantize` alone has products that are worth two."""


class _Entry(NamedTuple):
    group: str
    """The heading that ``edge-streamer --help`` shows it under."""
    module: str
    help: str
    one_thread: bool = True
    """Whether NumPy gets one thread only."""
    options: str = ""
    """The module of its arguments, where the other one imports libraries: help and completion are quick without."""
    extra: str = ""
    """What installs all that it needs, where that is not the base install."""


COMMANDS = {
    "run": _Entry(
        "talk", "edge_streamer.runtime.commands.run", "converse with a bundle: live, or on recorded sound and film",
        options="edge_streamer.runtime.commands.options",
    ),
    "demo": _Entry(
        "talk", "edge_streamer.runtime.commands.demo",
        "run the bundle that ships with this package on media that ship too",
    ),
    "devices": _Entry(
        "talk", "edge_streamer.devices.live.listing",
        "list microphones, speakers, cameras and displays, and what is missing",
    ),
    "replay": _Entry(
        "talk", "edge_streamer.runtime.commands.replay",
        "replay a recorded live conversation and compare every answer bit for bit",
        options="edge_streamer.runtime.commands.replay_options",
    ),
    "prefix": _Entry(
        "talk", "edge_streamer.runtime.commands.prefix",
        "fill the pinned prefix (text, picture or clip) and save it as a snapshot",
        options="edge_streamer.runtime.commands.prefix_options",
    ),
    "inspect": _Entry(
        "bundles", "edge_streamer.runtime.commands.inspect", "show a bundle's graphs, states, sizes and costs",
        options="edge_streamer.runtime.commands.inspect_options",
    ),
    "plan": _Entry(
        "bundles", "edge_streamer.runtime.commands.plan",
        "predict what a bundle, or any decoder, takes on a board that is not here",
        options="edge_streamer.runtime.commands.plan_options",
    ),
    "profile": _Entry(
        "bundles", "edge_streamer.runtime.commands.profile",
        "measure whether a bundle holds its unit here, what limits it and what would help",
        options="edge_streamer.runtime.commands.profile_options",
    ),
    "check": _Entry(
        "bundles", "edge_streamer.runtime.commands.check",
        "replay a bundle's golden units here and say how far the answers differ",
    ),
    "lint": _Entry(
        "bundles", "edge_streamer.quantization.lint.command",
        "say node by node what a board's TensorRT, or a CPU, refuses of a bundle",
        options="edge_streamer.quantization.lint.options", extra="quantize",
    ),
    "build": _Entry(
        "bundles", "edge_streamer.runtime.commands.build", "build a bundle's engines on this device, ahead of time"
    ),
    "pack": _Entry("bundles", "edge_streamer.runtime.commands.pack", "write a bundle as one file"),
    "eval": _Entry(
        "bundles", "edge_streamer.runtime.commands.evaluate",
        "play conversations to a bundle and score how it behaves",
        options="edge_streamer.runtime.commands.evaluate_options",
    ),
    "sign": _Entry(
        "trust", "edge_streamer.runtime.commands.sign", "sign a bundle, a snapshot, a release or a public key",
        extra="trust",
    ),
    "verify": _Entry(
        "trust", "edge_streamer.runtime.commands.verify",
        "say whether a thing is whole and signed by a key of this device", extra="trust",
    ),
    "keys": _Entry(
        "trust", "edge_streamer.runtime.commands.keys",
        "make keys that sign, and say which ones this device trusts", extra="trust",
    ),
    "doctor": _Entry(
        "machine", "edge_streamer.runtime.commands.doctor", "look this machine over, and say what mends it"
    ),
    "releases": _Entry(
        "machine", "edge_streamer.runtime.commands.releases",
        "add, switch, confirm and go back from releases of the application on this device",
    ),
    "service": _Entry(
        "machine", "edge_streamer.runtime.commands.service", "run the current release as a service of systemd"
    ),
    "health": _Entry(
        "machine", "edge_streamer.runtime.commands.health",
        "say whether a run with --health is well, as an exit status",
    ),
    "engines": _Entry(
        "machine", "edge_streamer.runtime.commands.engines",
        "list what can run graphs here, and the commands that install the rest",
    ),
    "flash": _Entry(
        "boards", "edge_streamer.runtime.commands.flash",
        "bring up a blank Jetson by NVIDIA's own tools: look, prepare, flash",
        options="edge_streamer.runtime.commands.flash_options",
    ),
    "deploy": _Entry(
        "boards", "edge_streamer.runtime.commands.deploy",
        "send a bundle to a running board over ssh, prove it there and switch to it",
        options="edge_streamer.runtime.commands.deploy_options",
    ),
    "mender": _Entry(
        "boards", "edge_streamer.runtime.commands.mender",
        "carry releases to devices by Mender: its update module there, its artifact here",
    ),
    "export": _Entry(
        "make", "edge_streamer.export.command", "turn a streaming torch model into a bundle of chunk graphs",
        extra="export",
    ),
    "quantize": _Entry(
        "make", "edge_streamer.quantization.command",
        "make a bundle smaller and faster, and measure what that costs over minutes",
        options="edge_streamer.quantization.options", one_thread=False, extra="quantize",
    ),
}  # fmt: skip
"""In the order of the help, group by group."""

EXTRAS = {module: extra for extra, modules in extras.EXTRAS.items() for module in modules}
"""Optional module -> the extra that installs it, ``export`` where ``quantize`` has it too."""


class Command(NamedTuple):
    """What a command is asked for."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[argparse.Namespace], int]


class _Commands(Parser):
    """The parser above the commands."""

    def format_help(self) -> str:
        self.description = f"{ABOUT}\n{_listing()}"
        return super().format_help()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    with unheard_streams() as ended:
        return ended(_main(words))


def _main(words: Sequence[str]) -> int:
    try:
        with Guard():
            return _run(words)
    except EdgeStreamerError as error:
        return _fail(words, str(error), error.exit_status)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        entry = COMMANDS.get(_chosen(words) or "")
        extra = entry.extra if entry and module in extras.EXTRAS.get(entry.extra, ()) else EXTRAS[module]
        modules = sorted({module, *extras.missing(extra)}, key=list(extras.EXTRAS[extra]).index)
        return _fail(words, extras.needed("this command", extra, modules), INPUT_UNUSABLE)
    except KeyboardInterrupt as stop:
        status = 128 + stop.number if isinstance(stop, Stopped) else INTERRUPTED
        return _fail(words, "stopped; what was not finished is not kept", status)
    except UnicodeEncodeError:  # of a library that takes only text; our own files hold what `as_text` makes of it
        if all(as_text(word) == word for word in words):
            raise
        return _fail(words, "a name is not UTF-8 text, which is needed here; rename the file or folder", INPUT_UNUSABLE)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return _fail(words, f"the name {error.filename} is too long for this system", INPUT_UNUSABLE)
        if not isinstance(error, FileNotFoundError) or _in_a_folder():
            raise
        return _fail(words, "the current folder was removed; change to one that is there", INPUT_UNUSABLE)


def _in_a_folder() -> bool:
    """Whether the current folder is still there: without it no relative path leads anywhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _run(words: Sequence[str]) -> int:
    completes = completion.asked()
    chosen = completion.typed(COMMANDS) if completes else _chosen(words)
    parser, parsers = _parsers()
    command: Command | None = None
    if chosen in COMMANDS:
        entry = COMMANDS[chosen]
        if entry.one_thread:
            os.environ.setdefault(ONE_THREAD, "1")  # read when NumPy is imported, which is below
        command = _load(entry)
        command.add_arguments(parsers[chosen])
        if not completes:
            _configure(parsers[chosen], words)
    if completes:
        return completion.answer(parser)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # argparse has printed why: --help, --version or a wrong word
        return int(stop.code or 0)
    if command is None:
        parser.print_help(sys.stderr)
        return INPUT_UNUSABLE
    from edge_streamer.runtime.bundle.checksums import sweep_cache

    sweep_cache()
    return command.main(args)


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of everything, and every command's, which does not know its arguments yet."""
    parser = _Commands(
        prog="edge-streamer",
        usage="edge-streamer [-h] [--version] [--debug] COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-streamer {_version()}")
    _add_debug(parser)
    commands = parser.add_subparsers(
        prog="edge-streamer", dest="command", metavar="COMMAND", help=argparse.SUPPRESS, parser_class=Parser
    )
    parsers = {
        name: commands.add_parser(name, help=entry.help, description=_sentence(entry.help))
        for name, entry in COMMANDS.items()
    }
    for one in parsers.values():
        _add_debug(one)
    return parser, parsers


def _listing() -> str:
    """Every command with its line, group by group."""
    import shutil
    import textwrap

    width, columns = max(map(len, COMMANDS)) + 4, shutil.get_terminal_size().columns - 2
    lines: list[str] = []
    for group in dict.fromkeys(entry.group for entry in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [
            textwrap.fill(f"  {name:{width - 2}}{entry.help}", columns, subsequent_indent=" " * width,
                          break_on_hyphens=False)
            for name, entry in COMMANDS.items() if entry.group == group
        ]  # fmt: skip
    return "\n".join(lines)


def _chosen(words: Sequence[str]) -> str | None:
    """The command's name."""
    return next((word for word in words if not word.startswith("-")), None)


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )


def _configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """What a ``--config`` file says becomes the parser's defaults."""
    if any(word.startswith("--config") for word in words):
        from edge_streamer.runtime.commands.config import with_config

        with_config(parser, words)


def _load(entry: _Entry) -> Command:
    """A command: its arguments now, its work when it is run."""

    def main(args: argparse.Namespace) -> int:
        status: int = import_module(entry.module).main(args)
        return status

    return Command(import_module(entry.options or entry.module).add_arguments, main)


def _version() -> str:
    from edge_streamer import __version__

    return __version__


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _fail(words: Sequence[str], text: str, status: int) -> int:
    """One line on standard error; with ``--debug`` the traceback of the exception in hand before it."""
    if "--debug" in words:
        import traceback

        traceback.print_exc()
    print(f"edge-streamer: {' '.join(text.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
