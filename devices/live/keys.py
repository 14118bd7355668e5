"""What the user types and presses while the agent runs.

Receives lines of standard input and key presses of the screen's window; hands on typed text, whether the microphone is
muted, and whether the user wants to leave.

Choices. The terminal stays as it is: a line is sent with Enter, so the shell's own editing works, nothing has to be
restored, and the status line on standard error is only drawn over until then. A line that begins with a slash is a
command: /mute, /talk (for push-to-talk, which a terminal can only toggle), /quit, /help. A pipe's lines are typed text,
and its end is not the end of the run. While the run is a job in the background, what is typed is the shell's: the
kernel stops a job that reads then. In the window: m mutes, space held talks, q or Escape leaves.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

HELP = "type and press Enter to send; /mute, /talk (push to talk), /quit"

LONGEST_LINE = 4096
"""Bytes; what is longer is sent in pieces."""

BACKGROUND_SECONDS = 0.2
"""While the shell has the terminal, it is looked at so often whether it was given back."""


class KeyBoard:
    """Typed lines and keys. ``push_to_talk``: the microphone is muted unless the user talks. ``number``: the file
    descriptor to read lines from, standard input where it is open; ``say`` is told help."""

    def __init__(
        self,
        *,
        push_to_talk: bool = False,
        number: int | None = None,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        self._push_to_talk, self._say = push_to_talk, say
        self._muted = self._talking = self._leaving = False
        self._lines: deque[str] = deque()
        self._number = _standard_input() if number is None else number
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)
        if self._number is not None:
            self._thread.start()

    def text(self) -> str:
        """What was typed since the last call."""
        found = []
        while self._lines:
            found.append(self._lines.popleft())
        return " ".join(found)

    def muted(self) -> bool:
        return self._muted or (self._push_to_talk and not self._talking)

    def leaving(self) -> bool:
        return self._leaving

    def close(self) -> None:
        """End the thread. Harmless twice."""
        if self._waker >= 0:
            os.close(self._waker)
            self._waker = -1
            if self._thread.is_alive():
                self._thread.join()
            os.close(self._wake)

    # -- from the window, in its own thread

    def key(self, name: str) -> None:
        """``mute``, ``talk down``, ``talk up`` or ``leave``."""
        if name == "mute":
            self._muted = not self._muted
        elif name.startswith("talk"):
            self._talking = name == "talk down"
        elif name == "leave":
            self._leaving = True

    def typed(self, text: str) -> None:
        """A line."""
        if text.strip():
            self._lines.append(text.strip())

    # -- lines, in a thread

    def _read(self) -> None:
        number, waiting = self._number, b""
        assert number is not None
        poll = select.poll()
        poll.register(number, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        closing = select.poll()
        closing.register(self._wake, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self._wake in ready:
                return
            if _in_background(number):
                closing.poll(1000 * BACKGROUND_SECONDS)
                continue
            try:
                came = os.read(number, LONGEST_LINE)
            except OSError:
                came = b""
            waiting += came
            *lines, waiting = waiting.split(b"\n")
            if len(waiting) >= LONGEST_LINE or not came:
                lines, waiting = [*lines, waiting], b""
            for line in lines:
                self._line(line.decode(errors="replace"))
            if not came:
                return

    def _line(self, line: str) -> None:
        word = line.strip().lower()
        if word == "/mute":
            self.key("mute")
            self._say("muted" if self._muted else "not muted")
        elif word == "/talk":
            self.key("talk up" if self._talking else "talk down")
            self._say("talking" if self._talking else "not talking")
        elif word == "/quit":
            self.key("leave")
        elif word.startswith("/"):
            self._say(HELP)
        else:
            self.typed(line)


def _in_background(number: int) -> bool:
    """Whether ``number`` is our terminal and another job has it now."""
    try:
        return os.tcgetpgrp(number) != os.getpgrp()
    except OSError:  # no terminal, or not the one that controls us: nobody is stopped for reading it
        return False


def _standard_input() -> int | None:
    """Its number, where it is open and somebody may type there."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stdin.fileno()
        null = os.stat(os.devnull)
        here = os.fstat(number)
        return None if (here.st_dev, here.st_ino) == (null.st_dev, null.st_ino) else number
    return None
