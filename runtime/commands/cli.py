"""``edge-streamer``: subcommands by dotted name, imported only when they are used.

Receives the words of the command line; hands on an exit status: 0 done, 1 failed, 2 the input cannot be used, 130
interrupted, 143 terminated, 141 the reader of the output has gone. A command's file has ``HELP``,
``add_arguments(parser)`` and ``main(args) -> int``; the table below holds its line of help too, so that
``edge-streamer --help`` imports none of them. The runtime reaches ``export`` only here, by name.

Errors that this project raises on purpose, and words that argparse refuses, are one line on standard error; anything
else is a fault of ours and shows its traceback.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple, NoReturn, Protocol, cast

from edge_streamer.runtime import extras
from edge_streamer.runtime.ending import Guard, Stopped
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.streams import BROKEN_PIPE as BROKEN_PIPE
from edge_streamer.runtime.streams import as_text, unheard_streams

INPUT_UNUSABLE = 2
INTERRUPTED = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""
ONE_THREAD = "OPENBLAS_NUM_THREADS"
"""NumPy's small products are faster on one thread: on a busy machine a second one is waited for, up to 50 times as long
as the product takes. The engine has its own threads; `quantize` alone has products that are worth two."""
NUMBERS = {"float": "no number", "int": "no whole number"}
"""What argparse calls by Python's types, in words."""


class _Entry(NamedTuple):
    module: str
    help: str


COMMANDS = {
    "run": _Entry("edge_streamer.runtime.commands.run", "converse with a bundle: live, or on recorded sound and film"),
    "demo": _Entry(
        "edge_streamer.runtime.commands.demo", "run the bundle that ships with this package on media that ship too"
    ),
    "quantize": _Entry(
        "edge_streamer.quantization.options",
        "make a bundle smaller and faster, and measure what that costs over minutes",
    ),
    "check": _Entry(
        "edge_streamer.runtime.commands.check", "replay a bundle's golden units here and say how far the answers differ"
    ),
    "inspect": _Entry("edge_streamer.runtime.commands.inspect", "show a bundle's graphs, states, sizes and costs"),
    "eval": _Entry(
        "edge_streamer.runtime.commands.evaluate", "play conversations to a bundle and score how it behaves"
    ),
    "devices": _Entry(
        "edge_streamer.devices.live.listing", "list microphones, speakers, cameras and displays, and what is missing"
    ),
    "replay": _Entry(
        "edge_streamer.runtime.commands.replay",
        "replay a recorded live conversation and compare every answer bit for bit",
    ),
    "prefix": _Entry(
        "edge_streamer.runtime.commands.prefix",
        "fill the pinned prefix (text, picture or clip) and save it as a snapshot",
    ),
    "pack": _Entry("edge_streamer.runtime.commands.pack", "write a bundle as one file"),
    "export": _Entry("edge_streamer.export.command", "turn a streaming torch model into a bundle of chunk graphs"),
}

EXTRAS = {module: extra for extra, modules in extras.EXTRAS.items() for module in modules}
"""Optional module -> the extra that installs it, ``export`` where ``quantize`` has it too."""


class Command(Protocol):
    """What a command's file offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def main(self, args: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    """Refuses in one line, as every other error of this project."""

    def error(self, message: str) -> NoReturn:
        said = re.sub(r"invalid (float|int) value: (.*)", lambda found: f"{found[2]} is {NUMBERS[found[1]]}", message)
        self.exit(INPUT_UNUSABLE, f"edge-streamer: {' '.join(said.split())}; see {self.prog} --help\n")


class _CommandParser(Parser):
    """Refuses unknown words itself: argparse leaves them to the parser above, which knows other options."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


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
        chosen = _chosen(words)
        extra = chosen if chosen in extras.EXTRAS and module in extras.EXTRAS[chosen] else EXTRAS[module]
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
    parser = Parser(
        prog="edge-streamer", description="Runs a streaming, full-duplex audio-visual model on an edge device."
    )
    parser.add_argument("--version", action="version", version=f"edge-streamer {_version()}")
    _add_debug(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser)
    chosen = _chosen(words)
    module: Command | None = None
    for name, entry in COMMANDS.items():
        sub = commands.add_parser(name, help=entry.help, description=_sentence(entry.help))
        _add_debug(sub)
        if name == chosen:
            if name != "quantize":
                os.environ.setdefault(ONE_THREAD, "1")  # read when NumPy is imported, which is below
            module = _load(entry.module)
            module.add_arguments(sub)
            words = _configured(sub, words, name)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # argparse has printed why: --help, --version or a wrong word
        return int(stop.code or 0)
    if module is None:
        parser.print_help()
        return 0
    from edge_streamer.runtime.bundle.checksums import sweep_cache

    sweep_cache()
    return module.main(args)


def _chosen(words: Sequence[str]) -> str | None:
    """The command's name."""
    return next((word for word in words if not word.startswith("-")), None)


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )


def _configured(parser: argparse.ArgumentParser, words: Sequence[str], command: str) -> list[str]:
    """The words with those of a ``--config`` file after the command's name."""
    if not any(word.startswith("--config") for word in words):
        return list(words)
    from edge_streamer.runtime.commands.config import with_config

    place = list(words).index(command) + 1
    return [*words[:place], *with_config(parser, list(words)[place:])]


def _load(name: str) -> Command:
    """The file of a command; the tests hold every entry of the table to the protocol."""
    return cast(Command, import_module(name))


def _version() -> str:
    from edge_streamer import __version__

    return __version__


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _fail(words: Sequence[str], text: str, status: int) -> int:
    """One line on standard error; with ``--debug`` the traceback of the exception in hand before it."""
    if "--debug" in words:
        traceback.print_exc()
    print(f"edge-streamer: {' '.join(text.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
