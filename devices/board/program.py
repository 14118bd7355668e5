"""A program that prints a line now and then, read without ever waiting for it: tegrastats, nvidia-smi.

Receives the words of a command; hands on the lines that came since the last time. A program that is not there, ends or
says nothing gives no lines. It costs a process of its own, and none of this one's time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

from edge_streamer.devices.jetson.system import shown

MOST_BYTES = 64 * 1024
"""That are read at once, and kept of a line that does not end."""
END_SECONDS = 2.0


class Program:
    """A running program. Close it."""

    def __init__(self, words: Sequence[str]) -> None:
        """OSError where it cannot be started."""
        self._process = subprocess.Popen(
            list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._left = b""

    def lines(self) -> list[str]:
        """Whole lines that came, as text that can be shown, without those that are empty."""
        new = b""
        with suppress(OSError):  # nothing is there: BlockingIOError
            while len(new) < MOST_BYTES and (more := os.read(self._pipe, MOST_BYTES)):
                new += more
        whole, _, rest = (self._left + new).rpartition(b"\n")
        self._left = rest[-MOST_BYTES:]
        return [line for line in shown(whole).splitlines() if line.strip()]

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """End it, whatever it does."""
        with self._process as process:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


Start = Callable[[Sequence[str]], Program | None]


def start(words: Sequence[str]) -> Program | None:
    """The program that ``words`` call, or None where there is none or it cannot be started."""
    path = shutil.which(words[0])
    if path is None:
        return None
    try:
        return Program([path, *words[1:]])
    except OSError:
        return None


def no_program(words: Sequence[str]) -> Program | None:
    """A machine without programs."""
    return None
