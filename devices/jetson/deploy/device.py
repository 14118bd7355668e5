"""Calls of the board: the helper is sent with each, what it says comes back, and a link that drops is opened again.

Receives a :class:`~.link.Link`; hands on :class:`Device`, whose calls return JSON or raise InputError in one line.
Every call may be made twice, so one that was cut off is.
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from edge_streamer.devices.jetson.deploy.helper import MARK
from edge_streamer.devices.jetson.deploy.link import LINK_FAILED, Dropped, Link
from edge_streamer.runtime.errors import InputError

OLDEST_PYTHON = (3, 10)
TRIES = 6
"""In a row without progress: 1 + 2 + 4 + 8 + 16 s of waiting between them."""
FIRST_TRIES = 2
"""Of the first one: a wrong name is not waited for."""
STARTER = (
    "import sys,zlib;exec(compile(zlib.decompress(sys.stdin.buffer.read(int(sys.argv[1]))),'deploy helper','exec'))"
)
HELPER = Path(__file__).with_name("helper.py")
FIRST = """case $1 in
"") if [ "$(id -u)" = 0 ] || [ "$3" = system ]; then root=/opt/edge-streamer
    else root=${XDG_DATA_HOME:-$HOME/.local/share}/edge-streamer; fi ;;
*) root=$1 ;; esac
echo "root $root"; echo "uid $(id -u)"
echo "python $("$2" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
[ "$3" = system ] && [ "$(id -u)" != 0 ] && { sudo -n true 2>/dev/null && echo "sudo yes" || echo "sudo no"; }
exit 0
"""
"""The one question that needs no Python."""
Reply = dict[str, Any]
Said = Callable[[str], object]


class Ended(NamedTuple):
    """A step."""

    status: int
    out: str
    said: str
    """On standard error."""


class Device:
    """Of one deployment. ``reach`` first."""

    def __init__(self, link: Link, python: str, system: bool, say: Said, wait: float = 1.0) -> None:
        self._link, self.python, self._system, self._say, self._wait = link, python, system, say, wait
        self._before: tuple[str, ...] = ()
        self._token = secrets.token_hex(8)
        self._source = zlib.compress(HELPER.read_bytes(), 9)
        self.root = ""

    def reach(self, root: str) -> None:
        """Find the root folder and a Python. InputError where there is none that serves."""
        word = "system" if self._system else ""
        self._again(self._link.open, FIRST_TRIES)
        out = self._again(lambda: self._whole(["sh", "-c", FIRST, "sh", root, self.python, word], b""))
        found = dict(line.split(" ", 1) for line in out.decode("utf-8", "replace").splitlines() if " " in line)
        host = self._link.target.host
        if not found.get("root", "").startswith("/"):
            raise InputError(f"{host} does not answer as a shell does; wanted a login that runs commands, and --root "
                             "with a path that begins with /")  # fmt: skip
        version = found.get("python", "").strip()
        if not version or tuple(map(int, version.split("."))) < OLDEST_PYTHON:
            raise InputError(f"{host} has {f'Python {version}' if version else 'no ' + self.python}; wanted 3.10 or "
                             "newer: name one that is there by --board-python")  # fmt: skip
        if self._system and found.get("uid") != "0":
            if found.get("sudo") != "yes":
                raise InputError(f"{host} may not become root without a password, which a system service needs; log in "
                                 "as root, allow sudo without one, or leave --system out: a user's service needs no "
                                 "root")  # fmt: skip
            self._before = ("sudo", "-n")
        self.root = found["root"]

    def ask(self, call: str, **request: object) -> Reply:
        """One call of the helper."""

        def once() -> Reply:
            process = self.begin(call, request)
            assert process.stdin is not None
            return self.answer(process)

        reply: Reply = self._again(once)
        return reply

    def step(
        self, name: str, words: Sequence[str], *, env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None, tell: Said | None = None,
    ) -> Ended:  # fmt: skip
        """A command that goes on where the link drops, and is found again. ``tell`` is given its lines of standard
        error as they come."""
        seen = 0

        def once() -> Reply:
            nonlocal seen
            process = self.begin("step", {"name": name, "token": self._token, "seen": seen, "words": list(words),
                                          "env": dict(env or {}), "files": dict(files or {})})  # fmt: skip

            def line(text: bytes) -> None:
                nonlocal seen
                seen += len(text)
                if tell is not None and text.strip():
                    tell(text.decode("utf-8", "replace").rstrip())

            return self.answer(process, line)

        reply = self._again(once)
        return Ended(reply["status"], reply["out"], reply["err"])

    def begin(self, call: str, request: Mapping[str, object]) -> subprocess.Popen[bytes]:
        """A call whose input may go on. Dropped."""
        words = [*self._before, self.python, "-I", "-B", "-c", STARTER, str(len(self._source)), self.root, call]
        process = self._link.start(["sh", "-c", f"umask 022; exec {shlex.join(words)}"])
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(self._source + json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        return process

    def answer(self, process: subprocess.Popen[bytes], line: Callable[[bytes], None] | None = None) -> Reply:
        """The end of a call. Dropped; InputError where the device refuses."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        reply: Reply | None = None
        try:
            with suppress(BrokenPipeError):
                process.stdin.close()
            for text in process.stdout:
                if text.startswith(MARK.encode()):
                    with suppress(ValueError):
                        reply = json.loads(text[len(MARK) :])
                elif line is not None:
                    line(text)
            said = process.stderr.read()
            status = process.wait()
        finally:
            close(process)
        if reply is None:
            last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"status {status}"]
            if status == LINK_FAILED or status < 0:
                raise Dropped(last[0])
            raise InputError(f"the helper on {self._link.target.host} failed: {last[0][:300]}")
        if "refused" in reply:
            raise InputError(reply["refused"])
        return reply

    def again(self, work: Callable[[], bool]) -> None:
        """Have ``work`` done until it returns; it says, by True, that a try got further before it was cut off."""
        self._again(work)

    def _again(self, work: Callable[[], Any], tries: int = TRIES) -> Any:
        left, why = tries, ""
        while True:
            try:
                if why and work != self._link.open:
                    self._link.open()
                    self._say("the link is back")
                return work()
            except Progressed as error:
                left, why = tries, str(error) or "the link dropped"
            except Dropped as error:
                why = str(error) or "the link dropped"
                left -= 1
            if left <= 0:
                raise InputError(f"{self._link.target.host} cannot be reached: {why}; what has arrived is kept: run "
                                 "the same command again")  # fmt: skip
            self._say(f"no link to {self._link.target.host} ({why}); trying again")
            time.sleep(self._wait * 2 ** (tries - left - 1) if left < tries else 0)

    def _whole(self, words: Sequence[str], data: bytes) -> bytes:
        process = self._link.start(words)
        try:
            out, said = process.communicate(data)
        finally:
            close(process)
        if process.returncode == LINK_FAILED or process.returncode < 0:
            raise Dropped(said.decode("utf-8", "replace").strip() or "the link dropped")
        return out


class Progressed(Dropped):
    """The link is gone, but the try got further."""


def close(process: subprocess.Popen[bytes]) -> None:
    """End our side of a call."""
    if process.poll() is None:
        process.kill()
        process.wait()
    streams: Sequence[IO[bytes] | None] = (process.stdin, process.stdout, process.stderr)
    for stream in streams:
        if stream is not None:
            with suppress(OSError):
                stream.close()
