"""Runs one of NVIDIA's scripts: writes down what it says, tells how far it is, and ends it where it hangs.

Receives a command and the folder it runs in; hands on :class:`Ran`. The script gets a session of its own, so that
Ctrl-C comes here alone: then it is told to stop, which makes it clean up after itself, and is ended where it does not.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edge_streamer.devices.jetson.flash import watch
from edge_streamer.devices.jetson.flash.routes import Command
from edge_streamer.runtime.errors import InputError

LAST_LINES = 400
POLITE_SECONDS = 15.0
"""Between being told to stop and being ended."""
_POLL_SECONDS = 0.2

Told = Callable[[str], None]


@dataclass
class Ran:
    """How a script ended."""

    status: int = 0
    stages: list[str] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    hung: watch.Stage | None = None
    log: Path | None = None

    @property
    def done(self) -> bool:
        return self.status == 0 and self.hung is None

    def why(self) -> str:
        """In one line, what went wrong and what to do."""
        advice = watch.advice_for(self.lines)
        if self.hung:
            said = f"hung while {self.hung.name} for {self.hung.seconds:.0f} s"
            advice = advice or self.hung.advice
        else:
            end = f"ended by signal {-self.status}" if self.status < 0 else f"exit status {self.status}"
            said = f"{end}: {watch.complaint(self.lines) or 'it said nothing'}"
        return f"{said}; {advice}" if advice else f"{said}; see {self.log}"


def run(command: Command, folder: Path, log: Path, told: Told = lambda _: None, *, patience: float = 1.0,
        on_stage: Told = lambda _: None, begun: Callable[[int], None] = lambda _: None) -> Ran:  # fmt: skip
    """Runs until it ends. ``patience``: stretches every stage's time. ``told`` hears each stage once, ``on_stage`` its
    name as it begins, ``begun`` the process's number. Raises InputError where there is no such script."""
    ran = Ran(log=log)
    environment = {**os.environ, **dict(command.environment), "LC_ALL": "C.UTF-8"}
    with open(log, "wb") as written:
        written.write(f"$ {command}\n".encode())
        try:
            process = subprocess.Popen(
                command.words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"cannot run {command.words[0]} in {folder}: {error.strerror}") from error
        try:
            begun(process.pid)
            _follow(process, ran, written.write, told, on_stage, patience)
            ran.status = process.wait()
        finally:
            end(process)
            written.flush()
            os.fsync(written.fileno())
    return ran


def _follow(process: subprocess.Popen[bytes], ran: Ran, keep: Callable[[bytes], object], told: Told, on_stage: Told,
            patience: float) -> None:  # fmt: skip
    """Reads until the output ends, or the script does and nothing more comes, or a stage hangs."""
    stage, since, rest = watch.START, time.monotonic(), b""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            if waiting.select(_POLL_SECONDS):
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                keep(data)
                *lines, rest = re.split(rb"[\r\n]", rest + data)
                rest = rest[-65536:]
                for line in (watch.plain(raw.decode("utf-8", "replace")) for raw in lines):
                    ran.lines.append(line)
                    new = watch.stage_of(line, stage)
                    if new is not None:
                        stage, since = new, time.monotonic()
                        ran.stages.append(new.name)
                        on_stage(new.name)
                        told(new.name)
            elif process.poll() is not None:
                break  # somebody it left behind still holds the pipe
            if time.monotonic() - since > stage.seconds * patience:
                ran.hung = stage._replace(seconds=stage.seconds * patience)
                end(process)
                break
    if rest:
        ran.lines.append(watch.plain(rest.decode("utf-8", "replace")))


def end(process: subprocess.Popen[bytes], polite: float = POLITE_SECONDS) -> None:
    """Have a script and all that it started stop: asked twice, then ended. Nothing where it has ended."""
    try:
        for number, seconds in ((signal.SIGINT, polite), (signal.SIGTERM, polite / 3)):
            if process.poll() is not None:
                break
            _signal(process, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    finally:  # also where somebody presses Ctrl-C again
        _signal(process, signal.SIGKILL)  # with what it left behind
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To a script and all of its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def inherited(words: Sequence[str]) -> int:
    """A program that talks to the person itself, as SDK Manager's login does; its exit status."""
    try:
        return subprocess.run(list(words), check=False).returncode
    except OSError as error:
        raise InputError(f"cannot run {words[0]}: {error.strerror}") from error
