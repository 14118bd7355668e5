"""Keeps one worker alive: starts it, hears it, notices that it is lost or silent, and starts it again.

Receives the worker's module and options; hands on :class:`Supervisor`. Its owner (a microphone, a speaker, a camera, a
screen) gives one function that takes messages, called in the supervisor's own thread, and reads ``state`` whenever it
likes. A worker that is lost is started again with back-off, forever: a cable that was pulled may come back in an hour.
What a worker started itself ends with it: a child that hangs would keep the device for itself.

    starting ──► open ──► lost ──► starting ...          hopeless: only where it could never be opened
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_streamer.devices.live.process.wire import ALIVE, CLOSE, FAILED, OPENED, Message, Wire, WireClosed
from edge_streamer.runtime.child import python_m

State = Literal["starting", "open", "lost", "hopeless", "closed"]

BACK_OFF_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries, the last one repeated: soon after a glitch, and no storm against a device that is gone."""

STEADY_SECONDS = 5.0
"""A device that was open for so long is well again, and its next loss the first one: one that opens and is lost at once
is the storm that the back-off is against."""

STARTUP_SECONDS = 30.0
"""A worker that has said nothing for so long after its start hangs: libraries on a cold SD card take 5 s."""

END_SECONDS = 2.0
"""A worker that was told to end and has not by then is killed: its driver hangs."""

WORKER = "edge_streamer.devices.live.process.worker"
"""The program of every worker."""

POLL_SECONDS = 0.1
"""How often silence is looked for."""

OLD_WORDS = 20
"""Of what a worker's libraries write to standard error, the last lines are kept: they are the only reason that some
drivers give."""


@dataclass
class Supervision:
    """What is counted."""

    opened: int = 0
    """Times that the device was opened; more than once: reopened."""
    lost: int = 0
    """Times that an open device was lost."""
    tries: int = 0
    """Workers started."""
    silences: int = 0
    """Of the losses, those of devices that were still open but delivered nothing."""
    why: list[str] = field(default_factory=list)
    """Reasons of the losses, the first few."""


class Supervisor:
    """One device's worker. ``silent_seconds``: an open device that sends nothing for so long is lost (None: it may)."""

    def __init__(
        self,
        what: str,
        module: str,
        options: Mapping[str, object],
        hear: Callable[[Message], None],
        *,
        silent_seconds: float | None = None,
    ) -> None:
        self.what, self._module, self._options, self._hear = what, module, dict(options), hear
        self._silent_seconds = silent_seconds
        self.state: State = "starting"
        self.facts: dict[str, Any] = {}
        """What the worker told of the device when it was opened last."""
        self.error = ""
        """Why it is not open."""
        self.counts = Supervision()
        self._words: deque[str] = deque(maxlen=OLD_WORDS)
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._ending, self._again = threading.Event(), threading.Event()
        self._settled = threading.Event()
        self._failures = 0
        self._heard = self._opened = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    # -- for the owner

    def start(self) -> None:
        """Start the first worker; returns at once."""
        self._thread.start()

    def wait(self, seconds: float | None = None) -> str:
        """Until the first try has succeeded or failed; returns why it is not open, or nothing."""
        # A worker that hangs is given up after STARTUP_SECONDS, and the try is over when it has ended.
        most = STARTUP_SECONDS + 2 * END_SECONDS + 1.0 if seconds is None else seconds
        self._settled.wait(most)
        return self.error or ("" if self.state == "open" else f"{self.what} did not open within {most:.0f} s")

    def offer(self, kind: int, time_ns: int = 0, one: int = 0, two: int = 0, payload: bytes | memoryview = b"") -> bool:
        """See :meth:`Wire.offer`; False also where there is no open device."""
        wire = self._wire
        if wire is None or self.state != "open":
            return False
        try:
            return wire.offer(kind, time_ns, one, two, payload)
        except WireClosed:
            return False

    def send(self, kind: int, time_ns: int = 0, one: int = 0, two: int = 0, payload: bytes | memoryview = b"") -> bool:
        """See :meth:`Wire.send`: it may wait, so never from the loop. False where there is no open device."""
        wire = self._wire
        if wire is None or self.state != "open":
            return False
        try:
            wire.send(kind, time_ns, one, two, payload)
        except WireClosed:
            return False
        return True

    def reopen(self) -> None:
        """Close the device and open it again, now."""
        self._failures = 0
        self._again.set()

    @property
    def pid(self) -> int | None:
        """The worker's process; None between two."""
        process = self._process
        return process.pid if process else None

    def close(self) -> None:
        """End the worker and the thread. Harmless twice."""
        self._ending.set()
        self._again.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2 * END_SECONDS)
        self._hear = _forget  # where the thread is still held up, at the interpreter's end too, its owner is not
        self.state = "closed"

    # -- in the thread

    def _run(self) -> None:
        while not self._ending.is_set():
            self._again.clear()
            try:
                self._one_worker()
            except Exception as error:  # whatever its own code does, a device comes back
                self._lost(f"{type(error).__name__}: {error}")
            finally:
                self._end_worker()
            self._settled.set()
            if self.state == "hopeless" or self._ending.is_set():
                break
            wait = BACK_OFF_SECONDS[min(self._failures, len(BACK_OFF_SECONDS) - 1)]
            self._failures += 1
            self._again.wait(wait)

    def _one_worker(self) -> None:
        """From the start of one worker to its end."""
        self.state = "starting" if not self.counts.opened else self.state
        wire = self._start_worker()
        begun = self._heard = time.monotonic()
        while not self._again.is_set():
            try:
                message = wire.receive(POLL_SECONDS)
            except WireClosed:
                self._lost(self._last_words("its process ended"))
                return
            now = time.monotonic()
            if message is not None:
                self._heard = now
                if not self._take(message):
                    return
            elif self.state == "open":
                if self._silent_seconds is not None and now - self._heard > self._silent_seconds:
                    self.counts.silences += 1
                    self._lost(f"delivered nothing for {now - self._heard:.1f} s")
                    return
            elif now - begun > STARTUP_SECONDS:
                self._lost(self._last_words(f"could not be opened within {STARTUP_SECONDS:.0f} s"))
                return
        self.state = "lost" if not self._ending.is_set() else "closed"

    def _take(self, message: Message) -> bool:
        """False where the worker is done for."""
        if message.kind == OPENED:
            self.facts, self.error = message.facts(), ""
            self.state = "open"
            self.counts.opened += 1
            self._opened = self._heard
            self._settled.set()
            self._hear(message)
        elif message.kind == FAILED:
            facts = message.facts()
            self._lost(str(facts["error"]))
            if facts.get("hopeless") and not self.counts.opened:
                self.state = "hopeless"
            return False
        elif message.kind != ALIVE:
            self._hear(message)
        return True

    def _lost(self, why: str) -> None:
        if self.state == "open":
            self.counts.lost += 1
            if self._heard - self._opened >= STEADY_SECONDS:
                self._failures = 0
            if len(self.counts.why) < 5:
                self.counts.why.append(why)
        self.error = why
        self.state = "lost"

    def _start_worker(self) -> Wire:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*python_m(WORKER), self._module, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),), start_new_session=True,  # Ctrl-C is the loop's to answer
            )  # fmt: skip
        self.counts.tries += 1
        self._words.clear()
        words = (self._process, self._words)
        threading.Thread(target=_listen, args=words, name=f"{self.what} words", daemon=True).start()
        self._wire = Wire(ours)
        self._wire.tell(OPENED, **self._options)
        return self._wire

    def _last_words(self, why: str) -> str:
        time.sleep(0.05)  # the last line may still be in the pipe
        said = next((line for line in reversed(self._words) if line.strip()), "")
        return f"{why}: {said}" if said else why

    def _end_worker(self) -> None:
        """Politely, then not; in the end with all that it started."""
        wire, process = self._wire, self._process
        self._wire = None
        if wire is not None:
            with suppress(WireClosed):
                wire.offer(CLOSE)
            wire_closer = wire
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS if wire is not None else 0.1)
            with suppress(ProcessLookupError, PermissionError):  # it leads a group of its own, often empty by now
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one in an uninterruptible call dies when the kernel lets it
                process.wait(END_SECONDS)
        if wire is not None:
            wire_closer.close()
        self._process = None


def _forget(message: Message) -> None:
    """For an owner that has gone."""


def _listen(process: subprocess.Popen[bytes], words: deque[str]) -> None:
    """Keep what a worker's libraries say, so that its pipe never fills. Knows nothing of who owns the worker: what a
    library starts may hold the pipe open long after it (a sound server), and so would keep the owner."""
    assert process.stderr is not None
    with suppress(ValueError, OSError), process.stderr:
        for line in process.stderr:
            words.append(line.decode(errors="replace").rstrip())
