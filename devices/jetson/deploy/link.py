"""The system's ssh: one connection that many commands share, and one clear line for each way in which it fails.

Receives where to; hands on :class:`Link`, whose ``start`` begins a command there. Nothing is typed (BatchMode), host
keys are compared strictly, and the socket of the shared connection lies in a private folder that goes at the end. What
ssh itself is set up to do (``~/.ssh/config``) holds.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_streamer.runtime.errors import InputError

CONNECT_SECONDS = 15
ALIVE_SECONDS, ALIVE_MISSED = 5, 3
"""A link that is silent for 15 s is dropped."""
OPEN_SECONDS = 60.0
LINK_FAILED = 255
"""ssh's own exit status; no command of ours ends with it."""
KEY_FILE = "/etc/ssh/ssh_host_ed25519_key.pub"


class Dropped(Exception):
    """The link is gone. Never leaves this room: it is opened again, or told as an InputError."""


@dataclass(frozen=True)
class Target:
    """Where to, as ssh takes it."""

    host: str
    """``user@host``, or a name of ssh's own settings."""
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None

    def words(self) -> list[str]:
        alive = {"ServerAliveInterval": ALIVE_SECONDS, "ServerAliveCountMax": ALIVE_MISSED}
        options = {"BatchMode": "yes", "StrictHostKeyChecking": "yes", "ConnectTimeout": CONNECT_SECONDS, **alive}
        found = [f"-o{name}={value}" for name, value in options.items()]
        return [*found, "-T", "-x", "-a", *self.ways]

    @property
    def ways(self) -> list[str]:
        """What was said of how to get there."""
        found = ["-F", str(self.config)] if self.config else []
        found += ["-p", str(self.port)] if self.port else []
        return found + (["-i", str(self.identity)] if self.identity else [])

    @property
    def machine(self) -> str:
        """The host without the user."""
        return self.host.rpartition("@")[2]


class Link:
    """A context manager. ``start`` is given a command of the shell there."""

    def __init__(self, target: Target) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._@:%\[\]][\w.@:%\[\]-]*", target.host):
            raise InputError(f"{target.host!r} is no user@host")
        if shutil.which("ssh") is None:
            raise InputError("there is no ssh here; install it: sudo apt-get install openssh-client")
        self.target = target
        self._folder = Path(tempfile.mkdtemp(prefix="edge-streamer-"))  # mode 700
        self._socket = self._folder / "link"
        self._said = self._folder / "said"
        self._master: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self) -> None:
        """Connect. Dropped where nobody answers; InputError where it is refused."""
        self.close()
        words = ["ssh", *self.target.words(), "-M", "-N", "-S", str(self._socket), "--", self.target.host]
        with self._said.open("wb") as said:
            master = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        self._master = master  # in a session of its own: Ctrl-C is for us to answer
        ends = time.monotonic() + OPEN_SECONDS
        while not self._socket.exists():
            if master.poll() is not None:
                raise self._failure()
            if time.monotonic() > ends:
                raise Dropped(f"{self.target.host} took longer than {OPEN_SECONDS:g} s to let us in")
            time.sleep(0.02)

    def close(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            master.terminate()
            with suppress(subprocess.TimeoutExpired):
                master.wait(2)
            master.kill()
            master.wait()
        self._socket.unlink(missing_ok=True)

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Begin a command there, with its three streams. Dropped where there is no connection."""
        if self._master is None or self._master.poll() is not None:
            raise Dropped(self._last_line() or "the connection was closed")
        words = ["ssh", *self.target.words(), "-oControlMaster=no", "-S", str(self._socket), "--", self.target.host]
        pipe = subprocess.PIPE
        return subprocess.Popen([*words, shlex.join(command)], stdin=pipe, stdout=pipe, stderr=pipe,
                                start_new_session=True)  # fmt: skip

    def _failure(self) -> Exception:
        """What the connection was refused with."""
        text, target = self._text(), self.target
        port = f"-p {target.port} " if target.port else ""
        by_hand = shlex.join([*target.ways, target.host])
        ask = f"ssh-keyscan {port}{target.machine} | ssh-keygen -lf -"
        there = f"on the board itself: ssh-keygen -lf {KEY_FILE}"
        if "IDENTIFICATION HAS CHANGED" in text:
            name = f"[{target.machine}]:{target.port}" if target.port else target.machine
            return InputError(
                f"the host key of {target.machine} is not the one that is known: the board was flashed anew, or it is "
                f"another machine; compare its fingerprint ({ask}) with that {there}; where they are the same, forget "
                f"the old one: ssh-keygen -R '{name}', then log in once: ssh {by_hand}"
            )
        if "Host key verification failed" in text or "host key is known" in text:
            return InputError(
                f"the host key of {target.machine} is not known here; compare its fingerprint ({ask}) with that "
                f"{there}; where they are the same, log in once: ssh {by_hand}"
            )
        if "Permission denied" in text or "Too many authentication" in text:
            return InputError(
                f"{target.host} does not let this key in, and no password is asked for; once: ssh-copy-id {by_hand}"
            )
        if "Bad owner or permissions" in text or "Bad configuration option" in text:
            return InputError(f"ssh does not start: {self._last_line()}")
        return Dropped(self._last_line() or "ssh ended without a word")

    def _text(self) -> str:
        with suppress(OSError):
            return self._said.read_text(errors="replace")
        return ""

    def _last_line(self) -> str:
        lines = [line.strip() for line in self._text().splitlines() if line.strip()]
        return lines[-1] if lines else ""
